// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// mustAnswer checks the status and the OAuth error of an endpoint.
func (x *exchange) mustAnswer(t *testing.T, status int, code string) {
	t.Helper()
	var body struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &body); err != nil {
		t.Fatalf("got status %d and no JSON: %q", x.Code, x.Body)
	}
	if x.err != nil || x.passed || x.Code != status || body.Error != code {
		t.Errorf("got error %v, passed %v, status %d, %s; want %d, %q", x.err, x.passed, x.Code, x.Body, status, code)
	}
	if got := x.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("got Content-Type %q", got)
	}
	if got := x.Header().Values("Cache-Control"); code != "" && (len(got) != 1 || got[0] != "no-store") {
		t.Errorf("got Cache-Control %q, want no-store", got)
	}
}

func TestServerPassesOnWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site) {
		s.config.Issuers["default"].Endpoints = &Endpoints{Introspect: "/inspect"}
	})
	server := s.server(t, `{}`)
	tests := []struct {
		target string
		own    bool
	}{
		{"/oauth2/token", true},
		{"/oauth2/token?a=b", true},
		{"/inspect", true},
		{"/oauth2/revoke", true},
		{"/oauth2/jwks", true},
		{"/.well-known/oauth-authorization-server", true},

		{"/", false},
		{"/oauth2/introspect", false}, // it has moved
		{"/oauth2", false},
		{"/oauth2/", false},
		{"/oauth2/token/", false},
		{"/oauth2/token/x", false},
		{"/oauth2/TOKEN", false},
		{"/oauth2//token", false},
		{"//oauth2/token", false},
		{"/oauth2/%74oken", false},
		{"/oauth2%2Ftoken", false},
		{"/oauth2/./token", false},
		{"/x/../oauth2/token", false},
		{"/oauth2/token;x", false},
		{"/.well-known/openid-configuration", false},
	}
	for _, tt := range tests {
		x := begin(get(tt.target)).through(server)
		if x.err != nil || x.passed == tt.own {
			t.Errorf("%s: passed on: %v (%v), want %v", tt.target, x.passed, x.err, !tt.own)
		}
	}
}

// rewrite changes a request as method and rewrite do.
func rewrite(method, path string) middleware {
	return func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		r.Method, r.URL, r.RequestURI = method, &url.URL{Path: path}, path
		return next.ServeHTTP(w, r)
	}
}

// What a rewrite has made of the request does not count: neither may it hide
// an endpoint, nor may it lead to one that the client did not ask for.
func TestServerLooksAtTheOriginalRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{}`)
	if x := begin(get("/oauth2/jwks")).through(rewrite("POST", "/index.html"), server); x.passed || x.Code != http.StatusOK {
		t.Errorf("a rewritten request for the keys got %d, passed on: %v", x.Code, x.passed)
	}
	if x := begin(get("/index.html")).through(rewrite("GET", "/oauth2/jwks"), server); !x.passed {
		t.Errorf("a request rewritten to the keys got %d", x.Code)
	}
}

func TestServerOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	paths := map[string]string{
		"token": "/oauth2/token", "introspect": "/oauth2/introspect", "revoke": "/oauth2/revoke",
		"jwks": "/oauth2/jwks", "metadata": "/.well-known/oauth-authorization-server",
	}
	for _, only := range [][]string{{"token"}, {"introspect"}, {"revoke"}, {"jwks", "metadata"}, {"token", "introspect", "revoke", "jwks", "metadata"}, {}} {
		config, err := json.Marshal(map[string]any{"only": only})
		if err != nil {
			t.Fatal(err)
		}
		server := s.server(t, string(config))
		for name, path := range paths {
			want := len(only) > 0 && !slices.Contains(only, name)
			if x := begin(get(path)).through(server); x.passed != want {
				t.Errorf("only %v: %s passed on: %v, want %v", only, path, x.passed, want)
			}
		}
	}
}

func TestServerMethods(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{}`)
	tests := []struct {
		path, allow string
		methods     []string // that are refused
	}{
		{"/oauth2/token", "POST", []string{"GET", "HEAD", "PUT", "OPTIONS", "post"}},
		{"/oauth2/introspect?token=x", "POST", []string{"GET", "DELETE"}},
		{"/oauth2/revoke", "POST", []string{"GET", "HEAD", "DELETE", "OPTIONS"}},
		{"/oauth2/jwks", "GET, HEAD", []string{"POST", "PUT", "OPTIONS", "get"}},
		{"/.well-known/oauth-authorization-server", "GET, HEAD", []string{"POST"}},
	}
	for _, tt := range tests {
		for _, method := range tt.methods {
			t.Run(method+" "+tt.path, func(t *testing.T) {
				t.Parallel()
				x := begin(request(method, tt.path, nil)).through(server)
				x.mustAnswer(t, http.StatusMethodNotAllowed, "invalid_request")
				if got := x.Header().Get("Allow"); got != tt.allow {
					t.Errorf("got Allow %q, want %q", got, tt.allow)
				}
			})
		}
	}
}

