// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// Authentication is who sent a request, as far as that is known.
type Authentication struct {
	// Client is the client that authenticated. Nil: none did.
	Client *Client

	// UsedHeader says that an Authorization field was there, also beside a
	// refusal: RFC 6749 §5.2 wants a 401 then.
	UsedHeader bool

	consume func(context.Context) *oauth.Refusal // nil: nothing to use up
}

// Consume uses up what serves only once, which a secret does not. It must be
// called after everything else about the request was judged and before it is
// acted on or answered: without it the same request passes again, and called
// earlier it takes from the client what a better request would need.
func (a Authentication) Consume(ctx context.Context) *oauth.Refusal {
	if a.consume == nil {
		return nil
	}
	return a.consume(ctx)
}
