// SPDX-License-Identifier: Apache-2.0

package client

import (
	"container/heap"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// failing is a limiter with a clock, and who fails.
type failing struct {
	*Limiter
	clock *clock.Fake
}

func newFailing() failing {
	c := clock.NewFake(time.Unix(1_700_000_000, 0))
	return failing{NewLimiter(c), c}
}

var wrongSecret = &oauth.Refusal{Reason: oauth.ClientUnauthenticated, Cause: errors.New("a wrong secret")}

// times fails n times and says how many of them were answered with what was
// wrong.
func (f failing) times(n int, id, source string) (answered int) {
	for range n {
		if f.Judge(wrongSecret, issuerURL, id, netip.MustParseAddr(source)) == wrongSecret {
			answered++
		}
	}
	return answered
}

// expect checks how many of n failures are answered.
func (f failing) expect(t *testing.T, n int, id, source string, want int) {
	t.Helper()
	if got := f.times(n, id, source); got != want {
		t.Errorf("%d of %d failures of %q from %s were answered, want %d", got, n, id, source, want)
	}
}

func TestLimitOfOneClientFromOneAddress(t *testing.T) {
	t.Parallel()
	f := newFailing()
	f.expect(t, 25, "reports", "192.0.2.1", 10)
	f.expect(t, 25, "reports", "192.0.2.2", 10) // another address
	f.expect(t, 25, "billing", "192.0.2.1", 10) // another client
	f.clock.Advance(6*time.Second - 1)
	f.expect(t, 5, "reports", "192.0.2.1", 0)
	f.clock.Advance(1)
	f.expect(t, 5, "reports", "192.0.2.1", 1)
	f.clock.Advance(30 * time.Second)
	f.expect(t, 9, "reports", "192.0.2.1", 5)
	f.clock.Advance(time.Hour)
	f.expect(t, 25, "reports", "192.0.2.1", 10) // never more than the burst

	refusal := f.Judge(wrongSecret, issuerURL, "reports", netip.MustParseAddr("192.0.2.1"))
	if refusal.Reason != oauth.TooManyFailures || refusal.RetryAfter != 6*time.Second {
		t.Errorf("Judge = %s, after %v; want %s, after 6s", refusal.Reason, refusal.RetryAfter, oauth.TooManyFailures)
	}
	if !errors.Is(refusal, wrongSecret.Cause) || !strings.Contains(refusal.Cause.Error(), "client_unauthenticated: a wrong secret") || refusal.Limit == "" {
		t.Errorf("the log would say %v and limit %q, want what was wrong, and the limit", refusal.Cause, refusal.Limit)
	}
	if refusal.Detail != "" || strings.Contains(refusal.Description(), "reports") {
		t.Errorf("the answer is %q, want it to say nothing of the client", refusal.Description())
	}
}

func TestLimitGoesByTheMonotonicClock(t *testing.T) {
	t.Parallel()
	f := newFailing()
	f.times(10, "reports", "192.0.2.1")
	f.clock.Step(time.Hour)
	f.expect(t, 5, "reports", "192.0.2.1", 0)
	f.clock.Step(-2 * time.Hour)
	f.clock.Advance(6 * time.Second)
	f.expect(t, 5, "reports", "192.0.2.1", 1)
}

func TestLimitGoesByNetwork(t *testing.T) {
	t.Parallel()
	f := newFailing()
	f.times(10, "reports", "192.0.2.1")
	f.times(10, "reports", "2001:db8:0:2::1")
	f.times(10, "reports", "fe80::1%eth0")
	for source, want := range map[string]int{
		"::ffff:192.0.2.1":     0,
		"::ffff:192.0.2.0":     10, // of the same /31
		"::ffff:192.0.2.3":     10,
		"2001:db8:0:2:ffff::2": 0,
		"2001:db8:0:3::1":      10, // of the same /63
		"2001:db8:0:1::1":      10,
		"fe80::2%eth1":         0,
	} {
		f.expect(t, 15, "reports", source, want)
	}
	unknown := newFailing()
	for range 10 {
		unknown.Judge(wrongSecret, issuerURL, "reports", netip.Addr{})
	}
	if got := unknown.Judge(wrongSecret, issuerURL, "reports", netip.Addr{}); got.Reason != oauth.TooManyFailures {
		t.Errorf("the eleventh from nowhere: %s, want %s", got.Reason, oauth.TooManyFailures)
	}
}

func TestLimitsOfTwoIssuersAreApart(t *testing.T) {
	t.Parallel()
	f := newFailing()
	f.times(10, "reports", "192.0.2.1")
	if got := f.Judge(wrongSecret, issuerURL+"/other", "reports", netip.MustParseAddr("192.0.2.1")); got != wrongSecret {
		t.Errorf("at another issuer: %s", got.Reason)
	}
	// nor does it matter where the one ends and the id begins
	if got := f.Judge(wrongSecret, issuerURL+"reports", "", netip.MustParseAddr("192.0.2.1")); got != wrongSecret {
		t.Errorf("at an issuer that ends as the client is called: %s", got.Reason)
	}
}

// Of each limit, the answer says when there is room again, and the log which
// one it was.
func TestLimitSaysWhenThereIsRoomAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fill  func(failing)
		wait  time.Duration
		limit string
	}{
		"a client from an address": {
			func(f failing) { f.times(10, "reports", "192.0.2.1") },
			6 * time.Second, "10 failures at once of one client id from one address, one more every 6s",
		},
		"an address": {
			func(f failing) {
				for n := range 100 {
					f.times(1, fmt.Sprint("made up ", n), "192.0.2.1")
				}
			},
			600 * time.Millisecond, "100 failures at once from one address, one more every 600ms",
		},
		"all": {
			func(f failing) {
				for n := range 1000 {
					f.times(1, "other", fmt.Sprintf("10.0.%d.%d", n>>8, n&255))
				}
			},
			time.Millisecond, "1000 failures at once of all clients, one more every 1ms",
		},
	} {
		f := newFailing()
		test.fill(f)
		got := f.Judge(wrongSecret, issuerURL, "reports", netip.MustParseAddr("192.0.2.1"))
		if got.RetryAfter != test.wait || got.Limit != test.limit {
			t.Errorf("%s: after %v by %q, want %v by %q", name, got.RetryAfter, got.Limit, test.wait, test.limit)
		}
		f.clock.Advance(test.wait - 1)
		f.expect(t, 1, "reports", "192.0.2.1", 0)
		f.clock.Advance(1)
		f.expect(t, 2, "reports", "192.0.2.1", 1)
	}
}