func TestServerPublishesTheKeys(t *testing.T) {
	t.Parallel()
	rsa := privateKey(t, "rsa2048")
	s := newSite(t, func(s *site) {
		signing := s.config.Issuers["default"].Signing
		signing.Keys = append(signing.Keys, privateKey(t, "ed25519"), rsa)
	})
	x := begin(get("/oauth2/jwks")).through(s.server(t, `{}`))
	x.mustAnswer(t, http.StatusOK, "")
	if got := x.Header().Values("Cache-Control"); len(got) != 1 || got[0] != "public, max-age=300" {
		t.Errorf("got Cache-Control %q", got)
	}
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 3 || set.Keys[0]["kid"] != s.signer.Thumbprint(t) || set.Keys[0]["use"] != "sig" {
		t.Errorf("got %s, want three keys for signatures, the first %s", x.Body, s.signer.Thumbprint(t))
	}
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, ok := key[private]; ok {
				t.Errorf("a published key has the member %q", private)
			}
		}
	}
}

func TestServerPublishesItsMetadata(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site) {
		i := s.config.Issuers["default"]
		i.URL = issuerURL + "/tenant"
		i.Endpoints = &Endpoints{Token: "/token", Revoke: "/end"}
	})
	server := s.server(t, `{}`)
	x := begin(get("/.well-known/oauth-authorization-server/tenant")).through(server)
	x.mustAnswer(t, http.StatusOK, "")
	if got := x.Header().Values("Cache-Control"); len(got) != 1 || got[0] != "public, max-age=300" {
		t.Errorf("got Cache-Control %q", got)
	}
	var metadata map[string]any
	if err := json.Unmarshal(x.Body.Bytes(), &metadata); err != nil {
		t.Fatal(err)
	}
	if got := metadata["issuer"]; got != issuerURL+"/tenant" {
		t.Errorf("got issuer %v", got)
	}
	if got := fmt.Sprint(metadata["scopes_supported"]); got != "[reports:read reports:write]" {
		t.Errorf("got scopes %s", got)
	}
	if got := metadata["revocation_endpoint"]; got != issuerURL+"/tenant/end" {
		t.Errorf("got revocation_endpoint %v", got)
	}
	if got := fmt.Sprint(metadata["revocation_endpoint_auth_methods_supported"]); got != "[client_secret_basic client_secret_post]" {
		t.Errorf("got ways to authenticate to it %s", got)
	}
	// what it names is there, under the path of the issuer
	for _, name := range []string{"token_endpoint", "introspection_endpoint", "revocation_endpoint", "jwks_uri"} {
		path, ok := strings.CutPrefix(metadata[name].(string), issuerURL)
		if !ok || !strings.HasPrefix(path, "/tenant/") {
			t.Errorf("got %s %v", name, metadata[name])
		}
		if x := begin(get(path)).through(server); x.passed {
			t.Errorf("%s names %s, which is not served", name, path)
		}
	}
	if x := begin(get("/.well-known/oauth-authorization-server")).through(server); !x.passed {
		t.Error("the metadata of an issuer with a path is also where that of one without is")
	}
}

func TestServerIssuesAndIntrospects(t *testing.T) {
	t.Parallel()
	for _, confirmation := range []string{"jwk", "jkt"} {
		t.Run(confirmation, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(s *site) {
				s.config.Issuers["default"].AccessToken = &AccessToken{Confirmation: confirmation}
			})
			token := s.token(t)
			r := post("/oauth2/introspect", url.Values{"token": {token}})
			r.SetBasicAuth("inspector", "inspector-secret")
			x := begin(r).through(s.server(t, `{}`))
			x.mustAnswer(t, http.StatusOK, "")
			var got struct {
				Active       bool           `json:"active"`
				ClientID     string         `json:"client_id"`
				TokenType    string         `json:"token_type"`
				Confirmation map[string]any `json:"cnf"`
			}
			if err := json.Unmarshal(x.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"jwk": "Bearer", "jkt": "DPoP"}[confirmation]
			if !got.Active || got.ClientID != "reports" || got.TokenType != want || len(got.Confirmation) != 1 || got.Confirmation[confirmation] == nil {
				t.Errorf("got %s", x.Body)
			}
		})
	}
}

