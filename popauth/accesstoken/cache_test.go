// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/keys"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func TestCacheDoesNotOutliveWhatMayChange(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		happens func(s *Service, advance func(time.Duration))
		want    oauth.Reason
	}{
		"the token expires": {
			func(_ *Service, advance func(time.Duration)) { advance(5 * time.Minute) }, oauth.TokenExpired,
		},
		"the client is gone": {
			func(s *Service, _ func(time.Duration)) { s.known = func(string) bool { return false } }, oauth.TokenClientUnknown,
		},
		"the key is withdrawn": {
			func(s *Service, _ func(time.Duration)) { s.keys = ring(t, s.clock, "p384") }, oauth.TokenForged,
		},
		"another key takes its kid": {
			func(s *Service, _ func(time.Duration)) { s.keys = impostor(t, s.clock) }, oauth.TokenForged,
		},
		"nothing": {
			func(*Service, func(time.Duration)) {}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c, key := service(t)
			token := key.JWS(t, header(t, key, nil), claims(nil))
			first, refusal := s.Verify(t.Context(), token)
			if refusal != nil {
				t.Fatal(refusal)
			}
			if len(s.cache.entries) != 1 {
				t.Fatalf("%d entries after one token, want 1", len(s.cache.entries))
			}
			test.happens(s, c.Advance)
			again, refusal := s.Verify(t.Context(), token)
			if got := reason(refusal); got != test.want {
				t.Fatalf("Verify = %q, want %q", got, test.want)
			}
			switch {
			case test.want == "" && again != first:
				t.Error("the token was not taken from the cache")
			case test.want != "" && len(s.cache.entries) != 0:
				t.Error("the refused token is still in the cache")
			}
		})
	}
}

// impostor is a ring with another key under the kid of p256.
func impostor(t *testing.T, c clock.Clock) *keys.Ring {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", "p256-thief.json"))
	if err != nil {
		t.Fatal(err)
	}
	var jwk map[string]any
	if err := json.Unmarshal(raw, &jwk); err != nil {
		t.Fatal(err)
	}
	jwk["kid"] = fixture.Load(t, "p256").Thumbprint(t)
	text, err := json.Marshal(jwk)
	if err != nil {
		t.Fatal(err)
	}
	given, err := keys.ParseGiven(string(text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := keys.NewRing(keys.Config{Given: []*keys.Given{given}, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCacheJudgesNotBeforeAgain(t *testing.T) {
	t.Parallel()
	s, c, key := service(t)
	token := key.JWS(t, header(t, key, nil), claims(members{"nbf": start.Unix()}))
	if _, refusal := s.Verify(t.Context(), token); refusal != nil {
		t.Fatal(refusal)
	}
	c.Step(-time.Minute)
	if _, refusal := s.Verify(t.Context(), token); reason(refusal) != oauth.TokenNotYetValid {
		t.Errorf("Verify = %v after the clock stepped back, want %s", refusal, oauth.TokenNotYetValid)
	}
}

func TestCacheOutlastsAStorageFaultWithoutAnswering(t *testing.T) {
	t.Parallel()
	s, _, key := service(t)
	token := key.JWS(t, header(t, key, nil), claims(nil))
	first, refusal := s.Verify(t.Context(), token)
	if refusal != nil {
		t.Fatal(refusal)
	}
	good := s.keys
	s.keys = brokenRing(t, s.clock)
	if _, refusal := s.Verify(t.Context(), token); reason(refusal) != oauth.KeysUnavailable {
		t.Errorf("Verify = %v, want %s", refusal, oauth.KeysUnavailable)
	}
	s.keys = good
	if again, refusal := s.Verify(t.Context(), token); refusal != nil || again != first {
		t.Errorf("Verify = %v, %v after the fault, want the token from the cache", again, refusal)
	}
}

// F15: TestCacheIsBounded fills the cache of verified tokens.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache()
	fill := func(from, to int, expires time.Time) {
		for n := from; n < to; n++ {
			var d digest
			binary.BigEndian.PutUint64(d[:], uint64(n))
			c.put(d, verified{claims: &Claims{Expires: expires}}, start)
			if len(c.entries) > cacheCapacity {
				t.Fatalf("%d entries, want at most %d", len(c.entries), cacheCapacity)
			}
		}
	}
	fill(0, cacheCapacity, start.Add(time.Minute))
	fill(cacheCapacity, cacheCapacity+1, start.Add(time.Minute))
	if got, want := len(c.entries), cacheCapacity-cacheCapacity/10+1; got != want {
		t.Errorf("%d entries after the cache was full, want %d", got, want)
	}
	var newest digest
	binary.BigEndian.PutUint64(newest[:], cacheCapacity)
	if _, ok := c.get(newest); !ok {
		t.Error("the newest entry was dropped")
	}

	c = newCache()
	fill(0, cacheCapacity-1, start) // expired
	fill(cacheCapacity-1, cacheCapacity, start.Add(time.Minute))
	fill(cacheCapacity, cacheCapacity+1, start.Add(time.Minute))
	if got, want := len(c.entries), 2; got != want {
		t.Errorf("%d entries after the expired were dropped, want %d", got, want)
	}
}

func TestVerifyIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	s, c, key := service(t)
	tokens := make([]string, 8)
	for n := range tokens {
		tokens[n] = key.JWS(t, header(t, key, nil), claims(members{"exp": start.Unix() + 1 + int64(n)}))
	}
	var wg sync.WaitGroup
	var accepted, refused atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 4 {
				for _, token := range tokens {
					if _, refusal := s.Verify(t.Context(), token); refusal == nil {
						accepted.Add(1)
					} else {
						refused.Add(1)
					}
				}
				c.Advance(100 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	if got := accepted.Load() + refused.Load(); got != 8*4*8 || accepted.Load() == 0 {
		t.Errorf("%d verdicts with %d accepted, want %d", got, accepted.Load(), 8*4*8)
	}
	for n, token := range tokens {
		_, refusal := s.Verify(t.Context(), token)
		expired := !c.Now().Before(time.Unix(start.Unix()+1+int64(n), 0))
		if expired != (reason(refusal) == oauth.TokenExpired) {
			t.Errorf("token %d: Verify = %v with expired = %v", n, refusal, expired)
		}
	}
}
