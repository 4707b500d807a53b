// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"net/http"
	"sync"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

func TestCheckRefusesReplays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	proof := fixture.Proof{ID: "one", Nonce: b.policy.Memory.Nonce()}
	r := b.request(attempt{proof: proof})
	b.refused(b.check(r), "")
	b.refused(b.check(r), oauth.ProofReplayed)

	// the id is that of the proof, not of its bytes: signed again it is
	// another string, and so is the other signature of an ECDSA pair
	b.refused(b.check(b.request(attempt{proof: proof})), oauth.ProofReplayed)
	flipped := r
	flipped.Header = http.Header{"Authorization": r.Header["Authorization"], "Dpop": {b.key.FlipS(t, r.Header.Get("DPoP"))}}
	b.refused(b.check(flipped), oauth.ProofReplayed)

	// nor does it help to use the proof for something else
	elsewhere := r
	elsewhere.Target = "/accounts"
	b.refused(b.check(elsewhere), oauth.ProofURLMismatch)
	elsewhere = r
	elsewhere.Method = "DELETE"
	b.refused(b.check(elsewhere), oauth.ProofMethodMismatch)
	b.refused(b.check(b.request(attempt{proof: proof, token: "other"})), oauth.ProofReplayed)
	b.honest()
}

// The first use of a flipped signature is as good as any; then the original
// is the replay.
func TestCheckRefusesTheOriginalOfAFlippedSignature(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var original string
	r := b.request(attempt{change: func(proof string) string {
		original = proof
		return b.key.FlipS(t, proof)
	}})
	b.refused(b.check(r), "")
	r.Header.Set("DPoP", original)
	b.refused(b.check(r), oauth.ProofReplayed)
	b.honest()
}

func TestCheckLetsExactlyOneOfManyPass(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.request(attempt{})
	verdicts := make([]Verdict, 32)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range verdicts {
		wg.Go(func() {
			<-start
			verdicts[i] = Check(t.Context(), r, b.policy)
		})
	}
	close(start)
	wg.Wait()
	passed := 0
	for _, v := range verdicts {
		if v.Refusal == nil {
			passed++
		} else if v.Refusal.Reason != oauth.ProofReplayed {
			t.Errorf("got reason %q, want %q", v.Refusal.Reason, oauth.ProofReplayed)
		}
	}
	if passed != 1 {
		t.Errorf("%d of %d requests with one proof passed, want 1", passed, len(verdicts))
	}
	b.honest()
}

// A refused request must not cost its client the proof: the same id passes
// afterwards. Else an attacker could burn it by sending the proof on with one
// byte changed.
func TestCheckUsesNothingUpOnRefusal(t *testing.T) {
	t.Parallel()
	spoil := []struct {
		name    string
		attempt attempt
		want    oauth.Reason
	}{
		{"by another key", attempt{}, oauth.ProofKeyMismatch},
		{"with a broken signature", attempt{change: flip}, oauth.ProofSignatureInvalid},
		{"for another URL", attempt{target: "/accounts", proof: fixture.Proof{URL: place + "/reports"}}, oauth.ProofURLMismatch},
		{"with too small a scope", attempt{token: "read-only"}, oauth.ScopeInsufficient},
		{"with an ambiguous target", attempt{target: "/a/../reports"}, oauth.AmbiguousTarget},
	}
	for _, tt := range spoil {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.policy.Freshness.Mode = replay.SingleUse
			if tt.want == oauth.ProofKeyMismatch {
				tt.attempt.key = &b.thief
			}
			nonce := b.policy.Memory.Nonce()
			tt.attempt.proof.ID, tt.attempt.proof.Nonce = "precious", nonce
			b.refused(b.check(b.request(tt.attempt)), tt.want)
			right := attempt{proof: fixture.Proof{ID: "precious", Nonce: nonce}}
			b.refused(b.check(b.request(right)), "")
			right.proof.ID = "another"
			b.refused(b.check(b.request(right)), oauth.NonceUsed)
		})
	}
}

// Two clients may choose the same id: nobody can burn another one's.
func TestCheckKeepsIdsOfKeysApart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.issuer.tokens["thief"] = withKey(t, *b.issuer.tokens["jwk"], b.thief)
	proof := fixture.Proof{ID: "same"}
	b.refused(b.check(b.request(attempt{token: "thief", key: &b.thief, proof: proof})), "")
	b.refused(b.check(b.request(attempt{proof: proof})), "")
}

func TestCheckNonce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	nonce := b.policy.Memory.Nonce()
	flipped := []byte(nonce)
	flipped[4] ^= 1
	b.refused(b.check(b.request(attempt{proof: fixture.Proof{Nonce: string(flipped)}})), oauth.NonceInvalid)
	if v := b.check(b.request(attempt{proof: fixture.Proof{Nonce: nonce}})); v.Refusal != nil || v.RenewNonce {
		t.Errorf("a new nonce: got %+v, want it to pass without a newer one", v)
	}
	b.clock.Advance(nonceHalf)
	if v := b.check(b.request(attempt{proof: fixture.Proof{Nonce: nonce}})); v.Refusal != nil || !v.RenewNonce {
		t.Errorf("a nonce that is half used up: got %+v, want it to pass with a newer one", v)
	}
	b.clock.Advance(nonceHalf)
	b.refused(b.check(b.request(attempt{proof: fixture.Proof{Nonce: nonce}})), oauth.NonceStale)
	b.honest()
}

func TestCheckWithoutNonces(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.policy.Freshness.Mode = replay.Off
	at := func(offset int64) attempt {
		return attempt{noNonce: true, proof: fixture.Proof{Claims: map[string]any{"iat": b.clock.Now().Unix() + offset}}}
	}
	b.refused(b.check(b.request(at(0))), "")
	b.refused(b.check(b.request(at(-299))), "")
	b.refused(b.check(b.request(at(-302))), oauth.ProofExpired)
	b.refused(b.check(b.request(at(59))), "")
	b.refused(b.check(b.request(at(62))), oauth.ProofFromFuture)
	wrongClock := at(-86400)
	wrongClock.noNonce = false
	b.refused(b.check(b.request(wrongClock)), "")
}
