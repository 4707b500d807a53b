// SPDX-License-Identifier: Apache-2.0

// Package issue is the authorization server: it turns the token request of an
// authenticated client into an access token that is bound to the client's key,
// takes tokens back, and describes its endpoints (RFC 6749, RFC 7009, RFC 8414,
// RFC 8707).
//
// It does not authenticate clients, read forms or write HTTP responses. Unless
// a client is to prove its key, it takes a cnf_key from an authenticated client
// without a proof of possession: a client that names somebody else's key gets a
// token that it can't use.
package issue

import (
	"context"
	"net/http"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
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

	// TokenURL is the htu that proofs must have: the URL of the token endpoint
	// beneath the issuer's, as dpop.Normalize returns it. Empty: no proof
	// passes.
	TokenURL string

	// Freshness says how the time of a proof is judged.
	Freshness replay.Policy

	// OfferNonces adds a nonce to every refusal of a proof, and to an answer
	// once the nonce of the proof is half used up. Without it, only refusals
	// that ask for a nonce carry one.
	OfferNonces bool

	// Memory keeps proofs from passing twice. Required.
	Memory *replay.Memory
}

// Request is a token request of a client that has been authenticated.
type Request struct {
	// Client is the client, Consume uses up what it has authenticated with. It
	// is called when all else has been found right, just before the token is
	// made. Both are required: without Consume there is no token.
	Client  *client.Client
	Consume func(context.Context) *oauth.Refusal

	Header http.Header
	Form   oauth.Form
}

// Outcome is what became of a token request.
type Outcome struct {
	// Refusal is why there is no token; nil: there is one.
	Refusal *oauth.Refusal

	// Response is the answer, Claims are those of the new token, for the log.
	Response *Response
	Claims   *accesstoken.Claims

	// Thumbprint is that of the key to which the token is bound, or would have
	// been, once one is known. Beside a refusal it may be a key that the client
	// only claims to hold.
	Thumbprint string

	// Nonce is for the DPoP-Nonce field of the answer; empty: there is none.
	Nonce string
}

// Token answers the token request of a client that has been authenticated.
//
// The order is part of the contract: what can be used up (the proof, then what
// the client has authenticated with) is used up last, just before the token is
// made, so that a request that is refused never spends anything.
func (i *Issuer) Token(ctx context.Context, r Request) Outcome {
	var o Outcome
	var b binding
	o.Response, o.Claims, o.Refusal = i.grant(ctx, r, &b)
	o.Thumbprint = b.thumbprint
	if i.offersNonce(o.Refusal, b) {
		o.Nonce = i.Memory.Nonce()
	}
	return o
}

// grant calls the grant that was asked for, which fills b as far as it gets.
func (i *Issuer) grant(ctx context.Context, r Request, b *binding) (*Response, *accesstoken.Claims, *oauth.Refusal) {
	switch r.Form.Get("grant_type") {
	case "":
		return nil, nil, oauth.Refuse(oauth.ParameterMissing, "grant_type")
	case clientCredentials:
		return i.clientCredentials(ctx, r, b)
	}
	return nil, nil, oauth.Refuse(oauth.GrantUnsupported, "")
}
