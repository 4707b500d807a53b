// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/token"
)

// clause handles the cases of a switch; those of a select are no checks.
func (f *finder) clause(n *ast.CaseClause, stack []ast.Node) {
	if s, ok := stack[len(stack)-2].(*ast.SwitchStmt); ok && s.Tag == nil && n.List != nil {
		for _, cond := range n.List {
			f.truth("never", cond.Pos(), cond.End(), cond, false)
		}
		return
	}
	if len(n.List) < 2 {
		f.add("case", headOf(n), f.instead(n.Pos(), n.End(), ""))
		return
	}
	for i := range n.List {
		from, to := span(n.List, i)
		f.add("case", n.List[i], f.instead(from, to, ""))
	}
}

// headOf is what names a clause: its one value, or the first statement of a
// default.
func headOf(n *ast.CaseClause) ast.Node {
	switch {
	case len(n.List) > 0:
		return n.List[0]
	case len(n.Body) > 0:
		return n.Body[0]
	}
	return n
}

// span is one element of a list together with the comma that goes with it.
func span(list []ast.Expr, i int) (from, to token.Pos) {
	switch {
	case i+1 < len(list):
		return list[i].Pos(), list[i+1].Pos()
	case i > 0:
		return list[i-1].End(), list[i].End()
	}
	return list[i].Pos(), list[i].End()
}

func (f *finder) elements(n *ast.CompositeLit) {
	for i := range n.Elts {
		from, to := span(n.Elts, i)
		if len(n.Elts) == 1 && f.source[f.offset(to)] == ',' {
			to++
		}
		alone := f.instead(from, to, "")
		switch t := n.Type.(type) {
		case *ast.ArrayType:
			if t.Len == nil {
				f.add("element", n.Elts[i], alone, f.around(n, fmt.Sprintf("mutateWithout(on(), %d, ", i), ")"))
			}
		case *ast.MapType:
			f.add("element", n.Elts[i], alone)
		}
	}
}
