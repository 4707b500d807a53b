// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

// published returns the kids in the JWK Set.
func published(t *testing.T, r *Ring) (kids []string) {
	t.Helper()
	list, err := r.Published(t.Context())
	if err != nil {
		t.Fatalf("Published: %v", err)
	}
	for _, k := range list {
		kids = append(kids, k.ID())
	}
	return kids
}

// other returns the kid of the published key that is not k.
func other(t *testing.T, r *Ring, k string) string {
	t.Helper()
	kids := slices.DeleteFunc(published(t, r), func(kid string) bool { return kid == k })
	if len(kids) != 1 {
		t.Fatalf("beside %q, %q are published, want one", k, kids)
	}
	return kids[0]
}

func TestFirstRoundHasAKeyReady(t *testing.T) {
	t.Parallel()
	s := newMemory()
	r, _ := newRing(t, s, clock.NewFake(start), "")
	r.maintain(t.Context())
	calls := s.total()
	kid(t, r)
	if n := s.total() - calls; n != 0 || s.count("Store") != 1 {
		t.Errorf("the first signature made %d calls to storage, want none", n)
	}
	r.maintain(t.Context())
	if n := s.total() - calls; n != 1 {
		t.Errorf("a round with nothing to do made %d calls to storage, want one", n)
	}
}

func TestLifeOfAKey(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	var e events
	r, err := NewRing(Config{Storage: s, Prefix: prefix, Clock: c, Notify: e.add, Lifetime: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r.maintain(t.Context())
	first := kid(t, r)
	token, err := r.Sign(t.Context(), "at+jwt", []byte(`{"sub":"me"}`))
	if err != nil {
		t.Fatal(err)
	}
	round := func(after time.Duration, wantKeys, wantFiles int) {
		t.Helper()
		c.Advance(after)
		r.maintain(t.Context())
		if got := published(t, r); len(got) != wantKeys {
			t.Errorf("%q are published, want %d", got, wantKeys)
		}
		if got := len(s.snapshot()); got != wantFiles {
			t.Errorf("%d files, want %d", got, wantFiles)
		}
	}
	round(30*day-ahead-1, 1, 1)
	round(1, 2, 2)
	second := other(t, r, first)
	round(ahead-1, 2, 2)
	if got := kid(t, r); got != first {
		t.Errorf("%q signs before its time", got)
	}
	round(1, 2, 2)
	if got := kid(t, r); got != second {
		t.Errorf("%q signs after 30 days, want the second key", got)
	}
	round(2*time.Hour+margin-1, 2, 2)
	if got := verify(t, r, token); got != first {
		t.Errorf("the token is by %q, want %q", got, first)
	}
	round(1, 1, 2)
	calls := s.total()
	if k, err := r.Find(t.Context(), first); k != nil || err != nil || s.total() != calls {
		t.Errorf("Find(a retired key) = %v, %v; want nothing, without a look at storage", k, err)
	}
	round(keep-1, 1, 2)
	round(1, 1, 1)
	round(time.Minute, 1, 1)
	want := []string{"made a signing key", "made a signing key", "deleted a signing key that retired long ago"}
	if got := e.messages(); !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
	if got := kid(t, r); got != second || len(s.locked) != 0 {
		t.Errorf("%q signs, %d locks are held; want the second key, none", got, len(s.locked))
	}
}

func TestKeyOfARingThatSleptIsPublishedBeforeItSigns(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "")
	first := kid(t, r)
	c.Advance(400 * day)
	r, _ = newRing(t, s, c, "")
	if got := kid(t, r); got != first || s.count("Store") != 1 {
		t.Errorf("%q signs and %d keys were made, want the old one", got, s.count("Store"))
	}
	r.maintain(t.Context())
	second := other(t, r, first)
	c.Advance(ahead - time.Second)
	if got := kid(t, r); got != first {
		t.Errorf("%q signs before its time", got)
	}
	c.Advance(time.Second)
	if got := kid(t, r); got != second {
		t.Errorf("%q signs, want the second key", got)
	}
}

func TestNewAlgorithmIsPublishedBeforeItSigns(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "ES256")
	old := kid(t, r)
	token, err := r.Sign(t.Context(), "at+jwt", []byte(`{"sub":"me"}`))
	if err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Hour)
	r, _ = newRing(t, s, c, "EdDSA")
	if got := r.Algorithms(); !slices.Equal(got, []string{"EdDSA"}) {
		t.Errorf("Algorithms() before first need = %q, want EdDSA", got)
	}
	r.maintain(t.Context())
	if got := kid(t, r); got != old {
		t.Errorf("%q signs before its time, want the key of the old algorithm", got)
	}
	if got := r.Algorithms(); !slices.Equal(got, []string{"ES256", "EdDSA"}) {
		t.Errorf("Algorithms() = %q, want both, the old one first", got)
	}
	next := other(t, r, old)
	c.Advance(ahead)
	r.maintain(t.Context())
	if got := kid(t, r); got != next {
		t.Errorf("%q signs, want the key of the new algorithm", got)
	}
	if got := r.Algorithms(); !slices.Equal(got, []string{"EdDSA", "ES256"}) {
		t.Errorf("Algorithms() = %q, want both, the new one first", got)
	}
	if got := verify(t, r, token); got != old {
		t.Errorf("the token is by %q, want %q", got, old)
	}
	c.Advance(time.Hour)
	r, _ = newRing(t, s, c, "ES256")
	r.maintain(t.Context())
	if got := kid(t, r); got != old || s.count("Store") != 2 {
		t.Errorf("back at ES256 %q signs and %d keys were made, want the old one", got, s.count("Store"))
	}
}

