// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

var start = time.Unix(1_800_000_000, 0)

var (
	required  = Policy{}
	singleUse = Policy{Mode: SingleUse}
	off       = Policy{Mode: Off, MaxAge: 5 * time.Minute, Skew: time.Minute}
)

// newMemory returns a memory that has been up for an hour, so that its start
// does not fence.
func newMemory(t testing.TB, capacity int) (*Memory, *clock.Fake) {
	t.Helper()
	c := clock.NewFake(start)
	m := New(c, capacity)
	m.Configure(capacity, off.MaxAge, off.Skew)
	c.Advance(time.Hour)
	return m, c
}

func iat(c clock.Clock) float64 { return float64(c.Now().UnixMilli()) / 1000 }

// proof is what a client sends.
type proof struct {
	key, id, nonce string
	hasNonce       bool
	iat            float64
}

// judge does what a caller does.
func judge(m *Memory, p Policy, x proof) oauth.Reason {
	proof := Proof{Method: "dpop", Key: x.key, ID: x.id, Nonce: x.nonce, HasNonce: x.hasNonce, IssuedAt: x.iat}
	if _, refusal := m.Fresh(p, proof); refusal != nil {
		return refusal.Reason
	}
	return reason(m.Use(p, proof))
}

func reason(r *oauth.Refusal) oauth.Reason {
	if r == nil {
		return ""
	}
	return r.Reason
}

func want(t *testing.T, what string, got, want oauth.Reason) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestZeroPolicyWantsANonce(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 10)
	_, refusal := m.Fresh(Policy{}, Proof{IssuedAt: iat(c)})
	want(t, "Fresh", reason(refusal), oauth.NonceMissing)
	want(t, "Use", reason(m.Use(Policy{}, Proof{Method: "dpop", Key: "k", ID: "1"})), oauth.NonceMissing)
	want(t, "unknown mode", judge(m, Policy{Mode: 99, MaxAge: time.Hour, Skew: time.Hour}, proof{iat: iat(c)}), oauth.NonceMissing)
}

func TestMemoryRefusesTheSameProofTwice(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Policy{"required": required, "single use": singleUse, "off": off} {
		for _, hasNonce := range []bool{true, false} {
			if !hasNonce && p.Mode != Off {
				continue
			}
			t.Run(name+", nonce "+strconv.FormatBool(hasNonce), func(t *testing.T) {
				t.Parallel()
				m, c := newMemory(t, 100)
				x := proof{key: "k", id: "1", iat: iat(c), hasNonce: hasNonce}
				if hasNonce {
					x.nonce = m.Nonce()
				}
				want(t, "first", judge(m, p, x), "")
				want(t, "second", judge(m, p, x), oauth.ProofReplayed)
				x.key = "other"
				if p.Mode != SingleUse {
					want(t, "same id of another key", judge(m, p, x), "")
				}
			})
		}
	}
}

// A proof must not become another one by cutting its parts elsewhere.
func TestUsePartsDoNotRunIntoEachOther(t *testing.T) {
	t.Parallel()
	m, _ := newMemory(t, 100)
	nonce := m.Nonce()
	for _, parts := range [][3]string{{"a", "bc", "d"}, {"ab", "c", "d"}, {"a", "b", "cd"}, {"a", "bcd", ""}, {"", "a", "bcd"}} {
		want(t, strconv.Quote(parts[0]+"|"+parts[1]+"|"+parts[2]),
			reason(m.Use(required, Proof{Method: parts[0], Key: parts[1], ID: parts[2], Nonce: nonce, HasNonce: true})), "")
	}
}

