// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"crypto/sha256"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/store"
)

// feed reads an issuer's feed to its end.
func (f fixture) feed(t *testing.T, issuer string, since uint64) (all []store.Revocation, next uint64) {
	t.Helper()
	for range 10_000 {
		feed, err := f.Revocations(t.Context(), sha256.Sum256([]byte(issuer)), since)
		if err != nil {
			t.Fatalf("Revocations: %v", err)
		}
		if len(feed.Revocations) == 0 {
			return all, feed.Next
		}
		if feed.Next <= since {
			t.Fatalf("Revocations since %d: next is %d, want it to go on", since, feed.Next)
		}
		all, since = append(all, feed.Revocations...), feed.Next
	}
	t.Fatal("the feed does not end")
	return nil, 0
}

func feedOrder(t *testing.T, f fixture) {
	ids := []string{"3", "1", "2"}
	for _, id := range ids {
		f.put(t, revocation(id), "value "+id, life)
		f.put(t, revocation(id), "again", life)
		f.put(t, token(id), "no revocation", life)
		f.put(t, key("b", store.KindRevocation, id), "another issuer's", life)
	}
	f.consume(t, revocation("1")) // changes nothing of it
	all, _ := f.feed(t, "a", 0)
	if len(all) != len(ids) {
		t.Fatalf("the feed has %d revocations, want %d", len(all), len(ids))
	}
	for i, id := range ids {
		got := all[i]
		if got.ID != sha256.Sum256([]byte(id)) || string(got.Value) != "value "+id {
			t.Errorf("revocation %d = %x with %q, want %q", i, got.ID, got.Value, id)
		}
		if late := got.Expires.Sub(start.Add(life)); late < 0 || late > time.Second {
			t.Errorf("revocation %d expires at %v, want %v", i, got.Expires, start.Add(life))
		}
	}
	if none, _ := f.feed(t, "unknown", 0); len(none) != 0 {
		t.Errorf("the feed of an unknown issuer has %d revocations", len(none))
	}
}

func feedNext(t *testing.T, f fixture) {
	_, next := f.feed(t, "a", 0)
	for n := range 5 {
		f.put(t, key("b", store.KindRevocation, strconv.Itoa(n)), "", life)
		f.put(t, revocation(strconv.Itoa(n)), "", life)
		var all []store.Revocation
		all, next = f.feed(t, "a", next)
		if !contains(all, strconv.Itoa(n)) {
			t.Errorf("the feed does not go on with revocation %d", n)
		}
	}
	if all, _ := f.feed(t, "a", 0); len(all) != 5 {
		t.Errorf("the feed from its start has %d revocations, want 5", len(all))
	}
}

func feedMany(t *testing.T, f fixture) {
	const many = 3000
	for n := range many {
		f.put(t, revocation(strconv.Itoa(n)), "", life)
	}
	seen := map[[sha256.Size]byte]bool{}
	all, _ := f.feed(t, "a", 0)
	for _, r := range all {
		seen[r.ID] = true
	}
	if len(seen) != many {
		t.Errorf("the feed has %d revocations, want %d", len(seen), many)
	}
}

func feedExpiry(t *testing.T, f fixture) {
	for n := range 40 {
		f.put(t, revocation("short "+strconv.Itoa(n)), "", time.Minute)
		f.put(t, revocation("long "+strconv.Itoa(n)), "", life)
	}
	f.clock.Advance(time.Minute + time.Second)
	all, _ := f.feed(t, "a", 0)
	if len(all) != 40 {
		t.Errorf("the feed has %d revocations, want the 40 that have not expired", len(all))
	}
	for n := range 40 {
		if !contains(all, "long "+strconv.Itoa(n)) {
			t.Errorf("revocation %d is missing", n)
		}
	}
	f.clock.Advance(life)
	if all, _ := f.feed(t, "a", 0); len(all) != 0 {
		t.Errorf("the feed has %d revocations, want none", len(all))
	}
	// a reader that was away for long must not miss what comes
	f.put(t, revocation("late"), "", life)
	if all, _ := f.feed(t, "a", 1); !contains(all, "late") {
		t.Error("the feed does not go on after all has expired")
	}
}

func feedConcurrent(t *testing.T, f fixture) {
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				id := strconv.Itoa(w) + "/" + strconv.Itoa(n)
				if _, err := f.PutIfAbsent(t.Context(), revocation(id), nil, f.clock.Now().Add(life)); err != nil {
					t.Errorf("PutIfAbsent: %v", err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	// a revocation that became visible behind the reader's back would never
	// be read
	seen, next := map[[sha256.Size]byte]bool{}, uint64(0)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		var part []store.Revocation
		part, next = f.feed(t, "a", next)
		for _, r := range part {
			seen[r.ID] = true
		}
	}
	if len(seen) != writers*each {
		t.Errorf("a reader beside the writers saw %d revocations, want %d", len(seen), writers*each)
	}
}

func contains(all []store.Revocation, id string) bool {
	for _, r := range all {
		if r.ID == sha256.Sum256([]byte(id)) {
			return true
		}
	}
	return false
}
