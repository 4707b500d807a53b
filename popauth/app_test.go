// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

func TestIssuerIsRefused(t *testing.T) {
	t.Parallel()
	const u = `"url":"https://auth.example.com","store":{"backend":"memory"}`
	client := func(members string) string { return `{` + u + `,"clients":[{"id":"c",` + members + `}]}` }
	secretless := `"secrets":["s"],`
	key, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", "p256.json"))
	if err != nil {
		t.Fatal(err)
	}
	quotedKey := strconv.Quote(string(key))
	tests := []struct {
		name, issuer, want string
	}{
		{"null", `null`, `issuer "default" is null`},
		{"no url", `{}`, `issuer "" is not a URL such as https://auth.example.com`},
		{"no scheme", `{"url":"auth.example.com"}`, "is not a URL"},
		{"no host", `{"url":"https:///x"}`, "is not a URL"},
		{"http on a public host", `{"url":"http://auth.example.com"}`, "must use https (http only on loopback and .localhost)"},
		{"http on a host that only looks local", `{"url":"http://localhost.example.com"}`, "must use https"},
		{"http on a private address", `{"url":"http://192.168.0.1"}`, "must use https"},
		{"another scheme", `{"url":"ftp://auth.example.com"}`, "must use https"},
		{"a trailing slash", `{"url":"https://auth.example.com/"}`, "must not end in a slash"},
		{"a trailing slash after a path", `{"url":"https://auth.example.com/x/"}`, "must not end in a slash"},
		{"a query", `{"url":"https://auth.example.com?a=b"}`, "must have neither a query nor a fragment"},
		{"an empty query", `{"url":"https://auth.example.com?"}`, "must have neither a query nor a fragment"},
		{"a fragment", `{"url":"https://auth.example.com#"}`, "must have neither a query nor a fragment"},
		{"user information", `{"url":"https://u@auth.example.com"}`, "must not contain user information"},
		{"an upper-case host", `{"url":"https://Auth.example.com"}`, "must be written with a lower-case scheme and host"},
		{"an upper-case scheme", `{"url":"HTTPS://auth.example.com"}`, "must be written with a lower-case scheme and host"},
		{"a path with an escape", `{"url":"https://auth.example.com/%61"}`, "expected a path without escapes"},
		{"an unknown placeholder", `{"url":"https://{nobody.knows}"}`, "url: unrecognized placeholder {nobody.knows}"},
		{"an empty placeholder", `{"url":"https://{env.POPAUTH_UNSET}"}`, "url: evaluated placeholder {env.POPAUTH_UNSET} is empty"},
		{"an empty audience", `{` + u + `,"audience":[""]}`, "audience: a value is empty"},

		{"an algorithm nobody knows", `{` + u + `,"signing":{"algorithm":"ES257"}}`, `unknown signing algorithm "ES257"`},
		{"an algorithm that signs nothing", `{` + u + `,"signing":{"algorithm":"none"}}`, `unknown signing algorithm "none"`},
		{"an algorithm that the given key does not have", `{` + u + `,"signing":{"algorithm":"RS256","keys":[` + quotedKey + `]}}`, "signing_algorithm is RS256, but the first signing_key is for ES256"},
		{"a store nobody knows", `{"url":"https://auth.example.com","store":{"backend":"cloud"}}`, "unknown module: popauth.stores.cloud"},
		{"a store without a name", `{"url":"https://auth.example.com","store":{}}`, "loading store"},
		{"an option of the store that is unknown", `{"url":"https://auth.example.com","store":{"backend":"memory","size":1}}`, "unknown field"},
		{"an option of the file store that is unknown", `{"url":"https://auth.example.com","store":{"backend":"file","file":"x"}}`, "unknown field"},
		{"a store whose path has a hole", `{"url":"https://auth.example.com","store":{"backend":"file","path":"{env.POPAUTH_UNSET}/store.db"}}`, "path: evaluated placeholder {env.POPAUTH_UNSET} is empty"},
		{"a format nobody knows", `{` + u + `,"access_token":{"format":"saml"}}`, `access_token is "saml", expected jwt or opaque`},
		{"a confirmation nobody knows", `{` + u + `,"access_token":{"confirmation":"x5t"}}`, `confirmation is "x5t", expected jwk or jkt`},
		{"a negative lifetime", `{` + u + `,"access_token":{"lifetime":"-5m"}}`, "lifetime is -5m0s, expected at least 1s"},
		{"a lifetime that is cut off to nothing", `{` + u + `,"access_token":{"lifetime":"999ms"}}`, "lifetime is 999ms, expected at least 1s"},
		{"an endpoint without a slash", `{` + u + `,"endpoints":{"token":"token"}}`, `path "token" of the endpoint token`},
		{"an endpoint that ends in a slash", `{` + u + `,"endpoints":{"revoke":"/revoke/"}}`, `path "/revoke/" of the endpoint revoke`},
		{"two endpoints at one path", `{` + u + `,"endpoints":{"token":"/x","jwks":"/x"}}`, "have the same path"},
		{"an unknown member", `{` + u + `,"keys":[]}`, "unknown field"},

		{"a client that is null", `{` + u + `,"clients":[null]}`, "client number 1 is null"},
		{"a client without an id", `{` + u + `,"clients":[{"secrets":["s"]}]}`, "client number 1 has no id"},
		{"a client without a secret", `{` + u + `,"clients":[{"id":"c"}]}`, `client "c" has no way to authenticate`},
		{"a client twice", `{` + u + `,"clients":[{"id":"c","secrets":["s"]},{"id":"c","secrets":["s"]}]}`, `client "c" is configured twice`},
		{"a client with an empty secret", client(`"secrets":[""]`), `client "c": `},
		{"a secret from an unset variable", client(`"secrets":["{env.POPAUTH_UNSET}"]`), "secret: the placeholder {env.POPAUTH_UNSET} is empty"},
		{"a secret from a missing file", client(`"secrets":["{file./nowhere/at/all}"]`), "secret: the placeholder {file./nowhere/at/all} is empty"},
		{"a secret from an unknown placeholder", client(`"secrets":["{http.request.host}"]`), "secret: the placeholder {http.request.host} is not known"},
		{"an unknown grant", client(secretless + `"grants":["password"]`), `client "c": `},
		{"a scope that is none", client(secretless + `"scopes":["a b"]`), `client "c": `},
		{"a binding nobody knows", client(secretless + `"binding":"sometimes"`), `binding is "sometimes", expected required or optional`},
		{"a format of tokens of a client nobody knows", client(secretless + `"access_token":"saml"`), `client "c": unknown token format "saml": expected jwt or opaque`},
		{"an audience of introspection that is empty", client(secretless + `"introspect":{"audience":[""]}`), "introspect: a value is empty"},
		{"an unknown member of a client", client(secretless + `"secret":"s"`), "unknown field"},
	}
	s := newStorage(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := provision(s, caddy.ModuleMap{"popauth": json.RawMessage(`{"issuers":{"default":` + tt.issuer + `}}`)})
			mustSay(t, err, tt.want)
		})
	}
	t.Run("issuers that need no https", func(t *testing.T) {
		t.Parallel()
		for _, url := range []string{"http://localhost:8080", "http://auth.localhost", "http://127.0.0.1", "http://[::1]:80/x", "https://auth.example.com:8443/tenant"} {
			ctx, err := provision(s, caddy.ModuleMap{"popauth": json.RawMessage(fmt.Sprintf(`{"issuers":{"default":{"url":%q,"store":{"backend":"memory"}}}}`, url))})
			if err != nil {
				t.Errorf("%s: %v", url, err)
				continue
			}
			appIn(t, ctx)
		}
	})
}

func TestAppIsRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, app, want string
	}{
		{"two issuers with one URL", `{"issuers":{"a":{"url":"https://x.example.com","store":{"backend":"memory"}},"b":{"url":"https://x.example.com","store":{"backend":"memory"}}}}`, "have the same URL"},
		{"a negative capacity", `{"replay_capacity":-1}`, "replay_capacity is -1, expected a positive number"},
		{"a capacity that is no number", `{"replay_capacity":"1M"}`, "decoding module config"},
		{"an unknown member", `{"issuer":{}}`, "unknown field"},
		{"null", `null`, "module value cannot be null"},
	}
	s := newStorage(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := provision(s, caddy.ModuleMap{"popauth": json.RawMessage(tt.app)})
			mustSay(t, err, tt.want)
		})
	}
}

func TestHandlerIsRefused(t *testing.T) {
	t.Parallel()
	const auth, server = "http.handlers.pop_auth", "http.handlers.pop_server"
	tests := []struct {
		name, id, config, want string
	}{
		{"an unknown issuer", auth, `{"issuers":["other"]}`, `pop_auth: there is no issuer "other": the global option popauth has ["default" "second"]`},
		{"an issuer with no name", auth, `{"issuers":[""]}`, `there is no issuer ""`},
		{"an issuer named twice", auth, `{"issuers":["second","default","second"]}`, `pop_auth: issuer "second" is named twice`},
		{"a nonce mode nobody knows", auth, `{"nonce":"sometimes"}`, `pop_auth: nonce is "sometimes", expected required, single_use or off`},
		{"a nonce mode in the wrong case", auth, `{"nonce":"Off"}`, `pop_auth: nonce is "Off"`},
		{"an upstream_token nobody knows", auth, `{"upstream_token":"drop"}`, `pop_auth: upstream_token is "drop", expected bearer, keep or strip`},
		{"a negative age", auth, `{"proof_max_age":"-1s"}`, "pop_auth: proof_max_age is -1s, expected a positive duration"},
		{"an age of more than a day", auth, `{"proof_max_age":"24h1s"}`, "pop_auth: proof_max_age is 24h0m1s, expected 24h0m0s at most"},
		{"a skew of more than a day", auth, `{"clock_skew":"10000h"}`, "pop_auth: clock_skew is 10000h0m0s, expected 24h0m0s at most"},
		{"a negative skew", auth, `{"clock_skew":"-1s"}`, "pop_auth: clock_skew is -1s, expected a positive duration"},
		{"a scope that is none", auth, `{"scopes":["a b"]}`, `pop_auth: "a b" is not a scope`},
		{"an empty scope", auth, `{"scopes":[""]}`, "pop_auth: scope: a value is empty"},
		{"an empty audience", auth, `{"audience":[""]}`, "pop_auth: audience: a value is empty"},
		{"an audience with an unknown placeholder", auth, `{"audience":["{http.request.host}"]}`, "pop_auth: audience: unrecognized placeholder {http.request.host}"},
		{"an unknown member", auth, `{"require_key_proof":false}`, "unknown field"},

		{"an unknown issuer", server, `{"issuer":"other"}`, `pop_server: there is no issuer "other"`},
		{"an unknown endpoint", server, `{"only":["token","authorize"]}`, `pop_server: there is no endpoint "authorize", expected token, introspect, revoke, jwks or metadata`},
		{"an unknown member", server, `{"issuers":["default"]}`, "unknown field"},
	}
	s := newSite(t, func(s *site) { s.config.Issuers["second"] = &Issuer{URL: "https://second.example.com"} })
	for _, tt := range tests {
		t.Run(tt.id+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := s.load(tt.id, tt.config)
			mustSay(t, err, tt.want)
		})
	}
}