func TestNodesMakeOneSuccessorTogether(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	var rings []*Ring
	for range 4 {
		r, _ := newRing(t, s, c, "")
		rings = append(rings, r)
		kid(t, r)
	}
	c.Advance(30 * day)
	var wg sync.WaitGroup
	s.holdUp, s.listing = make(chan struct{}), make(chan struct{}, 100)
	for _, r := range rings {
		wg.Go(func() { r.maintain(t.Context()) })
	}
	for range rings {
		<-s.listing
	}
	close(s.holdUp) // now that all have seen that it is due
	wg.Wait()
	if n := s.count("Store"); n != 2 {
		t.Errorf("%d keys were made, want the first one and a successor", n)
	}
	for _, r := range rings {
		if got := published(t, r); len(got) != 2 {
			t.Errorf("%q are published, want both", got)
		}
	}
}

func TestWrongClockOfANodeStopsNobody(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	wrong, _ := newRing(t, s, clock.NewFake(start.Add(365*day)), "")
	r, _ := newRing(t, s, c, "")
	first := kid(t, r)
	wrong.maintain(t.Context())
	far := other(t, wrong, first)
	for range 61 * 24 {
		r.maintain(t.Context())
		if got := (*r.keys.Load()).active("ES256", c.Now()).public.ID(); got == far {
			t.Fatalf("%q signs, which is for next year", got)
		}
		c.Advance(time.Hour)
	}
	if got := s.count("Store"); got != 4 {
		t.Errorf("%d keys were made, want three and the one of the wrong clock", got)
	}
}

func TestInterruptedRoundIsNotReported(t *testing.T) {
	t.Parallel()
	r, e := newRing(t, newMemory(), clock.NewFake(start), "")
	kid(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.maintain(ctx)
	if got, want := e.messages(), []string{"made a signing key"}; !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
}

func TestReadingThatBeganEarlierForgetsNothing(t *testing.T) {
	t.Parallel()
	r, _ := newRing(t, newMemory(), clock.NewFake(start), "")
	one, _ := scheduled(t, 0, []dated{{"ES256", 0}})
	_, earlier := r.beginReading()
	_, later := r.beginReading()
	r.adopt(append(one, one...), later)
	if got := r.adopt(one, earlier); len(got) != 2 {
		t.Errorf("the ring has %d keys, want those of the later reading", len(got))
	}
}

func TestMaintainLooksOnceAMinuteUntilItIsDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		r, _ := newRing(t, s, clock.NewFake(start), "")
		ctx, cancel := context.WithCancel(t.Context())
		go r.Maintain(ctx)
		synctest.Wait()
		if s.count("Store") != 1 {
			t.Error("no key was made at once")
		}
		calls := s.count("List")
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		if got := s.count("List") - calls; got != 10 {
			t.Errorf("%d looks in ten minutes, want 10", got)
		}
		cancel()
	})
}

func TestMaintainLeavesGivenKeysAlone(t *testing.T) {
	t.Parallel()
	s := newMemory()
	r, err := NewRing(Config{Storage: s, Prefix: prefix, Given: given(t, "p256"), Clock: clock.NewFake(start)})
	if err != nil {
		t.Fatal(err)
	}
	r.Maintain(t.Context())
	if k, err := r.Find(t.Context(), "unknown"); k != nil || err != nil || s.total() != 0 {
		t.Errorf("Find = %v, %v, with %d calls to storage; want nothing, none", k, err, s.total())
	}
}

func TestNoEventQuotesAPrivateKey(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, e := newRing(t, s, c, "")
	kid(t, r)
	data := string(slices.Collect(maps.Values(s.files))[0])
	secret := member(t, data, "d")
	s.files[prefix+"/x.json"] = []byte(strings.Replace(data, `"crv"`, `"cr`, 1))
	r.maintain(t.Context())
	if len(e.all) != 2 || strings.Contains(e.all[1].Err.Error(), secret) {
		t.Errorf("events = %v, want one about the file, without what is in it", e.all)
	}
}
