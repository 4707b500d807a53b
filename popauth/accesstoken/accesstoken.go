// SPDX-License-Identifier: Apache-2.0

// Package accesstoken makes an issuer's access tokens, judges them when they
// come back, and revokes them. A token is a JWT as of RFC 9068, signed with one
// of the issuer's own keys, or opaque: a random name under which the store
// keeps the same claims.
//
// It judges what does not depend on the place where a token is used. Whether
// a token is for this audience, has enough scope, and whether the sender holds
// the key it is bound to, is judged by its callers. It takes nobody's word for
// a key: neither a header member nor an unverified claim leads to one.
package accesstoken

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/popauth/caddy-popauth/popauth/cnf"
)

// MaxSize is the most bytes that a token may have: what fits into an
// Authorization field of 8 KiB, the most that a resource server takes, beside
// the longest scheme.
const MaxSize = 8<<10 - len("Bearer ")

// Claims are what an access token says. Those that Verify returns may be
// shared with other requests and must not be changed.
type Claims struct {
	// Issuer (iss) signed the token, Subject (sub) is on whose behalf it
	// acts, ClientID (client_id) got it, ID (jti) is its own name.
	Issuer, Subject, ClientID, ID string

	// Audience (aud) is whom the token is for. Empty: nobody.
	Audience []string

	// Scope holds the scope tokens (RFC 6749 §3.3), one space between them.
	Scope string

	// IssuedAt (iat) and Expires (exp): from Expires on it is not valid.
	IssuedAt, Expires time.Time

	// Confirmation (cnf) is the key that must be proven. The zero value is a
	// token that is not bound.
	Confirmation cnf.Confirmation
}

// Type is the token_type that a client is told: DPoP for a token bound by
// thumbprint, which RFC 9449 §5 defines it for. One bound by the whole key has
// no type of its own and is a Bearer token by name, as is one that is not
// bound.
func (c *Claims) Type() string {
	if c.Confirmation.JKT != "" {
		return "DPoP"
	}
	return "Bearer"
}

// MissingScopes lists those of want that the token does not have, in the order
// of want. nil: it has them all.
func (c *Claims) MissingScopes(want []string) []string {
	have := strings.Split(c.Scope, " ")
	var missing []string
	for _, scope := range want {
		if !slices.Contains(have, scope) {
			missing = append(missing, scope)
		}
	}
	return missing
}

// Audience writes the aud of a token or of an introspection response: a string
// when it is one, else an array (RFC 7519 §4.1.3). Resource servers in the
// field know no array of one.
type Audience []string

// MarshalJSON writes a string or an array, which may be empty but is no null.
func (a Audience) MarshalJSON() ([]byte, error) {
	switch len(a) {
	case 0:
		return []byte("[]"), nil
	case 1:
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}
