// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/bits"
	"slices"
	"time"
)

// ledger counts the entries of the guard: all of them exactly, and those of
// each key closely enough to keep one key from taking the room of the others.
// It knows when they expire, so that nobody has to look for those that have.
//
// To count every key would take more memory than the entries themselves, as
// each of them may be of another key. So the entries that expire in the same
// second are counted together, in a slice, and a slice has no more than
// sliceKeys counters. When it needs another one, it takes as much off all of
// them as sets one free (Misra and Gries, "Finding repeated elements", 1982).
// What was taken off is the slice's slack: a key has at least its count, and at
// most its count and the slack. Taking off 1 takes it from sliceKeys counters
// and from the newcomer, so the slack is at most 1/(sliceKeys+1) of the entries
// of the slice; and that holds for the sum of all slices too. If no slice has
// seen more than sliceKeys keys, all counts are exact.
type ledger struct {
	live  int              // all entries
	slack int              // of all slices
	held  map[uint64]int   // the counts of each key, without those of the last slices
	queue [classes][]slice // by expiry; the last one still takes entries
	index [classes]index   // of the last slices
}

// slice counts the entries of one class that expire at one time.
type slice struct {
	until   second
	entries int
	slack   int
	counts  []count
}

// count is how many entries a key has in a slice.
type count struct {
	owner   uint64
	entries int
}

const (
	// sliceKeys makes the slack at most 1/65 of the entries, so a key that
	// holds less than 23.4 % of a full guard is never taken for one that holds
	// its quarter.
	sliceKeys = 64

	// lifeSlices is how many slices a class has at the most, but for one. This
	// and sliceKeys bound the memory of a ledger to about 2 MB.
	lifeSlices = 256
)

// index finds the counter of a key in a slice without looking at all of them:
// from the place that the key chooses, the first one that has its counter or is
// empty. A place holds the position of a counter and 1, or 0. Nobody can make
// many keys choose one place, since what is counted are keyed hashes of them.
type index [4 * sliceKeys]uint8

// place is where the counter of a key is or would be.
func (x *index) place(counts []count, owner uint64) *uint8 {
	for at := owner; ; at++ {
		p := &x[at%uint64(len(x))]
		if *p == 0 || counts[*p-1].owner == owner {
			return p
		}
	}
}

// build makes the index of these counters.
func (x *index) build(counts []count) {
	*x = index{}
	for i, c := range counts {
		*x.place(counts, c.owner) = uint8(i + 1)
	}
}

// expiry is when an entry expires that must live until the given reading of
// the clock: never earlier than that, and later by less than a second and a
// 128th of its life, which keeps the slices few.
func expiry(now second, until time.Duration) second {
	at := second((until + time.Second - 1) / time.Second)
	life := at - min(now, at)
	if life > longest {
		return never
	}
	// the power of two that makes at most lifeSlices of the life
	grain := second(1) << bits.Len64(uint64(max(life, 1)-1)/lifeSlices)
	at = (at + grain - 1) &^ (grain - 1)
	if at&secondMask == 0 {
		at++ // these bits say never
	}
	return at
}

// add counts n new entries of a key. The ones of a class must expire in the
// order in which they come; one that would not is counted for longer.
func (l *ledger) add(owner uint64, n int, c class, until second) {
	q := &l.queue[c]
	if len(*q) == 0 || (*q)[len(*q)-1].until < until {
		l.closeLast(c)
		*q = append(*q, slice{until: until, counts: make([]count, 0, 4)})
		l.index[c] = index{}
	}
	last := &(*q)[len(*q)-1]
	before := last.slack
	last.add(&l.index[c], owner, n)
	l.live += n
	l.slack += last.slack - before
}

// add counts n new entries of a key. The index must be that of the slice.
func (s *slice) add(x *index, owner uint64, n int) {
	s.entries += n
	if p := *x.place(s.counts, owner); p > 0 {
		s.counts[p-1].entries += n
		return
	}
	if len(s.counts) == sliceKeys {
		n = s.makeRoom(n)
		x.build(s.counts)
	}
	if n > 0 {
		p := x.place(s.counts, owner)
		s.counts = append(s.counts, count{owner, n})
		*p = uint8(len(s.counts))
	}
}

// makeRoom takes the least count, or that of the newcomer if that is less, off
// all counts, and returns what is left of the newcomer's. If there is anything
// left, there is a counter for it.
func (s *slice) makeRoom(newcomer int) int {
	least := newcomer
	for _, c := range s.counts {
		least = min(least, c.entries)
	}
	kept := s.counts[:0]
	for _, c := range s.counts {
		if c.entries -= least; c.entries > 0 {
			kept = append(kept, c)
		}
	}
	s.counts = kept
	s.slack += least
	return newcomer - least
}

// closeLast adds the counts of the last slice to those of all. The map is not
// touched more often, because that costs more than everything else here.
func (l *ledger) closeLast(c class) {
	q := l.queue[c]
	if len(q) == 0 {
		return
	}
	for _, key := range q[len(q)-1].counts {
		l.held[key.owner] += key.entries
	}
}

// atMost is how many entries a key has at the most. It has at least as many
// without the slack.
func (l *ledger) atMost(owner uint64) int {
	n := l.held[owner] + l.slack
	for c, q := range l.queue {
		if len(q) == 0 {
			continue
		}
		counts := q[len(q)-1].counts
		if p := l.index[c].place(counts, owner); *p > 0 {
			n += counts[*p-1].entries
		}
	}
	return n
}

// expire forgets the entries that have expired.
func (l *ledger) expire(now second) {
	for c := range l.queue {
		q := &l.queue[c]
		gone := 0
		for ; gone < len(*q) && (*q)[gone].until <= now; gone++ {
			if gone == len(*q)-1 {
				l.closeLast(class(c))
			}
			s := (*q)[gone]
			l.live -= s.entries
			l.slack -= s.slack
			for _, key := range s.counts {
				if l.held[key.owner] -= key.entries; l.held[key.owner] == 0 {
					delete(l.held, key.owner)
				}
			}
		}
		*q = slices.Delete(*q, 0, gone)
	}
}
