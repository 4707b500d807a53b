// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// readAccepted reads the survivors that are accepted: the key of a mutant, a
// blank, # and the reason on each line. Lines that begin with # are comments.
func readAccepted(file string) (map[string]string, error) {
	accepted := map[string]string{}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return accepted, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, reason, ok := strings.Cut(line, " # ")
		if !ok || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s:%d: there is no ' # ' with a reason", file, number)
		}
		if _, twice := accepted[key]; twice {
			return nil, fmt.Errorf("%s:%d: is there twice", file, number)
		}
		accepted[key] = strings.TrimSpace(reason)
	}
	return accepted, lines.Err()
}

// checkAccepted says which entry of the list names no mutant, or more than one,
// of those packages. Entries of packages that are not looked at are left alone.
func checkAccepted(accepted map[string]string, packs []*pack, mutants [][]mutant) error {
	count := map[string]int{}
	looked := map[string]bool{}
	for i, p := range packs {
		looked[p.name()] = true
		for _, m := range mutants[i] {
			count[m.key()]++
		}
	}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(accepted)) {
		file, _, _ := strings.Cut(key, " ")
		if n := count[key]; n != 1 && looked[path.Dir(file)] {
			wrong = append(wrong, fmt.Errorf("an entry of the list names %d mutants: %s", n, key))
		}
	}
	return errors.Join(wrong...)
}

// report gathers what became of the mutants.
type report struct {
	accepted map[string]string
	partial  bool // not all mutants were tried

	rows      []row
	survivors []mutant
	done      map[string]bool // by package
	living    map[string]bool // accepted ones that survived, by key
}

type row struct {
	name                                     string
	tried, killed, late, survived, uncounted int
	took                                     time.Duration
}

func (r *report) add(name string, mutants []mutant, outcomes []outcome, took time.Duration) {
	if r.done == nil {
		r.done, r.living = map[string]bool{}, map[string]bool{}
	}
	r.done[name] = true
	line := row{name: name, took: took}
	for i, m := range mutants {
		switch outcomes[i] {
		case invalid:
			line.uncounted++
			continue
		case late:
			line.late++
			line.killed++
		case killed:
			line.killed++
		case survived:
			line.survived++
			r.survivors = append(r.survivors, m)
			r.living[m.key()] = true
		}
		line.tried++
	}
	r.rows = append(r.rows, line)
}

func (l row) rate() float64 {
	if l.tried == 0 {
		return 1
	}
	return float64(l.killed) / float64(l.tried)
}

// finish writes the report and says whether all is well.
func (r *report) finish(out io.Writer) bool {
	good := true
	complain := func(format string, arguments ...any) {
		good = false
		fmt.Fprintf(out, "FAIL "+format+"\n", arguments...)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "package\tmutants\tkilled\tby the clock\tsurvived\trate\tnot compiled\tseconds\t")
	for _, l := range r.rows {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%.1f %%\t%d\t%.0f\t\n",
			l.name, l.tried, l.killed, l.late, l.survived, 100*l.rate(), l.uncounted, l.took.Seconds())
	}
	table.Flush()
	fmt.Fprintln(out)
	for _, m := range r.survivors {
		if reason, ok := r.accepted[m.key()]; ok {
			fmt.Fprintf(out, "accepted %s # %s\n", m, reason)
		}
	}
	for _, m := range r.survivors {
		if _, ok := r.accepted[m.key()]; !ok {
			complain("%s:%d survives and is not listed: %s", m.file, m.line, m.key())
		}
	}
	if r.partial {
		return good
	}
	for key := range r.accepted {
		file, _, _ := strings.Cut(key, " ")
		if directory := file[:max(0, strings.LastIndexByte(file, '/'))]; r.done[directory] && !r.living[key] {
			complain("does not survive any more, take it off the list: %s", key)
		}
	}
	for _, l := range r.rows {
		if l.rate() < leastRate {
			complain("only %.1f %% of the mutants of %s die, want %.0f %%", 100*l.rate(), l.name, 100*leastRate)
		}
	}
	return good
}
