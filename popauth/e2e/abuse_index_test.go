// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// corpus is how many rows there are of each kind. A row's id is the letter of
// its kind and two digits; T is for the token endpoint, I for introspection, V
// for revocation, R for the API, C for the answers to its challenges and J for
// the published keys.
var corpus = []struct {
	kind string
	rows int
}{{"T", 37}, {"I", 6}, {"V", 4}, {"R", 30}, {"C", 4}, {"J", 1}}

// otherTests are the tests of what nobody can bring about from outside, such as
// a store that fails or a clock that is set, as package.function.
var otherTests = map[string][]string{
	"T06": {"popauth/client.TestUnknownClientAndWrongSecretAreAnsweredAlike"}, // as much work for either
	"T13": {"popauth/jwk.TestParseRefusesRSA"},                                // a long modulus is not even decoded
	"T24": {"popauth/issue.TestNonceOfAProof", "popauth/replay.TestNonceLivesTwoMinutes"},
	"T25": {"popauth/replay.TestIssuedAtIsJudgedWithoutANonce"},
	"T32": {"popauth/client.TestAssertionIsConsumedByOneOfMany"},
	"T35": {"popauth.TestStoreIsDown", "popauth.TestStoreGoesDown", "popauth/issue.TestStoreOutage"},
	"T36": {"popauth.TestEarlyDataIsRefused"}, // and changes nothing
	"I04": {"popauth.TestOpaqueTokenInAnotherSpelling", "introspect.TestAnswerReadsNothingForAMisshapenToken"},
	"I06": {"popauth.TestStoreIsDown", "introspect.TestAnswerWithoutTheStore"},
	"V04": {"popauth.TestRevocationWhileTheStoreFails", "popauth/accesstoken.TestRevokeNeverReportsWhatMayBeLost"},
	"R09": {"popauth/dpop.TestNormalize"},               // the default port
	"R11": {"popauth/replay.TestAlteredNonceIsInvalid"}, // a nonce of another node
	"R12": {"popauth/enforce.TestCheckNonce", "popauth/replay.TestNonceLivesTwoMinutes"},
	"R17": {"popauth/accesstoken.TestVerifyTakesTheAlgorithmFromTheKey"}, // PS256 for RS256
	"R18": {"popauth/keys.TestThousandUnknownKidsReadStorageOnce"},
	"R25": {"popauth.TestStoreIsDown", "popauth.TestStoreGoesDown"},
	"R28": {"popauth/enforce.TestTargetPath", "popauth.TestAuthLooksAtTheOriginalRequest"},
	"C01": {"popauth/enforce.TestCheckNonce"},
}

// beyond says why nothing of a row is tried here.
var beyond = map[string]string{
	"T28": "there are no refresh tokens",
	"T29": "there are no refresh tokens",
	"T30": "there are no refresh tokens: access tokens of a client that is gone are in the table of the API",
	"I05": "introspection has no limit per client",
	"I06": "no store fails at a word from outside",
	"R25": "no store fails at a word from outside, and the feed of one that has one node is never behind",
	"V04": "no store fails at a word from outside",
}

// partly says what of the other rows is not tried, and why.
var partly = map[string]string{
	"T06": "there are no disabled clients: one that is taken out of the configuration is unknown",
	"T17": "there are no client certificates",
	"T24": "all issuers and both endpoints of a process have one nonce key, so that a nonce of one is good at the other",
	"T27": "there are no refresh tokens: the grant is refused",
	"T32": "a file is the store of one node",
	"R11": "the replay guard is that of one node: to others its nonces are forged",
	"R12": "there is one nonce key, as for T24",
	"R16": "there are no client certificates: x5t#S256 is never proven",
	"R21": "there are no refresh tokens",
	"C03": "the replay guard is that of one node, as for R11",
	"J01": "how fast the keys are served is for a benchmark; they are in memory",
}

// covered counts the answers that were checked, by the ids of their rows.
var covered = struct {
	sync.Mutex
	answers map[string]int
}{answers: map[string]int{}}

var rowID = regexp.MustCompile(`(?:^|[/_])([TIVRCJ]\d\d)(?:[/_]|$)`)

// covers notes that an answer is checked which the test's name puts into a row,
// or that the test is about these rows. It counts if the test passes.
func covers(t *testing.T, ids ...string) {
	t.Helper()
	name := strings.ReplaceAll(t.Name(), "_", "__") // ids side by side
	for _, found := range rowID.FindAllStringSubmatch(name, -1) {
		ids = append(ids, found[1])
	}
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		covered.Lock()
		defer covered.Unlock()
		for _, id := range ids {
			covered.answers[id]++
		}
	})
}

// rows are the ids of the corpus.
func rows() []string {
	var ids []string
	for _, c := range corpus {
		for n := range c.rows {
			ids = append(ids, fmt.Sprintf("%s%02d", c.kind, n+1))
		}
	}
	return ids
}

// everyRowIsCovered is called when all tests have passed. It says whether each
// row was tried or has a reason why it is not. With -v it prints the index.
func everyRowIsCovered(w io.Writer) bool {
	complete := true
	for _, id := range rows() {
		n := covered.answers[id]
		if tried := n > 0; allTests() && tried != (beyond[id] == "") {
			complete = false
			_, _ = fmt.Fprintf(w, "%s of the abuse corpus was tried: %v; the reason why not: %q\n", id, tried, beyond[id])
		} else if testing.Verbose() {
			_, _ = fmt.Fprintf(w, "%s of the abuse corpus: %d here; %s; %s%s\n", id, n, strings.Join(otherTests[id], ", "), beyond[id], partly[id])
		}
	}
	return complete
}

// allTests says whether no test was left out by a flag.
func allTests() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// What the index names is there.
func TestIndexOfAbuseIsTrue(t *testing.T) {
	t.Parallel()
	ids := rows()
	for _, reasons := range []map[string]string{beyond, partly} {
		for id := range reasons {
			if !slices.Contains(ids, id) {
				t.Errorf("%s has a reason and is no row", id)
			}
		}
	}
	functions := map[string]bool{}
	for id, tests := range otherTests {
		if !slices.Contains(ids, id) {
			t.Errorf("%s has tests and is no row", id)
		}
		for _, name := range tests {
			folder, _, _ := strings.Cut(name, ".")
			declareTests(t, folder, functions)
			if !functions[name] {
				t.Errorf("%s: there is no %s", id, name)
			}
		}
	}
}

// declareTests adds the tests of a package, unless they are there.
func declareTests(t *testing.T, folder string, functions map[string]bool) {
	t.Helper()
	if functions[folder] {
		return
	}
	functions[folder] = true
	files, err := filepath.Glob(filepath.Join(fixture.Root(t), folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				functions[folder+"."+f.Name.Name] = true
			}
		}
	}
}
