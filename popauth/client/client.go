// SPDX-License-Identifier: Apache-2.0

// Package client knows the registered clients of one issuer: what each may
// ask for, which tokens it may see, and how it authenticates.
//
// It keeps the SHA-256 digests of secrets, never the secrets. It does not
// judge a request for a token, and reads neither placeholders nor files: a
// [Config] holds values.
package client

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
)

// Client is a registered client. It is immutable.
type Client struct {
	id         string
	grants     []string
	scopes     []string
	audience   []string
	format     string
	unbound    bool
	binding    []string // never empty
	keyProof   bool
	introspect *Introspect

	// digests are the SHA-256 digests of the secrets, filled up with random
	// ones so that all clients of a registry have the same number of them.
	digests [][sha256.Size]byte

	// keys are the public keys that the client signs assertions with. A client
	// with keys has no secret, and then all digests are random.
	keys []key

	// failure is what the log says of another secret. It is made beforehand, so
	// that a known client costs no more time than an unknown one.
	failure error
}

// ID is the client's id.
func (c *Client) ID() string { return c.id }

// MayUse says whether the client may use a grant type.
func (c *Client) MayUse(grant string) bool { return slices.Contains(c.grants, grant) }

// Scopes are those that the client may ask for.
func (c *Client) Scopes() []string { return slices.Clone(c.scopes) }

// Audience is what the client may ask tokens for. It is empty when none was
// configured, which leaves it to the issuer.
func (c *Client) Audience() []string { return slices.Clone(c.audience) }

// TokenFormat is the format of the client's access tokens: jwt or opaque. It is
// empty when none was configured, which leaves it to the issuer.
func (c *Client) TokenFormat() string { return c.format }

// MaySee says whether the client may introspect a token that was issued to
// clientID for audience: its own always; those of others if it was given
// introspection, and only those for one of the audiences that this was
// limited to, if it was.
func (c *Client) MaySee(clientID string, audience []string) bool {
	if clientID == c.id {
		return true
	}
	if c.introspect == nil {
		return false
	}
	if len(c.introspect.Audience) == 0 {
		return true
	}
	return slices.ContainsFunc(audience, func(a string) bool {
		return slices.Contains(c.introspect.Audience, a)
	})
}

// holds says whether secret is one of the client's, in time that depends on
// nothing but the length of secret and the number of digests.
func (c *Client) holds(secret string) bool {
	digest := sha256.Sum256([]byte(secret))
	found := 0
	for i := range c.digests {
		found |= subtle.ConstantTimeCompare(c.digests[i][:], digest[:])
	}
	return found == 1
}
