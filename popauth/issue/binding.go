// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// binding is what a token will be bound to, and what shows that the client
// holds that key.
type binding struct {
	confirmation cnf.Confirmation
	thumbprint   string        // of the key, once one is known
	proof        *replay.Proof // found right, and not used up; nil: there is none
	renew        bool          // the nonce of the proof is half used up
}

// bind judges what the client asks to have its token bound to: the key in the
// cnf_key parameter, the key of its DPoP proof, or nothing if the client need
// not have one. A key or a proof that does not count is refused and never
// ignored: the client would believe that its token is bound by it.
func (i *Issuer) bind(r Request, b *binding) *oauth.Refusal {
	field, proven, refusal := proofField(r.Header)
	if refusal != nil {
		return refusal
	}
	parameter := r.Form.Get("cnf_key")
	method := client.ByProof
	switch {
	case parameter != "":
		method = client.ByKey
	case proven:
	case r.Client.BindingRequired():
		return &oauth.Refusal{Reason: oauth.ConfirmationKeyRequired, Detail: ways(r.Client), Option: "binding"}
	default:
		return nil
	}
	if !r.Client.MayBind(method) {
		return &oauth.Refusal{Reason: oauth.BindingUnauthorized, Detail: ways(r.Client), Got: method, Option: "binding"}
	}

	var key *jwk.Key
	if method == client.ByKey {
		if key, refusal = cnf.ParseParameter(parameter); refusal != nil {
			return refusal
		}
		b.thumbprint = key.Thumbprint()
		if !proven && r.Client.KeyProofRequired() {
			return &oauth.Refusal{Reason: oauth.ProofMissing, Option: "cnf_key_proof"}
		}
	}
	if proven {
		if refusal := i.verifyProof(field, key, b); refusal != nil {
			return refusal
		}
	}
	b.confirmation = i.confirmation(key, b.thumbprint)
	return nil
}

// confirmation has exactly one member: resource servers in the field refuse a
// cnf with two. A proof alone binds by the thumbprint (RFC 9449 §6).
func (i *Issuer) confirmation(key *jwk.Key, thumbprint string) cnf.Confirmation {
	if key == nil || i.ConfirmByThumbprint {
		return cnf.Confirmation{JKT: thumbprint}
	}
	return cnf.Confirmation{JWK: key}
}

// ways says how the client may bind its tokens.
func ways(c *client.Client) string {
	switch {
	case !c.MayBind(client.ByProof):
		return "send its public key as cnf_key"
	case !c.MayBind(client.ByKey):
		return "send a DPoP proof, and no cnf_key"
	}
	return "send its public key as cnf_key, or a DPoP proof"
}
