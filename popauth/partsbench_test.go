// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/enforce"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// BenchmarkParts is what the parts of popauth cost beside the cryptography that
// they can't do without, which is measured in the same run: each part reports
// how many times that it takes.
//
// What needs a new proof for every request is measured over requests that are
// made before the clock runs.
func BenchmarkParts(b *testing.B) {
	key := fixture.Load(b, "p256")
	private := key.Private.(*ecdsa.PrivateKey)
	digest := sha256.Sum256([]byte("message"))

	var verify, sign time.Duration
	b.Run("ES256 verify alone", func(b *testing.B) {
		signature, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if !ecdsa.VerifyASN1(&private.PublicKey, digest[:], signature) {
				b.Fatal("the signature is not valid")
			}
		}
		verify = b.Elapsed() / time.Duration(b.N)
	})
	b.Run("dpop.Verify", func(b *testing.B) {
		const url = place + "/reports"
		proof := key.Proof(b, fixture.Proof{Method: "GET", URL: url, Token: "token"})
		want := dpop.Want{
			Thumbprint: key.Thumbprint(b), Method: "GET", URLs: []string{url}, TokenHash: dpop.TokenHash("token"),
			Fresh: func(*dpop.Proof) *oauth.Refusal { return nil },
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, refusal := dpop.Verify(proof, want); refusal != nil {
				b.Fatal(refusal)
			}
		}
		reportRatio(b, verify, "x-verify")
	})
	b.Run("enforce.Check with a known token and key", func(b *testing.B) {
		s := newSite(b, func(s *site) { s.config.ReplayCapacity = 1<<12 + 8*b.N })
		auth, token := s.auth(b, `{}`), s.token(b)
		requests := make([]enforce.Request, b.N)
		for i := range requests {
			r := s.signed(b, token)
			requests[i] = enforce.Request{Method: "GET", Target: "/reports", Origins: []string{place}, Header: r.Header}
		}
		b.ReportAllocs()
		b.ResetTimer()
		for _, r := range requests {
			if v := enforce.Check(b.Context(), r, auth.policy); v.Refusal != nil {
				b.Fatal(v.Refusal)
			}
		}
		reportRatio(b, verify, "x-verify")
	})
	b.Run("a refusal before any signature", func(b *testing.B) {
		s := newSite(b)
		auth, token := s.auth(b, `{}`), s.token(b)
		header := s.signed(b, token, func(p *fixture.Proof) { p.URL = "https://evil.example/reports" }).Header
		request := enforce.Request{Method: "GET", Target: "/reports", Origins: []string{place}, Header: header}
		b.ReportAllocs()
		for b.Loop() {
			if v := enforce.Check(b.Context(), request, auth.policy); v.Refusal == nil {
				b.Fatal("it came through")
			}
		}
		reportRatio(b, verify, "x-verify")
	})

	b.Run("ES256 sign alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ecdsa.SignASN1(rand.Reader, private, digest[:]); err != nil {
				b.Fatal(err)
			}
		}
		sign = b.Elapsed() / time.Duration(b.N)
	})
	b.Run("minting a token", func(b *testing.B) {
		s := newSite(b, func(s *site) { s.config.Issuers["default"].Signing.Keys = []string{privateKey(b, "p256")} })
		if err := s.app.Start(); err != nil {
			b.Fatal(err)
		}
		grant := accesstoken.Grant{
			ClientID: "reports", Subject: "reports", Audience: []string{place}, Scope: "reports:read",
			Confirmation: cnf.Confirmation{JKT: key.Thumbprint(b)},
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, _, refusal := s.app.Issuers["default"].tokens.Mint(b.Context(), grant); refusal != nil {
				b.Fatal(refusal)
			}
		}
		reportRatio(b, sign, "x-sign")
	})
}

// reportRatio reports how many times as long as a base one round took. Without
// the base, which -bench may have left out, there is nothing to compare.
func reportRatio(b *testing.B, base time.Duration, unit string) {
	b.Helper()
	if base > 0 {
		b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(base), unit)
	}
}
