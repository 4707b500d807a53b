// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// switches is what the edits of switched mutants call, a file that is added
// to the package.
//
//go:embed switches.go.txt
var switches string

// buildSwitched compiles all mutants that can be switched. A switch may not
// compile: a number that has to be a byte becomes an int, say. The compiler
// says in which lines, and their mutants are compiled alone.
func (p *pack) buildSwitched(mutants []mutant, scratch string) error {
	p.switched = filepath.Join(scratch, "switched.exe")
	for {
		edits := map[string][]edit{}
		for _, m := range mutants {
			on := fmt.Sprintf("mutateAlive == %d", m.number)
			for _, e := range m.switched {
				e.before = strings.ReplaceAll(strings.ReplaceAll(e.before, "!on()", "!("+on+")"), "on()", on)
				e.after = strings.ReplaceAll(strings.ReplaceAll(e.after, "!on()", "!("+on+")"), "on()", "("+on+")")
				edits[m.file] = append(edits[m.file], e)
			}
		}
		out, err := p.build(p.switched, scratch, edits)
		if err == nil {
			return nil
		}
		if !demote(mutants, brokenLines(out)) {
			return fmt.Errorf("building the mutants of %s: %w\n%s", p.name(), err, out)
		}
	}
}

// place is a line of a file, by the name of the file alone.
type place struct {
	file string
	line int
}

var placePattern = regexp.MustCompile(`(?m)^[^\s:]*?([^\s:/\\]+\.go):(\d+):`)

// brokenLines are those that the compiler complains of.
func brokenLines(out []byte) []place {
	var places []place
	for _, match := range placePattern.FindAllSubmatch(out, -1) {
		line, _ := strconv.Atoi(string(match[2]))
		places = append(places, place{string(match[1]), line})
	}
	return places
}

// demote takes the switches out of the lines and says whether there was one.
// Those of numbers go first, being the usual cause.
func demote(mutants []mutant, places []place) bool {
	at := func(m *mutant) bool {
		return len(m.switched) > 0 && slices.ContainsFunc(places, func(p place) bool {
			return p.file == filepath.Base(m.file) && m.line <= p.line && p.line <= m.last
		})
	}
	for _, numbers := range []bool{true, false} {
		found := false
		for i := range mutants {
			if m := &mutants[i]; at(m) && (!numbers || strings.HasPrefix(m.kind, "limit")) {
				m.switched, found = nil, true
			}
		}
		if found {
			return true
		}
	}
	return false
}

// build compiles the tests with edits of some files, by their names in the
// module. Only files in scratch are written.
func (p *pack) build(binary, scratch string, edits map[string][]edit) ([]byte, error) {
	added := filepath.Join(scratch, "mutate_switches.go")
	if err := os.WriteFile(added, fmt.Appendf(nil, switches, p.Name), 0o600); err != nil {
		return nil, err
	}
	replace := map[string]string{filepath.Join(p.Dir, "mutate_switches.go"): added}
	for name, list := range edits {
		original := filepath.Join(p.Module.Dir, filepath.FromSlash(name))
		source, err := os.ReadFile(original)
		if err != nil {
			return nil, err
		}
		changed := filepath.Join(scratch, filepath.Base(original))
		if err := os.WriteFile(changed, apply(source, list), 0o600); err != nil {
			return nil, err
		}
		replace[original] = changed
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	overlay := filepath.Join(scratch, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return nil, err
	}
	command := exec.Command("go", "test", "-c", "-vet=off", "-o", binary, "-overlay", overlay, "-gcflags="+p.ImportPath+"=-e", p.ImportPath)
	command.Dir = p.Module.Dir
	return command.CombinedOutput()
}
