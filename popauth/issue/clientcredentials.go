// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"context"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// clientCredentials is the grant_type of RFC 6749 §4.4.2.
const clientCredentials = "client_credentials"

// clientCredentials is the client credentials grant (RFC 6749 §4.4): a client
// acts for itself.
func (i *Issuer) clientCredentials(ctx context.Context, r Request, b *binding) (*Response, *accesstoken.Claims, *oauth.Refusal) {
	c, f := r.Client, r.Form
	if !c.MayUse(clientCredentials) {
		return nil, nil, &oauth.Refusal{Reason: oauth.GrantUnauthorized, Option: "grants"}
	}
	if refusal := i.bind(r, b); refusal != nil {
		return nil, nil, refusal
	}
	scope, refusal := grantedScope(c, f)
	if refusal != nil {
		return nil, nil, refusal
	}
	audience, refusal := i.audience(c, f)
	if refusal != nil {
		return nil, nil, refusal
	}
	if refusal := i.spend(ctx, r, b); refusal != nil {
		return nil, nil, refusal
	}
	token, claims, refusal := i.Tokens.Mint(ctx, accesstoken.Grant{
		ClientID: c.ID(),
		// RFC 9068 §2.2: where no resource owner is involved, the subject is
		// the client
		Subject:      c.ID(),
		Audience:     audience,
		Scope:        scope,
		Confirmation: b.confirmation,
		Opaque:       i.opaqueFor(c),
	})
	if refusal != nil {
		return nil, nil, refusal
	}
	response, refusal := respond(token, claims, i.Tokens.Lifetime())
	if refusal != nil {
		return nil, nil, refusal
	}
	return response, claims, nil
}

// opaqueFor says whether a client gets opaque tokens: by its own format if it
// has one, else by the issuer's.
func (i *Issuer) opaqueFor(c *client.Client) bool {
	if format := c.TokenFormat(); format != "" {
		return format == "opaque"
	}
	return i.Opaque
}
