// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// FuzzAudience: a token is for nobody that the client may not call, once for
// each, and what is refused is told as a target.
func FuzzAudience(f *testing.F) {
	registry, err := client.NewRegistry([]client.Config{reports()}, client.Assertions{})
	if err != nil {
		f.Fatal(err)
	}
	c, _ := registry.Lookup("reports")
	i := &Issuer{URL: issuerURL}
	for _, seed := range []string{"", "https://api.example.com", "https://api.example.com#", "urn:billing", "plain", "https://api.example.com/", "URN:billing", "\x00:", "https://%zz"} {
		f.Add(seed, "urn:billing")
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		asked := slices.DeleteFunc([]string{first, second}, func(s string) bool { return s == "" })
		got, refusal := i.audience(c, oauth.NewForm(map[string][]string{"resource": {first, second}}))
		if refusal != nil {
			if got != nil || refusal.Reason != oauth.TargetInvalid {
				t.Fatalf("got %q, %q", got, refusal.Reason)
			}
			return
		}
		seen := map[string]bool{}
		for _, name := range got {
			if !slices.Contains(c.Audience(), name) || seen[name] {
				t.Fatalf("audience %q for %q", got, asked)
			}
			seen[name] = true
		}
		if len(asked) == 0 {
			if len(got) != len(c.Audience()) {
				t.Fatalf("audience %q for none", got)
			}
			return
		}
		for _, name := range asked {
			u, err := url.Parse(name)
			if !seen[name] || err != nil || u.Scheme == "" || strings.Contains(name, "#") {
				t.Fatalf("audience %q for %q", got, asked)
			}
		}
		if len(got) > len(asked) {
			t.Fatalf("audience %q for %q", got, asked)
		}
	})
}