func TestServerIssuesUnboundTokensWhereTold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for id, status := range map[string]int{"loose": 200, "reports": 400} {
		r := post("/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
		r.SetBasicAuth(id, id+"-secret")
		x := begin(r).through(s.server(t, `{}`))
		if x.Code != status || strings.Contains(x.Body.String(), `"token_type":"Bearer"`) != (status == 200) {
			t.Errorf("%s: got %d %s, want %d", id, x.Code, x.Body, status)
		}
	}
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{}`)
	wrong := func(r *http.Request) { r.SetBasicAuth("reports", "wrong") }
	anonymous := func(r *http.Request) { r.Header.Del("Authorization") }
	tests := []struct {
		name, path string
		form       url.Values
		change     func(*http.Request)
		status     int
		code       string
		challenge  bool
	}{
		{"a wrong secret in the header", "/oauth2/token", url.Values{}, wrong, 401, "invalid_client", true},
		{"a wrong secret in the body", "/oauth2/token", url.Values{"client_id": {"reports"}, "client_secret": {"wrong"}}, anonymous, 400, "invalid_client", false},
		{"nobody", "/oauth2/token", url.Values{}, anonymous, 400, "invalid_client", false},
		{"a wrong secret in the header, to revoke", "/oauth2/revoke", url.Values{"token": {"x"}}, wrong, 401, "invalid_client", true},
		{"nobody who revokes", "/oauth2/revoke", url.Values{"token": {"x"}}, anonymous, 400, "invalid_client", false},
		{"nobody who introspects", "/oauth2/introspect", url.Values{"token": {"x"}}, anonymous, 401, "invalid_client", true},
		{"no grant type", "/oauth2/token", url.Values{}, nil, 400, "invalid_request", false},
		{"another grant type", "/oauth2/token", url.Values{"grant_type": {"password"}}, nil, 400, "unsupported_grant_type", false},
		{"no key", "/oauth2/token", url.Values{"grant_type": {"client_credentials"}}, nil, 400, "invalid_request", false},
		{"a proof", "/oauth2/token", url.Values{"grant_type": {"client_credentials"}}, func(r *http.Request) { r.Header.Set("DPoP", "x") }, 400, "invalid_dpop_proof", false},
		{"a parameter in the query", "/oauth2/token?grant_type=client_credentials", url.Values{}, nil, 400, "invalid_request", false},
		{"a token in the query", "/oauth2/introspect?token=x", url.Values{}, nil, 400, "invalid_request", false},
		{"no token", "/oauth2/introspect", url.Values{}, nil, 400, "invalid_request", false},
		{"no token to revoke", "/oauth2/revoke", url.Values{}, nil, 400, "invalid_request", false},
		{"a token to revoke in the query", "/oauth2/revoke?token=x", url.Values{"token": {"x"}}, nil, 400, "invalid_request", false},
		{"two tokens to revoke", "/oauth2/revoke", url.Values{"token": {"x", "y"}}, nil, 400, "invalid_request", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := post(tt.path, tt.form)
			if tt.change != nil {
				tt.change(r)
			}
			x := begin(r).through(server)
			x.mustAnswer(t, tt.status, tt.code)
			if got := x.Header().Get("WWW-Authenticate"); strings.HasPrefix(got, "Basic ") != tt.challenge {
				t.Errorf("got WWW-Authenticate %q, want one: %v", got, tt.challenge)
			}
		})
	}
}

// Nobody sees more of a token than that it is not active, unless it may.
func TestServerIntrospectsNothingElse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{}`)
	loose := func(r *http.Request) { r.SetBasicAuth("loose", "loose-secret") }
	for name, tt := range map[string]struct {
		token  string
		change func(*http.Request)
	}{
		"nonsense":              {"nonsense", nil},
		"of another client":     {s.mint(t, nil), loose},
		"of a client that left": {s.mint(t, map[string]any{"client_id": "gone"}), nil},
		"expired":               {s.mint(t, map[string]any{"exp": 1}), nil},
		"bound in two ways":     {s.mint(t, map[string]any{"cnf": map[string]any{"jkt": s.key.Thumbprint(t), "x5t#S256": "x"}}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := post("/oauth2/introspect", url.Values{"token": {tt.token}})
			if tt.change != nil {
				tt.change(r)
			}
			x := begin(r).through(server)
			if got := strings.TrimSpace(x.Body.String()); x.Code != http.StatusOK || got != `{"active":false}` {
				t.Errorf("got %d %s", x.Code, got)
			}
		})
	}
}

// Caddy puts {env.HOME} and its like into many strings. What a client sends is
// not one of them.
func TestServerExpandsNothing(t *testing.T) {
	t.Setenv("HOME", "/home/somebody")
	s := newSite(t)
	server := s.server(t, `{}`)
	for _, name := range []string{"grant_type", "cnf_key", "scope", "resource", "client_id", "unknown"} {
		form := url.Values{"grant_type": {"client_credentials"}, "cnf_key": {base64.StdEncoding.EncodeToString(s.key.JSON(t))}}
		form.Set(name, `{env.HOME}"><script>`)
		x := begin(post("/oauth2/token", form)).through(server)
		for _, echo := range []string{"<script", "env.HOME", "/home/somebody"} {
			if strings.Contains(x.Body.String(), echo) {
				t.Errorf("%s is echoed: %s", name, x.Body)
			}
		}
		if name != "unknown" && x.Code != http.StatusBadRequest {
			t.Errorf("%s: got status %d, want 400", name, x.Code)
		}
	}
}

func TestServerAnswersWithAnErrorWhatItCannotWrite(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{}`)
	w := httptest.NewRecorder()
	failed := server.answer(w, make(chan int))
	if failed == nil {
		t.Fatalf("got no failure, but %d %q", w.Code, w.Body)
	}
	if got := failed.refusal.Reason.Rule(); got.Endpoint != http.StatusInternalServerError || got.Level != oauth.Error {
		t.Errorf("got %+v, want a fault of the server", got)
	}
}
