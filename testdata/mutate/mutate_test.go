// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

const sample = `package p

const most = 8 << 10

var names = []string{"a", "b"}

func check(s string, n int) (bool, error) {
	if n > most || s == "" {
		return false, errBad
	}
	switch s {
	case "x", "y":
		n++
	}
	return names[0] == s, nil
}
`

func TestMutantsOf(t *testing.T) {
	t.Parallel()
	mutants, err := mutantsOf("/m", "/m/p/p.go", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range mutants {
		got = append(got, strings.TrimPrefix(m.key(), "p/p.go "))
	}
	want := []string{
		"most limit+1: most = 8 << 10", "most limit-1: most = 8 << 10",
		`names element: "a"`, `names element: "b"`,
		`check never: n > most || s == "" { return false, errBad`, `check always: n > most || s == "" { return false, errBad`,
		`check left: n > most || s == ""`, "check comparison: n > most", `check and-or: n > most || s == ""`, `check right: n > most || s == ""`,
		"check return: return false, errBad", `check case: "x"`, `check case: "y"`, "check statement: n++",
		"check limit+1: names[0]", "check limit-1: names[0]", "check comparison: names[0] == s",
	}
	for _, list := range [][]string{got, want} {
		slices.Sort(list)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMutantsThatReadAlikeHaveKeysOfTheirOwn(t *testing.T) {
	t.Parallel()
	const source = `package p

func check(c byte) bool { return 'a' <= c|1 && c|1 <= 'f' }

func other(c byte) bool { return c|1 == 2 }

func named(s string) bool { return s != "" }
`
	mutants, err := mutantsOf("/m", "/m/p/p.go", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, m := range mutants {
		count[m.key()]++
	}
	for _, key := range []string{
		"p/p.go check arithmetic: c|1 (1)", "p/p.go check arithmetic: c|1 (2)",
		"p/p.go other arithmetic: c|1", `p/p.go named comparison: s != ""`,
	} {
		if count[key] != 1 {
			t.Errorf("%d mutants are %s, want 1", count[key], key)
		}
	}
	for key, n := range count {
		if n > 1 {
			t.Errorf("%d mutants are %s", n, key)
		}
	}
}

func TestEveryEntryOfTheListNamesOneMutant(t *testing.T) {
	t.Parallel()
	accepted, err := readAccepted("survivors.txt")
	if err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for _, p := range packages {
		patterns = append(patterns, "../../"+p)
	}
	packs, err := list(patterns)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, p := range packs {
		mutants, err := p.mutants()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mutants {
			count[m.key()]++
		}
	}
	for key := range accepted {
		if count[key] != 1 {
			t.Errorf("%d mutants are %s", count[key], key)
		}
	}
}

// Alone or all at once, mutants are Go.
func TestEditsLeaveGo(t *testing.T) {
	t.Parallel()
	mutants, err := mutantsOf("/m", "/m/p/p.go", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	var all []edit
	for _, m := range mutants {
		changed := apply([]byte(sample), []edit{m.alone})
		if string(changed) == sample {
			t.Errorf("%s changes nothing", m)
		}
		if _, err := parser.ParseFile(token.NewFileSet(), "p.go", changed, 0); err != nil {
			t.Errorf("%s: %v\n%s", m, err, changed)
		}
		all = append(all, m.switched...)
	}
	changed := apply([]byte(sample), all)
	if _, err := parser.ParseFile(token.NewFileSet(), "p.go", changed, 0); err != nil {
		t.Errorf("all at once: %v\n%s", err, changed)
	}
	if got, want := strings.Count(string(changed), "\n"), strings.Count(sample, "\n"); got != want {
		t.Errorf("%d lines, want %d, or the compiler's complaints name others", got, want)
	}
}
