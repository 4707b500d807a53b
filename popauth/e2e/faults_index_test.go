// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// promise is a fault that popauth is to survive.
type promise struct {
	id   string
	what string // happens, and must come of it

	// tests are packages beneath popauth with the test, such as "e2e.TestX". Its
	// doc comment begins with the id and its name.
	tests []string

	// untested says what no test here shows, and why.
	untested string
}

// promises are all of them. Each test tries a fault a few times; with
// POPAUTH_FAULTS=full, as `.ci/run full` sets it, as often as stands here.
var promises = []promise{
	{"F01", "kill -9 while 64 clients get and revoke tokens, 200 times: what was answered with 200 holds; so do a million records in a file that is opened again",
		[]string{"e2e.TestKilledServerKeepsWhatItAnswered", "store.TestFileOfManyRecordsOpens"}, ""},
	{"F02", "the power fails: what was answered with 200 holds",
		nil, "that takes root and a block device that can be cut off (dm-flakey)"},
	{"F03", "the disk or the store is full: no new opaque tokens and no client assertions; JWTs, revocation, introspection and the API go on",
		[]string{"e2e.TestFullStore", "store.TestFullDisk"}, ""},
	{"F04", "a shared store is down", nil, "there is no shared store yet (a store on this node: `popauth.TestStoreIsDown`)"},
	{"F05", "a shared store is slow", nil, "there is no shared store yet (a disk that hangs: `store.TestNobodyWaitsForADiskThatHangs`)"},
	{"F06", "a node is cut off from the others", nil, "there is no shared store yet"},
	{"F07", "the wall clock is set by up to an hour, or stands still: tokens end at their exp, and no proof passes twice",
		[]string{"replay.TestHistories", "accesstoken.TestExpiryGoesByTheWallClock"}, "a restart with the clock behind what was seen before it, or with a smaller clock_skew, neither of which a new process can know of"},
	{"F08", "100 reloads under traffic, beside caddy validate: no request fails, no proof passes twice, and nothing piles up",
		[]string{"e2e.TestReloadUnderTraffic", "e2e.TestReloadsLeaveNothingInMemory"}, "a steady rate of 500 requests a second, which takes a machine of its own"},
	{"F09", "the signing key changes under traffic, on nodes that share storage: no token fails, and the JWK Set has the new key on every node at least 15 minutes before",
		[]string{"e2e.TestKeyRotationUnderLoad", "keys.TestNodesWhoseClocksDifferAlwaysFindEachOthersKeys", "keys.TestKeyIsPublishedLongBeforeItSigns"}, ""},
	{"F10", "tokens of a thousand unknown keys: one look at storage",
		[]string{"keys.TestThousandUnknownKidsReadStorageOnce"}, "keys of other issuers, which are not fetched yet"},
	{"F11", "10,000 proofs, each sent 20 times by 64 workers: each passes once",
		[]string{"e2e.TestProofsInARaceAreAcceptedOnce"}, "several nodes, which need a shared store"},
	{"F12", "10,000 client assertions at the store and 2,000 at the token endpoint, each used 8 times at once: each serves once",
		[]string{"client.TestAssertionsInARaceAreConsumedOnce", "e2e.TestAssertionsInARaceAreAcceptedOnce"}, ""},
	{"F13", "valid clients send more proofs than are remembered: 503 or 429, and none is forgotten",
		[]string{"enforce.TestFloodOfProofsForgetsNone"}, ""},
	{"F14", "strangers get 50,000 challenges, and 5,000,000 nonces are made: nothing is remembered of any",
		[]string{"popauth.TestFloodOfNoncesLeavesNothing"}, ""},
	{"F15", "200,000 client ids, keys, tokens and addresses, none of which comes twice: what strangers can fill has a bound, revocations are held until they expire, and no stranger writes to the store",
		[]string{"popauth.TestFloodOfStrangersWritesNothing", "accesstoken.TestCacheIsBounded", "client.TestMemoryOfTheLimiterIsBounded", "store.TestMirrorHoldsABoundedNumber"}, ""},
	{"F16", "2,000 connections send a form byte by byte: all are ended, and others are served",
		[]string{"e2e.TestManySlowFormsDoNotKeepOthers"}, "headers that come byte by byte, which are Caddy's affair"},
	{"F17", "headers of 64 KiB, 1,000 fields, a proof of 200 KB: 431 or the end of the connection by Caddy; where its limit is raised, 431 or 400 by the API, whose check takes less than 64 KiB of memory, and the token endpoint minds only the fields it reads",
		[]string{"e2e.TestOversizeHeadersAreRefused", "enforce.TestOversizeHeadersCostLittle"}, ""},
	{"F18", "strangers come with costly keys: no signature of a proof is verified for them",
		[]string{"enforce.TestStrangersCauseNoKeyOperation"}, "what others wait for meanwhile"},
	{"F19", "300,000 questions about tokens of two issuers, which change all the time: the cache says what the tokens say",
		[]string{"accesstoken.TestCachedVerdictIsTheUncachedOne"}, ""},
	{"F20", "10,000 tokens are revoked and used at once: none passes",
		[]string{"e2e.TestFirstUseAfterARevocationIsRefused"}, ""},
	{"F21", "a token is revoked on another node", nil, "there is no shared store yet"},
	{"F22", "an old copy of the store is put back: all older tokens end, unless all it lacks are the revocations of less than a minute before a crash",
		[]string{"e2e.TestRestoredBackupEndsAllTokens", "store.TestFileSeesARestoredBackup"}, ""},
	{"F23", "10,000 flipped bits in the store: nothing passes that must not",
		[]string{"store.TestFileWithAFlippedBit"}, ""},
	{"F24", "a shared store changes hands", nil, "there is no shared store yet"},
	{"F25", "SIGTERM in the middle of requests, 50 times under load: what was answered with 200 holds, and a request whose rest comes within the grace period is answered",
		[]string{"e2e.TestSIGTERMFinishesGrants", "e2e.TestSIGTERMWaitsForRequestsThatAreUnderWay"}, ""},
	{"F26", "24 hours of traffic: the heap, the store and the goroutines do not grow", nil, "it takes a day"},
}

