// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// pack is a package of Go.
type pack struct {
	ImportPath string
	Name       string
	Dir        string
	GoFiles    []string
	Module     struct{ Dir string }

	limit    time.Duration // for the tests of one mutant
	switched string        // test binary with the switched mutants
}

// list asks go for packages.
func list(patterns []string) ([]*pack, error) {
	command := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Dir,GoFiles,Module"}, patterns...)...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packs []*pack
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		p := new(pack)
		if err := decoder.Decode(p); err != nil {
			return nil, err
		}
		packs = append(packs, p)
	}
	return packs, nil
}

// name is the path of the package in its module.
func (p *pack) name() string {
	name, err := filepath.Rel(p.Module.Dir, p.Dir)
	if err != nil {
		return p.ImportPath
	}
	return filepath.ToSlash(name)
}

// mutants returns those of all files of the package.
func (p *pack) mutants() ([]mutant, error) {
	var all []mutant
	for _, name := range p.GoFiles {
		file := filepath.Join(p.Dir, name)
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		found, err := mutantsOf(p.Module.Dir, file, source)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	for i := range all {
		all[i].number = i + 1
	}
	return all, nil
}

type outcome int

const (
	survived outcome = iota
	killed
	late    // the time was over, which counts as killed
	invalid // does not compile, which counts as nothing
)

func (o outcome) String() string {
	return strings.Fields("survived killed late invalid")[o]
}

// measure runs the tests with no mutant alive, which must pass, and takes from
// it how long those of a mutant may take.
func (p *pack) measure(least time.Duration) error {
	start := time.Now()
	if out, err := p.test(p.switched, 0, 10*time.Minute); err != nil {
		return fmt.Errorf("the tests of %s fail without any mutation: %w\n%s", p.name(), err, out)
	}
	p.limit = max(least, 20*time.Since(start))
	return nil
}

// try runs the tests against one mutant.
func (p *pack) try(m mutant, scratch string) (outcome, error) {
	binary := p.switched
	if len(m.switched) == 0 {
		binary = filepath.Join(scratch, "alone.exe")
		if out, err := p.build(binary, scratch, map[string][]edit{m.file: {m.alone}}); err != nil {
			if len(brokenLines(out)) == 0 {
				return 0, fmt.Errorf("building a mutant of %s: %w\n%s", m.file, err, out)
			}
			return invalid, nil
		}
	}
	out, err := p.test(binary, m.number, p.limit)
	switch {
	case err == nil:
		return survived, nil
	case bytes.Contains(out, []byte("panic: test timed out")):
		return late, nil
	}
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		return 0, err
	}
	return killed, nil
}

// test runs a test binary as go test does. A mutant may take memory without
// end, so there is a limit to that where a shell knows how to set one.
func (p *pack) test(binary string, alive int, limit time.Duration) ([]byte, error) {
	arguments := []string{binary, "-test.failfast", "-test.short", "-test.timeout=" + limit.String()}
	if runtime.GOOS == "linux" {
		arguments = append([]string{"/bin/sh", "-c", `ulimit -v 8388608; exec "$0" "$@"`}, arguments...)
	}
	command := exec.Command(arguments[0], arguments[1:]...)
	command.Dir = p.Dir
	command.WaitDelay = time.Second
	command.Env = append(os.Environ(), "GOTRACEBACK=single", fmt.Sprint("MUTATE_ALIVE=", alive))
	return command.CombinedOutput()
}
