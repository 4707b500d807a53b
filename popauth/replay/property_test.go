// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// F07: TestHistories is what the clocks, the operator and a thief may do: no proof
// is accepted twice, none outside its window, and an honest client needs one more
// round trip at the most.
//
// POPAUTH_HISTORIES is how many histories are tried, POPAUTH_SEED the first
// one's seed: with a failure's seed and POPAUTH_HISTORIES=1 it comes again.
func TestHistories(t *testing.T) {
	t.Parallel()
	n, first := number(t, "POPAUTH_HISTORIES", fixture.Scale(2000, 30_000)), number(t, "POPAUTH_SEED", 0)
	const workers = 4
	accepted := make([]int, workers)
	t.Run("all", func(t *testing.T) {
		for w := range workers {
			t.Run("worker "+strconv.Itoa(w), func(t *testing.T) {
				t.Parallel()
				for seed := first + w; seed < first+n; seed += workers {
					h := newWorld(seed, false)
					h.run()
					accepted[w] += len(h.used)
					if h.failure == "" {
						continue
					}
					h = newWorld(seed, true)
					h.run()
					t.Fatalf("POPAUTH_SEED=%d POPAUTH_HISTORIES=1: %s; the history:\n%s", seed, h.failure, strings.Join(h.log, "\n"))
				}
			})
		}
	})
	total := 0
	for _, a := range accepted {
		total += a
	}
	if !t.Failed() && total < 10*n {
		t.Errorf("%d proofs were accepted in %d histories, want at least %d", total, n, 10*n)
	}
	fixture.Figure(t, "F07", "histories=%d proofs=%d accepted_twice=0", n, total)
}

func number(t *testing.T, env string, otherwise int) int {
	t.Helper()
	if os.Getenv(env) == "" {
		return otherwise
	}
	n, err := strconv.Atoi(os.Getenv(env))
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

// world is a server, its clocks, honest clients and a thief who reads all they
// send.
type world struct {
	r       *rand.Rand
	c       *clock.Fake
	m       *Memory
	failure string // the first one
	noting  bool
	log     []string
	highest time.Time     // the highest wall time any process has seen
	skews   int           // how many different skews occur
	skew    time.Duration // the largest any process had

	policies []Policy // of all configs of this process, the running one's last
	running  int      // how many of them are the running one's
	clients  []*honest
	sent     []sent
	mints    map[string]time.Time // of every nonce
	used     map[string]int       // how often a proof was accepted, by key and id
	burnt    map[string]int       // how often a nonce was, under SingleUse
}

// honest is a client.
type honest struct {
	key   string
	off   time.Duration // how wrong its clock is
	nonce string        // the last one it was given
}

// sent is a proof on the wire.
type sent struct {
	proof
	mono time.Duration // when it was sent
}

const thief = "a thief"

const spare = 1 << 16 // more than a history can fill

func newWorld(seed int, noting bool) *world {
	w := &world{
		r: rand.New(rand.NewPCG(uint64(seed), 7)), noting: noting,
		c:     clock.NewFake(start.Add(time.Duration(seed) * 123456789)),
		skews: 1 + seed%3, mints: map[string]time.Time{}, used: map[string]int{}, burnt: map[string]int{},
	}
	w.c.Advance(time.Duration(w.r.Int64N(int64(1000 * time.Hour))))
	for i, off := range []time.Duration{0, time.Duration(w.r.IntN(90)-45) * time.Second, 10 * time.Minute, -100 * time.Hour} {
		w.clients = append(w.clients, &honest{key: strconv.Itoa(i), off: off})
	}
	w.m = New(w.c, spare)
	w.reload(w.anyPolicies())
	return w
}

// run lets things happen until something fails.
func (w *world) run() {
	for step := 0; step < 60 && w.failure == ""; step++ {
		switch n := w.r.IntN(16); n {
		case 0:
			w.stepWall()
		case 1:
			w.reload(w.anyPolicies())
		case 2:
			if w.r.IntN(3) == 0 {
				w.restart()
			}
		case 3, 4:
			w.toTheBrink()
		case 5:
			w.advance(time.Duration(w.r.Int64N(int64(8 * time.Minute))))
		default:
			w.advance(time.Duration(w.r.Int64N(int64(1 << (20 + w.r.IntN(17))))))
		}
		if w.r.IntN(2) == 0 {
			w.request(w.clients[w.r.IntN(len(w.clients))], w.now())
		}
		for range 4 {
			w.steal()
		}
	}
}

func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
	}
}

