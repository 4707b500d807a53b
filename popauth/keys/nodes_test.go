// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

const (
	simulated     = 200 * day
	tokenLifetime = 90 * time.Minute
	// longestLag is how long a node of the simulation goes without a look at
	// storage, so that it differs from the others as much as it may.
	longestLag = 40 * time.Minute
)

// node is one of several that share a storage, with a clock of its own.
type node struct {
	ring   *Ring
	clock  *clock.Fake
	offset time.Duration
	alg    string
	looked time.Duration            // when it last had a good look at storage
	seen   map[string]time.Duration // when it first published a kid
}

// world is what really happens: nodes and the true time since start.
type world struct {
	t     *testing.T
	rand  *rand.Rand
	s     *memory
	now   time.Duration
	nodes []*node
	live  map[string]time.Duration // tokens and when they expire, by the clock of their node
	first string                   // the kid that signs at once
	used  map[string]bool
}

func newWorld(t *testing.T, seed uint64, nodes int) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), s: newMemory(),
		live: map[string]time.Duration{}, used: map[string]bool{},
	}
	for range nodes {
		n := &node{clock: clock.NewFake(start), alg: "ES256", seen: map[string]time.Duration{}}
		w.nodes = append(w.nodes, n)
		w.restart(n)
	}
	return w
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rand.Int64N(int64(d))) }

// restart gives a node a new ring, as a reload does.
func (w *world) restart(n *node) {
	w.t.Helper()
	r, err := NewRing(Config{
		Storage: w.s, Prefix: prefix, Algorithm: n.alg, Clock: n.clock, Lifetime: tokenLifetime,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	n.ring = r
	w.look(n)
}

func (w *world) look(n *node) {
	n.ring.maintain(w.t.Context())
	n.looked = w.now
}

// pass lets time pass: hours while nothing is about to happen, minutes before a
// key is made, seconds around the moment at which it begins to sign. Clocks
// drift within half a minute.
func (w *world) pass() {
	step := time.Second + w.upTo(3*time.Hour)
	for _, k := range *w.nodes[0].ring.keys.Load() {
		signs := k.activeFrom.Sub(start) - w.now
		for _, event := range []time.Duration{signs, signs + period - ahead} {
			if -2*time.Hour < event && event < 4*time.Hour {
				step = min(step, time.Second+w.upTo(20*time.Minute))
			}
		}
		switch {
		case signs > time.Minute:
			step = min(step, signs-time.Minute+time.Second)
		case signs > -time.Minute:
			step = min(step, time.Second+w.upTo(15*time.Second))
		}
	}
	w.now += step
	for _, n := range w.nodes {
		offset := w.upTo(time.Minute) - 30*time.Second
		n.clock.Advance(step)
		n.clock.Step(offset - n.offset)
		n.offset = offset
	}
}

// disturb has a node look at storage, or fail to, or start anew.
func (w *world) disturb(n *node) {
	overdue := w.now-n.looked > longestLag-21*time.Minute
	switch p := w.rand.IntN(100); {
	case p == 0:
		w.restart(n)
	case overdue || p < 60:
		w.look(n)
	case p < 70:
		method := []string{"List", "Lock", "Store", "Load", "Delete"}[w.rand.IntN(5)]
		w.s.setFail(method, errors.New("broken"))
		n.ring.maintain(w.t.Context())
		w.s.setFail(method, nil)
	}
}

// sign has a node sign a token. All others must have published its key for a
// quarter of an hour.
func (w *world) sign(n *node) {
	w.t.Helper()
	compact, err := n.ring.Sign(w.t.Context(), "at+jwt", []byte(`{"sub":"me"}`))
	if err != nil {
		w.t.Fatalf("after %v: Sign: %v", w.now, err)
	}
	all := *n.ring.keys.Load()
	kid := all.active(n.alg, n.clock.Now()).public.ID()
	if !w.used[kid] {
		verify(w.t, w.nodes[w.rand.IntN(len(w.nodes))].ring, compact)
	}
	if w.first == "" {
		w.first = kid
	}
	for i, other := range w.nodes {
		since, ok := other.seen[kid]
		if kid != w.first && !w.used[kid] && (!ok || w.now-since < 15*time.Minute) {
			w.t.Fatalf("after %v: %q signs, which node %d has published for %v", w.now, kid, i, w.now-since)
		}
	}
	w.used[kid] = true
	w.live[kid] = max(w.live[kid], w.now+n.offset+tokenLifetime)
}

// check makes sure that all nodes publish and find the keys of all tokens that
// one of them takes for valid.
func (w *world) check() {
	w.t.Helper()
	for i, n := range w.nodes {
		kids := published(w.t, n.ring)
		for _, kid := range kids {
			if _, ok := n.seen[kid]; !ok {
				n.seen[kid] = w.now
			}
		}
		for kid, expires := range w.live {
			if w.now+n.offset >= expires {
				continue
			}
			if k, err := n.ring.Find(w.t.Context(), kid); k == nil || err != nil {
				w.t.Fatalf("after %v: Find(%q) of node %d = %v, %v; want the key of a valid token", w.now, kid, i, k, err)
			}
			if kid != w.first && !slices.Contains(kids, kid) {
				w.t.Fatalf("after %v: node %d publishes %q, not %q", w.now, i, kids, kid)
			}
		}
	}
}

func (w *world) run(change func()) {
	w.t.Helper()
	for w.now < simulated {
		w.pass()
		change()
		for _, i := range w.rand.Perm(len(w.nodes)) {
			w.disturb(w.nodes[i])
		}
		w.check()
		w.sign(w.nodes[w.rand.IntN(len(w.nodes))])
		w.check()
	}
}

// F09: TestNodesWhoseClocksDifferAlwaysFindEachOthersKeys lets 200 days pass on two
// nodes. Whatever one signs, all others can verify until it expires, and their JWK
// Sets have its key a quarter of an hour before.
func TestNodesWhoseClocksDifferAlwaysFindEachOthersKeys(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed, 2)
			w.run(func() {})
			if got := len(w.used); got != 7 {
				t.Errorf("%d keys have signed in 200 days, want one for every 30", got)
			}
			if made, files := w.s.count("Store"), len(w.s.files); files > 3 || made > 20 {
				t.Errorf("%d calls to Store, %d files; want few", made, files)
			}
		})
	}
}

