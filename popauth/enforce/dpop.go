// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"strings"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/jws"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// dpopMethodName stands for the method in the replay guard.
const dpopMethodName = "dpop"

// dpopMethod takes a DPoP proof (RFC 9449) for every kind of confirmation key,
// also for a cnf.jwk that was made without DPoP, so that existing client
// libraries can answer our challenge.
var dpopMethod = &method{
	members:    []string{"jwk", "jkt"},
	field:      "DPoP",
	judgeField: judgeDPoP,
	verify:     verifyDPoP,
	params:     []oauth.Param{{Name: "algs", Value: strings.Join(jws.Algorithms, " ")}},
}

// judgeDPoP refuses more than one proof.
func judgeDPoP(values []string) *oauth.Refusal {
	if dpop.Ambiguous(values) {
		return oauth.Refuse(oauth.AmbiguousProof, "")
	}
	return nil
}

// verifyDPoP puts the proof, the request and the nonce together.
func verifyDPoP(proof string, f evidenceFor, r Request, p Policy) (evidence, *oauth.Refusal) {
	want := dpop.Want{
		Thumbprint: f.confirmation.Thumbprint(),
		Method:     r.Method,
		URLs:       acceptableURLs(r.Origins, f.path),
		TokenHash:  dpop.TokenHash(f.token),
		Trace:      p.Trace,
	}
	if key := f.confirmation.JWK; key != nil {
		want.Algorithm = key.Algorithm()
	}
	var e evidence
	want.Fresh = func(content *dpop.Proof) (refusal *oauth.Refusal) {
		e.proof = replay.Proof{
			Method: dpopMethodName, Key: want.Thumbprint, ID: content.ID,
			Nonce: content.Nonce, HasNonce: content.HasNonce, IssuedAt: content.IssuedAt,
		}
		e.renew, refusal = p.Memory.Fresh(p.Freshness, e.proof)
		return refusal
	}
	if _, refusal := dpop.Verify(proof, want); refusal != nil {
		return evidence{}, refusal
	}
	return e, nil
}

// acceptableURLs are the values that htu may have. An origin that makes no
// URL with the path accepts nothing; without any the proof is refused.
func acceptableURLs(origins []string, path string) []string {
	urls := make([]string, 0, len(origins))
	for _, origin := range origins {
		// by itself, since ? or # in it would cut off the path that is appended
		if strings.ContainsAny(origin, "?#") {
			continue
		}
		if u, err := dpop.Normalize(strings.TrimSuffix(origin, "/") + path); err == nil {
			urls = append(urls, u)
		}
	}
	return urls
}
