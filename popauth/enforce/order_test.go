// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// steps is the order of checks, in which a fault is planted one by one. Each
// request is wrong in one step and in all later ones.
var steps = []struct {
	step  string
	want  oauth.Reason
	fault func(b *bench, a *attempt, h http.Header)
}{
	{"sizes", oauth.HeadersTooLarge, func(_ *bench, _ *attempt, h http.Header) { h.Set("X-Padding", strings.Repeat("x", maxHeader)) }},
	{"method", oauth.AmbiguousMethod, func(_ *bench, a *attempt, _ http.Header) { a.method = "get" }},
	{"target", oauth.AmbiguousTarget, func(_ *bench, a *attempt, _ http.Header) { a.target = "/a/%2e%2e/b" + query(a.target) }},
	{"query", oauth.AmbiguousTokenInQuery, func(_ *bench, a *attempt, _ http.Header) { a.target = "/reports?access_token=jkt" }},
	{"connection", oauth.AmbiguousConnection, func(_ *bench, _ *attempt, h http.Header) { h.Set("Connection", "dpop") }},
	{"proof fields", oauth.AmbiguousProof, func(_ *bench, _ *attempt, h http.Header) { h["Dpop"] = []string{"a", "b"} }},
	{"authorization", oauth.AmbiguousAuthorization, func(_ *bench, _ *attempt, h http.Header) { h["Authorization"] = []string{"DPoP a", "DPoP b"} }},
	{"token", oauth.TokenExpired, func(_ *bench, a *attempt, _ http.Header) { a.token = "expired" }},
	{"audience", oauth.TokenAudienceWrong, func(_ *bench, a *attempt, _ http.Header) { a.token = "all-wrong" }},
	{"confirmation", oauth.ConfirmationUnsupported, func(_ *bench, a *attempt, _ http.Header) { a.token = "unproven-and-small" }},
	{"scope", oauth.ScopeInsufficient, func(_ *bench, a *attempt, _ http.Header) { a.token = "read-only" }},
	{"proof", oauth.ProofMissing, func(_ *bench, _ *attempt, h http.Header) { h["Dpop"] = nil }},
	{"shape", oauth.ProofMalformed, func(_ *bench, a *attempt, _ http.Header) {
		a.change = func(proof string) string { return "." + proof }
	}},
	{"typ", oauth.ProofTypeWrong, func(_ *bench, a *attempt, _ http.Header) { a.proof.Header["typ"] = "JWT" }},
	{"alg", oauth.ProofAlgorithmWrong, func(_ *bench, a *attempt, _ http.Header) { a.proof.Header["alg"] = "HS256" }},
	{"jwk", oauth.ProofKeyInvalid, func(_ *bench, a *attempt, _ http.Header) { a.proof.Header["jwk"] = nil }},
	{"claims", oauth.ProofMalformed, func(_ *bench, a *attempt, _ http.Header) { a.proof.Claims["iat"] = "now" }},
	{"key", oauth.ProofKeyMismatch, func(b *bench, a *attempt, _ http.Header) { a.key = &b.thief }},
	{"htm", oauth.ProofMethodMismatch, func(_ *bench, a *attempt, _ http.Header) { a.proof.Method = "POST" }},
	{"htu", oauth.ProofURLMismatch, func(_ *bench, a *attempt, _ http.Header) { a.proof.URL = place + "/accounts" }},
	{"ath", oauth.ProofTokenMismatch, func(_ *bench, a *attempt, _ http.Header) { a.proof.Token = "other" }},
	{"fresh", oauth.NonceInvalid, func(_ *bench, a *attempt, _ http.Header) { a.proof.Nonce = "AAAA" }},
	{"signature", oauth.ProofSignatureInvalid, func(_ *bench, a *attempt, _ http.Header) { a.change = flip }},
	{"replay", oauth.ProofReplayed, func(_ *bench, a *attempt, _ http.Header) { a.proof.ID = "spent" }},
}

func query(target string) string {
	_, q, _ := strings.Cut(target, "?")
	return "?" + q
}

func TestCheckOrder(t *testing.T) {
	t.Parallel()
	names := make([]string, len(steps))
	for i, s := range steps {
		names[i] = s.step
	}
	for first := range len(steps) + 1 {
		name := "nothing"
		if first < len(steps) {
			name = steps[first].step
		}
		t.Run("wrong from "+name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			small := *b.issuer.tokens["half-proven"]
			small.Scope = ""
			wrong := small
			wrong.Audience = nil
			b.issuer.tokens["unproven-and-small"], b.issuer.tokens["all-wrong"] = &small, &wrong
			b.refused(b.check(b.request(attempt{proof: fixture.Proof{ID: "spent"}})), "")
			b.issuer.asked.Store(0)

			var trace []string
			var outcome error
			b.policy.Trace = func(step string, err error) {
				if outcome != nil {
					t.Errorf("step %q was taken although an earlier one had failed", step)
				}
				trace, outcome = append(trace, step), err
			}
			v := b.check(b.faulty(first))
			if first == len(steps) {
				b.refused(v, "")
				if outcome != nil || !slices.Equal(trace, names) {
					t.Errorf("got steps %q (%v), want %q", trace, outcome, names)
				}
				return
			}
			b.refused(v, steps[first].want)
			if !slices.Equal(trace, names[:first+1]) || outcome != error(v.Refusal) {
				t.Errorf("got steps %q (%v), want %q", trace, outcome, names[:first+1])
			}
			var asked int64
			if first >= slices.Index(names, "token") {
				asked = 1
			}
			if got := b.issuer.asked.Load(); got != asked {
				t.Errorf("the issuer was asked %d times, want %d", got, asked)
			}
			b.policy.Trace = nil
			b.honest()
		})
	}
}

// faulty is a request that is wrong in the steps from first on. The faults
// are planted from the last to the first, so that where two of them touch the
// same thing the earlier step decides.
func (b *bench) faulty(first int) Request {
	b.t.Helper()
	a := attempt{proof: fixture.Proof{Header: map[string]any{}, Claims: map[string]any{}, URL: place + "/reports"}}
	h := http.Header{"Dpop": {"unchanged"}}
	for i := len(steps) - 1; i >= first; i-- {
		steps[i].fault(b, &a, h)
	}
	r := b.request(a)
	for field, values := range h {
		if !slices.Equal(values, []string{"unchanged"}) {
			r.Header[field] = values
		}
	}
	return r
}
