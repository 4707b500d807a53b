// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"context"
	"errors"
	"net/http"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// proofMethod stands for the kind of proof in the replay guard.
const proofMethod = "dpop"

// proofField is the proof in the header, if there is a DPoP field. An empty
// field is a proof, a malformed one.
func proofField(h http.Header) (proof string, ok bool, refusal *oauth.Refusal) {
	values := h.Values("DPoP")
	if dpop.Ambiguous(values) {
		return "", false, oauth.Refuse(oauth.AmbiguousProof, "")
	}
	if len(values) == 0 {
		return "", false, nil
	}
	return values[0], true, nil
}

// verifyProof judges everything about a proof (RFC 9449 §5) but whether it is
// new, and puts what it finds into b. key is the one in cnf_key, nil if there
// is none; then any key does that passes the key policy.
//
// htu is compared with the issuer URL, and never with what the request calls
// this host: that is up to the client.
func (i *Issuer) verifyProof(field string, key *jwk.Key, b *binding) *oauth.Refusal {
	want := dpop.Want{AnyKey: key == nil, NoToken: true, Method: http.MethodPost, URLs: []string{i.TokenURL}}
	if key != nil {
		want.Thumbprint, want.Algorithm = key.Thumbprint(), key.Algorithm()
	}
	var proof replay.Proof
	want.Fresh = func(content *dpop.Proof) (refusal *oauth.Refusal) {
		b.thumbprint = content.Key.Thumbprint()
		proof = replay.Proof{
			Method: proofMethod, Key: b.thumbprint, ID: content.ID,
			Nonce: content.Nonce, HasNonce: content.HasNonce, IssuedAt: content.IssuedAt,
		}
		b.renew, refusal = i.Memory.Fresh(i.Freshness, proof)
		return refusal
	}
	if _, refusal := dpop.Verify(field, want); refusal != nil {
		return atTokenEndpoint(refusal)
	}
	b.proof = &proof
	return nil
}

// atTokenEndpoint rewords a refusal of a proof where other things are compared
// here than at an API.
func atTokenEndpoint(r *oauth.Refusal) *oauth.Refusal {
	switch r.Reason {
	case oauth.ProofKeyMismatch:
		// no token is at fault, but a request that names two keys
		r.Reason = oauth.ConfirmationKeyMismatch
	case oauth.ProofURLMismatch:
		r.Option = "issuer"
		if r.Hint != "" {
			r.Hint += "; "
		}
		r.Hint += "htu is compared with the issuer URL and the path of the token endpoint, whatever host the request was sent to"
	}
	return r
}

// spend uses up what serves once, and is the last check.
func (i *Issuer) spend(ctx context.Context, r Request, b *binding) *oauth.Refusal {
	if b.proof != nil {
		if refusal := i.Memory.Use(i.Freshness, *b.proof); refusal != nil {
			return refusal
		}
	}
	if r.Consume == nil {
		return &oauth.Refusal{Cause: errors.New("nobody uses up the client's authentication")}
	}
	return r.Consume(ctx)
}

// offersNonce says whether the answer carries a nonce. refusal is nil where a
// token is issued.
func (i *Issuer) offersNonce(refusal *oauth.Refusal, b binding) bool {
	if refusal == nil {
		return b.renew && i.OfferNonces
	}
	code := refusal.Reason.Rule().CodeAtEndpoint()
	return code == oauth.NonceMissing.Rule().Code || i.OfferNonces && code == oauth.ProofMalformed.Rule().Code
}
