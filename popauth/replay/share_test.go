// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// One key among a hundred thousand others sends as fast as it can, through a
// time in which all expire and come again. Counting every key would take more
// memory than the guard; so does this guess well enough?
func TestAGreedyKeyAmongManyNeverHoldsMoreThanItsShare(t *testing.T) {
	t.Parallel()
	const capacity = 20_000
	g := newGuard(capacity)
	var greedy []time.Duration // when its entries expire
	refused, most := 0, 0
	n := uint64(0)
	for now := time.Duration(0); now < 4*nonceEntryLife; now += 20 * time.Millisecond {
		for len(greedy) > 0 && greedy[0] <= now {
			greedy = greedy[1:]
		}
		send := func(owner uint64) oauth.Reason {
			n++
			e := entry{proof: newTag(mix(n)), owner: owner, class: withNonce}
			return reason(g.use(e, now, now+nonceEntryLife))
		}
		for range 2 { // 100 a second: 12,500 live ones, each of another key
			want(t, "an honest proof", send(mix(n)), "")
		}
		for range 3 {
			crowded := g.ledger.live > capacity/2
			switch got := send(7); got {
			case "":
				until := time.Duration(expiry(g.now, now+nonceEntryLife)) * time.Second
				if greedy = append(greedy, until); crowded {
					most = max(most, len(greedy))
				}
			case oauth.ReplayShareExceeded:
				refused++
				if !crowded || len(greedy) < capacity/4-capacity/(sliceKeys+1) {
					t.Fatalf("at %v: refused with %d of %d", now, len(greedy), capacity)
				}
			default:
				t.Fatalf("at %v: got %q", now, got)
			}
		}
	}
	if refused == 0 || most > capacity/4 || most < capacity/4-capacity/(sliceKeys+1) {
		t.Errorf("the greedy key held %d of %d and was refused %d times, want up to a quarter", most, capacity, refused)
	}
}

// A slice has at most 64 counters, for a slack of 1/65, none of them for nothing, and its
// slack is what a key may have without one.
func TestSliceMakesRoom(t *testing.T) {
	t.Parallel()
	var s slice
	var x index
	for owner := range uint64(64) {
		s.add(&x, owner, 2)
	}
	s.add(&x, 64, 1) // less than any counter: it gets none, and all lose as much
	if len(s.counts) != 64 || s.counts[0] != (count{0, 1}) || s.slack != 1 {
		t.Errorf("got %d counters, the first %v, slack %d", len(s.counts), s.counts[0], s.slack)
	}
	s.add(&x, sliceKeys+1, 3) // more: all others are at an end
	if len(s.counts) != 1 || s.counts[0] != (count{sliceKeys + 1, 2}) || s.slack != 2 {
		t.Errorf("got counters %v, slack %d", s.counts, s.slack)
	}
	if want := 2*sliceKeys + 4; s.entries != want {
		t.Errorf("got %d entries, want %d", s.entries, want)
	}
	for owner := range uint64(10_000) {
		s.add(&x, owner, 1)
	}
	if len(s.counts) > sliceKeys || s.slack > s.entries/(sliceKeys+1) {
		t.Errorf("got %d counters, slack %d of %d", len(s.counts), s.slack, s.entries)
	}
}

