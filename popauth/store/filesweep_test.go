// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/popauth/caddy-popauth/popauth/store"
)

func wantCount(t *testing.T, f *store.File, records, listings int) {
	t.Helper()
	gotRecords, gotPlaces, gotListings := f.Count(t)
	if gotRecords != records || gotPlaces != records || gotListings != listings {
		t.Errorf("the file has %d records, %d in the index and %d in the feed; want %d, as many, and %d",
			gotRecords, gotPlaces, gotListings, records, listings)
	}
}

// A clock that was set forward by mistake must not be the end of a revocation.
func TestFileKeepsExpiredRecordsForAnHour(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	k := keyOf(store.KindRevocation, "1")
	put(t, f, c, k, "") // for an hour
	c.Step(2*time.Hour - time.Millisecond)
	if _, ok, err := f.Get(t.Context(), k); ok || err != nil {
		t.Errorf("Get = %v, %v; want it expired", ok, err)
	}
	put(t, f, c, keyOf(store.KindToken, "1"), "") // sweeps
	c.Step(time.Millisecond - 2*time.Hour)
	if _, ok, err := f.Get(t.Context(), k); !ok || err != nil {
		t.Errorf("Get = %v, %v; want it there again", ok, err)
	}
	feed, err := f.Revocations(t.Context(), k.Issuer, 0)
	if err != nil || len(feed.Revocations) != 1 {
		t.Errorf("the feed has %v (%v), want the revocation", feed.Revocations, err)
	}
	wantCount(t, f, 2, 1)
	c.Step(2 * time.Hour)
	put(t, f, c, keyOf(store.KindToken, "2"), "")
	wantCount(t, f, 2, 0)
}

// Nor must a put that does not win, by a clock that is ahead.
func TestFileKeepsExpiredRecordsWhenAPutDoesNotWin(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	k := keyOf(store.KindRevocation, "1")
	put(t, f, c, k, "")
	c.Step(90 * time.Minute)
	if won, err := f.PutIfAbsent(t.Context(), k, nil, c.Now().Add(-time.Minute)); won || err != nil {
		t.Errorf("PutIfAbsent = %v, %v; want it not to win", won, err)
	}
	c.Step(-90 * time.Minute)
	feed, err := f.Revocations(t.Context(), k.Issuer, 0)
	if err != nil || len(feed.Revocations) != 1 {
		t.Errorf("the feed has %v (%v), want the revocation", feed.Revocations, err)
	}
	wantCount(t, f, 1, 1)
}

func TestFileSweepsABoundedNumberAtOnce(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	var wg sync.WaitGroup
	for n := range 150 {
		wg.Go(func() { put(t, f, c, keyOf(store.KindRevocation, strconv.Itoa(n)), "") })
	}
	wg.Wait()
	c.Advance(3 * time.Hour)
	for _, left := range []int{150 - 64, 150 - 128, 0, 0} {
		if _, err := f.Consume(t.Context(), keyOf(store.KindToken, "none")); err != nil {
			t.Fatal(err)
		}
		wantCount(t, f, left, left)
	}
}

func TestFileSweepsMoreThanIsMade(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	for round := range 30 {
		release := f.HoldUp(t)
		var wg sync.WaitGroup
		for n := range 200 {
			ctx := newQueued(t.Context())
			wg.Go(func() {
				k := keyOf(store.KindToken, strconv.Itoa(round)+"/"+strconv.Itoa(n))
				if _, err := f.PutIfAbsent(ctx, k, nil, c.Now().Add(time.Minute)); err != nil {
					t.Error(err)
				}
			})
			<-ctx.in
		}
		release()
		wg.Wait()
		c.Advance(20 * time.Minute)
	}
	// an hour and a minute of them, and the round that was just made
	if records, _, _ := f.Count(t); records > 5*200 {
		t.Errorf("the file has %d records, want at most 1000", records)
	}
}

func TestFilePutOverAnExpiredRecordLeavesNothingOfIt(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	for range 5 {
		for _, kind := range []store.Kind{store.KindToken, store.KindRevocation} {
			if !put(t, f, c, keyOf(kind, "1"), "") {
				t.Errorf("kind %d: a put after the expiry did not win", kind)
			}
		}
		c.Advance(time.Hour)
	}
	wantCount(t, f, 2, 1)
}

// move changes the expiry of the first place of the index.
func move(t *testing.T, f *store.File, by time.Duration) {
	t.Helper()
	f.Update(t, func(tx *bolt.Tx) error {
		b := tx.Bucket(store.ExpiryBucket)
		place, sealed := b.Cursor().First()
		place, sealed = bytes.Clone(place), bytes.Clone(sealed)
		if err := b.Delete(place); err != nil {
			return err
		}
		binary.BigEndian.PutUint64(place, binary.BigEndian.Uint64(place)+uint64(by.Milliseconds()))
		return b.Put(place, sealed)
	})
}

func TestFileDoesNotForgetEarlyByADamagedIndex(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	k := keyOf(store.KindAssertion, "1")
	if _, err := f.PutIfAbsent(t.Context(), k, nil, c.Now().Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	move(t, f, -24*time.Hour)
	c.Advance(2 * time.Hour)
	for range 2 {
		if put(t, f, c, k, "") {
			t.Error("a put won")
		}
	}
	wantCount(t, f, 1, 0)
	// with the record damaged too nobody knows, so it stays
	move(t, f, -24*time.Hour)
	flipIn(t, f, store.RecordsBucket, store.RecordKey(k), 100)
	for range 2 {
		if put(t, f, c, k, "") {
			t.Error("a put won on a damaged record")
		}
	}
}

func TestFileSweepsDamagedRecordsByTheIndex(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	k := keyOf(store.KindAssertion, "1")
	put(t, f, c, k, "")
	flipIn(t, f, store.RecordsBucket, store.RecordKey(k), 100)
	c.Advance(2*time.Hour - time.Millisecond)
	if put(t, f, c, k, "") {
		t.Error("a put won on a damaged record")
	}
	c.Advance(time.Millisecond)
	put(t, f, c, keyOf(store.KindToken, "1"), "")
	if !put(t, f, c, k, "") {
		t.Error("a put did not win, want the damaged record swept")
	}
}