func TestTheCauseOfALimitIsTheRefusal(t *testing.T) {
	t.Parallel()
	f := newFailing()
	f.times(10, "reports", "192.0.2.1")
	bare := oauth.Refuse(oauth.ClientUnauthenticated, "nothing was sent")
	got := f.Judge(bare, issuerURL, "reports", netip.MustParseAddr("192.0.2.1"))
	if !errors.Is(got, error(bare)) || !strings.Contains(got.Cause.Error(), "nothing was sent") {
		t.Errorf("the log would say %v, want what was wrong", got.Cause)
	}
}

// Ids can be made up, so those that one address makes up are counted together.
func TestLimitOfOneAddress(t *testing.T) {
	t.Parallel()
	f := newFailing()
	answered := 0
	for n := range 500 {
		answered += f.times(1, fmt.Sprint("made up ", n), "192.0.2.1")
	}
	if answered != 100 {
		t.Errorf("%d failures of one address were answered, want 100", answered)
	}
	f.expect(t, 3, "reports", "192.0.2.1", 0)
	f.expect(t, 3, "reports", "192.0.2.2", 3)
	f.clock.Advance(time.Minute)
	f.expect(t, 3, "reports", "192.0.2.1", 3)
}

func TestGlobalLimit(t *testing.T) {
	t.Parallel()
	f := newFailing()
	answered := 0
	for n := range 3000 {
		answered += f.times(1, "reports", fmt.Sprintf("10.0.%d.%d", n>>8, n&255))
	}
	if answered != 1000 {
		t.Errorf("%d failures were answered at once, want 1000", answered)
	}
	buckets := len(f.buckets)
	f.expect(t, 100, "reports", "192.0.2.1", 0)
	if len(f.buckets) != buckets {
		t.Errorf("failures over the limit made %d buckets", len(f.buckets)-buckets)
	}
	f.clock.Advance(time.Second)
	f.expect(t, 25, "reports", "192.0.2.1", 10)
	// what was not used before is not saved up
	f.clock.Advance(time.Hour)
	answered = 0
	for n := range 1500 {
		answered += f.times(1, "reports", fmt.Sprintf("10.0.%d.%d", n>>8, n&255))
	}
	if answered != 1000 {
		t.Errorf("%d failures were answered at once an hour later, want 1000", answered)
	}
}

// A failure that is over one limit must not count in another: else one client
// that goes on failing would use up what all others have.
func TestFailuresOverOneLimitCostNobodyElse(t *testing.T) {
	t.Parallel()
	f := newFailing()
	f.times(5000, "reports", "192.0.2.1")
	f.expect(t, 200, "billing", "192.0.2.1", 10)
	for n := range 9 {
		f.expect(t, 10, fmt.Sprint("other ", n), "192.0.2.2", 10)
	}
}

func TestOnlyWrongCredentialsAreCounted(t *testing.T) {
	t.Parallel()
	f := newFailing()
	source := netip.MustParseAddr("192.0.2.1")
	if got := f.Judge(nil, issuerURL, "reports", source); got != nil {
		t.Errorf("Judge(nil) = %v", got)
	}
	counted := map[oauth.Reason]bool{oauth.ClientUnauthenticated: true, oauth.AssertionReplayed: true}
	for _, reason := range oauth.Reasons() {
		id := string(reason)
		f.clock.Advance(time.Minute)
		var last *oauth.Refusal
		for range 11 {
			last = f.Judge(oauth.Refuse(reason, ""), issuerURL, id, source)
		}
		want := reason
		if counted[reason] {
			want = oauth.TooManyFailures
		}
		if last.Reason != want {
			t.Errorf("the eleventh %s is answered with %s, want %s", reason, last.Reason, want)
		}
	}
}

