// SPDX-License-Identifier: Apache-2.0

package client

import (
	"container/heap"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// rate is how many failures are free at once, and after how long one of them
// is forgotten.
type rate struct {
	burst int
	each  time.Duration
}

var (
	pairRate   = rate{10, 6 * time.Second}         // of a client id from an address
	sourceRate = rate{100, 600 * time.Millisecond} // of an address
	globalRate = rate{1000, time.Millisecond}      // of all
)

// maxBuckets is how many counts are kept.
const maxBuckets = 10_000

// Limiter counts failed authentications, by the id that was claimed and the
// address that it came from (IPv4) or its /64 network (IPv6). It judges only
// those who have failed: one who authenticates is never asked for, so nobody
// can lock a client out, and nobody waits. It is safe for concurrent use.
//
// Ids count alike whether or not they are registered, and the source is counted
// besides, since ids can be made up without end.
//
// Memory is bounded. A bucket is forgotten when nothing in it is left to
// forgive, and when there are too many, the one with the least goes first. So
// whoever makes up ids drives out the buckets that he has just made, and one
// address is not granted enough failures for that. Whoever has thousands of
// addresses must, to drive out a bucket with t seconds to its end, fill 10,000
// others as far: a failure moves 6.6 seconds in all, and the global rate grants
// 61,000 in a minute, so that t is at most 40 seconds of the 60 of an exhausted
// bucket. The price of sparing the worst: in such a flood, those who begin to
// fail are held by the global rate alone.
type Limiter struct {
	clock clock.Clock

	mu      sync.Mutex
	buckets map[bucketKey]*bucket
	byEnd   bucketHeap
	global  time.Duration // as bucket.end
}

// bucketKey is a hash, so that a long id takes no more memory.
type bucketKey [16]byte

// bucket is a count of failures: the moment, on the monotonic clock, when the
// last of them is forgotten.
type bucket struct {
	key   bucketKey
	end   time.Duration
	place int // in the heap
}

// NewLimiter returns a limiter that has seen nothing.
func NewLimiter(c clock.Clock) *Limiter {
	return &Limiter{clock: c, buckets: map[bucketKey]*bucket{}}
}

// Judge takes the refusal of a request and returns the one to answer with. It
// counts credentials that were wrong or used before, and turns their refusal
// into TooManyFailures, with the real one as the cause, once there were too
// many; that one is not counted. All others, and nil, are returned as they are.
//
// id is the one that was claimed, at an issuer; source is where the request
// came from, and the zero Addr if that is not known.
func (l *Limiter) Judge(refusal *oauth.Refusal, issuer, id string, source netip.Addr) *oauth.Refusal {
	if refusal == nil {
		return nil
	}
	switch refusal.Reason {
	case oauth.ClientUnauthenticated, oauth.AssertionReplayed:
	default:
		return refusal
	}
	wait, limit := l.fail(issuer, id, network(source))
	if wait <= 0 {
		return refusal
	}
	return &oauth.Refusal{
		Reason: oauth.TooManyFailures, Limit: limit, RetryAfter: wait,
		Hint:  refusal.Hint,
		Cause: fmt.Errorf("%s: %w", refusal.Reason, causeOf(refusal)),
	}
}

// causeOf is the cause of a refusal, or its own text.
func causeOf(r *oauth.Refusal) error {
	if r.Cause != nil {
		return r.Cause
	}
	return r
}

// network is the smallest block of addresses that one customer gets.
func network(source netip.Addr) netip.Prefix {
	source = source.Unmap().WithZone("")
	bits := 64
	if source.Is4() {
		bits = 32
	}
	prefix, _ := source.Prefix(bits) // of the zero Addr it is the zero Prefix
	return prefix
}

// fail counts a failure, or says how long there will be no room for it and by
// which limit. One that is over a limit is not counted anywhere: it would cost
// others.
func (l *Limiter) fail(issuer, id string, source netip.Prefix) (wait time.Duration, limit string) {
	pair := keyOf("pair", issuer, id, source.String())
	whole := keyOf("source", source.String())

	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Mono()
	for len(l.byEnd) > 0 && l.byEnd[0].end <= now {
		l.drop()
	}
	for _, judged := range []struct {
		rate
		end time.Duration
		of  string
	}{
		{pairRate, l.end(pair), "of one client id from one address"},
		{sourceRate, l.end(whole), "from one address"},
		{globalRate, l.global, "of all clients"},
	} {
		if wait := judged.after(now, judged.end) - now - time.Duration(judged.burst)*judged.each; wait > 0 {
			return wait, fmt.Sprintf("%d failures at once %s, one more every %v", judged.burst, judged.of, judged.each)
		}
	}
	l.global = globalRate.after(now, l.global)
	l.count(pair, pairRate, now)
	l.count(whole, sourceRate, now)
	return 0, ""
}

// after is the end of a bucket after one more failure.
func (r rate) after(now, end time.Duration) time.Duration { return max(now, end) + r.each }

// end is when a bucket has nothing left to forgive, or zero.
func (l *Limiter) end(key bucketKey) time.Duration {
	if b := l.buckets[key]; b != nil {
		return b.end
	}
	return 0
}

// count puts one more failure into a bucket. One that is new and has less to
// forgive than all others is the next to be driven out, and not they.
func (l *Limiter) count(key bucketKey, r rate, now time.Duration) {
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			l.drop()
		}
		b = &bucket{key: key, end: now}
		l.buckets[key] = b
		heap.Push(&l.byEnd, b)
	}
	b.end = r.after(now, b.end)
	heap.Fix(&l.byEnd, b.place)
}

// drop forgets the bucket that has least to forgive.
func (l *Limiter) drop() { delete(l.buckets, heap.Pop(&l.byEnd).(*bucket).key) }

// keyOf hashes parts of which none holds a NUL, but for the id, which may be
// anything: whoever makes two of his own collide has one bucket instead of two.
func keyOf(parts ...string) (key bucketKey) {
	h := sha256.New()
	for _, part := range parts {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	copy(key[:], h.Sum(nil))
	return key
}

// bucketHeap has the bucket that ends first at its top.
type bucketHeap []*bucket

func (h bucketHeap) Len() int           { return len(h) }
func (h bucketHeap) Less(i, j int) bool { return h[i].end < h[j].end }
func (h bucketHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *bucketHeap) Push(x any) {
	b := x.(*bucket)
	b.place = len(*h)
	*h = append(*h, b)
}

// Pop implements heap.Interface.
func (h *bucketHeap) Pop() any {
	last := len(*h) - 1
	b := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return b
}
