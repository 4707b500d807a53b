// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// F13: TestFloodOfProofsForgetsNone has valid clients send more proofs than are
// remembered, and one of them as many as the others together. Those over the
// limit are refused, with a status that says to come back, and of those that
// were accepted not one passes again.
func TestFloodOfProofsForgetsNone(t *testing.T) {
	t.Parallel()
	const clients = 8
	capacity := fixture.Scale(200, 20_000)
	b := newBench(t)
	b.policy.Memory = replay.New(b.clock, capacity)
	b.clock.Advance(time.Hour)
	keys := make([]fixture.Key, clients)
	for i := range keys {
		keys[i] = fixture.Fresh(t)
		claims := *b.issuer.tokens["jkt"]
		claims.Confirmation = cnf.Confirmation{JKT: keys[i].Thumbprint(t)}
		b.issuer.tokens[fmt.Sprint("client-", i)] = &claims
	}
	var accepted []Request
	refused := map[oauth.Reason]int{}
	for n := range 2 * capacity {
		i := 0 // the greedy one
		if n%2 == 1 {
			i = 1 + n/2%(clients-1)
		}
		r := b.request(attempt{token: fmt.Sprint("client-", i), key: &keys[i]})
		v := b.check(r)
		if v.Refusal == nil {
			accepted = append(accepted, r)
			continue
		}
		refused[v.Refusal.Reason]++
	}
	for reason, status := range map[oauth.Reason]int{
		oauth.ReplayGuardFull:     http.StatusServiceUnavailable,
		oauth.ReplayShareExceeded: http.StatusTooManyRequests,
	} {
		if got := reason.Rule().API; refused[reason] == 0 || got != status {
			t.Errorf("%d proofs were refused with %d (%s), want some, with %d", refused[reason], got, reason, status)
		}
	}
	if got := refused[oauth.ReplayGuardFull] + refused[oauth.ReplayShareExceeded]; got != capacity {
		t.Errorf("got refusals %v, want %d for one of the two reasons", refused, capacity)
	}
	if got := b.policy.Memory.Stats().Live; got != capacity || len(accepted) != capacity {
		t.Errorf("%d proofs were accepted and %d are remembered, want %d", len(accepted), got, capacity)
	}
	for _, r := range accepted {
		b.refused(b.check(r), oauth.ProofReplayed)
	}
	fixture.Figure(t, "F13", "proofs=%d accepted=%d refused=%v forgotten=0", 2*capacity, len(accepted), refused)
}

// F17: TestOversizeHeadersCostLittle refuses headers of up to 200 KB, each with
// less than 64 KiB allocated.
func TestOversizeHeadersCostLittle(t *testing.T) { // not beside others, which allocate too
	const most = 64 << 10
	b := newBench(t)
	many := func(h http.Header) {
		for i := range 1000 {
			h.Set(fmt.Sprintf("X-Filler-%d", i), "some value or other")
		}
	}
	worst := uint64(0)
	for _, tt := range []struct {
		name string
		lay  func(h http.Header)
		want oauth.Reason
	}{
		{"a field of 64 KiB", with("X-Filler", strings.Repeat("x", 64<<10)), oauth.HeadersTooLarge},
		{"1,000 fields", many, oauth.HeadersTooLarge},
		{"a proof of 200 KB", with("DPoP", strings.Repeat("x", 200_000)), oauth.CredentialsTooLarge},
		{"dots for a proof, as many as may be", with("DPoP", strings.Repeat(".", maxCredentials)), oauth.ProofMalformed},
		{"commas for a proof, as many as may be", with("DPoP", strings.Repeat(",", maxCredentials)), oauth.AmbiguousProof},
		{"1,000 proofs", with("DPoP", strings.Split(strings.Repeat("a ", 1000), " ")...), oauth.AmbiguousProof},
		{"a Connection field of 8 KiB", with("Connection", strings.Repeat("a,", 4<<10)), oauth.ProofMalformed},
		{"an Authorization of 64 KiB", with("Authorization", "DPoP "+strings.Repeat("x", 64<<10)), oauth.CredentialsTooLarge},
		{"brackets for a header of a proof", with("DPoP",
			base64.RawURLEncoding.EncodeToString([]byte(`{"typ":`+strings.Repeat("[", 6000)))+".e30.AAAA"), oauth.ProofMalformed},
	} {
		r := Request{Method: "GET", Target: "/reports", Origins: []string{place}, Header: http.Header{"Authorization": {"DPoP jkt"}, "Dpop": {"a.b.c"}}}
		tt.lay(r.Header)
		b.refused(b.check(r), tt.want)
		const times = 32
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			b.check(r)
		}
		runtime.ReadMemStats(&after)
		got := (after.TotalAlloc - before.TotalAlloc) / times
		if got > most {
			t.Errorf("%s: %d bytes are allocated, want %d at most", tt.name, got, most)
		}
		worst = max(worst, got)
	}
	fixture.Figure(t, "F17", "bytes_per_refusal=%d", worst)
}

