// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"
)

// Compare "check" with "signature": what is left is ours.
func BenchmarkCheck(b *testing.B) {
	b.Run("signature", func(b *testing.B) {
		bn := newBench(b)
		key := bn.key.Private.(*ecdsa.PrivateKey)
		digest := sha256.Sum256([]byte("message"))
		sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				b.Fatal("not verified")
			}
		}
	})

	// every request has a proof of its own, made before the clock runs
	b.Run("check", func(b *testing.B) {
		bn := newBench(b)
		token := mint(b, bn, withService(b, bn))
		bn.policy.Memory.Configure(max(1<<12, 8*b.N), 5*time.Minute, time.Minute)
		requests := make([]Request, b.N)
		for i := range requests {
			requests[i] = bn.request(attempt{token: token})
		}
		b.ReportAllocs()
		b.ResetTimer()
		for _, r := range requests {
			if v := Check(b.Context(), r, bn.policy); v.Refusal != nil {
				b.Fatal(v.Refusal)
			}
		}
	})

	b.Run("refused before the signature", func(b *testing.B) {
		bn := newBench(b)
		token := mint(b, bn, withService(b, bn))
		r := bn.request(attempt{token: token, key: &bn.thief})
		b.ReportAllocs()
		for b.Loop() {
			if v := Check(b.Context(), r, bn.policy); v.Refusal == nil {
				b.Fatal("passed")
			}
		}
	})

	b.Run("refused before the token", func(b *testing.B) {
		bn := newBench(b)
		r := bn.request(attempt{target: "/a/%2e%2e/b"})
		b.ReportAllocs()
		for b.Loop() {
			if v := Check(b.Context(), r, bn.policy); v.Refusal == nil {
				b.Fatal("passed")
			}
		}
	})

	b.Run("challenge", func(b *testing.B) {
		bn := newBench(b)
		r := bn.request(attempt{header: without("DPoP")})
		b.ReportAllocs()
		for b.Loop() {
			if Challenge(Check(b.Context(), r, bn.policy).Refusal, bn.policy) == "" {
				b.Fatal("no challenge")
			}
		}
	})
}
