// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
)

func given(t *testing.T, names ...string) []*Given {
	t.Helper()
	var list []*Given
	for _, name := range names {
		g, err := ParseGiven(text(t, name))
		if err != nil {
			t.Fatalf("ParseGiven(%s): %v", name, err)
		}
		list = append(list, g)
	}
	return list
}

func TestNewRingRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	c, s := clock.NewFake(start), newMemory()
	tests := map[string]Config{
		"nothing":           {},
		"no clock":          {Storage: s, Prefix: prefix},
		"no storage":        {Prefix: prefix, Clock: c},
		"no prefix":         {Storage: s, Clock: c},
		"unknown algorithm": {Storage: s, Prefix: prefix, Clock: c, Algorithm: "HS256"},
		"none":              {Storage: s, Prefix: prefix, Clock: c, Algorithm: "none"},
		"negative lifetime": {Storage: s, Prefix: prefix, Clock: c, Lifetime: -time.Second},
		"a key twice":       {Given: given(t, "p256", "p256"), Clock: c},
	}
	for name, config := range tests {
		if r, err := NewRing(config); err == nil {
			t.Errorf("%s: NewRing = %v, want an error", name, r)
		}
	}
}

func TestFirstGivenKeySignsAndAllArePublished(t *testing.T) {
	t.Parallel()
	// storage without which a ring of given keys must do
	r, err := NewRing(Config{Given: given(t, "p384", "p256", "rsa2048", "ed25519"), Clock: clock.NewFake(start)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := kid(t, r), fixture.Load(t, "p384").Thumbprint(t); got != want {
		t.Errorf("%q signs, want the first one, %q", got, want)
	}
	if got, want := r.Algorithms(), []string{"ES384", "ES256", "RS256", "EdDSA"}; !slices.Equal(got, want) {
		t.Errorf("Algorithms() = %q, want %q", got, want)
	}
	published, err := r.Published(t.Context())
	if err != nil || len(published) != 4 {
		t.Errorf("Published() = %v, %v; want four keys", published, err)
	}
	if k, err := r.Find(t.Context(), "smoff-key"); err != nil || k == nil {
		t.Errorf("Find(the kid that the JWK names) = %v, %v; want the key", k, err)
	}
	if k, err := r.Find(t.Context(), "../../x"); err != nil || k != nil {
		t.Errorf("Find(an unknown kid) = %v, %v; want nothing", k, err)
	}
}

func TestRSAKeySignsWithTheConfiguredPaddingUnlessItNamesOne(t *testing.T) {
	t.Parallel()
	unnamed := fixtureJWK(t, "rsa2048", map[string]any{"alg": nil})
	for _, test := range []struct{ name, text, alg, want string }{
		{"unnamed", unnamed, "", "RS256"},
		{"unnamed, PS256 configured", unnamed, "PS256", "PS256"},
		{"unnamed, ES256 configured", unnamed, "ES256", "RS256"},
		{"RS256, PS256 configured", text(t, "rsa2048"), "PS256", "RS256"},
		{"RS512", text(t, "rsa2048-rs512"), "", "RS512"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g, err := ParseGiven(test.text)
			if err != nil {
				t.Fatal(err)
			}
			r, err := NewRing(Config{Given: []*Given{g}, Algorithm: test.alg, Clock: clock.NewFake(start)})
			if err != nil {
				t.Fatal(err)
			}
			kid(t, r)
			if got := r.Algorithms(); !slices.Equal(got, []string{test.want}) {
				t.Errorf("Algorithms() = %q, want %q", got, test.want)
			}
		})
	}
}

// J01: whatever is published, nothing private is.
func TestJWKSHasNoPrivateMember(t *testing.T) {
	t.Parallel()
	made, _ := newRing(t, newMemory(), clock.NewFake(start), "RS256")
	brought, err := NewRing(Config{Given: given(t, "p256", "p384", "rsa2048", "ed25519"), Clock: clock.NewFake(start)})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Ring{"made": made, "given": brought} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := r.JWKS(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var document map[string][]map[string]any
			if err := json.Unmarshal(data, &document); err != nil {
				t.Fatalf("JWKS is %s: %v", data, err)
			}
			if len(document) != 1 || len(document["keys"]) == 0 {
				t.Errorf("JWKS is %s, want keys and nothing else", data)
			}
			members := map[string][]string{
				"EC":  {"alg", "crv", "kid", "kty", "use", "x", "y"},
				"OKP": {"alg", "crv", "kid", "kty", "use", "x"},
				"RSA": {"alg", "e", "kid", "kty", "n", "use"},
			}
			for _, k := range document["keys"] {
				got := slices.Sorted(maps.Keys(k))
				if want := members[k["kty"].(string)]; !slices.Equal(got, want) {
					t.Errorf("members = %q, want %q", got, want)
				}
				if k["use"] != "sig" {
					t.Errorf("use = %v, want sig", k["use"])
				}
				if found, err := r.Find(t.Context(), k["kid"].(string)); err != nil || found == nil || found.Algorithm() != k["alg"] {
					t.Errorf("Find(%v) = %v, %v; want the published key", k["kid"], found, err)
				}
			}
		})
	}
}

func TestConcurrentFirstUseLoadsOnce(t *testing.T) {
	t.Parallel()
	s := newMemory()
	r, _ := newRing(t, s, clock.NewFake(start), "")
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range 32 {
		wg.Go(func() {
			<-begin
			if _, err := r.JWKS(t.Context()); err != nil {
				t.Errorf("JWKS: %v", err)
			}
		})
	}
	close(begin)
	wg.Wait()
	if s.count("Lock") != 1 || s.count("Store") != 1 || s.count("List") != 3 {
		t.Errorf("%v calls to storage, want one load", s.calls)
	}
}

// A client that goes away while it waits must neither wait on nor spoil the
// load for the others.
func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	s := newMemory()
	s.holdUp, s.listing = make(chan struct{}), make(chan struct{}, 3)
	r, e := newRing(t, s, clock.NewFake(start), "")
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := r.JWKS(ctx)
		gone <- err
	}()
	<-s.listing
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("JWKS with a canceled context: %v, want %v", err, context.Canceled)
	}
	close(s.holdUp)
	if _, err := r.JWKS(t.Context()); err != nil {
		t.Errorf("JWKS of another client: %v", err)
	}
	if got, want := e.messages(), []string{"made a signing key"}; !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
}

func TestFailedLoadIsRetriedOnceASecond(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	s.setFail("List", errors.New("broken"))
	r, e := newRing(t, s, c, "")
	for n := range 100 {
		if _, err := r.JWKS(t.Context()); err == nil {
			t.Fatal("JWKS: no error, want one")
		}
		if got, want := s.count("List"), 1+n/10; got != want {
			t.Fatalf("%d calls after %d ms, want %d", got, n*100, want)
		}
		// by the monotonic clock: the wall clock may stand still
		c.Step(-100 * time.Millisecond)
		c.Advance(100 * time.Millisecond)
	}
	if got := len(e.messages()); got != 1 {
		t.Errorf("%d events, want one until it is right again", got)
	}
	s.setFail("List", nil)
	c.Advance(time.Second)
	kid(t, r)
	want := []string{"signing keys cannot be had from storage", "made a signing key", "signing keys are all right again"}
	if got := e.messages(); !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
}