// F18: TestStrangersCauseNoKeyOperation counts the signatures of proofs that are
// verified for those who have no token, or a stolen one: none, whatever key
// they bring. A key that is not allowed is refused before its numbers are used.
func TestStrangersCauseNoKeyOperation(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rounds := fixture.Scale(20, 2000)
	steps := map[string]int{}
	b.policy.Trace = func(step string, _ error) { steps[step]++ }
	slowest, longest := "", time.Duration(0)
	for _, key := range []struct {
		name string
		alg  string
		jwk  map[string]any
		want oauth.Reason // for a thief
	}{
		{"P-256", "ES256", fixture.Load(t, "p256-thief").JWK, oauth.ProofKeyMismatch},
		{"P-384", "ES384", fixture.Load(t, "p384").JWK, oauth.ProofKeyMismatch},
		{"Ed25519", "EdDSA", fixture.Load(t, "ed25519").JWK, oauth.ProofKeyMismatch},
		{"RSA-2048", "RS256", modulus(2048), oauth.ProofKeyMismatch},
		{"RSA-4096", "RS256", modulus(4096), oauth.ProofKeyMismatch},
		{"RSA-1024", "RS256", modulus(1024), oauth.ProofKeyInvalid},
		{"RSA-8192", "RS256", modulus(8192), oauth.ProofKeyInvalid},
		{"RSA-16384", "RS256", modulus(16384), oauth.ProofMalformed}, // for the length of its header
		{"P-521", "ES384", fixture.Load(t, "p521").JWK, oauth.ProofKeyInvalid},
		{"P-521 by its own algorithm", "ES512", fixture.Load(t, "p521").JWK, oauth.ProofAlgorithmWrong},
	} {
		// signed by another key, which nobody finds out
		r := b.request(attempt{proof: fixture.Proof{Header: map[string]any{"jwk": key.jwk, "alg": key.alg}}})
		for _, who := range []struct {
			name, authorization string
			want                oauth.Reason
		}{
			{"a stranger", "", oauth.TokenMissing},
			{"a forger", "DPoP forged", oauth.TokenForged},
			{"a thief", "DPoP jkt", key.want},
		} {
			r.Header.Set("Authorization", who.authorization)
			began := time.Now()
			for range rounds {
				b.refused(b.check(r), who.want)
			}
			if took := time.Since(began) / time.Duration(rounds); took > longest {
				slowest, longest = who.name+" with "+key.name, took
			}
		}
	}
	if steps["signature"] != 0 || steps["key"] == 0 {
		t.Errorf("got the steps %v, want no signature to be verified", steps)
	}
	fixture.Figure(t, "F18", "refused=%d signatures_verified=%d slowest=%q ns=%d", steps["sizes"], steps["signature"], slowest, longest.Nanoseconds())
}

// modulus is an RSA key of that many bits. Nobody knows its private half.
func modulus(bits int) map[string]any {
	n := make([]byte, bits/8)
	n[0], n[len(n)-1] = 0x80, 1
	return map[string]any{"kty": "RSA", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(n)}
}
