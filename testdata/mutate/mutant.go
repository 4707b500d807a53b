// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one change to one file.
//
// Most can be written with a switch, as a condition that asks at run time
// which mutant is alive, so that all of a file are compiled at once. The
// others, and those whose switch does not compile, are compiled alone.
type mutant struct {
	number     int    // in its package, from 1
	file       string // relative to the module
	line, last int
	fn         string // what is declared around it: function, Type.method, variable
	kind       string
	what       string // the source that is changed, on one line
	same       int    // which one of those of the file that read alike, from 1; 0: there is no other

	alone    edit
	switched []edit // empty: has to be compiled alone
}

// edit puts text around what is from here to there, or in its place.
type edit struct {
	from, to      int
	before, after string
	replaces      bool // by before
}

// key names the mutant, and no other one, in the list of survivors. It does
// not change when lines are added elsewhere.
func (m mutant) key() string {
	return m.file + " " + m.change()
}

func (m mutant) String() string {
	return fmt.Sprintf("%s:%d %s", m.file, m.line, m.change())
}

func (m mutant) change() string {
	text := fmt.Sprintf("%s %s: %s", m.fn, m.kind, m.what)
	if m.same > 0 {
		text += fmt.Sprintf(" (%d)", m.same)
	}
	return text
}

// countSame numbers the mutants of a file that read alike. The first one has a
// number, too: what was said of the only one need not be true of either.
func countSame(mutants []mutant) {
	alike := map[string][]*mutant{}
	for i := range mutants {
		m := &mutants[i]
		alike[m.key()] = append(alike[m.key()], m)
	}
	for _, list := range alike {
		if len(list) == 1 {
			continue
		}
		for i, m := range list {
			m.same = i + 1
		}
	}
}

// apply returns the source with all edits. Of two that begin at one place the
// longer one is outside.
func apply(source []byte, edits []edit) []byte {
	starts := slices.Clone(edits)
	slices.SortStableFunc(starts, func(a, b edit) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	var out []byte
	var open []edit
	at := 0
	closeUpTo := func(place int) {
		for len(open) > 0 && open[len(open)-1].to <= place {
			e := open[len(open)-1]
			open = open[:len(open)-1]
			out = append(append(out, source[at:e.to]...), e.after...)
			at = e.to
		}
	}
	for _, e := range starts {
		closeUpTo(e.from)
		out = append(append(out, source[at:e.from]...), e.before...)
		at = e.from
		if e.replaces {
			at = e.to
			continue
		}
		open = append(open, e)
	}
	closeUpTo(len(source))
	return append(out, source[at:]...)
}

// mutantsOf returns the mutants of a file in the order of their places.
//
// The kinds:
//
//	never, always  the condition of an if, or a case of a switch without tag, is false, or true. A condition
//	               that asks for an error or a missing value is not made true: nothing works then
//	and-or         && and || are swapped
//	left, right    one operand of && or || has no say
//	comparison     < becomes <=, and so on; == becomes != where no other kind does as much
//	arithmetic     + becomes -, & becomes |, and so on
//	limit+1, -1    a number, or a shift of numbers, is larger or smaller by one
//	return         nil instead of an error, a refusal or another pointer; the other truth value
//	element        a list or a map lacks one of its elements
//	case           a switch with a tag lacks one of its values, or its default
//	statement      a call, an assignment, a break or the like is left out
func mutantsOf(root, file string, source []byte) ([]mutant, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	relative, err := filepath.Rel(root, file)
	if err != nil {
		return nil, err
	}
	f := &finder{set: set, file: filepath.ToSlash(relative), source: source}
	for _, declaration := range tree.Decls {
		if g, ok := declaration.(*ast.GenDecl); ok {
			f.constant = g.Tok == token.CONST
			for _, spec := range g.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && v.Names[0].Name != "_" {
					f.fn = v.Names[0].Name
					ast.PreorderStack(v, nil, f.visit)
				}
			}
			continue
		}
		f.constant = false
		f.fn = functionName(declaration.(*ast.FuncDecl))
		ast.PreorderStack(declaration, nil, f.visit)
	}
	slices.SortStableFunc(f.found, func(a, b mutant) int { return a.alone.from - b.alone.from })
	countSame(f.found)
	return f.found, nil
}

