// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"strconv"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// fill lets n keys use one proof each.
func fill(t *testing.T, m *Memory, p Policy, prefix string, n int) {
	t.Helper()
	for i := range n {
		if got := judge(m, p, proof{key: prefix + strconv.Itoa(i), id: "1", nonce: m.Nonce(), hasNonce: true}); got != "" {
			t.Fatalf("proof %d: got %q, want it accepted", i, got)
		}
	}
}

func TestFullGuardRefusesAndForgetsNothing(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 100)
	nonce := m.Nonce()
	fill(t, m, required, "a", 100)
	x := proof{key: "k", id: "1", nonce: nonce, hasNonce: true}
	want(t, "one more", judge(m, required, x), oauth.ReplayGuardFull)
	for i := range 100 {
		x := proof{key: "a" + strconv.Itoa(i), id: "1", nonce: nonce, hasNonce: true}
		want(t, "replay of "+x.key, judge(m, required, x), oauth.ProofReplayed)
	}
	c.Advance(nonceEntryLife - 1)
	x.nonce = m.Nonce()
	want(t, "a moment before the first expires", judge(m, required, x), oauth.ReplayGuardFull)
	c.Advance(1)
	want(t, "when the first has expired", judge(m, required, x), "")
}

func TestFullGuardNamesItsLimit(t *testing.T) {
	t.Parallel()
	m, _ := newMemory(t, 0)
	refusal := m.Use(required, Proof{Method: "dpop", Key: "k", ID: "1", Nonce: m.Nonce(), HasNonce: true})
	if reason(refusal) != oauth.ReplayGuardFull || refusal.Limit != "0" || refusal.Option != "replay_capacity" {
		t.Errorf("Use with no capacity = %+v, want %q with limit and option", refusal, oauth.ReplayGuardFull)
	}
}

func TestSingleUseNeedsTwoPlaces(t *testing.T) {
	t.Parallel()
	m, _ := newMemory(t, 9)
	fill(t, m, singleUse, "a", 4)
	want(t, "one place left", judge(m, singleUse, proof{key: "k", id: "1", nonce: m.Nonce(), hasNonce: true}), oauth.ReplayGuardFull)
	want(t, "one place needed", judge(m, required, proof{key: "k", id: "1", nonce: m.Nonce(), hasNonce: true}), "")
}

func TestOnlyASingleNonceIsUsedUp(t *testing.T) {
	t.Parallel()
	g := newGuard(10)
	want(t, "the first", reason(g.use(entry{proof: 1, nonce: 9, single: true}, 0, nonceEntryLife)), "")
	want(t, "a proof of a place that shares nonces", reason(g.use(entry{proof: 2, nonce: 9}, 0, nonceEntryLife)), "")
	want(t, "a proof of one that does not", reason(g.use(entry{proof: 3, nonce: 9, single: true}, 0, nonceEntryLife)), oauth.NonceUsed)
}

func TestOneKeyMayNotFillTheGuard(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 100)
	greedy := func(id int) oauth.Reason {
		return judge(m, required, proof{key: "greedy", id: strconv.Itoa(id), nonce: m.Nonce(), hasNonce: true})
	}
	// nobody else is there to be hurt
	for id := range 51 {
		want(t, "proof "+strconv.Itoa(id), greedy(id), "")
	}
	want(t, "more than its share of a half full guard", greedy(51), oauth.ReplayShareExceeded)
	fill(t, m, required, "other", 49)
	want(t, "the guard is full", judge(m, required, proof{key: "k", id: "1", nonce: m.Nonce(), hasNonce: true}), oauth.ReplayGuardFull)

	c.Advance(nonceEntryLife)
	want(t, "when its entries have expired", greedy(52), "")
	if got := len(m.guard.ledger.held); got != 0 {
		t.Errorf("%d keys are counted whose entries have expired, want none", got)
	}
}

func TestShareIsAQuarter(t *testing.T) {
	t.Parallel()
	m, _ := newMemory(t, 100)
	fill(t, m, required, "other", 51)
	for id := range 26 {
		got := judge(m, required, proof{key: "greedy", id: strconv.Itoa(id), nonce: m.Nonce(), hasNonce: true})
		expected := oauth.Reason("")
		if id == 25 {
			expected = oauth.ReplayShareExceeded
		}
		want(t, "proof "+strconv.Itoa(id), got, expected)
	}
}

// An expired flood must neither count against the key that caused it nor
// against anybody else, although a use sweeps only a few.
func TestExpiredEntriesDoNotCount(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 1000)
	for id := range 501 {
		want(t, "flood", judge(m, required, proof{key: "greedy", id: strconv.Itoa(id), nonce: m.Nonce(), hasNonce: true}), "")
	}
	fill(t, m, required, "other", 499)
	c.Advance(nonceEntryLife)
	for id := range 100 {
		want(t, "after the flood", judge(m, required, proof{key: "greedy", id: "n" + strconv.Itoa(id), nonce: m.Nonce(), hasNonce: true}), "")
	}
}

func TestMemoryStaysBoundedUnderLoad(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 1<<20)
	// 10 proofs a second of both classes, 4 keys a second
	for n := range quick(20_000, 6000) {
		if n%10 == 0 {
			c.Advance(time.Second)
		}
		x := proof{key: strconv.Itoa(n / 3), id: strconv.Itoa(n), iat: iat(c)}
		if x.hasNonce = n%2 == 0; x.hasNonce {
			x.nonce = m.Nonce()
		}
		if got := judge(m, off, x); got != "" {
			t.Fatalf("proof %d: got %q, want it accepted", n, got)
		}
	}
	live := int(5*nonceEntryLife.Seconds() + 5*life(off).Seconds())
	if got := m.Stats().Live; got < live-20 || got > live+20 {
		t.Errorf("%d entries, want about %d", got, live)
	}
	if got := len(m.guard.ledger.held); got > live {
		t.Errorf("%d keys, want at most %d", got, live)
	}
	for c, q := range m.guard.ledger.queue {
		if len(q) > lifeSlices+1 {
			t.Errorf("class %d has %d slices, want at most %d", c, len(q), lifeSlices+1)
		}
	}
	// most partitions have one entry or two here, hence one bucket
	if got, most := words(m.guard), bucketSize<<partitionBits*3/2; got > most {
		t.Errorf("%d words, want at most %d", got, most)
	}
}

// quick is how often something is done: many times, or few with go test -short.
func quick(many, few int) int {
	if testing.Short() {
		return few
	}
	return many
}

// words is how many words the guard has allocated.
func words(g *guard) (n int) {
	for _, p := range g.table.partitions {
		n += cap(p)
	}
	return n
}
