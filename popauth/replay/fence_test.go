// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func TestIssuedAtIsJudgedWithoutANonce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		offset float64
		want   oauth.Reason
		option string
		limit  string
		got    string
	}{
		{"now", 0, "", "", "", ""},
		{"as old as may be", -300, "", "", "", ""},
		{"too old", -301, oauth.ProofExpired, "proof_max_age", "5m0s", "2027-01-15T08:54:59Z, 5m1s ago"},
		{"as far ahead as may be", 60, "", "", "", ""},
		{"too far ahead", 61, oauth.ProofFromFuture, "clock_skew", "1m0s", "2027-01-15T09:01:01Z, 1m1s ahead"},
		{"minus infinity", math.Inf(-1), oauth.ProofExpired, "proof_max_age", "5m0s", "-Inf, 1281023h53m38s ago"},
		{"infinity", math.Inf(1), oauth.ProofFromFuture, "clock_skew", "1m0s", "+Inf, 1281023h53m38s ahead"},
		{"not a number", math.NaN(), oauth.ProofFromFuture, "clock_skew", "1m0s", "NaN"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, c := newMemory(t, 10)
			_, refusal := m.Fresh(off, Proof{IssuedAt: iat(c) + test.offset})
			want(t, "Fresh", reason(refusal), test.want)
			if refusal == nil {
				return
			}
			if refusal.Option != test.option || refusal.Limit != test.limit {
				t.Errorf("option %q, limit %q; want %q, %q", refusal.Option, refusal.Limit, test.option, test.limit)
			}
			if !strings.HasPrefix(refusal.Got, test.got) || refusal.Expected == "" {
				t.Errorf("got %q, expected %q; want the former to start with %q", refusal.Got, refusal.Expected, test.got)
			}
		})
	}
}

func TestIssuedAtInMillisecondsGetsAHint(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 10)
	_, refusal := m.Fresh(off, Proof{IssuedAt: iat(c) * 1000})
	if reason(refusal) != oauth.ProofFromFuture || !strings.Contains(refusal.Description(), "milliseconds") {
		t.Errorf("got %v, want %q with a word about milliseconds", refusal, oauth.ProofFromFuture)
	}
	_, refusal = m.Fresh(off, Proof{IssuedAt: iat(c) + 3600})
	if reason(refusal) != oauth.ProofFromFuture || refusal.Detail != "" {
		t.Errorf("got %v, want %q without a detail", refusal, oauth.ProofFromFuture)
	}
}

func TestFenceRefusesWhatMayHaveBeenAcceptedBeforeTheStart(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(start)
	m := New(c, 10)
	m.Configure(10, off.MaxAge, off.Skew)
	made := proof{key: "k", id: "1", iat: iat(c)}
	want(t, "at the start", judge(m, off, made), oauth.Fenced)
	want(t, "with a nonce", judge(m, off, proof{key: "k", id: "2", nonce: m.Nonce(), hasNonce: true}), "")
	c.Advance(off.Skew)
	want(t, "as far ahead as could have been accepted", judge(m, off, proof{key: "k", id: "3", iat: iat(c)}), oauth.Fenced)
	want(t, "too old says so rather", judge(m, off, proof{iat: iat(c) - 301}), oauth.ProofExpired)
	c.Advance(time.Second)
	want(t, "later", judge(m, off, proof{key: "k", id: "4", iat: iat(c)}), "")
}

func TestSettingTheClockBackVoidsNoncesAndRaisesTheFence(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 10)
	nonce, made := m.Nonce(), proof{key: "k", id: "1", iat: iat(c)}
	want(t, "before", judge(m, off, made), "")
	c.Advance(life(off))
	m.Nonce() // sees the highest time
	c.Step(-life(off))
	want(t, "the same proof, forgotten by the guard", judge(m, off, made), oauth.Fenced)
	want(t, "a nonce from before", judge(m, required, proof{nonce: nonce, hasNonce: true}), oauth.NonceInvalid)
	want(t, "a new nonce", judge(m, required, proof{id: "2", nonce: m.Nonce(), hasNonce: true}), "")
	c.Advance(life(off) + off.Skew)
	want(t, "when the highest time is reached", judge(m, off, proof{id: "3", iat: iat(c)}), oauth.Fenced)
	c.Advance(time.Second)
	want(t, "after it", judge(m, off, proof{id: "4", iat: iat(c)}), "")
}

func TestSmallStepsBackCountTogether(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 10)
	nonce := m.Nonce()
	valid := func() bool {
		_, refusal := m.Fresh(required, Proof{Nonce: nonce, HasNonce: true})
		return refusal == nil
	}
	c.Step(-time.Second)
	if !valid() {
		t.Error("a second back: the nonce is void, want it valid")
	}
	c.Step(-time.Millisecond)
	if valid() {
		t.Error("a little more back: the nonce is valid, want it void")
	}
	nonce = m.Nonce()
	c.Step(-time.Second)
	if !valid() {
		t.Error("a second back from the new baseline: the nonce is void, want it valid")
	}
}