func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	t := f.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	return t.(*ast.Ident).Name + "." + f.Name.Name
}

// finder walks over one declaration after the other.
type finder struct {
	set      *token.FileSet
	file     string
	source   []byte
	fn       string
	constant bool // the declaration is of constants
	found    []mutant
}

func (f *finder) offset(p token.Pos) int { return f.set.Position(p).Offset }

// around is an edit that puts text around a node.
func (f *finder) around(n ast.Node, before, after string) edit {
	return edit{from: f.offset(n.Pos()), to: f.offset(n.End()), before: before, after: after}
}

// instead is an edit that replaces what is from here to there.
func (f *finder) instead(from, to token.Pos, text string) edit {
	return edit{from: f.offset(from), to: f.offset(to), before: text, replaces: true}
}

// add makes a mutant, shown as the source of a node. In the texts of switched
// edits, on() stands for the question whether this mutant is alive, and the
// number of the mutant is the first argument of the functions of switches.
func (f *finder) add(kind string, shown ast.Node, alone edit, switched ...edit) {
	f.addRange(kind, shown.Pos(), shown.End(), alone, switched...)
}

func (f *finder) addRange(kind string, from, to token.Pos, alone edit, switched ...edit) {
	if f.constant {
		switched = nil
	}
	f.found = append(f.found, mutant{
		file: f.file, line: f.set.Position(from).Line, last: f.set.Position(to).Line,
		fn: f.fn, kind: kind, what: oneLine(string(f.source[f.offset(from):f.offset(to)])),
		alone: alone, switched: switched,
	})
}

// oneLine is what a list can show. # begins the reason there.
func oneLine(source string) string {
	const most = 100
	text := strings.ReplaceAll(strings.Join(strings.Fields(source), " "), " # ", " ＃ ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

func (f *finder) visit(n ast.Node, stack []ast.Node) bool {
	var parent ast.Node
	if len(stack) > 0 {
		parent = stack[len(stack)-1]
	}
	switch n := n.(type) {
	case *ast.IfStmt:
		f.truth("never", n.Cond.Pos(), firstOf(n.Body, n.Cond), n.Cond, false)
		if !asksForFailure(n.Cond) {
			f.truth("always", n.Cond.Pos(), firstOf(n.Body, n.Cond), n.Cond, true)
		}
	case *ast.CaseClause:
		f.clause(n, stack)
	case *ast.BinaryExpr:
		f.binary(n, parent)
	case *ast.BasicLit:
		f.number(n, stack)
	case *ast.ReturnStmt:
		f.result(n, stack)
	case *ast.CompositeLit:
		f.elements(n)
	default:
		f.statement(n, parent)
	}
	return true
}

// truth makes the mutant in which a condition is always so. It is still
// computed: what it does beside, it still does.
func (f *finder) truth(kind string, from, to token.Pos, cond ast.Expr, always bool) {
	if always {
		f.addRange(kind, from, to, f.around(cond, "((", ") || true)"), f.around(cond, "((", ") || on())"))
		return
	}
	f.addRange(kind, from, to, f.around(cond, "((", ") && false)"), f.around(cond, "((", ") && !on())"))
}

// firstOf is the end of the first statement of a block: what is shown of an if,
// since there are many with one condition.
func firstOf(body *ast.BlockStmt, cond ast.Expr) token.Pos {
	if len(body.List) == 0 {
		return cond.End()
	}
	return body.List[0].End()
}

// asksForFailure recognises x != nil and !ok.
func asksForFailure(cond ast.Expr) bool {
	switch cond := cond.(type) {
	case *ast.BinaryExpr:
		name, ok := cond.Y.(*ast.Ident)
		return ok && name.Name == "nil" && cond.Op == token.NEQ
	case *ast.UnaryExpr:
		_, ok := cond.X.(*ast.Ident)
		return ok && cond.Op == token.NOT
	}
	return false
}