func TestConcurrentUsesOfAProofAcceptExactlyOne(t *testing.T) {
	t.Parallel()
	const most, times, workers = 1000, 20, 64
	proofs := quick(most, most/10)
	for name, p := range map[string]Policy{"required": required, "single use": singleUse, "off": off} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, c := newMemory(t, 4*proofs)
			sent := make([]proof, proofs)
			for i := range sent {
				sent[i] = proof{key: strconv.Itoa(i % 9), id: strconv.Itoa(i), iat: iat(c)}
				if p.Mode != Off {
					sent[i].nonce, sent[i].hasNonce = m.Nonce(), true
				}
			}
			// neighbours send the same at almost the same time
			var accepted [most]atomic.Int32
			var next atomic.Int64
			var wg sync.WaitGroup
			begin := make(chan struct{})
			for range workers {
				wg.Go(func() {
					<-begin
					for {
						n := int(next.Add(1) - 1)
						if n >= proofs*times {
							return
						}
						i := n / times
						if n%times >= times/2 { // half of them later
							i = n * 7919 / times % proofs
						}
						if judge(m, p, sent[i]) == "" {
							accepted[i].Add(1)
						}
					}
				})
			}
			close(begin)
			wg.Wait()
			for i := range proofs {
				if got := accepted[i].Load(); got != 1 {
					t.Errorf("proof %d was accepted %d times, want once", i, got)
				}
			}
		})
	}
}

func TestSingleUseTakesANonceOnce(t *testing.T) {
	t.Parallel()
	m, _ := newMemory(t, 100)
	x := proof{key: "k", id: "1", nonce: m.Nonce(), hasNonce: true}
	want(t, "first", judge(m, singleUse, x), "")
	want(t, "another proof with the nonce", judge(m, singleUse, proof{key: "k", id: "2", nonce: x.nonce, hasNonce: true}), oauth.NonceUsed)
	want(t, "another key with the nonce", judge(m, singleUse, proof{key: "l", id: "1", nonce: x.nonce, hasNonce: true}), oauth.NonceUsed)
	want(t, "the same proof", judge(m, singleUse, x), oauth.ProofReplayed)

	// a refused proof must not have used up anything
	x.id, x.nonce = "1", m.Nonce()
	want(t, "a used id with a new nonce", judge(m, singleUse, x), oauth.ProofReplayed)
	x.id = "3"
	want(t, "the nonce of the refused proof", judge(m, singleUse, x), "")

	renew, refusal := m.Fresh(singleUse, Proof{Nonce: m.Nonce(), HasNonce: true})
	if refusal != nil || !renew {
		t.Errorf("Fresh under single use = %v, %v; want a new nonce with every answer", renew, refusal)
	}
}

// A proof that is held up between Fresh and Use, until the guard has forgotten
// its first use, would pass twice.
func TestUseJudgesTheNonceAgain(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 100)
	x := proof{key: "k", id: "1", nonce: m.Nonce(), hasNonce: true}
	want(t, "first", judge(m, required, x), "")
	c.Advance(nonceEntryLife)
	want(t, "held up", reason(m.Use(required, Proof{Method: "dpop", Key: x.key, ID: x.id, Nonce: x.nonce, HasNonce: true})), oauth.NonceStale)
	x.nonce = m.Nonce()
	c.Step(-1500 * time.Millisecond) // not so far that the nonce is from the future
	want(t, "held up over a step of the clock", reason(m.Use(required, Proof{Method: "dpop", Key: x.key, ID: "2", Nonce: x.nonce, HasNonce: true})), oauth.NonceInvalid)
}

func TestUseJudgesTheTimeOfAProofWithoutANonceAgain(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 100)
	x := proof{key: "k", id: "1", iat: iat(c)}
	want(t, "first", judge(m, off, x), "")
	c.Advance(life(off) + time.Second)
	want(t, "held up", reason(m.Use(off, Proof{Method: "dpop", Key: x.key, ID: x.id, IssuedAt: x.iat})), oauth.ProofExpired)
}

func TestGuardRemembersLongerThanAProofCanPass(t *testing.T) {
	t.Parallel()
	t.Run("with a nonce", func(t *testing.T) {
		t.Parallel()
		m, c := newMemory(t, 100)
		x := proof{key: "k", id: "1", nonce: m.Nonce(), hasNonce: true}
		want(t, "first", judge(m, required, x), "")
		c.Advance(NonceLife)
		want(t, "in the last moment of the nonce", judge(m, required, x), oauth.ProofReplayed)
		c.Advance(nonceEntryLife - NonceLife - 1)
		x.nonce = m.Nonce()
		want(t, "in the last moment of the entry", judge(m, required, x), oauth.ProofReplayed)
		c.Advance(1)
		want(t, "after it", judge(m, required, x), "")
	})
	t.Run("without a nonce", func(t *testing.T) {
		t.Parallel()
		m, c := newMemory(t, 100)
		x := proof{key: "k", id: "1", iat: iat(c) + off.Skew.Seconds()}
		want(t, "first", judge(m, off, x), "")
		c.Advance(off.MaxAge + off.Skew)
		want(t, "in the last moment of iat", judge(m, off, x), oauth.ProofReplayed)
		x.iat += 200
		c.Advance(life(off) - off.MaxAge - off.Skew - 1)
		want(t, "in the last moment of the entry", judge(m, off, x), oauth.ProofReplayed)
		c.Advance(1)
		want(t, "after it", judge(m, off, x), "")
	})
}

