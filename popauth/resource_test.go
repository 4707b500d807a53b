// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

const resourcePath = "/.well-known/oauth-protected-resource"

// metadataURL is what the challenge of an answer names.
func (x *exchange) metadataURL(t *testing.T) string {
	t.Helper()
	challenges, err := oauth.ParseChallenges(x.Header().Values("WWW-Authenticate"))
	if err != nil || len(challenges) != 1 {
		t.Fatalf("got challenges %q: %v, want one", x.Header().Values("WWW-Authenticate"), err)
	}
	value, _ := challenges[0].Param("resource_metadata")
	return value
}

func TestResourceMetadata(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config, host string
		url                string // of the document; "" for none
		resource           string
	}{
		{"the audience is the origin", `{"audience":["https://api.example.com"]}`, "api.example.com", place + resourcePath, place},
		{"it has a path", `{"audience":["https://api.example.com/v1"]}`, "api.example.com", place + resourcePath + "/v1", place + "/v1"},
		{"it ends in a slash", `{"audience":["https://api.example.com/"]}`, "api.example.com", place + resourcePath, place + "/"},
		{"it has a default port", `{"audience":["https://api.example.com:443"]}`, "api.example.com", place + resourcePath, place + ":443"},
		{"it has another port", `{"audience":["https://api.example.com:8443"]}`, "api.example.com:8443", place + ":8443" + resourcePath, place + ":8443"},
		{"the first on the origin counts", `{"audience":["urn:x","https://other.example.com","https://api.example.com/a","https://api.example.com/b"]}`, "api.example.com", place + resourcePath + "/a", place + "/a"},
		{"another site has another one", `{"audience":["https://api.example.com","https://other.example.com"]}`, "other.example.com", "https://other.example.com" + resourcePath, "https://other.example.com"},
		{"as clients reach it", `{"audience":["https://www.example.com/api"],"public_urls":["https://www.example.com/api"]}`, "internal.example.com", "https://www.example.com" + resourcePath + "/api", "https://www.example.com/api"},

		{"another origin", `{"audience":["https://auth.example.com"]}`, "api.example.com", "", ""},
		{"another port", `{"audience":["https://api.example.com:8443"]}`, "api.example.com", "", ""},
		{"another scheme", `{"audience":["http://api.example.com"]}`, "api.example.com", "", ""},
		{"no URL", `{"audience":["urn:api"]}`, "api.example.com", "", ""},
		{"one with a query", `{"audience":["https://api.example.com?a=b"]}`, "api.example.com", "", ""},
		{"switched off", `{"audience":["https://api.example.com"],"metadata":"off"}`, "api.example.com", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			auth := s.auth(t, tt.config)
			ask := func(method, target string) *exchange {
				x := begin(request(method, target, nil))
				x.r.Host = tt.host
				return x.through(auth)
			}
			x := ask("GET", "/reports")
			x.mustBeRefused(t, oauth.TokenMissing)
			if got := x.metadataURL(t); got != tt.url {
				t.Fatalf("the challenge names %q, want %q", got, tt.url)
			}
			if tt.url == "" {
				ask("GET", resourcePath).mustBeRefused(t, oauth.TokenMissing)
				return
			}
			path := tt.url[strings.Index(tt.url, resourcePath):]
			x = ask("GET", path)
			var document map[string]any
			if err := json.Unmarshal(x.Body.Bytes(), &document); x.err != nil || err != nil {
				t.Fatalf("got %d %q (%v), want a document", x.Code, x.Body, x.err)
			}
			if document["resource"] != tt.resource {
				t.Errorf("got resource %v, want %q", document["resource"], tt.resource)
			}
			ask("HEAD", path).mustBeServed(t)
			// anything else there is a request like any other
			ask("POST", path).mustBeRefused(t, oauth.TokenMissing)
			ask("GET", path+"/more").mustBeRefused(t, oauth.TokenMissing)
		})
	}
}

func TestResourceMetadataOfAPathThatEndsInASlash(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{"audience":["https://api.example.com/v1/"]}`)
	x := begin(get("/v1/reports")).through(auth)
	if got, want := x.metadataURL(t), place+resourcePath+"/v1"; got != want {
		t.Errorf("the challenge names %q, want %q", got, want)
	}
	for _, path := range []string{"/v1", "/v1/"} {
		begin(get(resourcePath + path)).through(auth).mustBeServed(t)
	}
	begin(get(resourcePath+"/v1//")).through(auth).mustBeRefused(t, oauth.TokenMissing)
	without := s.auth(t, `{"audience":["https://api.example.com/v1"]}`)
	begin(get(resourcePath+"/v1/")).through(without).mustBeRefused(t, oauth.TokenMissing)
}

// mustBeServed checks that the handler answered the request itself.
func (x *exchange) mustBeServed(t *testing.T) {
	t.Helper()
	if x.err != nil || x.passed || x.Code != http.StatusOK || x.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d %v (%v), passed on: %v; want the document", x.Code, x.Header(), x.err, x.passed)
	}
}

func TestResourceMetadataDocument(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x := begin(get(resourcePath)).through(s.auth(t, `{"scopes":["reports:read"]}`))
	want := `{"resource":"https://api.example.com","authorization_servers":["https://auth.example.com"],"scopes_supported":["reports:read"],` +
		`"bearer_methods_supported":["header"],"dpop_signing_alg_values_supported":["ES256","ES384","Ed25519","EdDSA","PS256","PS384","PS512","RS256","RS384","RS512"],` +
		`"dpop_bound_access_tokens_required":true}`
	if got := x.Body.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	x = begin(get(resourcePath)).through(s.auth(t, `{"allow_unbound_tokens":true}`))
	if !strings.Contains(x.Body.String(), `"dpop_bound_access_tokens_required":false`) || strings.Contains(x.Body.String(), "scopes_supported") {
		t.Errorf("got %s, want no scopes, and bound tokens not required", x.Body)
	}
	// not over plain HTTP, where anybody could change it
	plain := get(resourcePath)
	plain.TLS = nil
	begin(plain).as(stranger, false).through(s.auth(t, `{}`)).mustBeRefused(t, oauth.InsecureTransport)
}

// The route for the metadata alone proves nothing and refuses nothing.
func TestMetadataOnlyPassesOnAllElse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{"metadata":"only"}`)
	begin(get(resourcePath)).through(auth).mustBeServed(t)
	for _, target := range []string{"/reports", resourcePath + "x", resourcePath + "/x"} {
		x := begin(get(target))
		x.r.Header.Set("Authorization", "DPoP forged")
		x.through(auth).mustPass(t)
		if id := x.placeholder("http.auth.user.id"); id != "" {
			t.Errorf("got the identity %q", id)
		}
	}
	if _, err := s.load("http.handlers.pop_auth", `{"metadata":"always"}`); err == nil {
		t.Error("got no error for a value that there is not")
	}
}

