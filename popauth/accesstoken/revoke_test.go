// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// wantReason verifies a token twice, so that the cache has its say.
func wantReason(t *testing.T, s *Service, token string, want oauth.Reason) {
	t.Helper()
	for range 2 {
		got, refusal := s.Verify(t.Context(), token)
		if reason(refusal) != want || (got == nil) != (want != "") {
			t.Errorf("Verify = %v, %q (%v), want %q", got, reason(refusal), refusal, want)
		}
	}
}

// revoke revokes a token of reports.
func revoke(t *testing.T, s *Service, token string) {
	t.Helper()
	if refusal := s.Revoke(t.Context(), token, "reports"); refusal != nil {
		t.Fatalf("Revoke: %v", refusal)
	}
}

func TestRevokeEndsAToken(t *testing.T) {
	t.Parallel()
	bothFormats(t, func(t *testing.T, opaque bool) {
		s, c, _ := service(t)
		token, _ := mint(t, s, opaque)
		other, _ := mint(t, s, opaque)
		wantReason(t, s, token, "")
		revoke(t, s, token)
		wantReason(t, s, token, oauth.TokenRevoked)
		wantReason(t, s, other, "")
		if got := len(s.cache.entries); opaque && got != 0 || !opaque && got != 1 {
			t.Errorf("%d tokens in the cache", got)
		}
		// to the last moment of its life, and it does not come back
		c.Advance(5*time.Minute - 600*time.Millisecond - 1)
		wantReason(t, s, token, oauth.TokenRevoked)
		c.Advance(1)
		wantReason(t, s, token, map[bool]oauth.Reason{false: oauth.TokenExpired, true: oauth.TokenUnknown}[opaque])
	})
}

func TestRevocationIsStoredByTheJTI(t *testing.T) {
	t.Parallel()
	for exp, expires := range map[json.Number]time.Time{
		"1700000300":   start.Truncate(time.Second).Add(301 * time.Second),
		"1700000300.5": start.Truncate(time.Second).Add(302 * time.Second),
	} {
		s, _, key := service(t)
		revoke(t, s, key.JWS(t, header(t, key, nil), claims(members{"exp": exp})))
		feed, err := s.store.Revocations(t.Context(), sha256.Sum256([]byte(issuerURL)), 0)
		if err != nil || len(feed.Revocations) != 1 {
			t.Fatalf("exp %s: %d revocations, %v, want 1", exp, len(feed.Revocations), err)
		}
		got := feed.Revocations[0]
		if got.ID != sha256.Sum256([]byte("one")) || len(got.Value) != 0 || !got.Expires.Equal(expires) {
			t.Errorf("exp %s: revocation %x with %q until %v, want that of the jti until %v", exp, got.ID, got.Value, got.Expires, expires)
		}
	}
}

// A token has several spellings. To revoke one is to revoke them all.
func TestRevokedTokenHasNoOtherSpelling(t *testing.T) {
	t.Parallel()
	s, _, key := service(t)
	token := key.JWS(t, header(t, key, nil), claims(nil))
	twin := key.FlipS(t, token)
	if twin == token {
		t.Fatal("FlipS changed nothing")
	}
	wantReason(t, s, token, "")
	wantReason(t, s, twin, "")
	revoke(t, s, token)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	for spelling, want := range map[string]oauth.Reason{
		token: oauth.TokenRevoked,
		twin:  oauth.TokenRevoked,
		token[:len(token)-1] + string(alphabet[last|1]): oauth.TokenMalformed,
		twin + "\r\n":                         oauth.TokenMalformed,
		token + "\r\n":                        oauth.TokenMalformed,
		token[:30] + "\r\n" + token[30:]:      oauth.TokenMalformed,
		token + "=":                           oauth.TokenMalformed,
		strings.Replace(token, ".", "\n.", 1): oauth.TokenMalformed,
		key.JWS(t, header(t, key, nil), claims(members{"scope": "reports:read reports:write"})): oauth.TokenRevoked,
	} {
		wantReason(t, s, spelling, want)
	}
}