// The promise is the largest MaxAge, twice the largest Skew, and 2 s.
func TestLifeOfAProofWithoutANonce(t *testing.T) {
	t.Parallel()
	for w, want := range map[windows]time.Duration{
		{}:                             2 * time.Second,
		{maxAge: 5 * time.Minute}:      302 * time.Second,
		{skew: time.Minute}:            122 * time.Second,
		{5 * time.Minute, time.Minute}: 422 * time.Second,
	} {
		if got := w.life(); got != want {
			t.Errorf("under %+v a proof is remembered for %v, want %v", w, got, want)
		}
	}
}

func TestModesHaveNames(t *testing.T) {
	t.Parallel()
	for mode, want := range map[Mode]string{Required: "required", SingleUse: "single_use", Off: "off", Off + 1: "unknown"} {
		if got := mode.String(); got != want {
			t.Errorf("mode %d is called %q, want %q", mode, got, want)
		}
	}
}

func TestConfigureNeverShrinks(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 100)
	m.Configure(1, time.Second, 0)
	if got := m.Stats().Capacity; got != 100 {
		t.Errorf("capacity = %d, want 100", got)
	}
	want(t, "a proof under the larger window", judge(m, off, proof{key: "k", id: "1", iat: iat(c)}), "")
	m.Configure(200, off.MaxAge, off.Skew)
	if got := m.Stats().Capacity; got != 200 {
		t.Errorf("capacity = %d, want 200", got)
	}
}

