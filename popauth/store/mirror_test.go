// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
	"github.com/popauth/caddy-popauth/popauth/store/storetest"
)

func TestMirrorKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(_ *testing.T, c clock.Clock) store.Store {
		return store.NewMirror(store.NewMemory(c), c)
	})
}

// hooked is a store whose calls can be held up or made to fail.
type hooked struct {
	store.Store
	put   func() error // if not nil, comes before PutIfAbsent
	feed  func() error // if not nil, comes before Revocations
	feeds atomic.Int32
}

func (h *hooked) PutIfAbsent(ctx context.Context, k store.Key, value []byte, expires time.Time) (bool, error) {
	if h.put != nil {
		if err := h.put(); err != nil {
			return false, err
		}
	}
	return h.Store.PutIfAbsent(ctx, k, value, expires)
}

func (h *hooked) Revocations(ctx context.Context, issuer [sha256.Size]byte, since uint64) (store.Feed, error) {
	h.feeds.Add(1)
	if h.feed != nil {
		if err := h.feed(); err != nil {
			return store.Feed{}, err
		}
	}
	return h.Store.Revocations(ctx, issuer, since)
}

func newHooked() (*store.Mirror, *hooked, *clock.Fake) {
	c := newClock()
	h := &hooked{Store: store.NewMemory(c)}
	return store.NewMirror(h, c), h, c
}

func wantRevoked(t *testing.T, m *store.Mirror, k store.Key, want bool) {
	t.Helper()
	if got, err := m.Revoked(t.Context(), k.Issuer, k.ID); got != want || err != nil {
		t.Errorf("Revoked = %v, %v; want %v", got, err, want)
	}
}

func wantUnknown(t *testing.T, m *store.Mirror, k store.Key) {
	t.Helper()
	if got, err := m.Revoked(t.Context(), k.Issuer, k.ID); got || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Revoked = %v, %v; want ErrUnavailable", got, err)
	}
}

func TestMirrorRevokesBeforeTheCommitReturns(t *testing.T) {
	t.Parallel()
	m, h, c := newHooked()
	k := keyOf(store.KindRevocation, "1")
	wantRevoked(t, m, k, false)
	begun, release := make(chan struct{}), make(chan struct{})
	h.put = func() error {
		close(begun)
		<-release
		return nil
	}
	done := make(chan bool)
	go func() { done <- put(t, m, c, k, "") }()
	<-begun
	wantRevoked(t, m, k, true)
	close(release)
	if !<-done {
		t.Error("the put did not win")
	}
	wantRevoked(t, m, k, true)
}

func TestMirrorStaysRevokedWhenTheOutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	m, h, c := newHooked()
	k := keyOf(store.KindRevocation, "1")
	wantRevoked(t, m, k, false)
	h.put = func() error { return store.ErrUnavailable }
	for range 2 {
		if won, err := m.PutIfAbsent(t.Context(), k, nil, c.Now().Add(time.Hour)); won || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("PutIfAbsent = %v, %v; want ErrUnavailable", won, err)
		}
		wantRevoked(t, m, k, true)
	}
}

func TestMirrorKnowsWhatWasRevokedBefore(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := store.NewMemory(c)
	const many = 3000
	for n := range many {
		put(t, s, c, keyOf(store.KindRevocation, strconv.Itoa(n)), "")
	}
	put(t, s, c, keyOf(store.KindToken, "token"), "")
	h := &hooked{Store: s}
	m := store.NewMirror(h, c)
	for n := range many {
		wantRevoked(t, m, keyOf(store.KindRevocation, strconv.Itoa(n)), true)
	}
	wantRevoked(t, m, keyOf(store.KindRevocation, "token"), false)
	// pages of it, and the end, once
	if got := h.feeds.Load(); got != 4 {
		t.Errorf("the feed was read %d times, want 4", got)
	}
}