// RFC 7009 §2.2: an invalid token is not an error. And it must leave nothing
// behind, or the store would fill with what strangers make up.
func TestRevokeOfWhatIsNotValidWritesNothing(t *testing.T) {
	t.Parallel()
	s, c, f := onFaulty(t)
	key := fixture.Load(t, "p256")
	elsewhere := serviceOn(t, c, "https://other.example.com", s.store, "p256")
	foreignJWT, _ := mint(t, elsewhere, false)
	foreignOpaque, _ := mint(t, elsewhere, true)
	expired, _ := mint(t, s, true)
	_, written := f.counts()
	c.Step(5 * time.Minute)
	for name, token := range map[string]string{
		"empty":                           "",
		"not a token":                     "x",
		"a megabyte":                      strings.Repeat("x", 1<<20),
		"misshapen":                       "pop_at_x",
		"unknown":                         "pop_at_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"of another issuer":               foreignJWT,
		"of another issuer, too":          foreignOpaque,
		"an expired JWT":                  key.JWS(t, header(t, key, nil), claims(nil)),
		"an expired opaque token":         expired,
		"an expired JWT of somebody else": key.JWS(t, header(t, key, nil), claims(members{"client_id": "billing"})),
		"forged":                          fixture.Load(t, "p256-thief").JWS(t, header(t, key, nil), claims(members{"exp": start.Unix() + 3600})),
		"a JWT without a jti":             key.JWS(t, header(t, key, nil), claims(members{"jti": nil, "exp": start.Unix() + 3600})),
		"a JWT of another type":           key.JWS(t, header(t, key, members{"typ": "JWT"}), claims(members{"exp": start.Unix() + 3600})),
		"a JWT with a line end":           key.JWS(t, header(t, key, nil), claims(members{"exp": start.Unix() + 3600})) + "\n",
		"a JWT that brings its key":       key.JWS(t, header(t, key, members{"jwk": key.JWK}), claims(members{"exp": start.Unix() + 3600})),
	} {
		if refusal := s.Revoke(t.Context(), token, "reports"); refusal != nil {
			t.Errorf("%s: Revoke = %v, want nothing said", name, refusal)
		}
	}
	if _, puts := f.counts(); puts != written {
		t.Errorf("%d records were written, want none", puts-written)
	}
}

func TestRevokeLeavesTheTokensOfOthersAlone(t *testing.T) {
	t.Parallel()
	bothFormats(t, func(t *testing.T, opaque bool) {
		s, _, f := onFaulty(t)
		token, _ := mint(t, s, opaque)
		_, written := f.counts()
		for _, thief := range []string{"billing", "Reports", "", "nobody"} {
			if refusal := s.Revoke(t.Context(), token, thief); reason(refusal) != oauth.TokenOfAnotherClient {
				t.Errorf("Revoke by %q = %v, want %s", thief, refusal, oauth.TokenOfAnotherClient)
			}
		}
		if _, puts := f.counts(); puts != written {
			t.Errorf("%d records were written, want none", puts-written)
		}
		wantReason(t, s, token, "")
	})
	if rule := oauth.TokenOfAnotherClient.Rule(); rule.Endpoint != 400 || rule.Code != "unauthorized_client" {
		t.Errorf("the answer is %d %s, want 400 unauthorized_client", rule.Endpoint, rule.Code)
	}
}