func TestStatsCountEntries(t *testing.T) {
	t.Parallel()
	m, _ := newMemory(t, 100)
	if got, want := m.Stats(), (Stats{Live: 0, Capacity: 100}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
	judge(m, required, proof{key: "k", id: "1", nonce: m.Nonce(), hasNonce: true})
	judge(m, singleUse, proof{key: "k", id: "2", nonce: m.Nonce(), hasNonce: true})
	if got, want := m.Stats(), (Stats{Live: 3, Capacity: 100}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

// Whatever the clocks do, no proof passes twice.
func TestNoHistoryAcceptsAProofTwice(t *testing.T) {
	t.Parallel()
	for seed := range quick(200, 20) {
		t.Run("seed "+strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			history(t, rand.New(rand.NewPCG(uint64(seed), 1)))
		})
	}
}

func history(t *testing.T, r *rand.Rand) {
	c := clock.NewFake(start)
	m := New(c, 64)
	policies := []Policy{
		required, singleUse, off,
		{Mode: Off, MaxAge: 10 * time.Second}, {Mode: Off, MaxAge: time.Minute, Skew: 5 * time.Second},
	}
	m.Configure(64, policies[3].MaxAge, policies[3].Skew)
	accepted := map[proof]int{}
	var sent []proof
	fresh := 0
	for step := range 1500 {
		switch n := r.IntN(40); {
		case n == 0:
			c.Step(time.Duration(r.Int64N(int64(10*time.Minute))) - 5*time.Minute)
		case n == 1:
			c.Step(time.Duration(r.Int64N(int64(3*time.Second))) - 1500*time.Millisecond)
		case n == 2:
			m.Configure(r.IntN(65), policies[r.IntN(len(policies))].MaxAge, policies[r.IntN(len(policies))].Skew)
		case n < 12:
			c.Advance(time.Duration(r.Int64N(int64(40 * time.Second))))
		default:
			c.Advance(time.Duration(r.Int64N(int64(time.Second))))
		}
		var x proof
		if len(sent) > 0 && r.IntN(3) > 0 {
			x = sent[max(0, len(sent)-1-r.IntN(60))]
		} else {
			x = proof{key: strconv.Itoa(r.IntN(4)), id: strconv.Itoa(step), iat: iat(c) + float64(r.IntN(160)-100)}
			if x.hasNonce = r.IntN(2) == 0; x.hasNonce {
				x.nonce = m.Nonce()
			}
			sent = append(sent, x)
			fresh++
		}
		if judge(m, policies[r.IntN(len(policies))], x) == "" {
			accepted[x]++
			if accepted[x] > 1 {
				t.Fatalf("step %d: proof %+v was accepted twice", step, x)
			}
		}
		if s := m.Stats(); s.Live > s.Capacity {
			t.Fatalf("step %d: %d entries, more than the capacity of %d", step, s.Live, s.Capacity)
		}
	}
	// a memory that refuses everything would pass the above
	if len(accepted) < fresh/10 {
		t.Errorf("only %d of %d fresh proofs were accepted", len(accepted), fresh)
	}
}

// life is how long the guard keeps a proof if there is just one policy.
func life(p Policy) time.Duration { return windows{p.MaxAge, p.Skew}.life() }

// Two places of one server may differ, and the query, which no proof covers,
// may choose between them.
func TestAProofIsRememberedForTheWidestOfAllPolicies(t *testing.T) {
	t.Parallel()
	ahead := Policy{Mode: Off, MaxAge: time.Second, Skew: 10 * time.Second}
	back := Policy{Mode: Off, MaxAge: 20 * time.Second, Skew: time.Second}
	c := clock.NewFake(start)
	m := New(c, 100)
	m.Configure(100, back.MaxAge, ahead.Skew)
	c.Advance(time.Minute)
	x := proof{key: "k", id: "1", iat: iat(c) + 9.5}
	want(t, "first, by the one that looks ahead", judge(m, ahead, x), "")
	for passed := time.Duration(0); passed < time.Minute; passed += time.Second {
		for name, p := range map[string]Policy{"ahead": ahead, "back": back} {
			if got := judge(m, p, x); got == "" {
				t.Fatalf("the proof passed again after %v, by the policy that looks %s", passed, name)
			}
		}
		c.Advance(time.Second)
	}
}

// The wall clock may fall behind by what the fence lets pass, and a proof
// without a nonce is good for so much longer.
func TestAProofIsRememberedOverASmallStepBack(t *testing.T) {
	t.Parallel()
	p := Policy{Mode: Off, MaxAge: 10 * time.Second}
	c := clock.NewFake(start)
	m := New(c, 100)
	m.Configure(100, p.MaxAge, p.Skew)
	c.Advance(time.Minute)
	x := proof{key: "k", id: "1", iat: iat(c)}
	want(t, "first", judge(m, p, x), "")
	c.Step(-fallTolerance)
	c.Advance(p.MaxAge + fallTolerance)
	want(t, "in the last moment of iat", judge(m, p, x), oauth.ProofReplayed)
}

func TestAProofThatWasTakenUnderALargerSkewIsFenced(t *testing.T) {
	t.Parallel()
	before := Policy{Mode: Off, MaxAge: time.Second, Skew: 10 * time.Second}
	for name, after := range map[string]Policy{
		"a window that is as long": {Mode: Off, MaxAge: 20 * time.Second, Skew: time.Second},
		"a longer window":          {Mode: Off, MaxAge: 2 * time.Minute, Skew: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clock.NewFake(start)
			m := New(c, 100)
			m.Configure(100, before.MaxAge, before.Skew)
			c.Advance(time.Minute)
			x := proof{key: "k", id: "1", iat: iat(c) + 9.5}
			want(t, "before the reload", judge(m, before, x), "")
			for passed := time.Duration(0); passed < 3*time.Minute; passed += time.Second {
				if got := judge(m, after, x); got == "" {
					t.Fatalf("the proof passed again %v later, before the new configuration was started", passed)
				}
				if passed == 2*time.Second {
					m.Configure(100, after.MaxAge, after.Skew)
				}
				c.Advance(time.Second)
			}
		})
	}
}
