// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// rotated returns two rings on one storage, of which only the first one knows
// the key with that kid.
func rotated(t *testing.T, s *memory, c *clock.Fake) (maker, r *Ring, e *events, kidOfNew string) {
	t.Helper()
	maker, _ = newRing(t, s, c, "")
	r, e = newRing(t, s, c, "")
	first := kid(t, maker)
	kid(t, r)
	c.Advance(30 * day)
	maker.maintain(t.Context())
	return maker, r, e, other(t, maker, first)
}

func TestTokenByABrandNewKeyOfAnotherNodeVerifies(t *testing.T) {
	t.Parallel()
	maker, r, _, fresh := rotated(t, newMemory(), clock.NewFake(start))
	compact, err := (*maker.keys.Load()).find(fresh).sign("at+jwt", []byte(`{"sub":"me"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := verify(t, r, compact); got != fresh {
		t.Errorf("the token is by %q, want %q", got, fresh)
	}
}

// F10: TestThousandUnknownKidsReadStorageOnce asks for keys that there are not:
// anybody can make up a kid.
func TestThousandUnknownKidsReadStorageOnce(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "")
	known := kid(t, r)
	calls := s.total()
	var wg sync.WaitGroup
	for n := range 1000 {
		wg.Go(func() {
			if k, err := r.Find(t.Context(), fmt.Sprint("unknown ", n)); k != nil || err != nil {
				t.Errorf("Find(an unknown kid) = %v, %v; want nothing", k, err)
			}
			if k, err := r.Find(t.Context(), known); k == nil || err != nil {
				t.Errorf("Find(the known kid) = %v, %v; want the key", k, err)
			}
		})
	}
	wg.Wait()
	looks := s.total() - calls
	if looks != 1 {
		t.Errorf("%d calls to storage, want 1", looks)
	}
	for n := range 100 {
		if _, err := r.Find(t.Context(), "unknown"); err != nil {
			t.Fatal(err)
		}
		if got, want := s.total()-calls, 1+n/5; got != want {
			t.Fatalf("%d calls to storage after %d s, want %d", got, n, want)
		}
		// by the monotonic clock: the wall clock may stand still
		c.Step(-time.Second)
		c.Advance(time.Second)
	}
	fixture.Figure(t, "F10", "unknown_kids=1000 looks_at_storage=%d", looks)
}

func TestUnknownKidIsNoNoWhileStorageFails(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"List", "Load"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s, c := newMemory(), clock.NewFake(start)
			_, r, e, fresh := rotated(t, s, c)
			known := kid(t, r)
			broken := errors.New("broken")
			s.setFail(method, broken)
			for range 100 {
				if k, err := r.Find(t.Context(), fresh); k != nil || !errors.Is(err, broken) {
					t.Fatalf("Find(a key that cannot be read) = %v, %v; want %v", k, err, broken)
				}
				if got := kid(t, r); got != known {
					t.Fatalf("%q signs, want the known key", got)
				}
				c.Advance(time.Second)
			}
			if got := e.messages(); len(got) != 1 || got[0] != "signing keys cannot be read again" {
				t.Errorf("events = %q, want one", got)
			}
			s.setFail(method, nil)
			if k, err := r.Find(t.Context(), fresh); k == nil || err != nil {
				t.Errorf("Find = %v, %v; want the key", k, err)
			}
		})
	}
}

func TestKeyThatCouldBeReadIsFoundBesideOneThatCouldNot(t *testing.T) {
	t.Parallel()
	s := newMemory()
	_, r, _, fresh := rotated(t, s, clock.NewFake(start))
	s.files[prefix+"/half.json"] = nil
	if k, err := r.Find(t.Context(), fresh); k == nil || err != nil {
		t.Errorf("Find = %v, %v; want the key", k, err)
	}
	if k, err := r.Find(t.Context(), "half"); k != nil || err == nil {
		t.Errorf("Find(the damaged key) = %v, %v; want an error", k, err)
	}
}

func TestSearchEndsWithTheContextOfWhoeverWaits(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	_, r, _, fresh := rotated(t, s, c)
	s.holdUp, s.listing = make(chan struct{}), make(chan struct{}, 2)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := r.Find(ctx, fresh)
		gone <- err
	}()
	<-s.listing
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("Find with a canceled context: %v, want %v", err, context.Canceled)
	}
	// nobody else waits for storage meanwhile
	kid(t, r)
	// however long it hangs, it remains the only one
	under := r.latestSearch(t.Context())
	c.Advance(time.Hour)
	if r.latestSearch(t.Context()) != under {
		t.Error("another search has begun beside the one that is under way")
	}
	close(s.holdUp)
	if k, err := r.Find(t.Context(), fresh); k == nil || err != nil {
		t.Errorf("Find of another client = %v, %v; want the key", k, err)
	}
}
