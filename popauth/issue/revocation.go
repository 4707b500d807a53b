// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"context"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// Revoke answers the revocation request (RFC 7009) of a client that has been
// authenticated. No refusal means that the token is good for nothing from now
// on, whether or not it ever was; the answer is a 200 without a body.
//
// token_type_hint is ignored, right or wrong, as RFC 7009 §2.1 lets us: there
// is one type of token. Only the client that got a token may revoke it. The
// refusals are ParameterMissing and those of client.Authentication.Consume and
// accesstoken.Service.Revoke.
func (i *Issuer) Revoke(ctx context.Context, a client.Authentication, f oauth.Form) *oauth.Refusal {
	token := f.Get("token")
	if token == "" {
		return oauth.Refuse(oauth.ParameterMissing, "token")
	}
	if refusal := a.Consume(ctx); refusal != nil {
		return refusal
	}
	return i.Tokens.Revoke(ctx, token, a.Client.ID())
}
