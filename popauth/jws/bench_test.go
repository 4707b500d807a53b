// SPDX-License-Identifier: Apache-2.0

package jws_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// BenchmarkVerify is about what this package adds to the signature.
func BenchmarkVerify(b *testing.B) {
	f := fixture.Load(b, "p256")
	k := key(b, f)
	text := f.Proof(b, fixture.Proof{Method: "GET", URL: "https://api.example.com/reports", Token: "token", Nonce: "nonce"})
	b.Run("ES256 raw", func(b *testing.B) {
		pub := f.Public().(*ecdsa.PublicKey)
		digest := sha256.Sum256([]byte(text))
		sig, err := ecdsa.SignASN1(rand.Reader, f.Private.(*ecdsa.PrivateKey), digest[:])
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if !ecdsa.VerifyASN1(pub, digest[:], sig) {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("ES256", func(b *testing.B) {
		m := parse(b, text)
		b.ReportAllocs()
		for b.Loop() {
			if err := m.Verify(k, "ES256"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ES256 with Parse and Claims", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := parse(b, text)
			if _, err := m.Claims(); err != nil {
				b.Fatal(err)
			}
			if err := m.Verify(k, "ES256"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkParse is what a stranger can make us do before any signature.
func BenchmarkParse(b *testing.B) {
	f := fixture.Load(b, "p256")
	text := f.Proof(b, fixture.Proof{Method: "GET", URL: "https://api.example.com/reports", Token: "token", Nonce: "nonce"})
	b.ReportAllocs()
	for b.Loop() {
		parse(b, text)
	}
}
