// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"slices"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// steps are the steps of Verify in order, each with the reason that a fault
// in it gives.
var steps = []struct {
	name   string
	reason oauth.Reason
}{
	{"shape", oauth.ProofMalformed},
	{"typ", oauth.ProofTypeWrong},
	{"alg", oauth.ProofAlgorithmWrong},
	{"jwk", oauth.ProofKeyInvalid},
	{"claims", oauth.ProofMalformed},
	{"key", oauth.ProofKeyMismatch},
	{"htm", oauth.ProofMethodMismatch},
	{"htu", oauth.ProofURLMismatch},
	{"ath", oauth.ProofTokenMismatch},
	{"fresh", oauth.NonceStale},
	{"signature", oauth.ProofSignatureInvalid},
}

// wrongFrom is a proof that is wrong in the step and in all that follow.
func wrongFrom(t testing.TB, step int) string {
	t.Helper()
	ours, thief := fixture.Load(t, "p256"), fixture.Load(t, "p256-thief")
	header, claims := object{"jwk": public(ours, nil)}, object{}
	signer := ours
	for _, s := range slices.Backward(steps[step:]) {
		switch s.name {
		case "signature":
			signer = thief
		case "ath":
			claims["ath"] = dpop.TokenHash("another token")
		case "htu":
			claims["htu"] = "https://api.example.com/other"
		case "htm":
			claims["htm"] = "POST"
		case "key":
			header["jwk"] = public(thief, nil)
			signer = ours
		case "claims":
			claims["jti"] = 5
		case "jwk":
			header["jwk"].(object)["d"] = marker
		case "alg":
			header["alg"] = "HS256"
		case "typ":
			header["typ"] = "JWT"
		case "shape":
			header["crit"] = []string{"exp"}
		}
	}
	p := good()
	p.Header, p.Claims = header, claims
	return signer.Proof(t, p)
}

func TestVerifyChecksInOrder(t *testing.T) {
	t.Parallel()
	for i, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			asked := false
			w := want(t, fixture.Load(t, "p256"))
			w.Fresh = func(*dpop.Proof) *oauth.Refusal {
				asked = true
				if step.name == "signature" {
					return nil
				}
				return oauth.Refuse(oauth.NonceStale, "")
			}
			var seen []string
			w.Trace = func(name string, err error) {
				if failed := err != nil; failed != (name == step.name) {
					t.Errorf("step %s: got error %v", name, err)
				}
				seen = append(seen, name)
			}
			p, refusal := dpop.Verify(wrongFrom(t, i), w)
			if p != nil || refusal == nil {
				t.Fatalf("accepted: %+v", p)
			}
			if refusal.Reason != step.reason {
				t.Errorf("got %s (%s), want %s", refusal.Reason, refusal.Detail, step.reason)
			}
			var until []string
			for _, s := range steps[:i+1] {
				until = append(until, s.name)
			}
			if !slices.Equal(seen, until) {
				t.Errorf("traced %q, want %q", seen, until)
			}
			if shouldAsk := slices.Contains(until, "fresh"); asked != shouldAsk {
				t.Errorf("asked for freshness: %t, want %t", asked, shouldAsk)
			}
		})
	}
}

func TestVerifyTracesSuccess(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	w := want(t, key)
	var seen, all []string
	w.Trace = func(name string, err error) {
		if err != nil {
			t.Errorf("step %s: got error %v", name, err)
		}
		seen = append(seen, name)
	}
	if _, refusal := dpop.Verify(key.Proof(t, good()), w); refusal != nil {
		t.Fatalf("refused: %v", refusal)
	}
	for _, s := range steps {
		all = append(all, s.name)
	}
	if !slices.Equal(seen, all) {
		t.Errorf("traced %q, want %q", seen, all)
	}
}