func TestMirrorKeepsIssuersApart(t *testing.T) {
	t.Parallel()
	m, _, c := newHooked()
	k := keyOf(store.KindRevocation, "1")
	other := k
	other.Issuer = sha256.Sum256([]byte("another issuer"))
	put(t, m, c, k, "")
	wantRevoked(t, m, other, false)
	wantRevoked(t, m, k, true)
	put(t, m, c, other, "")
	wantRevoked(t, m, other, true)
}

func TestMirrorRevokesOnlyByRevocations(t *testing.T) {
	t.Parallel()
	m, _, c := newHooked()
	put(t, m, c, keyOf(store.KindToken, "1"), "")
	put(t, m, c, keyOf(store.KindAssertion, "1"), "")
	wantRevoked(t, m, keyOf(store.KindRevocation, "1"), false)
}

func TestMirrorDoesNotKnowWhenTheFeedFails(t *testing.T) {
	t.Parallel()
	m, h, c := newHooked()
	h.feed = func() error { return store.ErrUnavailable }
	k := keyOf(store.KindRevocation, "1")
	wantUnknown(t, m, k)
	// what it has revoked itself it does know
	put(t, m, c, k, "")
	wantRevoked(t, m, k, true)
	wantUnknown(t, m, keyOf(store.KindRevocation, "2"))
	h.feed = nil
	wantRevoked(t, m, keyOf(store.KindRevocation, "2"), false)
}

// stuck is a store whose feed does not go on.
type stuck struct{ store.Store }

func (stuck) Revocations(_ context.Context, _ [sha256.Size]byte, since uint64) (store.Feed, error) {
	return store.Feed{Revocations: make([]store.Revocation, 1), Next: since}, nil
}

func TestMirrorDoesNotReadAFeedForever(t *testing.T) {
	t.Parallel()
	c := newClock()
	wantUnknown(t, store.NewMirror(stuck{store.NewMemory(c)}, c), keyOf(store.KindRevocation, "1"))
}

func TestMirrorReadsTheFeedOnceForAllWhoWait(t *testing.T) {
	t.Parallel()
	m, h, c := newHooked()
	put(t, h.Store, c, keyOf(store.KindRevocation, "1"), "")
	release := make(chan struct{})
	begun := make(chan struct{}, 10)
	h.feed = func() error {
		begun <- struct{}{}
		<-release
		return nil
	}
	// the one that came first gives up, and the others don't suffer from it
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := m.Revoked(ctx, keyOf(0, "").Issuer, keyOf(0, "1").ID)
		gaveUp <- err
	}()
	<-begun
	cancel()
	if err := <-gaveUp; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Revoked: %v, want ErrUnavailable", err)
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() { wantRevoked(t, m, keyOf(store.KindRevocation, "1"), true) })
	}
	close(release)
	wg.Wait()
	if got := h.feeds.Load(); got != 2 {
		t.Errorf("the feed was read %d times, want one page and its end", got)
	}
}

func TestMirrorIsUnknownWhenCanceledOrClosed(t *testing.T) {
	t.Parallel()
	m, _, c := newHooked()
	k := keyOf(store.KindRevocation, "1")
	put(t, m, c, k, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := m.Revoked(ctx, k.Issuer, k.ID); got || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Revoked = %v, %v; want ErrUnavailable", got, err)
	}
	closeStore(t, m)
	wantUnknown(t, m, k)
	if _, err := m.PutIfAbsent(t.Context(), k, nil, c.Now().Add(time.Hour)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("PutIfAbsent: %v, want ErrUnavailable", err)
	}
}

func TestMirrorForgetsWhenBothClocksHavePassed(t *testing.T) {
	t.Parallel()
	m, _, c := newHooked()
	k := keyOf(store.KindRevocation, "1")
	put(t, m, c, k, "")
	sweep := func() { put(t, m, c, keyOf(store.KindRevocation, "other"), "") }
	c.Step(2 * time.Hour)
	sweep()
	wantRevoked(t, m, k, true)
	c.Step(-2 * time.Hour)
	c.Advance(time.Hour - 1)
	sweep()
	wantRevoked(t, m, k, true)
	c.Advance(1)
	sweep()
	wantRevoked(t, m, k, false)
}

