// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// neighbour is the operator that replaces another one, and the function of
// switches that chooses between the two.
type neighbour struct {
	kind     string
	by       token.Token
	function string
}

var neighbours = map[token.Token]neighbour{
	token.LAND: {"and-or", token.LOR, "mutateAnd"}, token.LOR: {"and-or", token.LAND, "mutateOr"},
	token.LSS: {"comparison", token.LEQ, "mutateLess"}, token.LEQ: {"comparison", token.LSS, "mutateAtMost"},
	token.GTR: {"comparison", token.GEQ, "mutateMore"}, token.GEQ: {"comparison", token.GTR, "mutateAtLeast"},
	token.EQL: {"comparison", token.NEQ, "mutateEqual"}, token.NEQ: {"comparison", token.EQL, "mutateUnequal"},
	token.ADD: {"arithmetic", token.SUB, "mutateAdd"}, token.SUB: {"arithmetic", token.ADD, "mutateSubtract"},
	token.MUL: {"arithmetic", token.QUO, "mutateMultiply"}, token.QUO: {"arithmetic", token.MUL, "mutateDivide"},
	token.AND: {"arithmetic", token.OR, "mutateBitAnd"}, token.OR: {"arithmetic", token.AND, "mutateBitOr"},
}

func (f *finder) binary(n *ast.BinaryExpr, parent ast.Node) {
	other, ok := neighbours[n.Op]
	if !ok || n.Op == token.ADD && (isText(n.X) || isText(n.Y)) || (n.Op == token.EQL || n.Op == token.NEQ) && isCondition(parent) {
		return
	}
	end := n.OpPos + token.Pos(len(n.Op.String()))
	alone := f.instead(n.OpPos, end, other.by.String())
	if n.Op != token.LAND && n.Op != token.LOR {
		f.add(other.kind, n, alone, f.around(n, other.function+"(on(), ", ")"), f.instead(n.OpPos, end, ","))
		return
	}
	// the right operand is computed only when it is asked for, as before
	f.add(other.kind, n, alone, f.around(n, other.function+"(on(), ", " })"), f.instead(n.OpPos, end, ", func() bool { return "))
	f.truth("left", n.Pos(), n.End(), n.X, n.Op == token.LAND)
	f.truth("right", n.Pos(), n.End(), n.Y, n.Op == token.LAND)
}

// isText recognises the operands of a concatenation of strings, where it can be
// seen.
func isText(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.BasicLit:
		return x.Kind == token.STRING
	case *ast.BinaryExpr:
		return x.Op == token.ADD && (isText(x.X) || isText(x.Y))
	}
	return false
}

// isCondition says whether a truth value below the node is the whole of a
// condition or an operand of one, which other kinds already turn round.
func isCondition(parent ast.Node) bool {
	switch parent := parent.(type) {
	case *ast.IfStmt, *ast.CaseClause:
		return true
	case *ast.BinaryExpr:
		return parent.Op == token.LAND || parent.Op == token.LOR
	}
	return false
}

// number handles integers, but not those that are sizes of types, hints for
// allocation, bytes of a table, or beside an error or false.
func (f *finder) number(n *ast.BasicLit, stack []ast.Node) {
	if n.Kind != token.INT || len(stack) == 0 {
		return
	}
	parent := stack[len(stack)-1]
	var whole ast.Expr = n
	switch p := parent.(type) {
	case *ast.ArrayType:
		return
	case *ast.CompositeLit:
		if strings.HasPrefix(n.Value, "0x") {
			return
		}
	case *ast.ReturnStmt:
		if saysNo(p) {
			return
		}
	case *ast.BinaryExpr:
		if isNumber(p.X) && isNumber(p.Y) {
			if p.Y == n {
				return // once for the two
			}
			whole = p
			parent = stack[max(0, len(stack)-2)]
		}
		if x, ok := p.X.(*ast.Ident); ok && x.Name == "iota" {
			return
		}
	}
	if slices.ContainsFunc(stack, isAllocation) {
		return
	}
	shown := ast.Node(whole)
	switch parent.(type) {
	case ast.Expr, *ast.ValueSpec:
		shown = parent
	}
	for _, change := range []string{"+1", "-1"} {
		f.add("limit"+change, shown, f.around(whole, "(", change+")"), f.around(whole, "mutateNumber(on(), ", ", "+change+")"))
	}
}

// saysNo says whether a function returns values that nobody looks at.
func saysNo(n *ast.ReturnStmt) bool {
	if len(n.Results) < 2 {
		return false
	}
	name, ok := n.Results[len(n.Results)-1].(*ast.Ident)
	return !ok || name.Name != "nil" && name.Name != "true"
}

func isNumber(x ast.Expr) bool {
	lit, ok := x.(*ast.BasicLit)
	return ok && lit.Kind == token.INT
}

func isAllocation(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	switch callee := call.Fun.(type) {
	case *ast.Ident:
		return callee.Name == "make"
	case *ast.SelectorExpr:
		return callee.Sel.Name == "Grow"
	}
	return false
}

// result handles the last value that a function returns.
func (f *finder) result(n *ast.ReturnStmt, stack []ast.Node) {
	t := resultOf(stack)
	if t == nil || len(n.Results) != t.NumFields() {
		return
	}
	last := n.Results[len(n.Results)-1]
	name, _ := last.(*ast.Ident)
	switch kind := t.List[len(t.List)-1].Type.(type) {
	case *ast.StarExpr:
		if name == nil || name.Name != "nil" {
			f.null(n, last)
		}
	case *ast.Ident:
		if kind.Name == "error" && (name == nil || name.Name != "nil") {
			f.null(n, last)
		}
		if b, ok := last.(*ast.BinaryExpr); kind.Name == "bool" && (!ok || neighbours[b.Op].kind == "") {
			f.add("return", n, f.around(last, "!(", ")"), f.around(last, "((", ") != on())"))
		}
	}
}

func (f *finder) null(n *ast.ReturnStmt, last ast.Expr) {
	others := string(f.source[f.offset(n.Pos()):f.offset(last.Pos())])
	others = strings.Join(strings.Fields(others), " ")
	f.add("return", n, f.instead(last.Pos(), last.End(), "nil"), f.around(n, "if on() { "+others+" nil }; ", ""))
}

// resultOf is the list of results of the innermost function.
func resultOf(stack []ast.Node) *ast.FieldList {
	for _, n := range slices.Backward(stack) {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return n.Type.Results
		case *ast.FuncLit:
			return n.Type.Results
		}
	}
	return nil
}

// statement leaves out what stands for itself in a block. An assignment that
// is compiled alone keeps its right side, so that what is computed there counts
// as used.
func (f *finder) statement(n, parent ast.Node) {
	switch parent.(type) {
	case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
	default:
		return
	}
	alone := edit{}
	switch n := n.(type) {
	case *ast.ExprStmt, *ast.IncDecStmt, *ast.DeferStmt, *ast.BranchStmt, *ast.SendStmt:
		alone = f.instead(n.Pos(), n.End(), "")
	case *ast.AssignStmt:
		switch n.Tok {
		case token.DEFINE:
			return
		case token.ASSIGN:
			alone = f.instead(n.Pos(), n.Lhs[len(n.Lhs)-1].End(), strings.Repeat(", _", len(n.Lhs))[2:])
		default:
			alone = f.instead(n.Pos(), n.End(), "")
		}
	default:
		return
	}
	f.add("statement", n, alone, f.around(n, "if !on() { ", " }"))
}
