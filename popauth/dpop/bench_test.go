// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// BenchmarkVerify is to be read beside BenchmarkSignatureAlone: the
// difference is what the package costs.
func BenchmarkVerify(b *testing.B) {
	key := fixture.Load(b, "p256")
	w := want(b, key)
	p := good()
	p.Nonce = "AAABnQ0pYkB5c2VtYnJhbmRuZXZlcnNheW5ldmVyYWdhaW4"
	proof := key.Proof(b, p)
	b.ReportAllocs()
	for b.Loop() {
		if _, refusal := dpop.Verify(proof, w); refusal != nil {
			b.Fatal(refusal)
		}
	}
}

func BenchmarkSignatureAlone(b *testing.B) {
	key := fixture.Load(b, "p256").Private.(*ecdsa.PrivateKey)
	sum := sha256.Sum256([]byte(token))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) {
			b.Fatal("the signature is not valid")
		}
	}
}

// BenchmarkRefuseStranger is a proof by a key that the token is not bound to.
func BenchmarkRefuseStranger(b *testing.B) {
	w := want(b, fixture.Load(b, "p256"))
	proof := fixture.Load(b, "p256-thief").Proof(b, good())
	b.ReportAllocs()
	for b.Loop() {
		if _, refusal := dpop.Verify(proof, w); refusal == nil {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkNormalize(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dpop.Normalize("https://api.example.com:443/reports/%37"); err != nil {
			b.Fatal(err)
		}
	}
}
