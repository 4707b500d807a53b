// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"time"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// Response is the token response (RFC 6749 §5.1).
type Response struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Scope       string `json:"scope,omitempty"`
}

// respond is the response with a minted token. A token that would be refused
// wherever it is sent, for its size, is refused here, where it can be mended.
func respond(token string, c *accesstoken.Claims, lifetime time.Duration) (*Response, *oauth.Refusal) {
	if len(token) > accesstoken.MaxSize {
		return nil, oauth.Refuse(oauth.ScopeInvalid, "the token would be larger than 8 KiB, ask for fewer scopes or resources")
	}
	return &Response{
		AccessToken: token,
		TokenType:   c.Type(),
		ExpiresIn:   int64(lifetime / time.Second),
		Scope:       c.Scope,
	}, nil
}
