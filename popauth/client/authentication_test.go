// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// send authenticates by an assertion and uses it up.
func (k *keyed) send(t *testing.T, assertion string) oauth.Reason {
	t.Helper()
	a, refusal := k.Authenticate(nil, asserted(assertion))
	if refusal == nil {
		refusal = a.Consume(t.Context())
	}
	if refusal == nil {
		return ""
	}
	return refusal.Reason
}

func TestAssertionServesOnce(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	sent := k.sign(t, "ed25519", "ed25519", nil, nil)
	for i, want := range []oauth.Reason{"", oauth.AssertionReplayed, oauth.AssertionReplayed} {
		if got := k.send(t, sent); got != want {
			t.Errorf("sent for the time no. %d: %q, want %q", i+1, got, want)
		}
	}
	for name, other := range map[string]string{
		"another jti":                    k.sign(t, "ed25519", "ed25519", nil, members{"jti": "2"}),
		"the same jti of another client": k.sign(t, "ed25519", "eddsa", nil, nil),
	} {
		if got := k.send(t, other); got != "" {
			t.Errorf("%s: %q, want it to pass", name, got)
		}
	}
	// the same id again, in whatever else it differs
	if got := k.send(t, k.sign(t, "ed25519", "ed25519", nil, members{"exp": k.clock.Now().Unix() + 90})); got != oauth.AssertionReplayed {
		t.Errorf("the same jti with another exp: %q, want %q", got, oauth.AssertionReplayed)
	}
}

func TestAssertionIsConsumedByOneOfMany(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	form := asserted(k.sign(t, "p256", "p256", nil, nil))
	var passed atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if a, refusal := k.Authenticate(nil, form); refusal == nil && a.Consume(t.Context()) == nil {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if got := passed.Load(); got != 1 {
		t.Errorf("%d of 16 passed, want 1", got)
	}
}

// As long as an assertion could pass, it is remembered that it was used.
func TestAssertionIsRememberedUntilItHasExpired(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	for n, life := range []time.Duration{time.Second, time.Minute, 5 * time.Minute} {
		expires := k.clock.Now().Add(life)
		sent := k.sign(t, "p256", "p256", nil, members{"exp": expires.Unix(), "jti": fmt.Sprint(n)})
		if got := k.send(t, sent); got != "" {
			t.Fatalf("Consume = %q", got)
		}
		if k.state.until.Before(expires) {
			t.Errorf("remembered until %v, want %v at least", k.state.until, expires)
		}
		k.clock.Advance(life - time.Nanosecond)
		if got := k.send(t, sent); got != oauth.AssertionReplayed {
			t.Errorf("just before its end: %q, want %q", got, oauth.AssertionReplayed)
		}
		k.clock.Advance(time.Nanosecond)
		if got := k.send(t, sent); got != oauth.ClientUnauthenticated {
			t.Errorf("at its end: %q, want %q", got, oauth.ClientUnauthenticated)
		}
	}
}

func TestUnknownIsNoYes(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	k.state.err = fmt.Errorf("%w: the disk is full", store.ErrUnavailable)
	sent := k.sign(t, "p256", "p256", nil, nil)
	if got := k.send(t, sent); got != oauth.StoreUnavailable {
		t.Errorf("while the store is down: %q, want %q", got, oauth.StoreUnavailable)
	}
	k.state.err = nil
	if got := k.send(t, sent); got != "" {
		t.Errorf("when it is up again: %q, want it to pass", got)
	}
	k.state.Store = timeless{k.state.Store}
	if got := k.send(t, k.sign(t, "p256", "p256", nil, members{"jti": "2"})); got != oauth.StoreUnavailable {
		t.Errorf("a store that does not know since when it knows: %q, want %q", got, oauth.StoreUnavailable)
	}
}

// The log must say what is wrong with the store, and not what follows from it.
func TestTheErrorOfTheStoreIsTheCause(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	down := fmt.Errorf("%w: the disk is full", store.ErrUnavailable)
	k.state.Store = timeless{k.state.Store}
	for _, test := range []struct{ err, want error }{{down, down}, {nil, errSince}} {
		k.state.err = test.err
		a, refusal := k.Authenticate(nil, asserted(k.sign(t, "p256", "p256", nil, nil)))
		if refusal != nil {
			t.Fatal(refusal.Cause)
		}
		if refusal := a.Consume(t.Context()); refusal == nil || refusal.Reason != oauth.StoreUnavailable || !errors.Is(refusal, test.want) {
			t.Errorf("Consume = %v, want %s because of %v", refusal, oauth.StoreUnavailable, test.want)
		}
	}
}

// timeless is a store that is not open.
type timeless struct{ Store }

func (timeless) CompleteSince() time.Time { return time.Time{} }

// Whatever an assertion says of its times, and whatever the clock of its client:
// one that was used before the store was lost is never accepted afterwards.
func TestAssertionFromBeforeTheStore(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) int64 { return time.Unix(1_700_000_000, 0).Add(time.Hour + d).Unix() }
	for name, claims := range map[string]members{
		"with iat":                 {"iat": at(0), "exp": at(90 * time.Second)},
		"from a clock that's fast": {"iat": at(time.Minute), "exp": at(3 * time.Minute)},
		"without iat":              {"iat": nil, "exp": at(5 * time.Minute)},
		"with an old iat":          {"iat": at(-time.Hour), "exp": at(5 * time.Minute)},
		"with nbf alone":           {"iat": nil, "nbf": at(time.Minute), "exp": at(5 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeyed(t, all(t)...)
			sent := k.sign(t, "p256", "p256", nil, claims)
			if got := k.send(t, sent); got != "" {
				t.Fatalf("at first: %q", got)
			}
			k.clock.Advance(time.Second)
			k.state.lose()
			for {
				got := k.send(t, sent)
				if got == oauth.ClientUnauthenticated {
					break // expired
				}
				if got != oauth.AssertionBeforeStore && got != oauth.AssertionReplayed {
					t.Fatalf("after the loss of the store: %q, want %q", got, oauth.AssertionBeforeStore)
				}
				k.clock.Advance(5 * time.Second)
			}
		})
	}
}