// flood fails from made up networks as fast as the global limit lets it, and
// so that as many buckets as can be are left: those of a minute ago are filled
// to the brim, and the last ones with one failure each. It calls each every
// second.
func (f failing) flood(round int, each func(second int)) {
	network := 0
	for second := range 60 {
		each(second)
		depth := 10 - second/6
		for range 990 / depth {
			network++
			f.times(depth, "reports", fmt.Sprintf("2001:db8:%x:%x::1", round, network))
			f.clock.Advance(time.Duration(depth) * time.Millisecond)
		}
		f.clock.Advance(20 * time.Millisecond)
	}
}

// F15: TestMemoryOfTheLimiterIsBounded has more ids fail than are counted.
func TestMemoryOfTheLimiterIsBounded(t *testing.T) {
	t.Parallel()
	f := newFailing()
	most := 0
	for round := range fixture.Scale(2, 2) {
		f.flood(round, func(int) {
			n := len(f.buckets)
			if n > maxBuckets || n != len(f.byEnd) {
				t.Fatalf("%d buckets, %d in the heap, want %d at most", n, len(f.byEnd), maxBuckets)
			}
			most = max(most, n)
		})
	}
	if most != 10_000 {
		t.Errorf("%d buckets, want the test to fill 10000, and no more", most)
	}
	f.clock.Advance(time.Hour)
	f.times(1, "reports", "192.0.2.1")
	if n := len(f.buckets); n != 2 {
		t.Errorf("%d buckets after an hour, want the 2 of the last failure", n)
	}
}

// A bucket is forgotten at the moment when nothing in it is left to forgive.
func TestBucketIsForgottenAtItsEnd(t *testing.T) {
	t.Parallel()
	f := newFailing()
	f.times(1, "reports", "192.0.2.1")
	f.clock.Advance(6 * time.Second)
	f.times(1, "billing", "192.0.2.2")
	if n := len(f.buckets); n != 2 {
		t.Errorf("%d buckets, want the 2 of the last failure", n)
	}
}

// In whatever order they end, the one that ends first is the first to go.
func TestBucketsAreInOrder(t *testing.T) {
	t.Parallel()
	f := newFailing()
	for n := range 500 {
		f.times(1+n*7%10, fmt.Sprint("id ", n*13%101), fmt.Sprintf("192.0.2.%d", n*29%251))
		f.clock.Advance(time.Duration(n*17%400) * time.Millisecond)
		for i, b := range f.byEnd {
			if b.place != i || f.buckets[b.key] != b {
				t.Fatalf("after %d: the bucket in place %d is said to be in %d", n, i, b.place)
			}
			if b.end < f.byEnd[(i-1)/2].end {
				t.Fatalf("after %d: the bucket in place %d ends before the one above it", n, i)
			}
		}
		if len(f.byEnd) != len(f.buckets) {
			t.Fatalf("after %d: %d buckets, %d in order", n, len(f.buckets), len(f.byEnd))
		}
		for _, b := range f.byEnd[len(f.byEnd):cap(f.byEnd)] {
			if b != nil {
				t.Fatalf("after %d: a bucket that was dropped still takes memory", n)
			}
		}
	}
}

// A bucket knows its place also where it is not the first to end, as new ones
// are today.
func TestPushedBucketKnowsItsPlace(t *testing.T) {
	t.Parallel()
	var h bucketHeap
	for end := range time.Duration(10) {
		heap.Push(&h, &bucket{end: end})
	}
	for i, b := range h {
		if b.place != i {
			t.Errorf("the bucket in place %d is said to be in %d", i, b.place)
		}
	}
}

// An attacker with any number of networks does not get his failures forgotten
// by making more of them, but only by waiting, like everybody.
func TestFloodDoesNotForgiveAnOffender(t *testing.T) {
	t.Parallel()
	f := newFailing()
	f.expect(t, 20, "reports", "192.0.2.1", 10)
	began, answered := f.clock.Mono(), 0
	f.flood(0, func(int) { answered += f.times(2, "reports", "192.0.2.1") })
	if n := len(f.buckets); n < maxBuckets {
		t.Errorf("%d buckets, want the flood to fill all %d", n, maxBuckets)
	}
	if most := int((f.clock.Mono() - began) / pairRate.each); answered > most || answered == 0 {
		t.Errorf("%d failures of the offender were answered in the flood, want 1 to %d", answered, most)
	}
}

func BenchmarkLimiter(b *testing.B) {
	f := newFailing()
	f.flood(0, func(int) {})
	source := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		f.clock.Advance(time.Millisecond)
		f.Judge(wrongSecret, issuerURL, "reports", source)
	}
}
