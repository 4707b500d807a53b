// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

var opaqueToken = regexp.MustCompile(`^pop_at_[A-Za-z0-9_-]{43}$`)

// accessToken is the token in an answer of the token endpoint.
func accessToken(t testing.TB, x *exchange) string {
	t.Helper()
	var response struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &response); err != nil || response.AccessToken == "" {
		t.Fatalf("no token, but %d %s", x.Code, x.Body)
	}
	return response.AccessToken
}

// An opaque token is bound and proven like a JWT.
func TestOpaqueTokenAtAuth(t *testing.T) {
	t.Parallel()
	for _, confirmation := range []string{"jwk", "jkt"} {
		t.Run(confirmation, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(s *site) {
				s.config.Issuers["default"].AccessToken = &AccessToken{Format: "opaque", Confirmation: confirmation}
			})
			auth := s.auth(t, `{"scopes":["reports:read"]}`)
			token := s.token(t)
			if !opaqueToken.MatchString(token) {
				t.Fatalf("got token %q", token)
			}
			x := begin(s.signed(t, token))
			x.upstream = func(_ http.ResponseWriter, r *http.Request) error {
				want := []string{"reports", "reports", "reports:read reports:write", issuerURL, s.key.Thumbprint(t), confirmation, ""}
				for i, name := range identity {
					if got := x.placeholder(name); got != want[i] {
						t.Errorf("got {%s} %q, want %q", name, got, want[i])
					}
				}
				if got := r.Header.Get("Authorization"); got != "Bearer "+token {
					t.Errorf("the upstream gets %q", got)
				}
				return nil
			}
			x.through(auth).mustPass(t)

			bearer := get("/reports")
			bearer.Header.Set("Authorization", "Bearer "+token)
			want := map[string]oauth.Reason{"jwk": oauth.ProofMissing, "jkt": oauth.BearerDowngrade}[confirmation]
			begin(bearer).through(auth).mustBeRefused(t, want)
			r := s.signed(t, token)
			r.Header.Set("DPoP", s.thief.Proof(t, fixture.Proof{Method: "GET", URL: place + "/reports", Token: token, Nonce: s.memory.Nonce()}))
			begin(r).through(auth).mustBeRefused(t, oauth.ProofKeyMismatch)
		})
	}
}

// At pop_auth too, another spelling is another token,
// and what can't be one costs no look into the store.
func TestOpaqueTokenInAnotherSpelling(t *testing.T) {
	t.Parallel()
	s := newSite(t, formats["opaque"])
	auth, server := s.auth(t, `{}`), s.server(t, `{}`)
	token := s.token(t)
	last := len(token) - 1
	tests := []struct {
		name, token string
		asks        bool // the store
	}{
		{"shorter", token[:last], false},
		{"longer", token + "A", false},
		{"padded", token + "=", false},
		{"with other bits at the end, which encode nothing", token[:last] + string(token[last]+1), false},
		{"with another prefix", "POP_AT_" + token[len("pop_at_"):], false},
		{"in another case", "pop_at_" + swapCase(token[len("pop_at_"):last]) + token[last:], true},
	}
	for _, tt := range tests {
		s.backend.calls.Store(0)
		begin(s.introspection(tt.token)).through(server).mustBeActive(t, false)
		if x := begin(s.signed(t, tt.token)).through(auth); x.passed {
			t.Errorf("%s: the request came through", tt.name)
		}
		if got := s.backend.calls.Load(); (got > 0) != tt.asks {
			t.Errorf("%s: the store was asked %d times", tt.name, got)
		}
	}
	begin(s.introspection(token)).through(server).mustBeActive(t, true)
}

// swapCase makes capitals of small letters, and the other way.
func swapCase(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, text)
}

// The format of a client goes before that of the issuer.
func TestFormatOfAClient(t *testing.T) {
	t.Parallel()
	tests := []struct{ issuer, client, want string }{
		{"", "", "jwt"},
		{"jwt", "", "jwt"},
		{"opaque", "", "opaque"},
		{"", "opaque", "opaque"},
		{"jwt", "opaque", "opaque"},
		{"opaque", "jwt", "jwt"},
		{"opaque", "opaque", "opaque"},
	}
	for _, tt := range tests {
		t.Run(tt.issuer+" "+tt.client, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(s *site) {
				i := s.config.Issuers["default"]
				i.AccessToken = &AccessToken{Format: tt.issuer}
				i.Clients[0].AccessToken = tt.client
			})
			auth := s.auth(t, `{}`)
			token := s.token(t)
			if got := opaqueToken.MatchString(token); got != (tt.want == "opaque") {
				t.Errorf("got token %q, want a token of format %s", token, tt.want)
			}
			begin(s.signed(t, token)).through(auth).mustPass(t)
			begin(s.introspection(token)).through(s.server(t, `{}`)).mustBeActive(t, true)
		})
	}
}
