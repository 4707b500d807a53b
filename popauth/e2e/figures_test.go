// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// checks are what is promised beside how faults are survived.
var checks = []promise{
	{"abuse", "every hostile request that is tried, over HTTP/1.1, 2 and 3 and with both stores, gets the answer it must get, and the honest one after it passes",
		[]string{"e2e.TestIndexOfAbuseIsTrue"}, ""},
	{"mutations", "a check that is taken out or turned round is noticed by a test of its package; what may survive is listed, with the reason",
		[]string{"testdata/mutate"}, ""},
	{"fuzzing", "no parser panics, hangs or takes what it must not",
		[]string{"testdata/fuzz-all.sh"}, ""},
	{"memory", "a proof that is remembered takes at most 16 bytes",
		[]string{"replay.BenchmarkGuard", "replay.TestMemoryFollowsUse"}, ""},
}

const figuresStart, figuresEnd = "<!-- figures -->\n", "<!-- /figures -->"

// TestREADMESaysWhatIsTested holds the promises in the README to those in the
// tests. With -update it writes them, and the figures that `.ci/run full` has
// collected in the file POPAUTH_FIGURES; those that it has none of stay as they
// are.
func TestREADMESaysWhatIsTested(t *testing.T) {
	text, _ := readREADME(t)
	before, rest, ok := strings.Cut(text, figuresStart)
	got, after, ok2 := strings.Cut(rest, figuresEnd)
	if !ok || !ok2 {
		t.Fatal("the README has no place for what is tested")
	}
	want := figureTable(figuresIn(got), newFigures(t))
	if got == want || t.Failed() {
		return
	}
	if !*update {
		t.Fatalf("the README's table of what is tested is\n%s\nwant\n%s", got, want)
	}
	if err := os.WriteFile(filepath.Join(fixture.Root(t), "README.md"), []byte(before+figuresStart+want+figuresEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestChecksAreThere looks for what the checks name: functions of tests, and
// programs.
func TestChecksAreThere(t *testing.T) {
	t.Parallel()
	root := fixture.Root(t)
	for _, check := range checks {
		for _, name := range check.tests {
			folder, function, ok := strings.Cut(name, ".")
			if strings.Contains(name, "/") {
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s: %v", check.id, err)
				}
				continue
			}
			files, err := filepath.Glob(filepath.Join(root, "popauth", folder, "*_test.go"))
			if err != nil || !ok {
				t.Fatalf("%s names %q: %v", check.id, name, err)
			}
			if !slices.ContainsFunc(files, func(file string) bool {
				source, err := os.ReadFile(file)
				return err == nil && strings.Contains(string(source), "\nfunc "+function+"(")
			}) {
				t.Errorf("%s: there is no %s", check.id, name)
			}
		}
	}
}

// figure is what was counted last, and when.
type figure struct{ counts, date string }

// figuresIn reads the figures of a table, by promise.
func figuresIn(table string) map[string]figure {
	figures := map[string]figure{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 4 {
			continue
		}
		// neither the head nor a row that has no figures yet
		if _, err := time.Parse(time.DateOnly, strings.TrimSpace(cells[3])); err == nil {
			figures[strings.TrimSpace(cells[0])] = figure{strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])}
		}
	}
	return figures
}

// newFigures reads lines of an id, a tab and what was counted; a promise may
// have several. One that is tested must have some: a test that says nothing may
// not have run.
func newFigures(t *testing.T) map[string]figure {
	t.Helper()
	figures := map[string]figure{}
	name := os.Getenv("POPAUTH_FIGURES")
	if name == "" || !*update {
		return figures
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		id, counts, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok {
			t.Fatalf("%s: got the line %q, want an id, a tab and figures", name, line)
		}
		f := figures[id]
		if f.counts != "" {
			f.counts += "; "
		}
		f.counts += strings.ReplaceAll(counts, "|", "/")
		f.date = time.Now().UTC().Format(time.DateOnly)
		figures[id] = f
	}
	unknown := maps.Clone(figures)
	for _, p := range slices.Concat(checks, promises) {
		if _, ok := figures[p.id]; !ok && len(p.tests) > 0 {
			t.Errorf("%s: there are no figures for %s, whose tests are %q", name, p.id, p.tests)
		}
		delete(unknown, p.id)
	}
	if len(unknown) > 0 {
		t.Errorf("%s: there are figures of what is no promise: %v", name, unknown)
	}
	return figures
}

// figureTable prints the promises that are tested, and what of them is not.
func figureTable(old, fresh map[string]figure) string {
	var b strings.Builder
	if len(old)+len(fresh) == 0 {
		b.WriteString("| promise | tests |\n|---|---|\n")
	} else {
		b.WriteString("| promise | tests | last figures | date |\n|---|---|---|---|\n")
	}
	for _, p := range slices.Concat(checks, promises) {
		if len(p.tests) == 0 {
			continue
		}
		f, ok := fresh[p.id]
		if !ok {
			f = old[p.what]
		}
		tests := make([]string, 0, len(p.tests))
		for _, test := range p.tests {
			tests = append(tests, "`"+test+"`")
		}
		if len(old)+len(fresh) == 0 {
			fmt.Fprintf(&b, "| %s | %s |\n", p.what, strings.Join(tests, ", "))
			continue
		}
		if f.date == "" {
			f = figure{"–", "–"}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", p.what, strings.Join(tests, ", "), f.counts, f.date)
	}
	b.WriteString("\nNot tested:\n\n")
	for _, p := range promises {
		if p.untested != "" {
			what, _, _ := strings.Cut(p.what, ":")
			fmt.Fprintf(&b, "- %s: %s\n", what, p.untested)
		}
	}
	return b.String()
}
