// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"slices"
	"testing"
)

func TestAcceptableURLs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		origins []string
		want    []string
	}{
		"none":                           {nil, nil},
		"one":                            {[]string{"https://api.example.com"}, []string{"https://api.example.com/v1/x"}},
		"several, one with a path":       {[]string{"https://a.example", "https://b.example/prefix/"}, []string{"https://a.example/v1/x", "https://b.example/prefix/v1/x"}},
		"a query that swallows the path": {[]string{"https://evil.example/y?"}, nil},
		"a fragment that does":           {[]string{"https://evil.example/y#"}, nil},
		"user information":               {[]string{"https://user@evil.example"}, nil},
		"no URL, beside one":             {[]string{"://", "https://a.example"}, []string{"https://a.example/v1/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := acceptableURLs(tt.origins, "/v1/x"); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