// A challenge names a document only if it can be reached, and if not the
// operator is told what to do.
func TestMetadataThatIsOutOfReachIsNotNamed(t *testing.T) {
	t.Parallel()
	const auth = `{"handler":"pop_auth","audience":["https://api.example.com/v1"]}`
	const only = `{"handler":"pop_auth","audience":["https://api.example.com/v1"],"metadata":"only"}`
	at := func(path, handlers string) string {
		return `{"match":[{"host":["api.example.com"],"path":["` + path + `"]}],"handle":[` + handlers + `]}`
	}
	for _, tt := range []struct {
		name, routes string
		reached      bool
		hint         string
	}{
		{"a whole site", at("*", auth), true, ""},
		{"a block for other paths", at("/v1/*", auth), false, "does not get " + resourcePath + "/v1"},
		{"a block for other paths, and a route for the document", at(resourcePath+"/*", only) + "," + at("/v1/*", auth), true, ""},
		{"a block for other paths around both", at("/v1/*", `{"handler":"subroute","routes":[`+at(resourcePath+"/*", only)+`,`+at("/v1/*", auth)+`]}`), false, "does not get " + resourcePath + "/v1"},
		{"no audience of this site", at("*", `{"handler":"pop_auth"}`), false, `such as "audience https://api.example.com"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			app := newSite(t).withRoutes(t, `"routes":[`+tt.routes+`]`)
			core, logs := observer.New(zap.InfoLevel)
			for _, a := range app.auths {
				a.logger = zap.New(core)
			}
			if err := app.Start(); err != nil {
				t.Fatal(err)
			}
			guard := app.auths[len(app.auths)-1]
			x := begin(get("/v1/x")).through(guard)
			if got := x.metadataURL(t) != ""; got != tt.reached {
				t.Errorf("the challenge names a document: %v, want %v", got, tt.reached)
			}
			var hints []string
			for _, entry := range logs.All() {
				if hint, ok := entry.ContextMap()["hint"].(string); ok {
					hints = append(hints, hint)
				}
			}
			if got := strings.Join(hints, "\n"); (got != "") != (tt.hint != "") || !strings.Contains(got, tt.hint) {
				t.Errorf("got the hints %q, want %q", got, tt.hint)
			}
		})
	}
}

// A document that nobody knows to be served is neither served nor named.
func TestNoMetadataWhileNobodyKnows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{"public_urls":["`+place+`"]}`)
	auth.served = new(servedResources)
	auth.find = func() error { return errors.New("the site cannot be found") }
	x := begin(get(resourcePath)).through(auth)
	if refusal, ok := errors.AsType[*oauth.Refusal](x.err); !ok || refusal.Reason != oauth.TokenMissing || x.metadataURL(t) != "" {
		t.Errorf("got %v, want a challenge that names nothing", x.err)
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, host string
		want          bool
	}{
		{"api.example.com", "api.example.com", true},
		{"API.example.com", "api.example.com", true},
		{"*.example.com", "api.example.com", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", "a.b.example.com", false},
		{"a.b.a", "a.b.a", true},
		{"a.b.a", "a.b.c", false},
		{"", "", true},
	} {
		if got := covers(tt.pattern, tt.host); got != tt.want {
			t.Errorf("covers(%q, %q) = %v, want %v", tt.pattern, tt.host, got, tt.want)
		}
	}
}

func FuzzResourceParts(f *testing.F) {
	for _, seed := range []string{place, place + "/v1/", "urn:x", "http://localhost:8080", "https://a?b", "https://u@a", "https://a/%2e%2e/b", "https://[::1]:443/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		origin, path, ok := resourceParts(id)
		if !ok {
			return
		}
		// what is told to clients is one header field and one URL
		if strings.ContainsAny(origin+path, "\"\\ \r\n#?@") || path != "" && path[0] != '/' {
			t.Errorf("resourceParts(%q) = %q, %q", id, origin, path)
		}
	})
}
