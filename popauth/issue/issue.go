// SPDX-License-Identifier: Apache-2.0

// Package issue is the authorization server: it turns the token request of an
// authenticated client into an access token that is bound to the client's key,
// takes tokens back, and describes its endpoints (RFC 6749, RFC 7009, RFC 8414,
// RFC 8707).
//
// It does not authenticate clients, read forms or write HTTP responses. It
// takes a cnf_key from an authenticated client without a proof of possession:
// a client that names somebody else's key gets a token that it can't use.
package issue

import (
	"context"
	"net/http"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// Issuer is one authorization server. It is safe for concurrent use once its
// fields are set.
type Issuer struct {
	// URL is the issuer identifier (RFC 8414 §2).
	URL string

	// DefaultAudience is the audience of clients that have none of their own.
	// Default: URL.
	DefaultAudience []string

	// Tokens mints and revokes the access tokens. Required.
	Tokens *accesstoken.Service

	// Opaque makes opaque tokens for clients that have no format of their own,
	// instead of JWTs.
	Opaque bool

	// ConfirmByThumbprint binds a token to the thumbprint of the key
	// (cnf.jkt) instead of the key itself (cnf.jwk).
	ConfirmByThumbprint bool
}

// Token answers the token request of a client that has been authenticated,
// and uses up its authentication. The claims are those of the new token, for
// the log.
func (i *Issuer) Token(ctx context.Context, a client.Authentication, h http.Header, f oauth.Form) (*Response, *accesstoken.Claims, *oauth.Refusal) {
	if refusal := refuseProof(h); refusal != nil {
		return nil, nil, refusal
	}
	switch f.Get("grant_type") {
	case "":
		return nil, nil, oauth.Refuse(oauth.ParameterMissing, "grant_type")
	case clientCredentials:
		return i.clientCredentials(ctx, a, f)
	}
	return nil, nil, oauth.Refuse(oauth.GrantUnsupported, "")
}