// The counters are found by way of an index; looking at all of them, one after
// the other, must give the same.
func TestTheIndexFindsTheCounterOfEachKey(t *testing.T) {
	t.Parallel()
	all := func(counts []count, owner uint64, n int) (left []count, slack int) {
		if at := slices.IndexFunc(counts, func(c count) bool { return c.owner == owner }); at >= 0 {
			counts[at].entries += n
			return counts, 0
		}
		if len(counts) == sliceKeys {
			slack = n
			for _, c := range counts {
				slack = min(slack, c.entries)
			}
			for i := range counts {
				counts[i].entries -= slack
			}
			n -= slack
			counts = slices.DeleteFunc(counts, func(c count) bool { return c.entries == 0 })
		}
		if n > 0 {
			counts = append(counts, count{owner, n})
		}
		return counts, slack
	}
	for name, key := range map[string]func(n uint64) uint64{
		"keys in all places":         mix,
		"keys in one place":          func(n uint64) uint64 { return mix(n) << 8 },
		"keys at the end":            func(n uint64) uint64 { return mix(n) | 0xfe },
		"keys that differ in a bit":  func(n uint64) uint64 { return n << 56 },
		"keys one after another one": func(n uint64) uint64 { return n },
	} {
		var s slice
		var x index
		var counts []count
		slack := 0
		for n := range uint64(20_000) {
			owner, entries := key(mix(n)%150), 1+int(mix(n+1)%2)
			s.add(&x, owner, entries)
			var more int
			counts, more = all(counts, owner, entries)
			slack += more
			if !slices.Equal(s.counts, counts) || s.slack != slack {
				t.Fatalf("%s: after %d there are counters %v and slack %d, want %v and %d", name, n+1, s.counts, s.slack, counts, slack)
			}
		}
		if slack == 0 {
			t.Errorf("%s: there was room for all keys", name)
		}
	}
}

// A key that has few entries must pass however many others there are.
func TestALightKeyPassesInAnyCrowd(t *testing.T) {
	t.Parallel()
	const capacity = 10_000
	g := newGuard(capacity)
	n := uint64(0)
	use := func(owner uint64, now time.Duration) oauth.Reason {
		n++
		return reason(g.use(entry{proof: newTag(mix(n)), owner: owner, class: class(n % 2)}, now, now+nonceEntryLife))
	}
	for n < capacity*9/10 {
		// each of them shoves the counts of the others aside
		want(t, "a proof of the crowd", use(n+100, time.Duration(n)*10*time.Millisecond), "")
	}
	now := time.Duration(n) * 10 * time.Millisecond
	for range 900 {
		want(t, "a proof of the light key", use(1, now), "")
	}
}

func TestCountsAreExactForFewKeys(t *testing.T) {
	t.Parallel()
	l := ledger{held: map[uint64]int{}}
	for at := range second(10) {
		for owner := range uint64(sliceKeys) {
			for c := range classes {
				l.add(owner, 1+int(owner%3), c, 10+at)
			}
		}
	}
	for at := second(9); at < 20; at++ {
		left := int(19 - at)
		l.expire(at)
		for owner := range uint64(sliceKeys) {
			if got, want := l.atMost(owner), 2*left*(1+int(owner%3)); got != want {
				t.Fatalf("at %d: key %d has %d entries, want %d", at, owner, got, want)
			}
		}
	}
	if l.live != 0 || l.slack != 0 || len(l.held) != 0 {
		t.Errorf("%d live, %d slack, %d keys; want none", l.live, l.slack, len(l.held))
	}
}

// What is taken off the counts must be no more than the newcomers need, or
// light keys are refused.
func TestSlackIsAsSmallAsCanBe(t *testing.T) {
	t.Parallel()
	l := ledger{held: map[uint64]int{}}
	for round := 1; round <= 20; round++ {
		for owner := range uint64(sliceKeys + 1) {
			l.add(owner, 2, withNonce, 100)
		}
		if got := l.atMost(0); got != 2*round || l.slack != 2*round {
			t.Errorf("round %d: a key has at most %d entries, with a slack of %d; want %d", round, got, l.slack, 2*round)
		}
	}
	l.add(7, 5, withNonce, 100)
	if got := l.atMost(7); got != 45 {
		t.Errorf("a key has at most %d entries, want 45", got)
	}
	l.expire(100)
	if l.live != 0 || l.slack != 0 || len(l.held) != 0 {
		t.Errorf("%d live, %d slack, %d keys; want none", l.live, l.slack, len(l.held))
	}
}
