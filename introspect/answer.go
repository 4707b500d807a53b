// SPDX-License-Identifier: Apache-2.0

// Package introspect answers token introspection requests (RFC 7662).
//
// It does not authenticate the caller, read forms or write HTTP responses, and
// it never asks the caller for a proof of possession: a resource server asks
// about tokens that are bound to the keys of others.
package introspect

import (
	"context"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// TokenVerifier judges a token apart from where it is used: signature, issuer,
// expiry, client. A reason of status 503 says that it can't tell. It must be
// safe for concurrent use.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (*accesstoken.Claims, *oauth.Refusal)
}

// Answerer answers introspection requests.
type Answerer struct {
	// Tokens judges the tokens. Required.
	Tokens TokenVerifier
}

// Answer answers a request of an authenticated client. token_type_hint is
// ignored (RFC 7662 §2.1 lets us): there is one type of token.
//
// Whatever is wrong with the token, and be it that the caller may not see it,
// the answer is the same: not active. Anything else would tell a caller what
// tokens exist (RFC 7662 §4). The refusals are ParameterMissing and those that
// mean that nobody can tell just now.
func (a *Answerer) Answer(ctx context.Context, caller *client.Client, f oauth.Form) (*Response, *oauth.Refusal) {
	token := f.Get("token")
	if token == "" {
		return nil, oauth.Refuse(oauth.ParameterMissing, "token")
	}
	claims, refusal := a.Tokens.Verify(ctx, token)
	if refusal != nil {
		// unknown is neither active nor inactive: the caller would believe
		// either and remember it
		if refusal.Reason.Undecided() {
			return nil, refusal
		}
		return &Response{}, nil
	}
	if !caller.MaySee(claims.ClientID, claims.Audience) || !writable(claims.Confirmation) {
		return &Response{}, nil
	}
	return &Response{Active: true, Claims: claims}, nil
}

// writable says whether a confirmation can be written in full. A token whose
// binding we can't repeat must not look active: without the cnf, or with half
// of it, the caller would take the token for less bound than it is.
func writable(c cnf.Confirmation) bool {
	return !c.Bound() || len(c.Members()) == 1 && len(c.Unsupported) == 0
}
