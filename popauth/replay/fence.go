// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"strconv"
	"time"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// fallTolerance is how far the wall clock may fall behind the monotonic one
// unnoticed. NTP slews by less between two requests of a server in use; what
// the guard keeps is kept long enough for this much.
const fallTolerance = time.Second

// fence says up to which iat proofs without a nonce can't be trusted to be
// new. It only ever rises.
type fence struct {
	// horizon is that iat. At first it is the time of our start: before it,
	// somebody else may have accepted the proof.
	horizon time.Time

	highest time.Time     // the highest wall time seen
	mono    time.Duration // with base, the look at which the wall was
	base    time.Time     // furthest ahead of the monotonic clock
}

func newFence(now time.Time, mono time.Duration) fence {
	return fence{horizon: now, highest: now, base: now, mono: mono}
}

// observe takes note of the time, and reports whether the wall clock was set
// back. It is then behind times at which proofs were accepted that the guard
// will have forgotten when the wall clock gets there again; so the fence rises
// to the highest time seen.
func (f *fence) observe(now time.Time, mono time.Duration) (setBack bool) {
	if now.After(f.highest) {
		f.highest = now
	}
	// how much further the wall clock has moved than the monotonic one
	ahead := now.Sub(f.base) - (mono - f.mono)
	if setBack = ahead < -fallTolerance; setBack {
		f.raise(f.highest)
	}
	if setBack || ahead > 0 {
		f.base, f.mono = now, mono
	}
	return setBack
}

// raise raises the fence, if it isn't higher yet.
func (f *fence) raise(to time.Time) {
	if to.After(f.horizon) {
		f.horizon = to
	}
}

// judgeFence refuses a proof without a nonce that may have been accepted and
// forgotten: from before the fence, or under a policy that looks back further
// than the guard does.
func judgeFence(p Policy, iat float64, horizon time.Time, w windows) *oauth.Refusal {
	// what was accepted up to the horizon, under whichever policy, had an iat of
	// at most the largest Skew after it
	limit := horizon.Add(w.skew)
	if iat > seconds(limit) && w.covers(p) {
		return nil
	}
	return &oauth.Refusal{
		Reason:   oauth.Fenced,
		Expected: "iat after " + limit.UTC().Format(time.RFC3339),
		Got:      describe(iat),
	}
}

// judgeIssuedAt says whether now − MaxAge ≤ iat ≤ now + Skew. Written so that
// a NaN is refused.
func judgeIssuedAt(p Policy, iat float64, now time.Time) *oauth.Refusal {
	at := seconds(now)
	offset := time.Duration(max(math.MinInt64/2, min((iat-at)*float64(time.Second), math.MaxInt64/2))).Round(time.Second)
	if !(iat <= at+p.Skew.Seconds()) {
		detail := ""
		// in seconds, this is the year 5138
		if iat > 1e11 {
			detail = "iat counts seconds since 1970, this looks like milliseconds"
		}
		return &oauth.Refusal{
			Reason: oauth.ProofFromFuture, Detail: detail,
			Expected: "iat up to " + now.Add(p.Skew).UTC().Format(time.RFC3339),
			Got:      describe(iat) + ", " + offset.String() + " ahead",
			Limit:    p.Skew.String(), Option: "clock_skew",
		}
	}
	if !(iat >= at-p.MaxAge.Seconds()) {
		return &oauth.Refusal{
			Reason:   oauth.ProofExpired,
			Expected: "iat from " + now.Add(-p.MaxAge).UTC().Format(time.RFC3339) + " on",
			Got:      describe(iat) + ", " + (-offset).String() + " ago",
			Limit:    p.MaxAge.String(), Option: "proof_max_age",
		}
	}
	return nil
}

// seconds is t as a NumericDate.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// describe writes a NumericDate for the log, as a time if it is one that can
// be written.
func describe(iat float64) string {
	const last = 253402300799 // the end of the year 9999
	if iat >= 0 && iat <= last {
		return time.Unix(int64(iat), 0).UTC().Format(time.RFC3339)
	}
	return strconv.FormatFloat(iat, 'g', -1, 64)
}
