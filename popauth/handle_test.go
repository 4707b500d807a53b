// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// shared is the handle of a fault, with a clock that stands, and what gives its
// reference back.
func shared(t *testing.T, f *fault) (h *handle, c *clock.Fake, release func()) {
	t.Helper()
	c = clock.NewFake(time.Now())
	host := &storeHost{logger: zap.NewNop()}
	h, err := acquireStore(keyOf(f.backend), f.backend, c, host)
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := releaseStore(keyOf(f.backend), h, host); err != nil {
			t.Errorf("releasing: %v", err)
		}
	})
	t.Cleanup(release)
	return h, c, release
}

// verbs are all questions that a store answers.
var verbs = map[string]func(context.Context, *handle) error{
	"PutIfAbsent": func(ctx context.Context, h *handle) error {
		won, err := h.PutIfAbsent(ctx, someKey, nil, time.Now().Add(time.Hour))
		return success(won, err)
	},
	"Get": func(ctx context.Context, h *handle) error {
		value, ok, err := h.Get(ctx, someKey)
		return success(ok || value != nil, err)
	},
	"Consume": func(ctx context.Context, h *handle) error {
		first, err := h.Consume(ctx, someKey)
		return success(first, err)
	},
	"Revocations": func(ctx context.Context, h *handle) error {
		feed, err := h.Revocations(ctx, someKey.Issuer, 0)
		return success(len(feed.Revocations) > 0, err)
	},
	"Revoked": func(ctx context.Context, h *handle) error {
		revoked, err := h.Revoked(ctx, someKey.Issuer, someKey.ID)
		return success(revoked, err)
	},
}

var someKey = store.Key{Issuer: sha256.Sum256([]byte("issuer")), Kind: store.KindToken, ID: sha256.Sum256([]byte("id"))}

// success says that an error comes together with a yes.
func success(yes bool, err error) error {
	if yes && err != nil {
		return fmt.Errorf("a yes, and the error %v", err)
	}
	return err
}

// mustNotKnow checks that no verb answers.
func mustNotKnow(t *testing.T, h *handle) {
	t.Helper()
	for name, ask := range verbs {
		if err := ask(t.Context(), h); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: got error %v, want that it is unknown", name, err)
		}
	}
	if got := h.CompleteSince(); !got.IsZero() {
		t.Errorf("got complete since %v, want the zero time", got)
	}
}

func TestHandleIsOpenedAtFirstNeed(t *testing.T) {
	t.Parallel()
	for name, ask := range verbs {
		f := newFault(t)
		h, _, _ := shared(t, f)
		if got := f.attempts.Load(); got != 0 {
			t.Fatalf("%s: opened %d times before it was needed", name, got)
		}
		for range 3 {
			if err := ask(t.Context(), h); err != nil {
				t.Errorf("%s: got error %v", name, err)
			}
		}
		if got := f.attempts.Load(); got != 1 {
			t.Errorf("%s: opened %d times, want once", name, got)
		}
		if got := h.CompleteSince(); !got.Equal(f.opened().since) {
			t.Errorf("%s: got complete since %v, want what the store says", name, got)
		}
	}
}

func TestHandleIsOpenedOnceForAllWhoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFault(t)
		f.hold = make(chan struct{})
		h, _, release := shared(t, f)
		var all sync.WaitGroup
		for range 20 {
			for name, ask := range verbs {
				all.Go(func() {
					if err := ask(t.Context(), h); err != nil {
						t.Errorf("%s: got error %v", name, err)
					}
				})
			}
		}
		synctest.Wait()
		close(f.hold)
		all.Wait()
		if got := f.attempts.Load(); got != 1 {
			t.Errorf("opened %d times, want once", got)
		}
		release()
	})
}

// A store that hangs must not hold up who has given up.
func TestHandleHonorsTheContextOfWhoWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFault(t)
		f.hold = make(chan struct{})
		h, _, release := shared(t, f)
		first := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { first <- verbs["Revoked"](ctx, h) }()
		synctest.Wait()
		cancel()
		if err := verbs["Get"](ctx, h); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want that it is unknown because of the context", err)
		}
		// that the first one has given up does not spoil it for the others
		close(f.hold)
		<-first
		if err := verbs["Get"](t.Context(), h); err != nil || f.attempts.Load() != 1 {
			t.Errorf("got error %v after %d attempts to open, want none after one", err, f.attempts.Load())
		}
		release()
	})
}

func TestHandleRetriesOnceASecond(t *testing.T) {
	t.Parallel()
	f := newFault(t)
	f.shut.Store(true)
	h, c, _ := shared(t, f)
	for attempts := int64(1); attempts <= 3; attempts++ {
		for range 3 {
			mustNotKnow(t, h)
		}
		c.Advance(time.Second - time.Nanosecond)
		mustNotKnow(t, h)
		if got := f.attempts.Load(); got != attempts {
			t.Fatalf("within second %d: opened %d times", attempts, got)
		}
		c.Advance(time.Nanosecond)
	}
	// a step of the wall clock is no second
	mustNotKnow(t, h)
	attempts := f.attempts.Load()
	c.Step(time.Hour)
	c.Step(-2 * time.Hour)
	mustNotKnow(t, h)
	if got := f.attempts.Load(); got != attempts {
		t.Errorf("after the wall clock was set: opened %d times, want %d", got, attempts)
	}

	f.shut.Store(false)
	mustNotKnow(t, h)
	c.Advance(time.Second)
	for name, ask := range verbs {
		if err := ask(t.Context(), h); err != nil {
			t.Errorf("%s: got error %v from a store that is well again", name, err)
		}
	}
}

