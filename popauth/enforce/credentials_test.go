// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"net/http"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func TestCheckCredentials(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 8<<10)
	tests := []struct {
		name   string
		header func(http.Header)
		want   oauth.Reason
	}{
		{"two Authorization fields", with("Authorization", "DPoP jkt", "DPoP jkt"), oauth.AmbiguousAuthorization},
		{"a second Authorization field of another scheme", with("Authorization", "DPoP jkt", "Basic x"), oauth.AmbiguousAuthorization},
		{"a second Authorization field that is empty", with("Authorization", "DPoP jkt", ""), oauth.AmbiguousAuthorization},
		{"two tokens", with("Authorization", "DPoP a b"), oauth.AmbiguousAuthorization},
		{"two tokens, as a folded line arrives", with("Authorization", "DPoP a  b"), oauth.AmbiguousAuthorization},
		{"two tokens with a comma", with("Authorization", "DPoP a,b"), oauth.AmbiguousAuthorization},
		{"two joined fields", with("Authorization", "DPoP jkt, Bearer jkt"), oauth.AmbiguousAuthorization},
		{"auth-params", with("Authorization", `DPoP token="jkt"`), oauth.AmbiguousAuthorization},
		{"no token", with("Authorization", "DPoP"), oauth.AmbiguousAuthorization},
		{"a blank for a token", with("Authorization", "Bearer "), oauth.AmbiguousAuthorization},
		{"only padding", with("Authorization", "DPoP =="), oauth.AmbiguousAuthorization},
		{"padding at the end", with("Authorization", "DPoP abc=="), oauth.TokenIssuerWrong},
		{"padding at the start", with("Authorization", "DPoP ==abc"), oauth.AmbiguousAuthorization},
		{"padding inside", with("Authorization", "DPoP a=b"), oauth.AmbiguousAuthorization},
		{"a blank at the end", with("Authorization", "DPoP jkt "), oauth.AmbiguousAuthorization},
		{"a tab before the token", with("Authorization", "DPoP \tjkt"), oauth.AmbiguousAuthorization},
		{"a token with a percent sign", with("Authorization", "DPoP a%62"), oauth.AmbiguousAuthorization},
		{"a token that is not ASCII", with("Authorization", "DPoP jkt\u00e9"), oauth.AmbiguousAuthorization},
		{"a tab for the blank", with("Authorization", "DPoP\tjkt"), oauth.TokenMissing},
		{"an empty field", with("Authorization", ""), oauth.TokenMissing},
		{"a scheme that begins like ours", with("Authorization", "DPoPX jkt"), oauth.TokenMissing},
		{"several blanks", with("Authorization", "DPoP   jkt"), ""},

		{"two DPoP fields", func(h http.Header) { h.Add("DPoP", h.Get("DPoP")) }, oauth.AmbiguousProof},
		{"two DPoP fields, one empty", func(h http.Header) { h.Add("DPoP", "") }, oauth.AmbiguousProof},
		{"two joined DPoP fields", func(h http.Header) { h.Set("DPoP", h.Get("DPoP")+", "+h.Get("DPoP")) }, oauth.AmbiguousProof},
		{"two DPoP fields without a token", func(h http.Header) { h.Del("Authorization"); h.Add("DPoP", "x") }, oauth.AmbiguousProof},

		{"the largest Authorization", with("Authorization", "DPoP "+long[5:]), oauth.TokenIssuerWrong},
		{"an Authorization that is too large", with("Authorization", "DPoP "+long[4:]), oauth.CredentialsTooLarge},
		{"a proof that is too large", with("DPoP", long+"a"), oauth.CredentialsTooLarge},
		{"a header that is too large", with("Cookie", long, long), oauth.HeadersTooLarge},
		{"a large header", with("Cookie", long), ""},

		{"Connection: authorization", with("Connection", "close, authorization"), oauth.AmbiguousConnection},
		{"Connection: dpop", with("Connection", "dpop"), oauth.AmbiguousConnection},
		{"Connection: DPOP in a second field", with("Connection", "keep-alive", "close ,\tDPOP"), oauth.AmbiguousConnection},
		{"Connection of something else", with("Connection", "close, X-DPoP"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			v := b.check(b.request(attempt{header: tt.header}))
			b.refused(v, tt.want)
			b.honest()
		})
	}
}

// 16 KiB is the sum, wherever the bytes are.
func TestSizesAtTheLimit(t *testing.T) {
	t.Parallel()
	h := http.Header{"A": {strings.Repeat("x", maxHeader/2-1)}, "B": {strings.Repeat("x", maxHeader/2-1)}}
	if refusal := sizes(h); refusal != nil {
		t.Errorf("%d bytes: got %v, want none", maxHeader, refusal.Reason)
	}
	h.Set("C", "")
	if refusal := sizes(h); refusal == nil || refusal.Reason != oauth.HeadersTooLarge {
		t.Errorf("%d bytes: got %v, want %v", maxHeader+1, refusal, oauth.HeadersTooLarge)
	}
}

// What is taken for a token can't be two, and stands in the field as it is.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"DPoP a", "bearer a==", "DPoP a b", "DPoP a,b", "DPoP  a", "Basic a", "", " ", "DPoP"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		c, refusal := authorization(http.Header{"Authorization": {field}})
		if refusal != nil {
			if c.token != "" {
				t.Fatalf("refused, but got token %q", c.token)
			}
			return
		}
		scheme := "dpop"
		if c.bearer {
			scheme = "bearer"
		}
		if strings.ContainsAny(c.token, " ,\t\"%") || strings.Trim(c.token, "=") == "" {
			t.Fatalf("accepted token %q", c.token)
		}
		if parts := strings.Fields(field); len(parts) != 2 || strings.ToLower(parts[0]) != scheme || parts[1] != c.token {
			t.Fatalf("read %q as %q %q", field, scheme, c.token)
		}
	})
}