// note writes the history, if it is to be shown: that takes most of the time.
func (w *world) note(format string, args ...any) {
	if !w.noting {
		return
	}
	w.log = append(w.log, w.c.Now().UTC().Format("15:04:05.000 ")+w.c.Mono().String()+" "+fmt.Sprintf(format, args...))
}

// now returns a policy of the running config.
func (w *world) now() Policy {
	return w.policies[len(w.policies)-1-w.r.IntN(w.running)]
}

func (w *world) advance(d time.Duration) {
	w.c.Advance(d)
	w.note("%v pass", d)
}

// stepWall does to the clocks what operators, NTP, leap seconds and
// hypervisors do.
func (w *world) stepWall() {
	steps := []time.Duration{
		30 * time.Second, -30 * time.Second, time.Hour, -time.Hour,
		-time.Second, -time.Second, -time.Second, time.Second, // a leap second
		10 * time.Minute, // the machine stood still, and so did its monotonic clock
		time.Duration(w.r.Int64N(int64(3*time.Second))) - 1500*time.Millisecond,
	}
	n := w.r.IntN(len(steps) + 1)
	if n == len(steps) { // the monotonic clock went on
		w.advance(10 * time.Minute)
		return
	}
	w.c.Step(steps[n])
	w.note("the wall clock is set by %v", steps[n])
}

// anyPolicies returns the policies of two places.
func (w *world) anyPolicies() []Policy {
	var all []Policy
	for range 2 {
		p := Policy{
			Mode:   []Mode{Required, SingleUse, Off, Off}[w.r.IntN(4)],
			MaxAge: []time.Duration{time.Second, 20 * time.Second, 5 * time.Minute, 20 * time.Minute}[w.r.IntN(4)],
			Skew:   []time.Duration{0, time.Second, time.Minute}[w.r.IntN(w.skews)],
		}
		all = append(all, p)
	}
	return all
}

// reload starts a config. Requests of the old ones may still be on their way,
// and some may come in between.
func (w *world) reload(policies []Policy) {
	w.policies, w.running = append(w.policies, policies...), len(policies)
	if w.r.IntN(2) == 0 && len(w.sent) > 0 {
		w.steal()
	}
	maxAge, skew := time.Duration(0), time.Duration(0)
	for _, p := range policies {
		if p.Mode == Off {
			maxAge, skew = max(maxAge, p.MaxAge), max(skew, p.Skew)
		}
	}
	w.skew = max(w.skew, skew)
	w.m.Configure(w.r.IntN(spare), maxAge, skew)
	w.note("a config with %+v", policies)
}

// restart loses the memory. What the package says it can't know does not
// happen here: that the clock is behind what another process saw, or Skew
// smaller.
func (w *world) restart() {
	if behind := w.highest.Sub(w.c.Now()); behind > 0 {
		w.advance(behind)
	}
	if w.r.IntN(2) == 0 {
		w.advance(time.Duration(w.r.Int64N(int64(time.Minute))))
	}
	w.note("a restart")
	w.m = New(w.c, spare)
	w.policies = nil
	w.reload(append(w.anyPolicies(), Policy{Mode: Off, MaxAge: time.Minute, Skew: w.skew}))
}

// toTheBrink lets time pass until a moment at which what can be done with a
// proof may change, and sends it then.
func (w *world) toTheBrink() {
	if len(w.sent) == 0 {
		return
	}
	x := w.anySent()
	p := w.policies[w.r.IntN(len(w.policies))]
	at := time.UnixMicro(int64(x.iat * 1e6))
	moments := []time.Duration{
		at.Add(p.MaxAge).Sub(w.c.Now()), at.Add(-p.Skew).Sub(w.c.Now()),
		x.mono + nonceEntryLife - w.c.Mono(), x.mono + w.m.windows.life() - w.c.Mono(),
	}
	if x.hasNonce {
		moments = append(moments, w.mints[x.nonce].Add(NonceLife).Sub(w.c.Now()))
	}
	d := moments[w.r.IntN(len(moments))] + time.Duration(w.r.IntN(5)-2)*time.Second/2
	if d < 0 {
		return
	}
	w.advance(d)
	w.judge(thief, w.policies[w.r.IntN(len(w.policies))], x.proof)
	w.judge(thief, p, x.proof)
}

