// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

// assertionLife is how long an assertion is good for. Servers differ in what
// they take; ours takes five minutes by its own clock.
const assertionLife = 4*time.Minute + 30*time.Second

// asserter authenticates a client by its key (private_key_jwt, RFC 7523 §2.2).
type asserter struct {
	prover
	client, issuer string
}

// authenticate puts a new assertion into a form, since each serves once.
func (a asserter) authenticate(form url.Values) error {
	algorithm := jose.SignatureAlgorithm(a.alg)
	if algorithm == "Ed25519" {
		algorithm = jose.EdDSA // the one name that go-jose and older servers know
	}
	options := new(jose.SignerOptions).WithType("JWT")
	if a.id != "" {
		options = options.WithHeader("kid", a.id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: a.signer}, options)
	if err != nil {
		return fmt.Errorf("making the assertion: %w", err)
	}
	now := clock.System.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": a.client, "sub": a.client, "aud": a.issuer, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return fmt.Errorf("making the assertion: %w", err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		return fmt.Errorf("signing the assertion: %w", err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		return fmt.Errorf("making the assertion: %w", err)
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", text)
	return nil
}
