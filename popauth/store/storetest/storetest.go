// SPDX-License-Identifier: Apache-2.0

// Package storetest is the contract of store.Store as tests. Every backend
// runs it; what a backend promises beyond the contract, such as surviving a
// crash, it tests itself.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// start is the time at which the tests begin.
var start = time.Unix(1_800_000_000, 0)

// life is the expiry of most records of the tests.
const life = time.Hour

// Run tests the stores that open returns, each of which must be empty. Open
// may use t to clean up; Run closes the stores.
func Run(t *testing.T, open func(t *testing.T, c clock.Clock) store.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, fixture)
	}{
		{"first put wins", firstPutWins},
		{"keys that differ in anything are different records", differentKeys},
		{"values belong to the caller", ownValues},
		{"records stay until they expire", expiry},
		{"expired records never win", expiredPut},
		{"consume is first once", consumeOnce},
		{"consume needs a record", consumeNothing},
		{"a consumed record stays", consumedStays},
		{"concurrent puts have one winner", concurrentPuts},
		{"concurrent consumes have one first", concurrentConsumes},
		{"feed gives an issuer's revocations in order", feedOrder},
		{"feed goes on where it stopped", feedNext},
		{"feed gives all of many", feedMany},
		{"feed leaves out what has expired", feedExpiry},
		{"feed misses no concurrent revocation", feedConcurrent},
		{"complete since is fixed and not in the future", completeSince},
		{"ids are stable, and no two stores have the same", ids},
		{"a canceled context is unknown", canceled},
		{"a closed store is unknown", closed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := clock.NewFake(start)
			opened := func() store.Store {
				s := open(t, c)
				t.Cleanup(func() {
					if err := s.Close(context.Background()); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
				return s
			}
			test.run(t, fixture{Store: opened(), clock: c, another: opened})
		})
	}
}

// fixture is a store whose methods fail the test when the answer is unknown.
type fixture struct {
	store.Store
	clock   *clock.Fake
	another func() store.Store // opens one more
}

func (f fixture) put(t *testing.T, key store.Key, value string, life time.Duration) (won bool) {
	t.Helper()
	won, err := f.PutIfAbsent(t.Context(), key, []byte(value), f.clock.Now().Add(life))
	if err != nil {
		t.Fatalf("PutIfAbsent: %v", err)
	}
	return won
}

func (f fixture) consume(t *testing.T, key store.Key) (first bool) {
	t.Helper()
	first, err := f.Consume(t.Context(), key)
	if err != nil {
		t.Fatalf("Consume: %v", err)
	}
	return first
}

// want checks that a record is there, with that value.
func (f fixture) want(t *testing.T, key store.Key, value string) {
	t.Helper()
	got, ok, err := f.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if !ok || string(got) != value {
		t.Errorf("Get = %q, %v; want %q", got, ok, value)
	}
}

func (f fixture) wantNone(t *testing.T, key store.Key) {
	t.Helper()
	got, ok, err := f.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if ok || got != nil {
		t.Errorf("Get = %q, %v; want no record", got, ok)
	}
}

func key(issuer string, kind store.Kind, id string) store.Key {
	return store.Key{Issuer: sha256.Sum256([]byte(issuer)), Kind: kind, ID: sha256.Sum256([]byte(id))}
}

func token(id string) store.Key      { return key("a", store.KindToken, id) }
func revocation(id string) store.Key { return key("a", store.KindRevocation, id) }

func completeSince(t *testing.T, f fixture) {
	since := f.CompleteSince()
	if since.IsZero() || since.After(start) {
		t.Errorf("CompleteSince() = %v, want a time that is not after %v", since, start)
	}
	f.clock.Advance(life)
	f.put(t, revocation("1"), "", life)
	if got := f.CompleteSince(); !got.Equal(since) {
		t.Errorf("CompleteSince() went from %v to %v", since, got)
	}
}

func ids(t *testing.T, f fixture) {
	id := f.ID()
	if id == [16]byte{} {
		t.Error("ID() is zero")
	}
	if f.another().ID() == id {
		t.Errorf("two stores have the ID %x", id)
	}
	f.clock.Advance(life)
	f.put(t, revocation("1"), "", life)
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := f.ID(); got != id {
		t.Errorf("ID() went from %x to %x", id, got)
	}
}

// unknown checks that all four verbs fail with ErrUnavailable and say nothing.
func (f fixture) unknown(t *testing.T, ctx context.Context, k store.Key) {
	t.Helper()
	check := func(verb string, says bool, err error) {
		t.Helper()
		if says || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s = %v, %v; want nothing and ErrUnavailable", verb, says, err)
		}
	}
	won, err := f.PutIfAbsent(ctx, k, nil, f.clock.Now().Add(life))
	check("PutIfAbsent", won, err)
	value, ok, err := f.Get(ctx, k)
	check("Get", ok || value != nil, err)
	first, err := f.Consume(ctx, k)
	check("Consume", first, err)
	feed, err := f.Revocations(ctx, k.Issuer, 0)
	check("Revocations", len(feed.Revocations) > 0, err)
}

func canceled(t *testing.T, f fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.put(t, revocation("1"), "value", life)
	f.unknown(t, ctx, revocation("1"))
	f.want(t, revocation("1"), "value")
}

func closed(t *testing.T, f fixture) {
	f.put(t, revocation("1"), "value", life)
	for range 2 {
		if err := f.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		f.unknown(t, t.Context(), revocation("1"))
	}
}