func TestHandlerWithoutTheAppShowsTheLinesToAdd(t *testing.T) {
	t.Parallel()
	ctx, err := provision(newStorage(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{ctx: ctx}
	for _, name := range []string{"pop_auth", "pop_server"} {
		_, err := s.load("http.handlers."+name, `{}`)
		mustSay(t, err, name+" needs an issuer; add this at the top of the Caddyfile:\n\n{\n\tpopauth {\n\t\tissuer ")
	}
}

func TestHandlerWithoutAnIssuer(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site) { s.config.Issuers = nil })
	_, err := s.load("http.handlers.pop_auth", `{}`)
	mustSay(t, err, `there is no issuer "default": the global option popauth has none`)
}

// The issuer of a handler that names none is never guessed.
func TestDefaultIssuer(t *testing.T) {
	t.Parallel()
	first, second := &Issuer{URL: "https://first.example.com"}, &Issuer{URL: "https://second.example.com"}
	tests := []struct {
		name    string
		issuers map[string]*Issuer
		want    string // "": refused
	}{
		{"the only one, whatever its id", map[string]*Issuer{"x": first}, "https://first.example.com"},
		{"of several the one called default", map[string]*Issuer{"x": first, "default": second}, "https://second.example.com"},
		{"several and none called default", map[string]*Issuer{"x": first, "y": second}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(s *site) { s.config.Issuers = tt.issuers })
			mod, err := s.load("http.handlers.pop_auth", `{}`)
			if tt.want == "" {
				mustSay(t, err, `there is no issuer "default"`)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			policy := mod.(*Auth).policy
			if len(policy.Issuers) != 1 || policy.Issuers[0].Issuer() != tt.want {
				t.Errorf("got issuers %v, want %s", policy.Issuers, tt.want)
			}
			if len(policy.Audience) != 1 || policy.Audience[0] != tt.want {
				t.Errorf("got audience %v, want the URL of the issuer", policy.Audience)
			}
		})
	}
}

func TestDefaultAudienceIsThatOfAllIssuers(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site) {
		s.config.Issuers["second"] = &Issuer{URL: "https://second.example.com", Audience: []string{place, "https://b.example.com"}}
		s.config.Issuers["third"] = &Issuer{URL: "https://third.example.com"}
	})
	auth := s.auth(t, `{"issuers":["third","second","default"]}`)
	want := []string{place, "https://b.example.com", "https://third.example.com"}
	if got := auth.policy.Audience; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// mustSay checks the text of an error.
func mustSay(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one that says %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got error\n%v\nwant one that says\n%s", err, want)
	}
}
