// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	goruntime "runtime"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// The tests of floods measure what stays in memory, so they do not run beside
// others.

// inUse is how many bytes are in use.
func inUse() int {
	var m goruntime.MemStats
	for range 3 { // pools need more than one to be emptied
		goruntime.GC()
	}
	goruntime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// F14: TestFloodOfNoncesLeavesNothing has strangers ask for nonces without end.
// Nothing is remembered of any of them.
func TestFloodOfNoncesLeavesNothing(t *testing.T) {
	const most = 1 << 20 // a flood of 100,000 leaves less than 11 bytes of each
	challenges, nonces := fixture.Scale(500, 50_000), fixture.Scale(100_000, 5_000_000)
	s := newSite(t)
	auth := s.auth(t, `{}`)
	auth.logger = zap.NewNop()
	begin(s.signed(t, s.mint(t, nil))).through(auth).mustPass(t) // so that there is something
	stats, calls, before := s.memory.Stats(), s.backend.calls.Load(), inUse()
	for range challenges {
		x := begin(get("/reports")).through(auth)
		if x.reason() != oauth.TokenMissing || x.Header().Get("DPoP-Nonce") == "" {
			t.Fatalf("got reason %q and nonce %q, want a challenge", x.reason(), x.Header().Get("DPoP-Nonce"))
		}
	}
	for range nonces {
		if s.memory.Nonce() == "" {
			t.Fatal("got no nonce")
		}
	}
	grown := inUse() - before
	if grown > most {
		t.Errorf("%d nonces have left %d bytes, want %d at most", challenges+nonces, grown, most)
	}
	if got := s.memory.Stats(); got != stats {
		t.Errorf("the memory holds %+v, before the flood %+v", got, stats)
	}
	if got := s.backend.calls.Load(); got != calls {
		t.Errorf("the store was asked %d times", got-calls)
	}
	perNonce := testing.AllocsPerRun(1000, func() { s.memory.Nonce() })
	if perNonce > 16 {
		t.Errorf("a nonce takes %v allocations, want 16 at most", perNonce)
	}
	// the first request of all still counts
	begin(s.signed(t, s.mint(t, nil))).through(auth).mustPass(t)
	fixture.Figure(t, "F14", "challenges=%d nonces=%d entries=%+d heap=%+d allocations_per_nonce=%v", challenges, nonces,
		s.memory.Stats().Live-stats.Live-1, grown, perNonce)
}

// F15: TestFloodOfStrangersWritesNothing has strangers come with client ids,
// addresses, keys and tokens of which none comes twice. All are refused before
// their keys are looked at, the store is not written to, and what stays of them
// is bounded. (What fills a map to its bound is in TestCacheIsBounded and
// TestMemoryOfTheLimiterIsBounded. The mirror of revocations has no bound but that
// they expire, see TestMirrorHoldsABoundedNumber; no stranger gets there.)
func TestFloodOfStrangersWritesNothing(t *testing.T) {
	const most = 6 << 20 // 10,000 counts of failures, and a little
	strangers := fixture.Scale(2000, 200_000)
	s := newSite(t)
	auth, server := s.auth(t, `{}`), s.server(t, `{}`)
	auth.logger, server.logger = zap.NewNop(), zap.NewNop()
	begin(s.signed(t, s.mint(t, nil))).through(auth).mustPass(t)
	s.clock.Advance(10 * time.Minute) // its proof is forgotten now, and not during the flood
	stats, writes, before := s.memory.Stats(), s.backend.writes.Load(), inUse()
	answers := map[int]int{}
	key := map[string]any{}
	for n := range strangers {
		address := fmt.Sprintf("2001:db8:%x:%x::1", n>>16, n&0xffff)
		key["kty"], key["crv"], key["x"] = "OKP", "Ed25519", random(32)
		proof := s.thief.JWS(t, map[string]any{"typ": "dpop+jwt", "alg": "EdDSA", "jwk": key}, "{}")
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
			r := wrong(path, rand.Text())
			r.Header.Set("DPoP", proof)
			x := from(address, r).through(server)
			if x.Code != http.StatusUnauthorized && x.Code != http.StatusTooManyRequests {
				t.Fatalf("%s: got %d %s, want 401 or 429", path, x.Code, x.Body)
			}
			answers[x.Code]++
		}
		for _, token := range []string{"pop_at_" + random(32), s.thief.JWS(t, map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": random(32)}, "{}")} {
			r := get("/reports")
			r.Header.Set("Authorization", "DPoP "+token)
			r.Header.Set("DPoP", proof)
			x := from(address, r).through(auth)
			switch x.reason() {
			case oauth.TokenMalformed, oauth.TokenUnknown, oauth.TokenForged, oauth.TokenIssuerWrong:
			default:
				t.Fatalf("a token that was made up: got reason %q", x.reason())
			}
			answers[x.reason().Rule().API]++
		}
		s.clock.Advance(10 * time.Millisecond) // failures are limited to 1,000 a second in all
	}
	grown := inUse() - before
	if grown > most {
		t.Errorf("%d strangers have left %d bytes, want %d at most", strangers, grown, most)
	}
	if got := s.memory.Stats(); got != stats {
		t.Errorf("the memory holds %+v, before the flood %+v", got, stats)
	}
	if got := s.backend.writes.Load(); got != writes {
		t.Errorf("the store was written to %d times", got-writes)
	}
	begin(s.signed(t, s.mint(t, nil))).through(auth).mustPass(t)
	fixture.Figure(t, "F15", "strangers=%d requests=%d answers=%v writes=0 heap=%+d", strangers, 5*strangers, answers, grown)
}

// random is that many bytes in base64url.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}
