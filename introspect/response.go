// SPDX-License-Identifier: Apache-2.0

package introspect

import (
	"encoding/json"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/cnf"
)

// Response is the introspection response (RFC 7662 §2.2). The zero value says
// that the token is not active.
type Response struct {
	// Active says that the token is valid and that the caller may know.
	Active bool

	// Claims are what an active token says.
	Claims *accesstoken.Claims
}

// members are those of an active token, in the order in which they are
// written. cnf is that of RFC 7800, so that the caller can check a proof.
type members struct {
	Active       bool                 `json:"active"`
	Scope        string               `json:"scope,omitempty"`
	ClientID     string               `json:"client_id"`
	Subject      string               `json:"sub"`
	Audience     accesstoken.Audience `json:"aud"`
	Issuer       string               `json:"iss"`
	Expires      int64                `json:"exp"`
	IssuedAt     int64                `json:"iat"`
	ID           string               `json:"jti"`
	TokenType    string               `json:"token_type"`
	Confirmation *cnf.Confirmation    `json:"cnf,omitempty"`
}

// MarshalJSON writes the members of an active token, and of any other the one
// member "active" and nothing else, whatever the claims hold.
func (r Response) MarshalJSON() ([]byte, error) {
	if !r.Active || r.Claims == nil {
		return []byte(`{"active":false}`), nil
	}
	c := r.Claims
	m := members{
		Active:    true,
		Scope:     c.Scope,
		ClientID:  c.ClientID,
		Subject:   c.Subject,
		Audience:  c.Audience,
		Issuer:    c.Issuer,
		Expires:   c.Expires.Unix(),
		IssuedAt:  c.IssuedAt.Unix(),
		ID:        c.ID,
		TokenType: c.Type(),
	}
	if c.Confirmation.Bound() {
		m.Confirmation = &c.Confirmation
	}
	return json.Marshal(m)
}