func TestHandleSaysWhyItIsNotOpen(t *testing.T) {
	t.Parallel()
	f := newFault(t)
	f.shut.Store(true)
	h, _, _ := shared(t, f)
	for range 2 { // the attempt, and what is remembered of it
		if _, _, err := h.Get(t.Context(), someKey); !errors.Is(err, errFault) {
			t.Errorf("got error %v, want one that says %v", err, errFault)
		}
	}
}

func TestHandleSurvivesAPanicOfItsBackend(t *testing.T) {
	t.Parallel()
	f := newFault(t)
	f.panics.Store(true)
	h, c, _ := shared(t, f)
	for range 3 {
		mustNotKnow(t, h)
	}
	if got := f.attempts.Load(); got != 1 {
		t.Errorf("opened %d times, want once a second", got)
	}
	f.panics.Store(false)
	c.Advance(time.Second)
	if err := verbs["Get"](t.Context(), h); err != nil {
		t.Errorf("got error %v", err)
	}
}

func TestHandleIsClosedWithItsLastReference(t *testing.T) {
	t.Parallel()
	f := newFault(t)
	h, c, release := shared(t, f)
	again, _, releaseAgain := shared(t, f)
	if again != h {
		t.Fatal("the same backend has two handles")
	}
	if err := verbs["PutIfAbsent"](t.Context(), h); err != nil {
		t.Fatal(err)
	}
	release()
	if got := f.opened().closed.Load(); got != 0 {
		t.Fatal("it was closed while somebody held it")
	}
	if _, ok, err := h.Get(t.Context(), someKey); !ok || err != nil {
		t.Errorf("got %v, %v, want the record", ok, err)
	}
	releaseAgain()
	if got := f.opened().closed.Load(); got != 1 {
		t.Errorf("closed %d times, want once", got)
	}
	mustNotKnow(t, h)
	c.Advance(time.Hour)
	mustNotKnow(t, h)
	if got := f.attempts.Load(); got != 1 {
		t.Error("it was opened again after its end")
	}
	if h, _, _ := shared(t, f); h == again {
		t.Error("who comes later gets the closed handle")
	}
}

// Caddy loads no config while another is cleaned up, so that a backend that
// hangs would keep the server from ever being reconfigured.
func TestHandleEndsWhileItIsBeingOpened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFault(t)
		f.hold = make(chan struct{})
		h, _, release := shared(t, f)
		asked := make(chan error)
		go func() { asked <- verbs["Get"](t.Context(), h) }()
		synctest.Wait()
		release()
		if err := <-asked; !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("got error %v, want that it is unknown", err)
		}
		mustNotKnow(t, h)
	})
}

// Requests run while a config ends. Each answer they get is a good one or none.
func TestHandleEndsWhileItIsUsed(t *testing.T) {
	t.Parallel()
	f := newFault(t)
	h, _, release := shared(t, f)
	var all sync.WaitGroup
	begun := make(chan struct{}, 1)
	for range 4 {
		for name, ask := range verbs {
			all.Go(func() {
				for {
					err := ask(t.Context(), h)
					select {
					case begun <- struct{}{}:
					default:
					}
					if errors.Is(err, store.ErrUnavailable) {
						return
					}
					if err != nil {
						t.Errorf("%s: got error %v", name, err)
						return
					}
				}
			})
		}
	}
	<-begun
	release()
	all.Wait()
	mustNotKnow(t, h)
	if got := f.opened().closed.Load(); got != 1 {
		t.Errorf("closed %d times, want once", got)
	}
}

func TestHandleIsNotClosedByThoseWhoShareIt(t *testing.T) {
	t.Parallel()
	f := newFault(t)
	h, _, _ := shared(t, f)
	if err := verbs["Get"](t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(t.Context()); err == nil {
		t.Error("got no error")
	}
	if err := verbs["Get"](t.Context(), h); err != nil {
		t.Errorf("got error %v", err)
	}
}

// The store outlives configs. Whose storage and log it uses is that of the one
// that runs.
func TestHandleFollowsTheConfigThatRuns(t *testing.T) {
	t.Parallel()
	f := newFault(t)
	key := keyOf(f.backend)
	hosts := make([]*storeHost, 4)
	var h *handle
	acquire := func(i int) {
		t.Helper()
		hosts[i] = &storeHost{storage: newStorage(t), logger: zap.NewExample()}
		var err error
		if h, err = acquireStore(key, f.backend, clock.System, hosts[i]); err != nil {
			t.Fatal(err)
		}
	}
	release := func(i int) {
		t.Helper()
		if err := releaseStore(key, h, hosts[i]); err != nil {
			t.Fatal(err)
		}
	}
	mustFollow := func(when string, i int) {
		t.Helper()
		if h.Logger() != hosts[i].logger || h.Storage() != hosts[i].storage {
			t.Errorf("%s, the host is not config %d", when, i)
		}
	}

	acquire(0)
	mustFollow("before any is started", 0)
	h.adopt(hosts[0])
	mustFollow("when the first is started", 0)
	acquire(1)
	mustFollow("when the second is there", 0)
	h.adopt(hosts[1])
	mustFollow("when the second is started", 1)
	release(0)
	mustFollow("when the first has ended", 1)

	acquire(2)
	h.adopt(hosts[2])
	mustFollow("when the third is started", 2)
	release(2) // another app of it did not start
	mustFollow("when the third has failed", 1)

	acquire(3)
	release(3)
	mustFollow("when a fourth was validated", 1)

	if err := verbs["Get"](t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if f.host != StoreHost(h) {
		t.Error("the backend has a host that does not follow")
	}
	release(1)
	mustFollow("when the last one has ended", 1) // closing needs it
}