// Success means that it is on the disk. Whatever the store says short of that,
// the client hears 503 and tries again.
func TestRevokeNeverReportsWhatMayBeLost(t *testing.T) {
	t.Parallel()
	for name, writes := range map[string]fault{
		"before the commit": before, "during the commit": during, "after the commit": after,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothFormats(t, func(t *testing.T, opaque bool) {
				s, _, f := onFaulty(t)
				token, _ := mint(t, s, opaque)
				wantReason(t, s, token, "")
				f.breaks(writes, works)
				for range 2 {
					refusal := s.Revoke(t.Context(), token, "reports")
					if reason(refusal) != oauth.StoreUnavailable || !errors.Is(refusal, store.ErrUnavailable) {
						t.Fatalf("Revoke = %v, want %s for the fault", refusal, oauth.StoreUnavailable)
					}
					if rule := refusal.Reason.Rule(); rule.Endpoint != 503 || !rule.Retry {
						t.Errorf("the answer is %d with Retry-After %v, want 503 with it", rule.Endpoint, rule.Retry)
					}
				}
				// it may be durable, so here it must not look otherwise
				wantReason(t, s, token, oauth.TokenRevoked)
				f.mend()
				wantReason(t, s, token, oauth.TokenRevoked)
				revoke(t, s, token)
				wantReason(t, s, token, oauth.TokenRevoked)
			})
		})
	}
}

func TestRevokeWithoutReading(t *testing.T) {
	t.Parallel()
	s, c, f := onFaulty(t)
	opaque, _ := mint(t, s, true)
	f.breaks(works, before)
	if refusal := s.Revoke(t.Context(), opaque, "reports"); reason(refusal) != oauth.StoreUnavailable {
		t.Errorf("Revoke of an opaque token that can't be read = %v, want %s", refusal, oauth.StoreUnavailable)
	}
	jwt, _ := mint(t, s, false)
	s.keys = brokenRing(t, c)
	if refusal := s.Revoke(t.Context(), jwt, "reports"); reason(refusal) != oauth.KeysUnavailable {
		t.Errorf("Revoke of a JWT without keys = %v, want %s", refusal, oauth.KeysUnavailable)
	}
}

func TestRevokeAgainDoesNoHarm(t *testing.T) {
	t.Parallel()
	bothFormats(t, func(t *testing.T, opaque bool) {
		s, _, _ := service(t)
		token, _ := mint(t, s, opaque)
		s.known = func(string) bool { return false }
		for range 3 {
			revoke(t, s, token)
			wantReason(t, s, token, oauth.TokenRevoked)
		}
		if refusal := s.Revoke(t.Context(), token, "billing"); reason(refusal) != oauth.TokenOfAnotherClient {
			t.Errorf("Revoke by another client = %v, want %s", refusal, oauth.TokenOfAnotherClient)
		}
		s.known = func(string) bool { return true }
		wantReason(t, s, token, oauth.TokenRevoked)
	})
}

// Two issuers may share a store, a client id and even a jti.
func TestIssuersInOneStoreNeverSeeEachOther(t *testing.T) {
	t.Parallel()
	s, c, key := service(t)
	other := serviceOn(t, c, "https://other.example.com", s.store, "p256")
	token, _ := mint(t, s, true)
	wantReason(t, s, token, "")
	wantReason(t, other, token, oauth.TokenUnknown)
	revoke(t, other, token)
	wantReason(t, s, token, "")

	mine := key.JWS(t, header(t, key, nil), claims(nil))
	theirs := key.JWS(t, header(t, key, nil), claims(members{"iss": other.Issuer()}))
	wantReason(t, s, theirs, oauth.TokenIssuerWrong)
	revoke(t, other, theirs)
	wantReason(t, other, theirs, oauth.TokenRevoked)
	wantReason(t, s, mine, "")
}

// Of a token that is older than the store nobody knows whether it was revoked.
func TestTokenOlderThanTheStore(t *testing.T) {
	t.Parallel()
	whole := start.Truncate(time.Second)
	for name, test := range map[string]struct {
		since time.Time
		want  oauth.Reason
	}{
		"by an hour":                {whole.Add(time.Hour), oauth.IssuedBeforeStore},
		"by a second":               {whole.Add(time.Second), oauth.IssuedBeforeStore},
		"by less, cut off by iat":   {whole.Add(1), oauth.IssuedBeforeStore},
		"not, the same second":      {whole, ""},
		"not, a second later":       {whole.Add(-time.Second), ""},
		"not, less than a second":   {whole.Add(-1), ""},
		"but the store cannot tell": {time.Time{}, oauth.StoreUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothFormats(t, func(t *testing.T, opaque bool) {
				s, _, _ := service(t)
				token, minted := mint(t, s, opaque)
				if !minted.IssuedAt.Equal(whole) {
					t.Fatalf("iat %v, want %v", minted.IssuedAt, whole)
				}
				wantReason(t, s, token, "") // into the cache
				s.store = restored{s.store, test.since}
				wantReason(t, s, token, test.want)
				if _, refusal := s.Verify(t.Context(), token); test.want == oauth.IssuedBeforeStore && refusal.Option != "store" {
					t.Errorf("the option is %q, want store", refusal.Option)
				}
			})
		})
	}
}

