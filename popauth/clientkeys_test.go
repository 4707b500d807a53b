// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// withKey registers the client signer, whose key is that of the fixture ed25519.
func withKey(t *testing.T) func(*site) {
	return func(s *site) {
		issuer := s.config.Issuers["default"]
		issuer.Clients = append(issuer.Clients, &Client{
			ID: "signer", JWK: []string{string(fixture.Load(t, "ed25519").JSON(t))}, Introspect: &Introspect{},
			Grants: []string{"client_credentials"}, Scopes: []string{"reports:read"},
		})
	}
}

// assertionOf is an assertion of the client signer. It expires as late as it
// may.
func assertionOf(t *testing.T, jti string) string {
	t.Helper()
	return fixture.Load(t, "ed25519").JWS(t, map[string]any{"alg": "EdDSA"}, map[string]any{
		"iss": "signer", "sub": "signer", "aud": issuerURL, "exp": time.Now().Unix() + 300, "jti": jti,
	})
}

// assert is a request with an assertion, and no Authorization field.
func assert(path, assertion string, form url.Values) *http.Request {
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
	r := post(path, form)
	r.Header.Del("Authorization")
	return r
}

func TestAssertionAtAllEndpoints(t *testing.T) {
	t.Parallel()
	s := newSite(t, withKey(t))
	h := s.server(t, `{}`)
	if err := s.app.Start(); err != nil {
		t.Fatal(err)
	}
	form := func() url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "cnf_key": {base64.StdEncoding.EncodeToString(s.key.JSON(t))}}
	}
	send := func(path, assertion string, form url.Values) *exchange {
		return begin(assert(path, assertion, form)).through(h)
	}
	answered := func(name string, x *exchange, status int, code string) {
		t.Helper()
		var body struct{ Error string }
		if x.Body.Len() > 0 {
			if err := json.Unmarshal(x.Body.Bytes(), &body); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if x.Code != status || body.Error != code {
			t.Errorf("%s: got %d %q, want %d %q", name, x.Code, body.Error, status, code)
		}
	}

	// what is refused for something else has used up nothing
	first := assertionOf(t, "1")
	bad := form()
	bad.Set("scope", "admin")
	answered("a scope too many", send("/oauth2/token", first, bad), 400, "invalid_scope")
	x := send("/oauth2/token", first, form())
	answered("the same with another scope", x, 200, "")
	token := accessToken(t, x)
	answered("the same again", send("/oauth2/token", first, form()), 400, "invalid_client")
	answered("the same at another endpoint", send("/oauth2/revoke", first, url.Values{"token": {token}}), 400, "invalid_client")

	second := assertionOf(t, "2")
	answered("introspection of nothing", send("/oauth2/introspect", second, url.Values{}), 400, "invalid_request")
	x = send("/oauth2/introspect", second, url.Values{"token": {token}})
	answered("introspection", x, 200, "")
	if !strings.Contains(x.Body.String(), `"active":true`) {
		t.Errorf("got %s, want an active token: the refused revocation must not have revoked it", x.Body)
	}
	x = send("/oauth2/introspect", second, url.Values{"token": {token}})
	answered("introspection again", x, 401, "invalid_client")
	if x.Header().Get("WWW-Authenticate") == "" {
		t.Error("a 401 of introspection without a challenge")
	}

	third := assertionOf(t, "3")
	answered("revocation of nothing", send("/oauth2/revoke", third, url.Values{}), 400, "invalid_request")
	answered("revocation", send("/oauth2/revoke", third, url.Values{"token": {token}}), 200, "")
	answered("revocation again", send("/oauth2/revoke", third, url.Values{"token": {token}}), 400, "invalid_client")

	replays := s.logs.FilterField(zap.String("reason", string(oauth.AssertionReplayed))).Len()
	if replays != 4 {
		t.Errorf("%d replays in the log, want 4", replays)
	}
	for _, entry := range s.logs.All() {
		if text := fmt.Sprint(entry.ContextMap()); strings.Contains(text, first) || strings.Contains(text, strings.Split(first, ".")[2]) {
			t.Errorf("the log holds an assertion: %s", text)
		}
	}
}

func TestAssertionWhileTheStoreIsDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, withKey(t))
	h := s.server(t, `{}`)
	if err := s.app.Start(); err != nil {
		t.Fatal(err)
	}
	down := begin(assert("/oauth2/revoke", assertionOf(t, "1"), url.Values{"token": {"x"}}))
	s.backend.down.Store(true)
	if down.through(h); down.Code != 503 || down.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %s, want 503 with Retry-After", down.Code, down.Body)
	}
	s.backend.down.Store(false)
	up := begin(assert("/oauth2/revoke", assertionOf(t, "1"), url.Values{"token": {"x"}})).through(h)
	if up.Code != 200 {
		t.Errorf("got %d %s afterwards, want 200", up.Code, up.Body)
	}
	if got := s.logs.FilterField(zap.String("reason", string(oauth.StoreUnavailable))).Len(); got != 1 {
		t.Errorf("%d lines with the reason %s, want 1", got, oauth.StoreUnavailable)
	}
}

func TestMetadataNamesHowClientsAuthenticate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change              func(*site)
		methods, algorithms string
	}{
		"secrets": {func(*site) {}, "[client_secret_basic client_secret_post]", "<nil>"},
		"both":    {withKey(t), "[client_secret_basic client_secret_post private_key_jwt]", "[Ed25519 EdDSA]"},
		"keys": {func(s *site) {
			s.config.Issuers["default"].Clients = []*Client{{ID: "a", JWK: []string{string(fixture.Load(t, "p256").JSON(t))}}}
		}, "[private_key_jwt]", "[ES256]"},
		"nobody": {func(s *site) { s.config.Issuers["default"].Clients = nil }, "[]", "<nil>"},
	} {
		s := newSite(t, test.change)
		x := begin(request(http.MethodGet, "/.well-known/oauth-authorization-server", nil)).through(s.server(t, `{}`))
		document := map[string]any{}
		if err := json.Unmarshal(x.Body.Bytes(), &document); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, endpoint := range []string{"token", "introspection", "revocation"} {
			methods, algorithms := document[endpoint+"_endpoint_auth_methods_supported"], document[endpoint+"_endpoint_auth_signing_alg_values_supported"]
			if fmt.Sprint(methods) != test.methods || fmt.Sprint(algorithms) != test.algorithms {
				t.Errorf("%s, %s: methods %v, algorithms %v, want %s, %s", name, endpoint, methods, algorithms, test.methods, test.algorithms)
			}
		}
	}
}

func TestClientKeysAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ec, private := string(fixture.Load(t, "p256").JSON(t)), privateKey(t, "ed25519")
	broken := write("broken", `{"keys":[`+ec+`,`+private+`]}`)
	good := write("good", `{"keys":[`+ec+`]}`)
	for name, test := range map[string]struct {
		client Client
		want   string
	}{
		"a file that is not there":   {Client{JWKSFile: filepath.Join(dir, "nowhere")}, "jwks_file: stat " + filepath.Join(dir, "nowhere")},
		"a folder":                   {Client{JWKSFile: dir}, "is not a regular file"},
		"a path with a hole":         {Client{JWKSFile: "{env.POPAUTH_UNSET}"}, "jwks_file: evaluated placeholder {env.POPAUTH_UNSET} is empty"},
		"a private key in a file":    {Client{JWKSFile: broken}, fmt.Sprintf("jwks_file %q: key 2: private member 'd' present", broken)},
		"a private key":              {Client{JWK: []string{ec, private}}, "jwk 2: private member 'd' present"},
		"a key that is no JSON":      {Client{JWK: []string{"hunter2"}}, "jwk 1: "},
		"a key from nowhere":         {Client{JWK: []string{"{env.POPAUTH_UNSET}"}}, "jwk: the placeholder {env.POPAUTH_UNSET} is empty"},
		"the same key in both ways":  {Client{JWKSFile: good, JWK: []string{ec}}, `client "c": key 2 is there twice`},
		"a key and a secret":         {Client{JWKSFile: good, Secrets: []string{"hunter2"}}, `client "c" has both secrets and keys`},
		"an RSA key without its alg": {Client{JWK: []string{rsaKeyWithoutAlg(t)}}, `client "c": key 1: an RSA key must say by 'alg'`},
	} {
		test.client.ID = "c"
		raw, err := json.Marshal(App{Issuers: map[string]*Issuer{"default": {
			URL: issuerURL, StoreRaw: json.RawMessage(`{"backend":"memory"}`), Clients: []*Client{&test.client},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = provision(newStorage(t), caddy.ModuleMap{"popauth": raw})
		t.Run(name, func(t *testing.T) { mustSay(t, err, test.want) })
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), ec)) {
			t.Errorf("%s: the error holds the value: %v", name, err)
		}
	}
}

func rsaKeyWithoutAlg(t *testing.T) string {
	t.Helper()
	key := fixture.Load(t, "rsa2048")
	delete(key.JWK, "alg")
	return string(key.JSON(t))
}