// anySent prefers young proofs.
func (w *world) anySent() sent {
	return w.sent[len(w.sent)-1-min(w.r.IntN(len(w.sent)), w.r.IntN(len(w.sent)))]
}

// steal sends a proof again, to any place, also one of a config that is
// still, or not yet, there.
func (w *world) steal() {
	if len(w.sent) > 0 {
		w.judge(thief, w.policies[w.r.IntN(len(w.policies))], w.anySent().proof)
	}
}

// request is an honest one: it is sent again once, with a new proof, if the
// answer asks for a nonce and brings one.
func (w *world) request(h *honest, p Policy) {
	first := w.send(h, p)
	if first == nil {
		return
	}
	rule := first.Reason.Rule()
	if !rule.Nonce || rule.Code != oauth.ProofMissing.Rule().Code {
		w.fail("client %s: refused with %q, want a challenge with a nonce", h.key, first.Reason)
		return
	}
	h.nonce = w.mint()
	w.advance(time.Duration(w.r.Int64N(int64(5 * time.Second))))
	if second := w.send(h, p); second != nil {
		w.fail("client %s: refused with %q, and with %q when it tried again with a nonce", h.key, first.Reason, second.Reason)
	}
}

func (w *world) mint() string {
	nonce := w.m.Nonce()
	w.mints[nonce] = w.c.Now().Truncate(time.Millisecond)
	return nonce
}

func (w *world) send(h *honest, p Policy) *oauth.Refusal {
	x := proof{
		key: h.key, id: strconv.Itoa(len(w.sent)), nonce: h.nonce, hasNonce: h.nonce != "",
		iat: seconds(w.c.Now().Add(h.off)),
	}
	if w.r.IntN(2) == 0 {
		x.iat = float64(int64(x.iat)) // as most clients write it
	}
	w.sent = append(w.sent, sent{x, w.c.Mono()})
	renew, refusal := w.judge("client "+h.key, p, x)
	if renew && w.r.IntN(4) > 0 { // else the next request is on its way already
		h.nonce = w.mint()
	}
	return refusal
}

// judge sends a proof, and looks whether it may be accepted if it is.
func (w *world) judge(who string, p Policy, x proof) (renew bool, refusal *oauth.Refusal) {
	whole := Proof{Method: "dpop", Key: x.key, ID: x.id, Nonce: x.nonce, HasNonce: x.hasNonce, IssuedAt: x.iat}
	renew, refusal = w.m.Fresh(p, whole)
	if refusal == nil {
		if w.r.IntN(20) == 0 { // held up before the last check
			most := 200 * time.Millisecond
			if who == thief {
				most = 10 * time.Minute
			}
			w.advance(time.Duration(w.r.Int64N(int64(most))))
		}
		refusal = w.m.Use(p, whole)
	}
	now := w.c.Now()
	if now.After(w.highest) {
		w.highest = now
	}
	w.note("%s sends %+v to %v %v %v: %q", who, x, p.Mode, p.MaxAge, p.Skew, reason(refusal))
	if refusal != nil {
		return renew, refusal
	}
	name := x.key + " " + x.id
	if w.used[name]++; w.used[name] > 1 {
		w.fail("proof %+v was accepted twice", x)
	}
	switch {
	case x.hasNonce:
		if p.Mode == SingleUse {
			if w.burnt[x.nonce]++; w.burnt[x.nonce] > 1 {
				w.fail("nonce %s was used twice", x.nonce)
			}
		}
		if age := now.Sub(w.mints[x.nonce]); age < -2*time.Second || age > 2*time.Minute {
			w.fail("proof %+v was accepted with a nonce of %v", x, age)
		}
	case p.Mode != Off:
		w.fail("proof %+v was accepted without a nonce", x)
	default:
		at := float64(now.UnixMicro()) / 1e6
		if x.iat < at-p.MaxAge.Seconds() || x.iat > at+p.Skew.Seconds() {
			w.fail("proof %+v was accepted %v s after its iat", x, at-x.iat)
		}
	}
	return renew, refusal
}