// TestEveryPromiseHasItsTest looks for the tests of all promises, and for tests
// that say they are of one and are not listed.
func TestEveryPromiseHasItsTest(t *testing.T) {
	t.Parallel()
	found := faultTests(t)
	for _, p := range promises {
		if len(p.tests) == 0 && p.untested == "" {
			t.Errorf("%s has no test, and no reason for that", p.id)
		}
		for _, test := range p.tests {
			i := slices.Index(found[p.id], test)
			if i < 0 {
				t.Errorf("%s: there is no test %s whose doc comment begins with %q", p.id, test, p.id+": ")
				continue
			}
			found[p.id] = slices.Delete(found[p.id], i, i+1)
		}
		t.Logf("promise: %s %s; %s; not tested: %s", p.id, p.what, strings.Join(p.tests, ", "), p.untested)
	}
	for id, tests := range found {
		if len(tests) > 0 {
			t.Errorf("%s is tested by %q, which are not listed", id, tests)
		}
	}
}

// faultTests are the tests whose doc comments begin with the id of a promise, by
// that id.
func faultTests(t *testing.T) map[string][]string {
	t.Helper()
	root := filepath.Join(fixture.Root(t), "popauth")
	names, err := filepath.Glob(filepath.Join(root, "*", "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := filepath.Glob(filepath.Join(root, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, name := range append(names, own...) {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			id, rest, _ := strings.Cut(f.Doc.Text(), ": ")
			if len(id) == 3 && id[0] == 'F' && strings.HasPrefix(rest, f.Name.Name+" ") {
				found[id] = append(found[id], strings.TrimSuffix(file.Name.Name, "_test")+"."+f.Name.Name)
			}
		}
	}
	return found
}
