// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// storedIn are the globals with another store.
func storedIn(store string) string {
	return strings.Replace(stateGlobals, "store file $DIR/store.db", "store "+store, 1)
}

// mustLoad reloads with another store.
func (s *server) mustLoad(t *testing.T, store string) {
	t.Helper()
	s.load(t, storedIn(store), stateSites)
}

// mustHaveEnded uses a token that is older than what its store knows, and a new
// one of the same client.
func (s *server) mustHaveEnded(t *testing.T, h *hand) {
	t.Helper()
	h.c = s.client(t, "HTTP/2.0")
	since := len(s.log(t))
	s.refusedAPI(t, do(t, h.c, h.with(h.proof(h.key, nil))), since, badToken(oauth.IssuedBeforeStore))
	if s.active(t, h.c, h.token) {
		t.Error("the revoked token is active again")
	}
	s.honest(t, h.c, h.key)
}

// TestSwitchingTheStoreRevivesNoToken reloads to another store, where a token is
// revoked, and back to the first one, which knows nothing of that.
func TestSwitchingTheStoreRevivesNoToken(t *testing.T) {
	for _, other := range []string{"file $DIR/other.db", "memory"} {
		t.Run(other, func(t *testing.T) {
			t.Parallel()
			s := start(t, stateGlobals, stateSites)
			c := s.client(t, "HTTP/2.0")
			s.honest(t, c, s.dealFor(t, c, jwtClient).key)
			s.mustLoad(t, other)
			nextSecond(t)
			h := s.dealFor(t, s.client(t, "HTTP/2.0"), jwtClient)
			if got := s.revoke(t, h.c, h.token, jwtClient); got.status != http.StatusOK {
				t.Fatalf("revoking: got %d %s, want 200", got.status, got.body)
			}
			nextSecond(t)
			s.mustLoad(t, "file $DIR/store.db")
			s.mustHaveEnded(t, h)

			// and it stays so over a restart, in which nothing was switched
			s.stop()
			s.run(t)
			h.c = s.client(t, "HTTP/1.1")
			if s.active(t, h.c, h.token) {
				t.Error("the revoked token is active again after a restart")
			}
			s.honest(t, h.c, h.key)
		})
	}
}

// TestFailedReloadToAnotherStoreRevivesNoToken loads a config that names another
// store and fails, so that a token is revoked in the store before, and then one
// that does not fail. The tokens of the config that runs are good until then.
func TestFailedReloadToAnotherStoreRevivesNoToken(t *testing.T) {
	t.Parallel()
	s := start(t, stateGlobals, stateSites)
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	h := s.dealFor(t, s.client(t, "HTTP/2.0"), jwtClient)
	failing := fmt.Sprintf("%s\nhttp://:%d {\n\trespond \"taken\"\n}\n", stateSites, taken.Addr().(*net.TCPAddr).Port)
	s.write(t, storedIn("file $DIR/other.db"), failing)
	await(t, "a reload that opens the other store, and fails", func() bool {
		if got := s.reload(t); got.status == http.StatusOK {
			t.Fatal("a config with a port that is taken was loaded")
		}
		// Caddy starts the parts of a config in no order
		_, err := os.Stat(filepath.Join(s.dir, "other.db"))
		return err == nil
	})
	nextSecond(t)
	h.c = s.client(t, "HTTP/2.0")
	if got := do(t, h.c, h.with(h.proof(h.key, nil))); got.status != http.StatusOK {
		t.Errorf("a token from before the failed reload: got %d %s, want 200", got.status, got.body)
	}
	revoked := s.dealFor(t, h.c, jwtClient)
	if got := s.revoke(t, h.c, revoked.token, jwtClient); got.status != http.StatusOK {
		t.Fatalf("revoking: got %d %s, want 200", got.status, got.body)
	}
	s.mustLoad(t, "file $DIR/other.db")
	nextSecond(t)
	s.mustHaveEnded(t, revoked)
}

// TestAForeignStoreRevivesNoToken puts the file of another server, with the same
// issuers and as many starts, in place of the own one.
func TestAForeignStoreRevivesNoToken(t *testing.T) {
	t.Parallel()
	s, foreign := start(t, stateGlobals, stateSites), start(t, stateGlobals, stateSites)
	h := s.dealFor(t, s.client(t, "HTTP/2.0"), jwtClient)
	if got := s.revoke(t, h.c, h.token, jwtClient); got.status != http.StatusOK {
		t.Fatalf("revoking: got %d %s, want 200", got.status, got.body)
	}
	s.stop()
	for range 3 {
		foreign.stop()
		foreign.run(t)
	}
	foreign.stop()
	nextSecond(t)
	file := filepath.Join(s.dir, "store.db")
	if err := os.WriteFile(file, []byte(foreign.read(t, "store.db")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	s.mustHaveEnded(t, h)
}

// TestVanishedKeysAreNotReplaced empties the folder of the signing keys, as a
// file system that is not mounted would, and reloads.
func TestVanishedKeysAreNotReplaced(t *testing.T) {
	t.Parallel()
	s := start(t, stateGlobals, stateSites)
	c := s.client(t, "HTTP/2.0")
	h := s.dealFor(t, c, jwtClient)
	keys, err := filepath.Glob(filepath.Join(s.dir, "storage", "popauth", "*", "keys", "*.json"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("found the keys %q, %v", keys, err)
	}
	for _, key := range keys {
		if err := os.Rename(key, key+".away"); err != nil {
			t.Fatal(err)
		}
	}
	s.load(t, storedIn("file $DIR/store.db")+"\n\tgrace_period 2s\n", stateSites)
	ask := func() answer {
		return s.post(t, c, "/oauth2/token", form("grant_type", "client_credentials", "cnf_key", cnfKey(t, h.key)),
			"Authorization", basic(jwtClient, jwtClient+"-secret"))
	}
	c = s.client(t, "HTTP/2.0")
	if got := ask(); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, want 503 and Retry-After", got.status, got.body)
	}
	for _, key := range keys {
		if err := os.Rename(key+".away", key); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the keys to be back", func() bool { return ask().status == http.StatusOK })
	if !s.active(t, c, h.token) {
		t.Error("the token from before is not active")
	}
	s.honest(t, c, h.key)
}
