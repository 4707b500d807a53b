// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/store"
)

func wantStalled(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "disk takes too long") {
		t.Errorf("got %v, want ErrUnavailable that says that the disk takes too long", err)
	}
}

func TestNobodyWaitsForADiskThatHangs(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	known := keyOf(store.KindToken, "known")
	put(t, f, c, known, "value")
	write := func(ctx *queued, id string) error {
		_, err := f.PutIfAbsent(ctx, keyOf(store.KindRevocation, id), nil, c.Now().Add(time.Hour))
		return err
	}
	for round := range 3 {
		release := f.HoldUp(t)
		var wg sync.WaitGroup
		for n := range 300 {
			ctx := newQueued(t.Context())
			wg.Go(func() { wantStalled(t, write(ctx, strconv.Itoa(round)+"/"+strconv.Itoa(n))) })
			<-ctx.in
		}
		for !f.TakeTooLong() {
			runtime.Gosched()
		}
		wg.Wait()
		// who comes now is not let in
		for n := range 300 {
			wantStalled(t, write(newQueued(t.Context()), "late"+strconv.Itoa(n)))
		}
		if value, ok, err := f.Get(t.Context(), known); string(value) != "value" || !ok || err != nil {
			t.Errorf("Get = %q, %v, %v; want what is there", value, ok, err)
		}
		release()
		for write(newQueued(t.Context()), "again"+strconv.Itoa(round)) != nil {
			runtime.Gosched()
		}
		wantSaid(t, p, "the disk takes too long to write the store; writes are refused until it does better",
			"the disk writes the store in time again (resolved)")
	}
	// those that were begun have happened
	if got := len(feedOf(t, f)); got != 3*300+3 {
		t.Errorf("the feed has %d revocations, want those of all who gave up and those that were answered: %d", got, 3*300+3)
	}
}

// While nothing shows that the disk is well again, one at a time waits for it.
func TestOneAtATimeTriesADiskThatHangs(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	var said []string
	// on a busy machine the watch may be later than the disk, in many rounds
	for round := 0; round < 20 || len(said) == 0; round++ {
		f.SetPatience(time.Microsecond)
		var wg sync.WaitGroup
		for n := range 10 {
			wg.Go(func() {
				k := keyOf(store.KindToken, strconv.Itoa(round)+"/"+strconv.Itoa(n))
				won, err := f.PutIfAbsent(t.Context(), k, nil, c.Now().Add(time.Hour))
				if err != nil {
					wantStalled(t, err)
				} else if !won {
					t.Error("a put did not win")
				}
			})
		}
		wg.Wait()
		said = append(said, p.said()...)
	}
	if !strings.Contains(said[0], "takes too long") {
		t.Errorf("an operator was told %q", said)
	}
}