// The price of that for an honest client.
func TestAssertionAfterTheStoreBegan(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		claims func(now int64) members
		first  time.Duration // after the store began
	}{
		"iat, exp in a minute":        {func(now int64) members { return members{} }, time.Minute},
		"iat, exp in five minutes":    {func(now int64) members { return members{"exp": now + 300} }, 0},
		"no iat, exp in a minute":     {func(now int64) members { return members{"iat": nil} }, 4 * time.Minute},
		"no iat, exp in five minutes": {func(now int64) members { return members{"iat": nil, "exp": now + 300} }, 0},
	} {
		k := newKeyed(t, all(t)...)
		k.state.lose()
		var waited time.Duration
		for i := 0; ; i++ {
			claims := test.claims(k.clock.Now().Unix())
			claims["jti"] = fmt.Sprint(i)
			if got := k.send(t, k.sign(t, "p256", "p256", nil, claims)); got == "" {
				break
			} else if got != oauth.AssertionBeforeStore {
				t.Fatalf("%s: %q, want %q", name, got, oauth.AssertionBeforeStore)
			}
			k.clock.Advance(time.Second)
			waited += time.Second
		}
		if waited != test.first {
			t.Errorf("%s: passes after %v, want %v", name, waited, test.first)
		}
	}
}

func TestMethodsAndAlgorithmsAreThoseOfTheClients(t *testing.T) {
	t.Parallel()
	secret := Config{ID: "secret", Secrets: []string{"secret"}}
	for name, test := range map[string]struct {
		clients             []Config
		methods, algorithms []string
	}{
		"no clients": {nil, nil, nil},
		"secrets":    {[]Config{secret}, []string{"client_secret_basic", "client_secret_post"}, nil},
		"keys": {
			[]Config{{ID: "a", Keys: []*jwk.Key{public(t, "rsa2048", members{"alg": "PS256"})}}, {ID: "b", Keys: []*jwk.Key{public(t, "p384", nil)}}},
			[]string{"private_key_jwt"}, []string{"ES384", "PS256"},
		},
		"both, and a key with two names": {
			[]Config{secret, {ID: "a", Keys: []*jwk.Key{public(t, "ed25519", nil)}}},
			[]string{"client_secret_basic", "client_secret_post", "private_key_jwt"}, []string{"Ed25519", "EdDSA"},
		},
	} {
		k := newKeyed(t, test.clients...)
		if got := k.Methods(); !slices.Equal(got, test.methods) {
			t.Errorf("%s: Methods() = %q, want %q", name, got, test.methods)
		}
		if got := k.Algorithms(); !slices.Equal(got, test.algorithms) {
			t.Errorf("%s: Algorithms() = %q, want %q", name, got, test.algorithms)
		}
	}
}

func TestAssertionsNeedWhatJudgesThem(t *testing.T) {
	t.Parallel()
	k := newKeyed(t)
	config := []Config{{ID: "a", Keys: []*jwk.Key{public(t, "p256", nil)}}}
	for name, assertions := range map[string]Assertions{
		"nothing":   {},
		"no issuer": {Store: k.state, Clock: k.clock},
		"no store":  {Issuer: issuerURL, Clock: k.clock},
		"no clock":  {Issuer: issuerURL, Store: k.state},
	} {
		if r, err := NewRegistry(config, assertions); err == nil {
			t.Errorf("%s: NewRegistry = %v, want an error", name, r)
		}
	}
	r, err := NewRegistry([]Config{{ID: "a", Secrets: []string{"b"}}}, Assertions{})
	if err != nil {
		t.Fatal(err)
	}
	if a, refusal := r.Authenticate(nil, asserted(fixture.Load(t, "p256").JWS(t, members{"alg": "ES256"}, "{}"))); refusal == nil || !errors.Is(refusal, errUnknown) {
		t.Errorf("Authenticate where nobody has keys = %v, %v; want %v", a.Client, refusal, errUnknown)
	}
}

func TestGrantsAreThoseOfTheClients(t *testing.T) {
	t.Parallel()
	asks := Config{ID: "asks", Secrets: []string{"a"}}
	answers := Config{ID: "answers", Secrets: []string{"b"}, Introspect: &Introspect{}}
	for name, test := range map[string]struct {
		clients []Config
		want    []string
	}{
		"nobody":                    {nil, nil},
		"one that gets tokens":      {[]Config{asks}, []string{"client_credentials"}},
		"one that only introspects": {[]Config{answers}, nil},
		"both":                      {[]Config{asks, answers}, []string{"client_credentials"}},
	} {
		if got := newKeyed(t, test.clients...).Grants(); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
