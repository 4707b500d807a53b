// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/popauth/caddy-popauth/introspect"
	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/issue"
	"github.com/popauth/caddy-popauth/popauth/keys"
)

// Signing says with which keys an issuer signs its tokens.
type Signing struct {
	// The algorithm of the keys that are made: ES256, ES384, EdDSA, PS256 or
	// RS256. Default: ES256.
	Algorithm string `json:"algorithm,omitempty"`

	// Private keys of your own instead of ones that are made and kept in
	// Caddy's storage: each a JWK or a PEM, either literal or exactly one
	// placeholder such as `{file./run/secrets/key.pem}`. The first signs, the
	// others are only published, so that a key can be rolled.
	Keys []string `json:"keys,omitempty"`
}

// AccessToken says what an issuer's access tokens look like.
type AccessToken struct {
	// The format of the tokens. `jwt` is a JWT access token as of RFC 9068,
	// which others can verify on their own. `opaque` is a random string, of
	// which the store keeps what it stands for. Default: jwt.
	Format string `json:"format,omitempty"`

	// How long a token is valid. Default: 5m.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`

	// How a binding by the `cnf_key` parameter is written into the token:
	// `jwk`, the whole public key, or `jkt`, its RFC 7638 thumbprint. A token
	// with a thumbprint is of type DPoP and is refused when it is sent as a
	// Bearer token. Default: jwk.
	Confirmation string `json:"confirmation,omitempty"`
}

// Endpoints are the paths of an issuer's endpoints. They stand beneath the
// path of the issuer URL, if it has one.
type Endpoints struct {
	// The token endpoint (RFC 6749). Default: /oauth2/token.
	Token string `json:"token,omitempty"`

	// The introspection endpoint (RFC 7662). Default: /oauth2/introspect.
	Introspect string `json:"introspect,omitempty"`

	// The revocation endpoint (RFC 7009). Default: /oauth2/revoke.
	Revoke string `json:"revoke,omitempty"`

	// The published keys (RFC 7517). Default: /oauth2/jwks.
	JWKS string `json:"jwks,omitempty"`
}

// Client is a registered OAuth client: somebody who may ask for tokens.
type Client struct {
	// The client_id: printable ASCII, at most 256 characters. Required.
	ID string `json:"id,omitempty"`

	// The secrets the client may authenticate with, each of them either
	// literal or exactly one placeholder such as `{env.REPORTS_SECRET}`.
	// Several let you roll a secret. A client has either secrets or keys.
	Secrets []string `json:"secrets,omitempty"`

	// A file with a JWK Set: the public keys of a client that authenticates
	// with signed assertions (`private_key_jwt`, RFC 7523). It is read when the
	// configuration is loaded. Accepts placeholders.
	JWKSFile string `json:"jwks_file,omitempty"`

	// Such public keys, each a JWK, either literal or exactly one placeholder
	// such as `{file./etc/popauth/reports.jwk}`. Several keys let you roll one.
	JWK []string `json:"jwk,omitempty"`

	// The grant types the client may use: `client_credentials` is the only one
	// there is. Default: that one; none for a client that may introspect.
	Grants []string `json:"grants,omitempty"`

	// The scopes the client may ask for. One that asks for none gets all.
	// Default: none. Accepts placeholders.
	Scopes []string `json:"scopes,omitempty"`

	// The audiences the client may get tokens for. One that asks for none (by
	// `resource`, RFC 8707) gets all. Default: the audience of the issuer.
	// Accepts placeholders.
	Audience []string `json:"audience,omitempty"`

	// The format of the client's tokens: `jwt` or `opaque`. Default: that of
	// the issuer.
	AccessToken string `json:"access_token,omitempty"`

	// `required`: the client gets no token unless it binds it to a key.
	// `optional`: a request without a key gets an unbound token, which
	// pop_auth refuses unless it is told otherwise. Default: required.
	Binding string `json:"binding,omitempty"`

	// The ways in which the client may bind its tokens to a key: `cnf_key`, by
	// sending the key in that parameter, and `dpop`, by a DPoP proof as of RFC
	// 9449. Another way is refused. Default: both.
	BindingMethods []string `json:"binding_methods,omitempty"`

	// `required`: a `cnf_key` of the client is taken only beside a DPoP proof by
	// the same key, which shows that the client holds it. `optional`: also
	// without. A proof beside a `cnf_key` is judged in either case. Default:
	// optional.
	CNFKeyProof string `json:"cnf_key_proof,omitempty"`

	// Present: the client may introspect tokens of other clients too. A
	// client without it sees its own.
	Introspect *Introspect `json:"introspect,omitempty"`
}

// Introspect says which tokens a client may introspect.
type Introspect struct {
	// Only tokens for one of these audiences. Default: all tokens. Accepts
	// placeholders.
	Audience []string `json:"audience,omitempty"`
}

// Issuer is an authorization server: an identity that signs access tokens,
// with its keys, its clients and its store.
type Issuer struct {
	// The issuer identifier (RFC 8414): the URL under which clients reach the
	// endpoints, `https`, without query, fragment or trailing slash. `http` is
	// taken for loopback addresses, localhost and names under .localhost.
	// Required. Accepts placeholders.
	URL string `json:"url,omitempty"`

	// The audience of tokens of clients that have none of their own, and what
	// `pop_auth` expects to find in a token. Default: the issuer URL. Accepts
	// placeholders.
	Audience []string `json:"audience,omitempty"`

	// The signing keys. Default: an ES256 key, made at the first start, kept in
	// Caddy's storage and replaced every 30 days.
	Signing *Signing `json:"signing,omitempty"`

	// Where the issuer keeps what must survive a restart: opaque tokens,
	// revocations and which client assertions were used. Default: `{"backend": "file"}`
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=popauth.stores inline_key=backend"`

	// What nonces the token endpoint asks for in DPoP proofs. `required`: a
	// proof must carry a nonce of ours, which is at most two minutes old.
	// `optional`: a proof without one is judged by its `iat`, which may lie five
	// minutes in the past and one in the future. `off`: the same, and nonces are
	// offered only to clients that can't do without. Default: optional.
	Nonce string `json:"nonce,omitempty"`

	// The access tokens.
	AccessToken *AccessToken `json:"access_token,omitempty"`

	// The paths of the endpoints.
	Endpoints *Endpoints `json:"endpoints,omitempty"`

	// The registered clients.
	Clients []*Client `json:"clients,omitempty"`

	url       string   // resolved
	audience  []string // resolved, never empty
	scopes    []string // all that clients may ask for
	store     *tenancy
	keys      *keys.Ring
	tokens    *accesstoken.Service
	clients   *client.Registry
	issuing   *issue.Issuer
	answering *introspect.Answerer
	endpoints []issue.Endpoint
	metadata  []byte // the RFC 8414 document
}
