// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// revocation is the request of the client reports to revoke a token.
func (s *site) revocation(token string) *http.Request {
	return post("/oauth2/revoke", url.Values{"token": {token}})
}

// introspection is the question of the client inspector.
func (s *site) introspection(token string) *http.Request {
	r := post("/oauth2/introspect", url.Values{"token": {token}})
	r.SetBasicAuth("inspector", "inspector-secret")
	return r
}

// mustBeDone checks the answer of the revocation endpoint: a 200 that says
// nothing more (RFC 7009 §2.2).
func (x *exchange) mustBeDone(t *testing.T) {
	t.Helper()
	if x.err != nil || x.passed || x.Code != http.StatusOK || x.Body.Len() != 0 {
		t.Errorf("got error %v, passed %v, status %d, %q, want an empty 200", x.err, x.passed, x.Code, x.Body)
	}
	if got := x.Header().Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
		t.Errorf("got Cache-Control %q, want no-store", got)
	}
}

// mustBeActive checks the answer of introspection.
func (x *exchange) mustBeActive(t *testing.T, want bool) {
	t.Helper()
	x.mustAnswer(t, http.StatusOK, "")
	if got := strings.TrimSpace(x.Body.String()); want != strings.HasPrefix(got, `{"active":true,`) || !want && got != `{"active":false}` {
		t.Errorf("got %s, want active %v", got, want)
	}
}

// formats are the formats of tokens, each as a change of the configuration.
var formats = map[string]func(*site){
	"jwt":    func(*site) {},
	"opaque": func(s *site) { s.config.Issuers["default"].AccessToken = &AccessToken{Format: "opaque"} },
}

func TestRevokedTokenIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, format)
			auth, server := s.auth(t, `{}`), s.server(t, `{}`)
			token, other := s.token(t), s.token(t)
			begin(s.signed(t, token)).through(auth).mustPass(t)
			begin(s.introspection(token)).through(server).mustBeActive(t, true)
			for range 2 { // to revoke it again is no mistake
				begin(s.revocation(token)).through(server).mustBeDone(t)
			}
			x := begin(s.signed(t, token)).through(auth)
			x.mustBeRefused(t, oauth.TokenRevoked)
			mustChallenge(t, x.Header(), "invalid_token")
			begin(s.introspection(token)).through(server).mustBeActive(t, false)
			begin(s.signed(t, other)).through(auth).mustPass(t)
		})
	}
}

