// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"net/url"
	"slices"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// audience is whom the token is for: the resources that were asked for (RFC
// 8707 §2), each once, or all audiences of the client if it asked for none.
func (i *Issuer) audience(c *client.Client, f oauth.Form) ([]string, *oauth.Refusal) {
	allowed := c.Audience()
	if len(allowed) == 0 {
		allowed = i.DefaultAudience
	}
	if len(allowed) == 0 {
		allowed = []string{i.URL}
	}
	resources := f.All("resource")
	if len(resources) == 0 {
		return slices.Clone(allowed), nil
	}
	var granted []string
	for _, resource := range resources {
		if !isResource(resource) {
			return nil, oauth.Refuse(oauth.TargetInvalid, "not an absolute URI without a fragment")
		}
		// compared byte for byte, as the resource server will compare the aud
		if !slices.Contains(allowed, resource) {
			return nil, &oauth.Refusal{
				Reason: oauth.TargetInvalid, Detail: "not an audience of the client",
				Expected: strings.Join(allowed, " "), Got: resource, Option: "audience",
			}
		}
		if !slices.Contains(granted, resource) {
			granted = append(granted, resource)
		}
	}
	return granted, nil
}

// isResource says whether s is an absolute URI without a fragment, not even an
// empty one, which url.Parse would not show (RFC 8707 §2).
func isResource(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && !strings.Contains(s, "#")
}
