// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"slices"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// maxScope is the most bytes that the scope parameter may have.
const maxScope = 4 << 10

// grantedScope is the scope of the token: what was asked for, in that order and each
// scope once, or all that the client may have if it asked for none (RFC 6749
// §3.3). More than the client may have is refused, not cut down: it would find
// out only when it is refused elsewhere.
func grantedScope(c *client.Client, f oauth.Form) (string, *oauth.Refusal) {
	parameter := f.Get("scope")
	if parameter == "" {
		return strings.Join(c.Scopes(), " "), nil
	}
	if len(parameter) > maxScope {
		return "", oauth.Refuse(oauth.ScopeInvalid, "larger than 4 KiB")
	}
	allowed := c.Scopes()
	var granted []string
	for asked := range strings.SplitSeq(parameter, " ") {
		if !oauth.ValidScopeToken(asked) {
			return "", oauth.Refuse(oauth.ScopeInvalid, "not a list as of RFC 6749 section 3.3, with one space between two scopes")
		}
		if !slices.Contains(allowed, asked) {
			return "", &oauth.Refusal{
				Reason: oauth.ScopeInvalid, Detail: "more than the client may ask for",
				Expected: strings.Join(allowed, " "), Got: asked, Option: "scopes",
			}
		}
		if !slices.Contains(granted, asked) {
			granted = append(granted, asked)
		}
	}
	return strings.Join(granted, " "), nil
}
