// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// mediaType is the typ of the tokens (RFC 9068 §2.1).
const mediaType = "at+jwt"

// Grant is what a token is minted for. iss, exp, iat and jti are made by Mint.
type Grant struct {
	ClientID, Subject string
	Audience          []string
	Scope             string           // left out of the token when empty
	Confirmation      cnf.Confirmation // zero: not bound; else exactly one member
	Opaque            bool             // an opaque token instead of a JWT
}

// payload is the claims set of RFC 9068 §2.2, and what the store keeps of an
// opaque token; readRecord knows its members too. There is no nbf: a token is
// valid at once, and a clock that runs behind would only refuse it.
type payload struct {
	Issuer       string            `json:"iss"`
	Subject      string            `json:"sub"`
	Audience     Audience          `json:"aud"`
	Expires      int64             `json:"exp"`
	IssuedAt     int64             `json:"iat"`
	ID           string            `json:"jti"`
	ClientID     string            `json:"client_id"`
	Scope        string            `json:"scope,omitempty"`
	Confirmation *cnf.Confirmation `json:"cnf,omitempty"`
}

// Mint returns a new token and its claims. It does not ask whether the client
// is registered, nor what it may ask for. The refusals are KeysUnavailable and
// StoreUnavailable; the latter also for a JWT, which nobody could judge before
// the store answers again, and beside which an opaque token may have been
// stored that nobody was told.
func (s *Service) Mint(ctx context.Context, g Grant) (string, *Claims, *oauth.Refusal) {
	id := rand.Text()
	_, since, refusal := s.revocation(ctx, id)
	if refusal != nil {
		return "", nil, refusal
	}
	// in the second in which the store was made, the cut-off fraction would
	// make the token look older than the store, and it would be refused. exp is
	// counted from now all the same: since is far ahead if the clock was set
	// back, and tokens must not live the longer for it
	now := s.clock.Now().Truncate(time.Second)
	issued := now
	if issued.Before(since) {
		issued = since
	}
	c := &Claims{
		Issuer:       s.issuer,
		Subject:      g.Subject,
		ClientID:     g.ClientID,
		ID:           id,
		Audience:     g.Audience,
		Scope:        g.Scope,
		IssuedAt:     issued,
		Expires:      now.Add(s.lifetime),
		Confirmation: g.Confirmation,
	}
	if g.Opaque {
		token, refusal := s.keep(ctx, c)
		if refusal != nil {
			return "", nil, refusal
		}
		return token, c, nil
	}
	token, err := s.keys.Sign(ctx, mediaType, c.payload())
	if err != nil {
		return "", nil, oauth.Unavailable(oauth.KeysUnavailable, err)
	}
	return token, c, nil
}

// payload is the claims as JSON.
func (c *Claims) payload() []byte {
	p := payload{
		Issuer:   c.Issuer,
		Subject:  c.Subject,
		Audience: c.Audience,
		Expires:  c.Expires.Unix(),
		IssuedAt: c.IssuedAt.Unix(),
		ID:       c.ID,
		ClientID: c.ClientID,
		Scope:    c.Scope,
	}
	if c.Confirmation.Bound() {
		p.Confirmation = &c.Confirmation
	}
	data, err := json.Marshal(p)
	if err != nil {
		// only a confirmation of several members can't be written; going on
		// without it would hand out a bearer token instead
		panic("internal error: writing the claims of an access token: " + err.Error())
	}
	return data
}