// A second revocation of the same token may have a later expiry, when the
// outcome of the first is unknown.
func TestMirrorKeepsTheLatestExpiry(t *testing.T) {
	t.Parallel()
	m, _, c := newHooked()
	k := keyOf(store.KindRevocation, "1")
	for _, life := range []time.Duration{time.Minute, time.Hour, time.Second} {
		if _, err := m.PutIfAbsent(t.Context(), k, nil, c.Now().Add(life)); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(time.Hour - 1)
	put(t, m, c, keyOf(store.KindRevocation, "other"), "")
	wantRevoked(t, m, k, true)
	c.Advance(1)
	put(t, m, c, keyOf(store.KindRevocation, "other"), "")
	wantRevoked(t, m, k, false)
}

// A store that was opened while the wall clock was ahead left out revocations
// as expired. When the clock is mended, they count again.
func TestMirrorReadsAgainWhenTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	k := keyOf(store.KindRevocation, "1")
	put(t, f, c, k, "")
	c.Step(90 * time.Minute)
	m := store.NewMirror(f, c)
	wantRevoked(t, m, k, false)
	c.Step(-90 * time.Minute)
	wantRevoked(t, m, k, true)
}

// F15: TestMirrorHoldsABoundedNumber revokes at a steady rate, which bounds what is
// held, as revocations that have expired are let go.
func TestMirrorHoldsABoundedNumber(t *testing.T) {
	t.Parallel()
	m, _, c := newHooked()
	for n := range 20_000 {
		// lives between a minute and two, so that they don't expire in order
		life := time.Minute + time.Duration(n*7919%60)*time.Second
		k := keyOf(store.KindRevocation, strconv.Itoa(n))
		if _, err := m.PutIfAbsent(t.Context(), k, nil, c.Now().Add(life)); err != nil {
			t.Fatal(err)
		}
		c.Advance(100 * time.Millisecond)
	}
	// ten a second of at most two minutes
	if got := m.Held(); got > 1300 {
		t.Errorf("%d revocations are held, want at most 1300", got)
	}
	// those that have expired already are not held at all
	before := m.Held()
	for n := range 100 {
		if _, err := m.PutIfAbsent(t.Context(), keyOf(store.KindRevocation, strconv.Itoa(n)), nil, c.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.Held(); got > before {
		t.Errorf("%d revocations are held, want no more than %d", got, before)
	}
}

func TestMirrorUnderConcurrentUse(t *testing.T) {
	t.Parallel()
	c := newClock()
	m := store.NewMirror(newPlace(t, c).open(t), c)
	var wg sync.WaitGroup
	for n := range 64 {
		wg.Go(func() {
			for i := range 20 {
				k := keyOf(store.KindRevocation, strconv.Itoa(n)+"/"+strconv.Itoa(i))
				wantRevoked(t, m, k, false)
				put(t, m, c, k, "")
				wantRevoked(t, m, k, true)
			}
		})
	}
	wg.Wait()
}

func BenchmarkMirrorRevoked(b *testing.B) {
	m := store.NewMirror(store.NewMemory(clock.System), clock.System)
	for n := range 10_000 {
		k := keyOf(store.KindRevocation, strconv.Itoa(n))
		if _, err := m.PutIfAbsent(b.Context(), k, nil, time.Now().Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
	}
	k := keyOf(store.KindRevocation, "none")
	b.ReportAllocs()
	for b.Loop() {
		if revoked, err := m.Revoked(b.Context(), k.Issuer, k.ID); revoked || err != nil {
			b.Fatal(revoked, err)
		}
	}
}