func TestSettingTheClockForwardOnlyAges(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 10)
	nonce := m.Nonce()
	c.Step(time.Minute)
	want(t, "nonce", judge(m, required, proof{id: "1", nonce: nonce, hasNonce: true}), "")
	want(t, "iat", judge(m, off, proof{id: "2", iat: iat(c)}), "")
	c.Step(-time.Minute)
	want(t, "nonce, when it is set back again", judge(m, required, proof{id: "3", nonce: nonce, hasNonce: true}), oauth.NonceInvalid)
}

func TestWideningTheWindowRaisesTheFence(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 10)
	x := proof{key: "k", id: "1", iat: iat(c)}
	wide := Policy{Mode: Off, MaxAge: time.Hour, Skew: time.Minute}

	_, refusal := m.Fresh(wide, Proof{IssuedAt: x.iat})
	want(t, "Fresh under a policy wider than configured", reason(refusal), oauth.Fenced)
	want(t, "Use under it", reason(m.Use(wide, Proof{Method: "dpop", Key: "k", ID: "1", IssuedAt: x.iat})), oauth.Fenced)
	want(t, "first", judge(m, off, x), "")
	c.Advance(life(off))
	m.Configure(10, wide.MaxAge, wide.Skew)
	want(t, "forgotten by the guard, within the wide window", judge(m, wide, x), oauth.Fenced)
	c.Advance(wide.Skew + time.Second)
	want(t, "a new proof", judge(m, wide, proof{key: "k", id: "2", iat: iat(c)}), "")
	m.Configure(10, wide.MaxAge, wide.Skew)
	want(t, "the same window again", judge(m, wide, proof{key: "k", id: "3", iat: iat(c)}), "")
}

// What one window alone does not cover is forgotten too early for it.
func TestAPolicyMustBeCoveredInBothDirections(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy Policy
		want   oauth.Reason
	}{
		"both as configured": {off, ""},
		"a larger MaxAge":    {Policy{Off, off.MaxAge + 1, off.Skew}, oauth.Fenced},
		"a larger Skew":      {Policy{Off, off.MaxAge, off.Skew + 1}, oauth.Fenced},
		"both larger":        {Policy{Off, off.MaxAge + 1, off.Skew + 1}, oauth.Fenced},
	} {
		m, c := newMemory(t, 10)
		want(t, name, judge(m, test.policy, proof{key: "k", id: "1", iat: iat(c)}), test.want)
	}
}

// The fence at a time that the clock said by mistake must not come down when
// a window grows afterwards.
func TestFenceNeverFalls(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 10)
	c.Step(time.Hour)
	m.Nonce()
	c.Step(-time.Hour)
	m.Configure(10, time.Hour, 0)
	c.Advance(2 * time.Minute)
	want(t, "behind the fence", judge(m, off, proof{iat: iat(c)}), oauth.Fenced)
}

// A step back shows also when the next look is long after it.
func TestAStepBackIsSeenHoweverMuchTimeHasPassed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		wall, mono time.Duration
		want       bool
	}{
		{"both went on", time.Minute, time.Minute, false},
		{"the wall clock lost a second", 59 * time.Second, time.Minute, false},
		{"the wall clock lost more than a second", 59*time.Second - 1, time.Minute, true},
		{"the wall clock lost more than has passed", -time.Hour, time.Minute, true},
		{"the wall clock went ahead", time.Hour, time.Minute, false},
	} {
		f := newFence(start, time.Hour)
		if got := f.observe(start.Add(test.wall), time.Hour+test.mono); got != test.want {
			t.Errorf("%s: got set back %v, want %v", test.name, got, test.want)
		}
	}
}

// What was accepted before the first configuration was accepted under no
// window at all.
func TestTheFirstConfigurationDoesNotRaiseTheFence(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(start)
	m := New(c, 10)
	c.Advance(time.Hour)
	m.Configure(10, off.MaxAge, off.Skew)
	want(t, "a proof of before the configuration", reason(m.Use(off, Proof{ID: "a", IssuedAt: iat(c) - 60})), "")
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{
		0: "1970-01-01T00:00:00Z", 253402300799: "9999-12-31T23:59:59Z", 1_800_000_000.5: "2027-01-15T08:00:00Z",
		-0.5: "-0.5", -1: "-1", 253402300800: "2.534023008e+11", 1e300: "1e+300",
	} {
		if got := describe(seconds); got != want {
			t.Errorf("describe(%v) = %q, want %q", seconds, got, want)
		}
	}
}
