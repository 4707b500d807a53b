// SPDX-License-Identifier: Apache-2.0

package caddypopauth

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/popauth/caddy-popauth"

// house is the law of imports: which packages of this module a package may
// import. The façade may use the wings, the wings the ground floor, and on the
// ground each group those after it. What is not listed here does not exist.
var house = map[string][]string{
	".":         {"caddyfile", "popauth/command"},
	"caddyfile": {"popauth"},
	"popauth":   slices.Concat(wings, ground, []string{"popauth/store/storetest"}),

	"introspect":      ground,
	"popauth/issue":   ground,
	"popauth/enforce": ground,

	// strict and clock, since a client has answers to read and proofs to date
	"popauth/command": {"popauth/enforce", "popauth/dpop", "popauth/jwk", "popauth/cnf", "popauth/oauth", "popauth/strict", "popauth/clock"},
	"popauth/e2e":     {"."},

	"popauth/accesstoken": after("popauth/accesstoken"),
	"popauth/client":      after("popauth/client"),
	"popauth/cnf":         after("popauth/cnf"),
	"popauth/dpop":        after("popauth/dpop"),
	"popauth/keys":        after("popauth/keys"),
	"popauth/jws":         after("popauth/jws"),
	"popauth/jwk":         after("popauth/jwk"),
	"popauth/replay":      after("popauth/replay"),
	"popauth/store":       after("popauth/store"),
	"popauth/oauth":       after("popauth/oauth"),
	"popauth/strict":      {},
	"popauth/clock":       {},

	"popauth/store/storetest": {"popauth/store", "popauth/clock"},

	// for tests only, see TestOnlyTestsImportTheFixtures
	"popauth/fixture": {},
}

var wings = []string{"introspect", "popauth/issue", "popauth/enforce"}

// floor is the ground floor, group by group from the top.
var floor = [][]string{
	{"popauth/accesstoken", "popauth/client"},
	{"popauth/cnf", "popauth/dpop", "popauth/keys"},
	{"popauth/jws"},
	{"popauth/jwk", "popauth/replay", "popauth/store"},
	{"popauth/oauth"},
	{"popauth/strict", "popauth/clock"},
}

var ground = slices.Concat(floor...)

// after lists the groups after that of a package.
func after(pkg string) []string {
	for i, group := range floor {
		if slices.Contains(group, pkg) {
			return slices.Concat(floor[i+1:]...)
		}
	}
	return nil
}

// knowCaddy are the packages that may import Caddy. All others take plain
// values, so that they can be read, fuzzed and measured without a server.
var knowCaddy = []string{".", "popauth", "caddyfile", "popauth/command", "popauth/e2e"}

// file is a Go file with what it imports.
type file struct {
	name, pkg string
	test      bool
	imports   []string
}

func TestImportsKeepTheLaw(t *testing.T) {
	t.Parallel()
	for _, f := range files(t) {
		allowed, ok := house[f.pkg]
		if !ok {
			t.Errorf("%s: package %q is not in the house", f.name, f.pkg)
			continue
		}
		for _, imported := range f.imports {
			own, isOwn := ownPackage(imported)
			switch {
			case isOwn && f.test && (own == f.pkg || own == "popauth/fixture" || own == "popauth/store/storetest"):
			case isOwn && f.test && slices.Contains(testEdges[f.pkg], own):
			case isOwn && !slices.Contains(allowed, own):
				t.Errorf("%s imports %q, which the law of imports does not allow", f.name, own)
			case strings.HasPrefix(imported, "github.com/caddyserver/caddy/v2") && !slices.Contains(knowCaddy, f.pkg):
				t.Errorf("%s imports %q, but %q must not know Caddy", f.name, imported, f.pkg)
			}
		}
	}
}

// testEdges are what tests of a package may import beyond what it may itself.
var testEdges = map[string][]string{
	// goldens are adapted and provisioned
	"caddyfile": {"."},
	// the tests of the command answer its requests as a server would
	"popauth/command": {"popauth/replay"},
	// end-to-end tests make tokens and proofs of their own
	"popauth/e2e": ground,
}

func TestOnlyTestsImportTheFixtures(t *testing.T) {
	t.Parallel()
	for _, f := range files(t) {
		if f.test || f.pkg == "popauth/store/storetest" {
			continue
		}
		for _, imported := range f.imports {
			if own, ok := ownPackage(imported); ok && own == "popauth/fixture" {
				t.Errorf("%s imports the fixtures, which are for tests only", f.name)
			}
		}
	}
}

func TestEveryPackageOfTheHouseExists(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range files(t) {
		seen[f.pkg] = true
	}
	for pkg := range house {
		if !seen[pkg] {
			t.Errorf("package %q is in the house, but has no files", pkg)
		}
	}
}

func ownPackage(imported string) (string, bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// files reads the imports of all Go files of the module.
func files(t *testing.T) []file {
	t.Helper()
	var all []file
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		f := file{name: name, pkg: path.Dir(filepath.ToSlash(name)), test: strings.HasSuffix(name, "_test.go")}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imported)
		}
		all = append(all, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("found no Go files")
	}
	return all
}
