// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
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

// beyond says why nothing of a row is tried here. All others are tried with both
// stores, except where none is asked: proofs and nonces are remembered beside
// the store, and a cnf_key, a form or a field is refused before it.
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

// only says over which versions of HTTP a row is tried that is not tried over
// all of them, and why.
var only = map[string]struct {
	protocols []string
	why       string
}{
	"T35": {protocols[1:2], "a store does not know which version a request came by, and takes long to fill"},
}

// covered counts the answers that were checked, by row and version of HTTP.
var covered = struct {
	sync.Mutex
	answers map[string]map[string]int
	about   map[string][]string // rows by the name of a test
	total   int                 // an answer may be of several rows
}{answers: map[string]map[string]int{}, about: map[string][]string{}}

var rowID = regexp.MustCompile(`(?:^|[/_])([TIVRCJ]\d\d)(?:[/_]|$)`)

// covers notes that a test and its parts are about rows which their names do
// not tell.
func covers(t *testing.T, ids ...string) {
	t.Helper()
	covered.Lock()
	defer covered.Unlock()
	covered.about[t.Name()] = append(covered.about[t.Name()], ids...)
}

// checked notes that an answer to a hostile request is checked, for the rows
// that the test is about. It counts if the test passes.
func checked(t *testing.T, protocol string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		covered.Lock()
		defer covered.Unlock()
		ids := map[string]bool{}
		for _, found := range rowID.FindAllStringSubmatch(strings.ReplaceAll(t.Name(), "_", "__"), -1) { // ids side by side
			ids[found[1]] = true
		}
		for name, cut := t.Name(), len(t.Name()); cut > 0; cut = strings.LastIndexByte(name, '/') {
			name = name[:cut]
			for _, id := range covered.about[name] {
				ids[id] = true
			}
		}
		for id := range ids {
			if covered.answers[id] == nil {
				covered.answers[id] = map[string]int{}
			}
			covered.answers[id][protocol]++
		}
		if len(ids) > 0 {
			covered.total++
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

// untried is why a row is not tried over a version of HTTP, or "".
func untried(id, protocol string) string {
	if o := only[id]; o.why != "" && !slices.Contains(o.protocols, protocol) {
		return o.why
	}
	return beyond[id]
}

// everyRowIsCovered is called when all tests have passed. It says whether each
// row was tried over each version of HTTP or has a reason why it was not, and
// prints how much was tried. With -v it prints the index.
func everyRowIsCovered(w io.Writer) bool {
	complete, tried := true, 0
	var not []string
	for _, id := range rows() {
		answers := covered.answers[id]
		if len(answers) > 0 {
			tried++
		} else {
			not = append(not, id)
		}
		for _, protocol := range protocols {
			if n, why := answers[protocol], untried(id, protocol); allTests() && (n > 0) != (why == "") {
				complete = false
				_, _ = fmt.Fprintf(w, "%s of the abuse corpus: %d answers over %s; the reason why not: %q\n", id, n, protocol, why)
			}
		}
		if testing.Verbose() {
			_, _ = fmt.Fprintf(w, "%s of the abuse corpus: %v here; %s; %s%s%s\n", id, answers, strings.Join(otherTests[id], ", "), beyond[id], partly[id], only[id].why)
		}
	}
	if allTests() {
		_, _ = fmt.Fprintf(w, "figure: abuse rows=%d answers=%d not_tried=%s\n", tried, covered.total, cmp.Or(strings.Join(not, ","), "none"))
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
	for id := range only {
		if !slices.Contains(ids, id) || beyond[id] != "" {
			t.Errorf("%s is no row, or no version of HTTP is right for it", id)
		}
	}
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