func TestRevocationOfWhatIsNoToken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{}`)
	for name, token := range map[string]string{
		"nonsense":           "nonsense",
		"an unknown one":     "pop_at_" + strings.Repeat("A", 43),
		"a short opaque one": "pop_at_A",
		"expired":            s.mint(t, map[string]any{"exp": 1}),
		"of another issuer":  s.mint(t, map[string]any{"iss": "https://elsewhere.example.com"}),
		"forged":             s.mint(t, nil) + "x",
	} {
		begin(s.revocation(token)).through(server).mustBeDone(t)
		if got := s.backend.calls.Load(); got != 0 && name != "an unknown one" {
			t.Errorf("%s: the store was asked %d times", name, got)
		}
		s.backend.calls.Store(0)
	}
	for _, hint := range []string{"refresh_token", "access_token", "nonsense", ""} {
		token := s.token(t)
		begin(post("/oauth2/revoke", url.Values{"token": {token}, "token_type_hint": {hint}})).through(server).mustBeDone(t)
		begin(s.introspection(token)).through(server).mustBeActive(t, false)
	}
}

func TestRevocationOfAnotherClientsToken(t *testing.T) {
	t.Parallel()
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, format)
			auth, server := s.auth(t, `{}`), s.server(t, `{}`)
			token := s.token(t)
			for _, id := range []string{"loose", "inspector"} {
				r := s.revocation(token)
				r.SetBasicAuth(id, id+"-secret")
				begin(r).through(server).mustAnswer(t, http.StatusBadRequest, "unauthorized_client")
			}
			begin(s.signed(t, token)).through(auth).mustPass(t)
			begin(s.introspection(token)).through(server).mustBeActive(t, true)
		})
	}
}

// What is reported as done is done, and what is not may be. So
// the token passes no more either way, as far as this node knows.
func TestRevocationWhileTheStoreFails(t *testing.T) {
	t.Parallel()
	for format, change := range formats {
		for name, fail := range map[string]func(f *fault, giveUp func()){
			"before the commit": func(f *fault, _ func()) { f.readOnly.Store(true) },
			"during the commit": func(f *fault, giveUp func()) { f.stuck.Store(&giveUp) },
			"after the commit":  func(f *fault, _ func()) { f.lost.Store(true) },
		} {
			t.Run(format+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, change)
				auth, server := s.auth(t, `{}`), s.server(t, `{}`)
				token := s.token(t)
				begin(s.signed(t, token)).through(auth).mustPass(t)

				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				fail(s.backend, cancel)
				x := begin(s.revocation(token).WithContext(ctx)).through(server)
				x.mustAnswer(t, http.StatusServiceUnavailable, "temporarily_unavailable")
				if got := x.Header().Get("Retry-After"); got != "1" {
					t.Errorf("got Retry-After %q, want 1", got)
				}
				begin(s.signed(t, token)).through(auth).mustBeRefused(t, oauth.TokenRevoked)

				// the store is well again, and so is the client's next attempt
				s.backend.readOnly.Store(false)
				s.backend.stuck.Store(nil)
				s.backend.lost.Store(false)
				begin(s.revocation(token)).through(server).mustBeDone(t)
				begin(s.introspection(token)).through(server).mustBeActive(t, false)
			})
		}
	}
}

// Two issuers may have one file, and clients of the same name. They see nothing
// of each other.
func TestIssuersInOneStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(s *site) {
				other := *s.config.Issuers["default"]
				other.URL = "https://other.example.com"
				s.config.Issuers["other"] = &other
				s.config.Issuers["default"].URL += "/" + name // a subtest has issuers of its own
				s.config.Issuers["other"].URL += "/" + name
			}, format, stored(fileStore(t, path), "default", "other"))
			first, second := s.server(t, `{"issuer":"default"}`), s.server(t, `{"issuer":"other"}`)
			at := func(r *http.Request) *http.Request {
				r.RequestURI, r.URL.Path = "/"+name+r.URL.Path, "/"+name+r.URL.Path
				return r
			}
			x := begin(at(s.tokenRequest(t))).through(first)
			token := accessToken(t, x)

			begin(at(s.introspection(token))).through(first).mustBeActive(t, true)
			begin(at(s.introspection(token))).through(second).mustBeActive(t, false)
			begin(at(s.revocation(token))).through(second).mustBeDone(t)
			begin(at(s.introspection(token))).through(first).mustBeActive(t, true)

			want := map[string]oauth.Reason{"jwt": oauth.TokenIssuerWrong, "opaque": oauth.TokenUnknown}[name]
			alone, both := s.auth(t, `{"issuers":["other"]}`), s.auth(t, `{"issuers":["other","default"]}`)
			begin(s.signed(t, token)).through(alone).mustBeRefused(t, want)
			begin(s.signed(t, token)).through(both).mustPass(t)

			begin(at(s.revocation(token))).through(first).mustBeDone(t)
			begin(at(s.introspection(token))).through(first).mustBeActive(t, false)
		})
	}
}

// A pop_server may serve the revocation endpoint alone, on a site of its own.
func TestServerOnlyRevokes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{"only":["revoke"]}`)
	token := s.token(t)
	begin(s.revocation(token)).through(server).mustBeDone(t)
	begin(s.introspection(token)).through(s.server(t, `{}`)).mustBeActive(t, false)
	if x := begin(s.introspection(token)).through(server); !x.passed {
		t.Errorf("introspection is served too: %d", x.Code)
	}
}

func TestRevocationIsLogged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{}`)
	token := s.token(t)
	r := s.revocation(token)
	r.SetBasicAuth("loose", "loose-secret")
	s.logs.TakeAll()
	begin(r).through(server)
	begin(s.revocation(token)).through(server).mustBeDone(t)
	lines := s.lines()
	if len(lines) != 2 {
		t.Fatalf("got %v, want two lines", lines)
	}
	for i, want := range []map[string]any{
		{"reason": "token_of_another_client", "endpoint": "revoke", "client_id": "loose", "issuer": issuerURL},
		{"reason": nil, "client_id": "reports", "issuer": issuerURL},
	} {
		for name, value := range want {
			if got := lines[i][name]; got != value {
				t.Errorf("line %d: got %s %v, want %v", i, name, got, value)
			}
		}
		for name, value := range lines[i] {
			if text, ok := value.(string); ok && strings.Contains(text, token) {
				t.Errorf("line %d: field %s shows the token", i, name)
			}
		}
	}
}
