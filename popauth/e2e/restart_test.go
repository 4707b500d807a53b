// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// TestRestartRefusesOldProofs kills the server, which forgets the proofs that
// were used. So none from before may pass any more, used or not, and the
// challenge must be all that an honest client needs.
func TestRestartRefusesOldProofs(t *testing.T) {
	t.Parallel()
	covers(t, "R11", "C03")
	s := start(t, stateGlobals, stateSites)
	var hands []*hand
	var used, unused []string
	for _, client := range []string{jwtClient, opaqueClient, jwtClient} {
		h := s.dealFor(t, s.client(t, "HTTP/2.0"), client)
		used, unused = append(used, h.proof(h.key, nil)), append(unused, h.proof(h.key, nil))
		if got := do(t, h.c, h.with(used[len(hands)])); got.status != http.StatusOK {
			t.Fatalf("%s: got %d %v, want 200", client, got.status, got.header)
		}
		hands = append(hands, h)
	}
	s.kill()
	s.run(t)
	for i, h := range hands {
		h.c = s.client(t, protocols[i])
		for name, proof := range map[string]string{"used": used[i], "not used": unused[i]} {
			since := len(s.log(t))
			got := do(t, h.c, h.with(proof))
			t.Run(name, func(t *testing.T) { s.refusedAPI(t, got, since, retry(oauth.NonceInvalid)) })
			h.nonce = got.header.Get("DPoP-Nonce")
		}
		if got := do(t, h.c, h.with(h.proof(h.key, nil))); got.status != http.StatusOK {
			t.Errorf("the same token with the new nonce: got %d %v, want 200", got.status, got.header)
		}
		if !s.active(t, h.c, h.token) {
			t.Errorf("the token is not active any more")
		}
		s.honest(t, h.c, h.key)
	}
}

// TestRestartOfAMemoryStoreEndsAllTokens kills a server that forgets what was
// revoked.
func TestRestartOfAMemoryStoreEndsAllTokens(t *testing.T) {
	t.Parallel()
	s := start(t, strings.Replace(stateGlobals, "store file $DIR/store.db", "store memory", 1), stateSites)
	c := s.client(t, "HTTP/1.1")
	plain, opaque := s.dealFor(t, c, jwtClient), s.dealFor(t, c, opaqueClient)
	s.honest(t, c, plain.key)
	s.kill()
	nextSecond(t)
	s.run(t)
	c = s.client(t, "HTTP/1.1")
	for reason, h := range map[oauth.Reason]*hand{oauth.IssuedBeforeStore: plain, oauth.TokenUnknown: opaque} {
		since := len(s.log(t))
		s.refusedAPI(t, do(t, c, h.with(h.proof(h.key, nil))), since, badToken(reason))
		if s.active(t, c, h.token) {
			t.Errorf("a token from before is active, want it inactive (%s)", reason)
		}
	}
	s.honest(t, c, plain.key)
	s.honest(t, c, plain.key)
}

// F22: TestRestoredBackupEndsAllTokens puts back a copy of the store that does not
// know of a revocation, as an operator may who restores a backup.
func TestRestoredBackupEndsAllTokens(t *testing.T) {
	t.Parallel()
	s := start(t, stateGlobals, stateSites)
	c := s.client(t, "HTTP/2.0")
	hands := map[string]*hand{}
	for format, client := range formats {
		hands[format] = s.dealFor(t, c, client)
	}
	s.stop()
	backup := s.read(t, "store.db")
	s.run(t)
	c = s.client(t, "HTTP/2.0")
	for format, client := range formats {
		if got := s.revoke(t, c, hands[format].token, client); got.status != http.StatusOK {
			t.Fatalf("revoking: got %d %s, want 200", got.status, got.body)
		}
	}
	s.stop()
	nextSecond(t)
	if err := os.WriteFile(filepath.Join(s.dir, "store.db"), []byte(backup), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	c = s.client(t, "HTTP/2.0")
	for format, h := range hands {
		since := len(s.log(t))
		t.Run(format, func(t *testing.T) {
			s.refusedAPI(t, do(t, c, h.with(h.proof(h.key, nil))), since, badToken(oauth.IssuedBeforeStore))
		})
	}
	s.honest(t, c, hands["JWT"].key)
	s.honest(t, c, hands["JWT"].key)
	fixture.Figure(t, "F22", "copies=1 revoked_tokens=%d passed=0", len(hands))
}

// nextSecond waits until a store that is made now is younger than all tokens
// that were issued before, which may bear the date of the next second.
func nextSecond(t *testing.T) {
	t.Helper()
	issued := time.Now().Unix()
	await(t, "the second after the next", func() bool { return time.Now().Unix() > issued+1 })
}
