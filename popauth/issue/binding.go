// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"net/http"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// refuseProof refuses a request with a DPoP field, even an empty one: a client
// that sends a proof believes that its token will be bound to the key of that
// proof (RFC 9449 §5), and to ignore it would hand out another token than the
// one asked for.
func refuseProof(h http.Header) *oauth.Refusal {
	if len(h.Values("DPoP")) > 0 {
		return oauth.Refuse(oauth.ProofUnsupported, "")
	}
	return nil
}

// confirmation is what the token will be bound to: the key in the cnf_key
// parameter, or nothing if the client has no key and need not have one.
func (i *Issuer) confirmation(c *client.Client, f oauth.Form) (cnf.Confirmation, *oauth.Refusal) {
	parameter := f.Get("cnf_key")
	if parameter == "" {
		if c.BindingRequired() {
			return cnf.Confirmation{}, &oauth.Refusal{Reason: oauth.ConfirmationKeyRequired, Option: "binding"}
		}
		return cnf.Confirmation{}, nil
	}
	key, refusal := cnf.ParseParameter(parameter)
	if refusal != nil {
		return cnf.Confirmation{}, refusal
	}
	// exactly one member: resource servers in the field refuse a cnf with two
	if i.ConfirmByThumbprint {
		return cnf.Confirmation{JKT: key.Thumbprint()}, nil
	}
	return cnf.Confirmation{JWK: key}, nil
}