func TestNodesWhoseAlgorithmsDifferAlwaysFindEachOthersKeys(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed, 3)
			next := w.upTo(20 * day)
			w.run(func() {
				if w.now < next {
					return
				}
				next = w.now + w.upTo([]time.Duration{time.Hour, day, 60 * day}[w.rand.IntN(3)])
				n := w.nodes[w.rand.IntN(len(w.nodes))]
				n.alg = []string{"ES256", "EdDSA"}[w.rand.IntN(2)]
				w.restart(n)
			})
			if len(w.s.files) > 6 {
				t.Errorf("%d files, want few", len(w.s.files))
			}
		})
	}
}

func TestNodesShareCaddysFileStorage(t *testing.T) {
	t.Parallel()
	c, s := clock.NewFake(start), &certmagic.FileStorage{Path: t.TempDir()}
	one, e := newRing(t, s, c, "")
	two, _ := newRing(t, s, c, "")
	one.maintain(t.Context())
	first := kid(t, two)
	c.Advance(30 * day)
	one.maintain(t.Context())
	two.maintain(t.Context())
	second := other(t, two, first)
	c.Advance(30*day - 2*ahead)
	one.maintain(t.Context())
	two.maintain(t.Context())
	if got := kid(t, two); got != second {
		t.Errorf("%q signs, want the second key", got)
	}
	names, err := s.List(t.Context(), prefix, false)
	if want := []string{prefix + "/" + second + ".json"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("storage has %q, %v; want %q", names, err, want)
	}
	if got := e.messages(); len(got) != 3 {
		t.Errorf("events = %q, want two keys made and one deleted", got)
	}
}
