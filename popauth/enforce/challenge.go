// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"strings"

	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// Challenge is the WWW-Authenticate value for a refusal, empty where its rule
// wants none. It is always one challenge of the DPoP scheme, without a realm:
// client libraries retry on nothing else, also when the token was sent as
// Bearer (RFC 9449 §7.1, §9). The DPoP-Nonce field beside it is the caller's, and
// so are further parameters, which stand last.
func Challenge(r *oauth.Refusal, p Policy, further ...oauth.Param) string {
	rule := r.Reason.Rule()
	if !rule.Challenge {
		return ""
	}
	code, description := rule.Code, r.Description()
	if missesProofWithoutNonces(r, p) {
		code, description = oauth.ProofMalformed.Rule().Code, "a proof of possession is needed"
	}
	c := oauth.Challenge{Scheme: "DPoP"}
	if code != "" {
		c.Params = append(c.Params,
			oauth.Param{Name: "error", Value: code},
			oauth.Param{Name: "error_description", Value: description})
	}
	if r.Reason == oauth.ScopeInsufficient {
		c.Params = append(c.Params, oauth.Param{Name: "scope", Value: strings.Join(p.Scopes, " ")})
	}
	for _, m := range methods {
		c.Params = append(c.Params, m.params...)
	}
	c.Params = append(c.Params, further...)
	return c.String()
}

// WantsNonce says whether the answer to a refusal carries a DPoP-Nonce field.
// Where nonces are off, only those do that ask for one: a client whose clock is
// wrong can still get in with it.
func WantsNonce(r *oauth.Refusal, p Policy) bool {
	rule := r.Reason.Rule()
	if p.Freshness.Mode != replay.Off {
		return rule.Nonce
	}
	return rule.Code == oauth.ProofMissing.Rule().Code && !missesProofWithoutNonces(r, p)
}

// missesProofWithoutNonces is the one case in which the mode of nonces changes
// the code: a client that sent no proof need not be told of a nonce it can do
// without.
func missesProofWithoutNonces(r *oauth.Refusal, p Policy) bool {
	return r.Reason == oauth.ProofMissing && p.Freshness.Mode == replay.Off
}
