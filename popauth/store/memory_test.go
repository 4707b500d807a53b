// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
	"github.com/popauth/caddy-popauth/popauth/store/storetest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(_ *testing.T, c clock.Clock) store.Store { return store.NewMemory(c) })
}

func newMemory() (*store.Memory, *clock.Fake) {
	c := clock.NewFake(time.Unix(1_800_000_000, 0))
	return store.NewMemory(c), c
}

func TestMemoryIsCompleteSinceItWasMade(t *testing.T) {
	t.Parallel()
	m, c := newMemory()
	made := c.Now()
	c.Advance(time.Hour)
	if got := m.CompleteSince(); !got.Equal(made) {
		t.Errorf("CompleteSince() = %v, want %v", got, made)
	}
}

// If the wall clock is set forward by mistake and back again, a revocation
// must not have gone: the token would be good again.
func TestMemorySurvivesStepsOfTheClock(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			t.Parallel()
			m, c := newMemory()
			key := store.Key{Kind: store.KindRevocation}
			if _, err := m.PutIfAbsent(t.Context(), key, nil, c.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			wantFeed := func(want int) {
				t.Helper()
				feed, err := m.Revocations(t.Context(), key.Issuer, 0)
				if err != nil || len(feed.Revocations) != want {
					t.Errorf("the feed has %d revocations (%v), want %d", len(feed.Revocations), err, want)
				}
			}
			c.Step(step)
			if won, err := m.PutIfAbsent(t.Context(), key, nil, c.Now().Add(time.Minute)); won || err != nil {
				t.Errorf("PutIfAbsent = %v, %v; want the record still there", won, err)
			}
			wantFeed(1)
			c.Step(-step)
			c.Advance(time.Minute - 1)
			wantFeed(1)
			c.Advance(1)
			wantFeed(0)
		})
	}
}

// If it is set back, tokens are good for longer, and so must be what revokes
// them. What has gone before does not come back.
func TestMemoryJudgesByTheWallClockToo(t *testing.T) {
	t.Parallel()
	m, c := newMemory()
	put := func(id byte) {
		t.Helper()
		key := store.Key{Kind: store.KindRevocation, ID: [sha256.Size]byte{id}}
		if won, err := m.PutIfAbsent(t.Context(), key, nil, c.Now().Add(time.Minute)); !won || err != nil {
			t.Fatalf("PutIfAbsent = %v, %v; want it to win", won, err)
		}
	}
	wantFeed := func(ids ...byte) {
		t.Helper()
		feed, err := m.Revocations(t.Context(), [sha256.Size]byte{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, r := range feed.Revocations {
			got = append(got, r.ID[0])
		}
		if !bytes.Equal(got, ids) {
			t.Errorf("the feed has %v, want %v", got, ids)
		}
	}
	put(1)
	c.Advance(30 * time.Second)
	put(2)
	put(3)
	c.Advance(30 * time.Second)
	wantFeed(2, 3)
	c.Step(-time.Hour)
	wantFeed(2, 3)
	c.Advance(time.Hour + 29*time.Second)
	wantFeed(2, 3)
	c.Advance(time.Second)
	wantFeed()
}

func TestMemoryFeedIsLimited(t *testing.T) {
	t.Parallel()
	m, c := newMemory()
	for n := range 3000 {
		key := store.Key{Kind: store.KindRevocation, ID: sha256.Sum256([]byte(strconv.Itoa(n)))}
		if _, err := m.PutIfAbsent(t.Context(), key, nil, c.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	for n, since := 0, uint64(0); n < 3; n++ {
		feed, err := m.Revocations(t.Context(), [sha256.Size]byte{}, since)
		if want := min(1024, 3000-n*1024); err != nil || len(feed.Revocations) != want {
			t.Fatalf("feed %d has %d revocations (%v), want %d", n, len(feed.Revocations), err, want)
		}
		since = feed.Next
	}
}

func TestMemoryForgetsWhatHasExpired(t *testing.T) {
	t.Parallel()
	m, c := newMemory()
	for n := range 50_000 {
		key := store.Key{Kind: store.Kind(1 + n%3), ID: sha256.Sum256([]byte(strconv.Itoa(n)))}
		// lives between a minute and two, so that they don't expire in order
		life := time.Minute + time.Duration(n*7919%60)*time.Second
		if won, err := m.PutIfAbsent(t.Context(), key, nil, c.Now().Add(life)); !won || err != nil {
			t.Fatalf("record %d: PutIfAbsent = %v, %v; want it to win", n, won, err)
		}
		c.Advance(100 * time.Millisecond)
	}
	// ten a second of at most two minutes
	if records, listed := m.Held(); records > 1300 || listed > 1300 {
		t.Errorf("%d records and %d in the feeds are held, want at most 1300", records, listed)
	}
	c.Advance(time.Hour)
	for range 400 {
		if _, _, err := m.Get(t.Context(), store.Key{}); err != nil {
			t.Fatal(err)
		}
	}
	if records, listed := m.Held(); records != 0 || listed != 0 {
		t.Errorf("%d records and %d in the feeds are held, want none", records, listed)
	}
}