// The first token of a new store is as good as any other.
func TestMintInTheFirstSecondOfTheStore(t *testing.T) {
	t.Parallel()
	bothFormats(t, func(t *testing.T, opaque bool) {
		c := clock.NewFake(start)
		s := serviceOn(t, c, issuerURL, store.NewMirror(store.NewMemory(c), c), "p256")
		for _, elapsed := range []time.Duration{0, 399 * time.Millisecond, 1, time.Millisecond, time.Second} {
			c.Advance(elapsed)
			token, minted := mint(t, s, opaque)
			if ahead := minted.IssuedAt.Sub(c.Now()); ahead >= time.Second || minted.IssuedAt.Before(start) {
				t.Errorf("iat %v with a store of %v at %v", minted.IssuedAt, start, c.Now())
			}
			if got, want := minted.Expires, c.Now().Truncate(time.Second).Add(5*time.Minute); !got.Equal(want) {
				t.Errorf("exp %v, want %v", got, want)
			}
			wantReason(t, s, token, "")
		}
	})
}

// The clock was set back behind the time since when the store is complete.
func TestMintWithAStoreOfTheFutureMakesNoLongerTokens(t *testing.T) {
	t.Parallel()
	bothFormats(t, func(t *testing.T, opaque bool) {
		c := clock.NewFake(start)
		s := serviceOn(t, c, issuerURL, store.NewMirror(store.NewMemory(c), c), "p256")
		c.Step(-time.Hour)
		token, minted := mint(t, s, opaque)
		wantReason(t, s, token, "")
		if got, want := minted.Expires, c.Now().Truncate(time.Second).Add(5*time.Minute); !got.Equal(want) {
			t.Errorf("exp %v, want %v", got, want)
		}
	})
}

// A store that can't answer says nothing about a token, also about one that was
// good a moment ago.
func TestStoreFaultIsNoVerdict(t *testing.T) {
	t.Parallel()
	bothFormats(t, func(t *testing.T, opaque bool) {
		s, _, _ := service(t)
		token, _ := mint(t, s, opaque)
		fresh, _ := mint(t, s, opaque)
		wantReason(t, s, token, "")
		good, cached := s.store, len(s.cache.entries)
		s.store = mute{good}
		for _, token := range []string{token, fresh} {
			wantReason(t, s, token, oauth.StoreUnavailable)
		}
		if got := len(s.cache.entries); got != cached {
			t.Errorf("%d tokens in the cache after the fault, want %d", got, cached)
		}
		minted, _, refusal := s.Mint(t.Context(), Grant{ClientID: "reports", Subject: "reports", Opaque: opaque})
		if minted != "" || reason(refusal) != oauth.StoreUnavailable {
			t.Errorf("Mint = %q, %v, want %s", minted, refusal, oauth.StoreUnavailable)
		}
		s.store = good
		wantReason(t, s, token, "")
		wantReason(t, s, fresh, "")
	})
}

// An opaque token is nowhere but in the store; a JWT only needs to know that
// it is not revoked, which the mirror remembers.
func TestUnreadableStore(t *testing.T) {
	t.Parallel()
	s, _, f := onFaulty(t)
	opaque, _ := mint(t, s, true)
	jwt, _ := mint(t, s, false)
	wantReason(t, s, opaque, "")
	f.breaks(works, before)
	wantReason(t, s, opaque, oauth.StoreUnavailable)
	wantReason(t, s, jwt, "")
	f.mend()
	wantReason(t, s, opaque, "")
}
