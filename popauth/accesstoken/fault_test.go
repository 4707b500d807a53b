// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"math/rand/v2"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// F07: TestExpiryGoesByTheWallClock sets the wall clock, without or with time
// passing, and looks at a token at each second around its end, which has been
// verified before. It is good for as long as its exp says and not a moment
// longer, by the clock as it stands then.
func TestExpiryGoesByTheWallClock(t *testing.T) {
	t.Parallel()
	judged := 0
	for name, happens := range map[string]func(c *clock.Fake){
		"nothing":                            func(*clock.Fake) {},
		"30 seconds forward":                 func(c *clock.Fake) { c.Step(30 * time.Second) },
		"30 seconds back":                    func(c *clock.Fake) { c.Step(-30 * time.Second) },
		"an hour forward":                    func(c *clock.Fake) { c.Step(time.Hour) },
		"an hour forward and back":           func(c *clock.Fake) { c.Step(time.Hour); c.Step(-time.Hour) },
		"a leap second":                      func(c *clock.Fake) { c.Step(-time.Second) },
		"a virtual machine is paused":        func(c *clock.Fake) { c.Step(10 * time.Minute) },
		"paused, and set right a bit later":  func(c *clock.Fake) { c.Advance(10 * time.Minute); c.Step(-10 * time.Minute) },
		"two minutes pass, then an hour off": func(c *clock.Fake) { c.Advance(2 * time.Minute); c.Step(time.Hour) },
	} {
		for _, opaque := range []bool{false, true} {
			for second := -2; second <= 2; second++ {
				s, c, _ := service(t)
				token, claims := mint(t, s, opaque)
				wantReason(t, s, token, "")
				happens(c)
				if ahead := claims.Expires.Add(time.Duration(second) * time.Second).Sub(c.Now()); ahead > 0 {
					c.Advance(ahead)
				}
				ended := !c.Now().Before(claims.Expires)
				_, refusal := s.Verify(t.Context(), token)
				if (refusal != nil) != ended {
					t.Errorf("%s, opaque %v, %v after exp: Verify = %v, want it to be refused: %v", name, opaque, c.Now().Sub(claims.Expires), refusal, ended)
				}
				judged++
			}
		}
	}
	fixture.Figure(t, "F07", "judged=%d wrong=0", judged)
}

// F19: TestCachedVerdictIsTheUncachedOne asks services of two issuers about
// tokens of all kinds, while clients come and go, tokens are revoked and time
// passes: one that remembers says what one says that knows nothing.
func TestCachedVerdictIsTheUncachedOne(t *testing.T) {
	t.Parallel()
	triples := fixture.Scale(3000, 300_000)
	random := rand.New(rand.NewPCG(7, 19))
	c := clock.NewFake(start.Add(-time.Hour))
	shared := store.NewMirror(store.NewMemory(c), c)
	gone := map[string]bool{}
	var services []*Service
	for _, issuer := range []string{issuerURL, "https://login.example.org"} {
		s := serviceOn(t, c, issuer, shared, "p256")
		s.known = func(id string) bool { return !gone[id] }
		services = append(services, s)
	}
	c.Advance(time.Hour)
	var tokens []string
	verdicts := map[oauth.Reason]int{}
	for n := range triples {
		if n%100 == 0 { // a new set of tokens
			tokens = tokens[:0]
			for i, s := range services {
				for _, opaque := range []bool{false, true} {
					token, _ := mint(t, s, opaque)
					tokens = append(tokens, token, token[:len(token)-1]+"A")
				}
				key := fixture.Load(t, []string{"p256", "p256-thief"}[random.IntN(2)])
				for j := range 3 {
					now := c.Now().Unix()
					tokens = append(tokens, key.JWS(t, header(t, fixture.Load(t, "p256"), nil), claims(map[string]any{
						"iss": s.issuer, "jti": strconv.Itoa(n + j), "iat": now, "exp": now + int64(random.IntN(40)),
						"client_id": []string{"reports", "billing"}[j%2], "nbf": now + int64(random.IntN(20)) - 10*int64(i),
					})))
				}
			}
		}
		switch random.IntN(40) {
		case 0:
			gone["reports"] = !gone["reports"]
		case 1:
			_ = services[random.IntN(2)].Revoke(t.Context(), tokens[random.IntN(len(tokens))], "reports")
		case 2:
			c.Advance(time.Duration(random.IntN(3000)) * time.Millisecond)
		case 3:
			c.Step(time.Duration(random.IntN(3000)-1500) * time.Millisecond)
		}
		s, token := services[random.IntN(2)], tokens[random.IntN(len(tokens))]
		fresh := *s
		fresh.cache = newCache()
		got, refusal := s.Verify(t.Context(), token)
		want, uncached := fresh.Verify(t.Context(), token)
		if reason(refusal) != reason(uncached) || !reflect.DeepEqual(got, want) {
			t.Fatalf("question %d: %v, %q from the cache; %v, %q without", n, got, reason(refusal), want, reason(uncached))
		}
		verdicts[reason(refusal)]++
	}
	// about a tenth are good: how many of the changed tokens are, is up to the
	// random signatures
	if len(verdicts) < 5 || verdicts[""] < triples/20 {
		t.Errorf("got verdicts %v, want more of a mixture", verdicts)
	}
	fixture.Figure(t, "F19", "questions=%d different=0 verdicts=%d", triples, len(verdicts))
}
