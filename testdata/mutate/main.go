// SPDX-License-Identifier: Apache-2.0

// Command mutate breaks the checks of this module one by one and runs the
// tests against each broken version:
//
//	go run ./testdata/mutate [flags] [packages]
//
// A mutant that no test notices is a check that could be taken out by
// mistake. It must be killed by a test, or be listed in survivors.txt with the
// reason why no test can or need kill it. The exit status is 1 if there is
// another survivor, if an entry of the list names none, or if less than 95 %
// of the mutants of a package die.
//
// Only the tests of the package itself are run: what only the tests of
// somebody else would notice is no contract of its own. Mutants are compiled
// by way of go test -overlay, so that the tree is never touched; most of them at
// once, with a switch that an environment variable sets.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// packages that hold the checks, from the ground up.
var packages = []string{
	"./popauth/strict", "./popauth/jwk", "./popauth/jws", "./popauth/cnf", "./popauth/dpop",
	"./popauth/replay", "./popauth/client", "./popauth/enforce",
}

// leastRate is the part of the mutants of a package that must die.
const leastRate = 0.95

// options are the flags.
type options struct {
	only      string
	sample    int
	seed      string
	workers   int
	limit     time.Duration
	list      bool
	survivors string
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "mutate only this `file[:line]`")
	flag.IntVar(&o.sample, "sample", 0, "take only `n` mutants of each file")
	flag.StringVar(&o.seed, "seed", "", "`text` that decides which ones; the same ones for the same text")
	flag.IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "mutants at a time")
	flag.DurationVar(&o.limit, "limit", 10*time.Second, "least time for the tests of one mutant; they get 20 times what they need without it if that is more")
	flag.BoolVar(&o.list, "list", false, "list the mutants and do nothing")
	flag.StringVar(&o.survivors, "survivors", "testdata/mutate/survivors.txt", "`file` of accepted survivors")
	flag.Parse()
	patterns := flag.Args()
	if len(patterns) == 0 {
		patterns = packages
	}
	good, err := run(o, patterns)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

func run(o options, patterns []string) (bool, error) {
	accepted, err := readAccepted(o.survivors)
	if err != nil {
		return false, err
	}
	packs, err := list(patterns)
	if err != nil {
		return false, err
	}
	scratch, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(scratch)
	all := make([][]mutant, len(packs))
	for i, p := range packs {
		if all[i], err = p.mutants(); err != nil {
			return false, err
		}
	}
	if err := checkAccepted(accepted, packs, all); err != nil {
		return false, err
	}
	r := report{accepted: accepted, partial: o.only != "" || o.sample > 0}
	for i, p := range packs {
		mutants := o.choose(all[i])
		if o.list {
			for _, m := range mutants {
				fmt.Printf("%4d %s\n", m.number, m)
			}
			continue
		}
		if len(mutants) == 0 {
			continue
		}
		start := time.Now()
		outcomes, err := tryAll(o, p, mutants, scratch)
		if err != nil {
			return false, err
		}
		r.add(p.name(), mutants, outcomes, time.Since(start))
	}
	if o.list {
		return true, nil
	}
	return r.finish(os.Stdout), nil
}

// choose applies -only and -sample.
func (o options) choose(mutants []mutant) []mutant {
	if o.only != "" {
		mutants = slices.DeleteFunc(mutants, func(m mutant) bool {
			place := "/" + m.file
			return !strings.HasSuffix(place, "/"+o.only) && !strings.HasSuffix(fmt.Sprintf("%s:%d", place, m.line), "/"+o.only)
		})
	}
	if o.sample == 0 {
		return mutants
	}
	// the smallest hashes of each file: as good as chance, and an edit in one
	// place changes little elsewhere
	byHash := slices.Clone(mutants)
	slices.SortStableFunc(byHash, func(a, b mutant) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(hash(o.seed, a), hash(o.seed, b)))
	})
	count := map[string]int{}
	byHash = slices.DeleteFunc(byHash, func(m mutant) bool {
		count[m.file]++
		return count[m.file] > o.sample
	})
	return byHash
}

func hash(seed string, m mutant) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, seed, "\n", m.key())
	return h.Sum64()
}

// tryAll returns the outcomes in the order of the mutants.
func tryAll(o options, p *pack, mutants []mutant, scratch string) ([]outcome, error) {
	if err := p.buildSwitched(mutants, scratch); err != nil {
		return nil, err
	}
	if err := p.measure(o.limit); err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(mutants))
	failures := make([]error, len(mutants))
	work := make(chan int)
	var workers sync.WaitGroup
	for w := range max(1, o.workers) {
		directory := filepath.Join(scratch, fmt.Sprint("worker", w))
		if err := os.MkdirAll(directory, 0o700); err != nil {
			return nil, err
		}
		workers.Go(func() {
			for i := range work {
				outcomes[i], failures[i] = p.try(mutants[i], directory)
				fmt.Fprintf(os.Stderr, "%4d/%d %-8s %s\n", i+1, len(mutants), outcomes[i], mutants[i])
			}
		})
	}
	for i := range mutants {
		work <- i
	}
	close(work)
	workers.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}
