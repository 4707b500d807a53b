// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// The longest id and secret of a client. Both, form-encoded in the worst
// case, fit into the largest Authorization field that is read.
const (
	maxID     = 256
	maxSecret = 1024
)

// clientCredentials is the grant type of RFC 6749 §4.4.
const clientCredentials = "client_credentials"

// The formats of access tokens.
const (
	formatJWT    = "jwt"
	formatOpaque = "opaque"
)

// Config is one registered client, all values resolved.
type Config struct {
	// ID is the client's id: 1 to 256 characters of printable ASCII (VSCHAR of
	// RFC 6749 appendix A.1). One with a colon can authenticate with
	// client_secret_basic only if it form-encodes the id as RFC 6749 §2.3.1
	// says: sent raw, the first colon ends the id.
	ID string

	// Secrets are the client's secrets, each 1 to 1024 characters of printable
	// ASCII. Several are all valid, so that a secret can be rolled. A client has
	// either secrets or keys.
	Secrets []string

	// Keys are the public keys of a client that signs assertions
	// (private_key_jwt), at most 16. Each verifies one algorithm: for RSA that
	// is its alg, which it must name. Several are all valid, so that a key can
	// be rolled.
	Keys []*jwk.Key

	// Grants are the grant types it may use. Only client_credentials is known.
	// Default: client_credentials; none for a client with Introspect.
	Grants []string

	// Scopes is what it may ask for. Default: none.
	Scopes []string

	// Audience is what it may ask tokens for. Default: left to the issuer.
	Audience []string

	// TokenFormat is the format of its access tokens: jwt or opaque. Default:
	// left to the issuer.
	TokenFormat string

	// BindingOptional lets the client have tokens that are not bound to a key.
	BindingOptional bool

	// BindingMethods are the ways in which it may bind its tokens: ByKey and
	// ByProof. Default: both.
	BindingMethods []string

	// KeyProofRequired takes a cnf_key only beside a proof by the same key.
	KeyProofRequired bool

	// Introspect lets the client introspect tokens of other clients. Nil: it
	// sees only its own.
	Introspect *Introspect
}

// Introspect says which tokens of other clients a client may introspect.
type Introspect struct {
	// Audience limits it to tokens for one of these. Default: all tokens.
	Audience []string
}

// validate names the first mistake, without the client's id and without any
// secret.
func (c Config) validate() error {
	if !isPrintable(c.ID) {
		return errors.New("the id holds something else than printable ASCII")
	}
	if len(c.ID) > maxID {
		return fmt.Errorf("the id is longer than %d characters", maxID)
	}
	if err := validateSecrets(c.Secrets); err != nil {
		return err
	}
	for _, grant := range c.Grants {
		if grant != clientCredentials {
			return fmt.Errorf("unknown grant %q: expected %s", grant, clientCredentials)
		}
	}
	for i, scope := range c.Scopes {
		if !oauth.ValidScopeToken(scope) {
			return fmt.Errorf("scope %q is empty or holds a space, a quotation mark, a backslash or something else than printable ASCII", scope)
		}
		if slices.Contains(c.Scopes[:i], scope) {
			return fmt.Errorf("scope %q is repeated", scope)
		}
	}
	if err := validateAudience(c.Audience); err != nil {
		return err
	}
	switch c.TokenFormat {
	case "", formatJWT, formatOpaque:
	default:
		return fmt.Errorf("unknown token format %q: expected %s or %s", c.TokenFormat, formatJWT, formatOpaque)
	}
	if err := c.validateBinding(); err != nil {
		return err
	}
	if c.Introspect != nil {
		return validateAudience(c.Introspect.Audience)
	}
	return nil
}

func validateSecrets(secrets []string) error {
	for _, secret := range secrets {
		switch {
		case secret == "":
			return errors.New("a secret is empty")
		case len(secret) > maxSecret:
			return fmt.Errorf("a secret is longer than %d characters", maxSecret)
		case !isPrintable(secret):
			return errors.New("a secret holds something else than printable ASCII, such as the line end of a file")
		}
	}
	return nil
}

// validateAudience leaves what an audience looks like to those who use it,
// apart from what RFC 8707 §2 rules out for a resource.
func validateAudience(audience []string) error {
	for i, a := range audience {
		if a == "" {
			return errors.New("an audience is empty")
		}
		if strings.Contains(a, "#") {
			return fmt.Errorf("audience %q has a fragment", a)
		}
		if slices.Contains(audience[:i], a) {
			return fmt.Errorf("audience %q is repeated", a)
		}
	}
	return nil
}

// isPrintable says that all of s is VSCHAR: %x20-7E (RFC 6749 appendix A).
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
