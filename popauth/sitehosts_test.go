// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// withRoutes provisions a configuration whose one server has these members.
func (s *site) withRoutes(t *testing.T, server string) *App {
	t.Helper()
	ctx, err := provision(s.storage, caddy.ModuleMap{
		"popauth": json.RawMessage(`{"issuers":{"default":{"url":"` + issuerURL + `","store":` + string(s.backend.raw) + `,"signing":{"keys":[` + quoted(privateKey(t, "p384")) + `]}}}}`),
		"http":    json.RawMessage(`{"servers":{"edge":{"listen":["127.0.0.1:0"],` + server + `}}}`),
	})
	if err != nil {
		t.Fatalf("provisioning: %v", err)
	}
	return appIn(t, ctx)
}

func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// What a pop_auth without a public_url compares proofs with is the Host of the
// request, so a matcher must have judged that one on every way to the handler.
func TestAuthWithoutAHostIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	const auth = `{"handler":"pop_auth"}`
	at := func(host, handlers string) string {
		return `{"match":[{"host":["` + host + `"]}],"handle":[` + handlers + `]}`
	}
	sub := func(routes string) string { return `{"handler":"subroute","routes":[` + routes + `]}` }
	bare := func(handlers string) string { return `{"handle":[` + handlers + `]}` }
	const open = "takes requests for any host"
	tests := []struct {
		name, server string
		hosts        string // of the handler; "" means that the start is refused
	}{
		{"a site with a name", `"routes":[` + at("api.example.com", auth) + `]`, "api.example.com"},
		{"a site with a wildcard", `"routes":[` + at("*.example.com", auth) + `]`, "*.example.com"},
		{"a site with two names", `"routes":[{"match":[{"host":["a.example.com","b.example.com"]}],"handle":[` + auth + `]}]`, "a.example.com b.example.com"},
		{"alternatives that all name a host", `"routes":[{"match":[{"host":["a.example.com"]},{"host":["b.example.com"],"path":["/x"]}],"handle":[` + auth + `]}]`, "a.example.com b.example.com"},
		{"beneath subroutes", `"routes":[` + at("api.example.com", sub(bare(sub(bare(auth))))) + `]`, "api.example.com"},
		{"a host matcher further in", `"routes":[` + bare(sub(at("api.example.com", sub(bare(auth))))) + `]`, "api.example.com"},
		{"one name of a wildcard", `"routes":[` + at("*.example.com", sub(at("api.example.com", auth))) + `]`, "api.example.com"},
		{"in the errors of the server", `"routes":[],"errors":{"routes":[` + at("api.example.com", auth) + `]}`, "api.example.com"},
		{"in the errors of a subroute", `"routes":[` + at("api.example.com", `{"handler":"subroute","routes":[{}],"errors":{"routes":[`+bare(auth)+`]}}`) + `]`, "api.example.com"},
		{"invoked by two sites", `"named_routes":{"api":` + bare(auth) + `},"routes":[` + at("a.example.com", `{"handler":"invoke","name":"api"}`) + `,` + at("b.example.com", `{"handler":"invoke","name":"api"}`) + `]`, "a.example.com b.example.com"},
		{"a named route that invokes itself", `"named_routes":{"api":{"handle":[{"handler":"invoke","name":"api"},` + auth + `]}},"routes":[` + at("a.example.com", `{"handler":"invoke","name":"api"}`) + `]`, "a.example.com"},

		{"no matcher", `"routes":[` + bare(auth) + `]`, ""},
		{"a matcher for paths", `"routes":[{"match":[{"path":["/api/*"]}],"handle":[` + auth + `]}]`, ""},
		{"one of two alternatives takes any host", `"routes":[{"match":[{"host":["api.example.com"]},{"path":["/x"]}],"handle":[` + auth + `]}]`, ""},
		{"a pattern of nothing but stars", `"routes":[` + at("*.*", auth) + `]`, ""},
		{"a name that the client chooses", `"routes":[` + at("{http.request.host}", auth) + `]`, ""},
		{"a name that is partly the client's", `"routes":[` + at("{http.request.header.X}.example.com", auth) + `]`, ""},
		{"any host but one", `"routes":[{"match":[{"not":[{"host":["api.example.com"]}]}],"handle":[` + auth + `]}]`, ""},
		{"invoked by a site that takes any host, too", `"named_routes":{"api":` + bare(auth) + `},"routes":[` + at("a.example.com", `{"handler":"invoke","name":"api"}`) + `,` + bare(`{"handler":"invoke","name":"api"}`) + `]`, ""},
		{"in the errors of a server for all its sites", `"errors":{"routes":[` + bare(auth) + `]}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			app := newSite(t).withRoutes(t, tt.server)
			if n := len(app.auths); n != 1 {
				t.Fatalf("the configuration has %d handlers, want 1", n)
			}
			err := app.Start()
			for _, auth := range app.auths {
				place := auth.site
				if tt.hosts == "" {
					if err == nil || !strings.Contains(err.Error(), open) || !strings.Contains(err.Error(), "public_url https://") {
						t.Errorf("got error %v, want one that says %q and the line to add", err, open)
					}
					if place.started() {
						t.Error("the handler is in use all the same")
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				hosts := slices.Sorted(slices.Values(*place.hosts.Load()))
				if got := strings.Join(hosts, " "); got != tt.hosts {
					t.Errorf("got hosts %q, want %q", got, tt.hosts)
				}
			}
		})
	}
}

// A handler that no route leads to may be reached in ways that nobody knows of.
func TestAuthThatIsNotFoundIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	s := newSharedSite(t)
	if _, err := s.load("http.handlers.pop_auth", `{}`); err != nil {
		t.Fatal(err)
	}
	if err := s.app.Start(); err == nil || !strings.Contains(err.Error(), "public_url https://") {
		t.Errorf("got %v, want an error with the line to add", err)
	}
}

func TestAuthWithAPublicURLNeedsNoHost(t *testing.T) {
	t.Parallel()
	app := newSite(t).withRoutes(t, `"routes":[{"handle":[{"handler":"pop_auth","public_urls":["`+place+`"]}]}]`)
	if err := app.Start(); err != nil {
		t.Error(err)
	}
}

// Apps start in any order, so a request may come before this one has. In a
// config that will be taken it is judged all the same: no reload refuses anybody.
func TestRequestsBeforeTheStartAreJudged(t *testing.T) {
	t.Parallel()
	app := newSite(t).withRoutes(t, `"routes":[{"match":[{"host":["api.example.com"]}],"handle":[{"handler":"pop_auth"}]}]`)
	begin(get("/reports")).through(app.auths[0]).mustBeRefused(t, oauth.TokenMissing)
}

// In one that will not, nothing of the client's is used up.
func TestRequestsThatCannotBeJudgedAreUnavailable(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	hosts := auth.site.hosts.Swap(nil)
	auth.find = func() error { return errors.New("the site cannot be found") }
	token := s.token(t)
	proof := s.proof(t, token)
	try := func() *exchange {
		r := s.signed(t, token)
		r.Header.Set("DPoP", proof)
		return begin(r).through(auth)
	}
	x := try()
	x.mustBeRefused(t, oauth.Starting)
	if x.Header().Get("Retry-After") == "" {
		t.Error("there is no Retry-After field")
	}
	auth.site.hosts.Store(hosts)
	try().mustPass(t)
}

// The promise behind it all: a proof that a client made for somebody else's
// server is worth nothing here, whatever Host it is passed on with.
func TestProofForAnotherServerIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, config := range map[string]string{
		"a site with a host":    `{}`,
		"one with a public_url": `{"public_urls":["` + place + `"]}`,
	} {
		auth := s.auth(t, config)
		token := s.token(t)
		for how, change := range map[string]func(*exchange){
			"as it is":                  func(*exchange) {},
			"with its Host":             func(x *exchange) { x.r.Host = "evil.example" },
			"with X-Forwarded-Host":     func(x *exchange) { x.r.Header.Set("X-Forwarded-Host", "evil.example") },
			"by a proxy that is lax":    func(x *exchange) { x.as(stranger, true).r.Header.Set("X-Forwarded-Host", "evil.example") },
			"with an Original-URL":      func(x *exchange) { x.r.Header.Set("X-Original-URL", "https://evil.example/reports") },
			"with a Forwarded field":    func(x *exchange) { x.as(stranger, true).r.Header.Set("Forwarded", "host=evil.example;proto=https") },
			"with an absolute-form URL": func(x *exchange) { setOriginal(x, "https://evil.example/reports") },
		} {
			x := begin(s.signed(t, token, func(p *fixture.Proof) { p.URL = "https://evil.example/reports" }))
			change(x)
			x.through(auth)
			if x.passed || x.reason() != oauth.ProofURLMismatch {
				t.Errorf("%s, %s: got reason %q, want %q", name, how, x.reason(), oauth.ProofURLMismatch)
			}
		}
		begin(s.signed(t, token)).through(auth).mustPass(t)
	}
}

// Of a pop_auth that is in several sites all hosts count, however many.
func TestHostsOfManySitesAreFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	hosts := caddyhttp.MatchHost{"*.zone.example"}
	for i := range 150 {
		hosts = append(hosts, fmt.Sprintf("h%d.example.com", 149-i))
	}
	hosts = append(hosts, "*.last.example")
	searchable(hosts)
	auth.site.hosts.Store(&hosts)
	r := begin(request("GET", "/reports", nil)).r
	for _, host := range []string{"h0.example.com", "h77.example.com", "H149.example.com:8443", "a.zone.example", "a.last.example"} {
		if !auth.site.has(r, host) {
			t.Errorf("%q is not let in", host)
		}
	}
	for _, host := range []string{"h150.example.com", "example.com", "h0.example.com.", "a.b.zone.example", ""} {
		if auth.site.has(r, host) {
			t.Errorf("%q is let in", host)
		}
	}
}

// A name inside the site of a wildcard certificate is that name only.
func TestHostsOfNestedMatchersAreThoseOfBoth(t *testing.T) {
	t.Parallel()
	type hosts = caddyhttp.MatchHost
	for _, tt := range []struct{ outer, inner, want hosts }{
		{nil, nil, nil},
		{nil, hosts{"a.example"}, hosts{"a.example"}},
		{hosts{"a.example"}, nil, hosts{"a.example"}},
		{hosts{"*.example"}, hosts{"a.example"}, hosts{"a.example"}},
		{hosts{"a.example"}, hosts{"*.example"}, hosts{"a.example"}},
		{hosts{"*.example", "b.test"}, hosts{"a.example", "c.test", "B.test"}, hosts{"a.example", "B.test", "b.test"}},
		{hosts{"a.example"}, hosts{"{env.HOST}"}, hosts{"a.example"}},
		{hosts{"*.example"}, hosts{"*.*.example"}, hosts{"*.example"}},
	} {
		if got := both(tt.outer, tt.inner); !slices.Equal(got, tt.want) {
			t.Errorf("both(%q, %q) = %q, want %q", tt.outer, tt.inner, got, tt.want)
		}
	}
	s := newSite(t)
	app := s.withRoutes(t, `"routes":[{"match":[{"host":["*.example.com"]}],"handle":[{"handler":"subroute","routes":[
		{"match":[{"host":["api.example.com"]}],"handle":[{"handler":"pop_auth"}]}]}]}]`)
	if err := app.findAuths(); err != nil {
		t.Fatal(err)
	}
	r := begin(request("GET", "/reports", nil)).r
	if site := app.auths[0].site; !site.has(r, "api.example.com") || site.has(r, "tenant.example.com") {
		t.Errorf("got the hosts %q, want api.example.com alone", *site.hosts.Load())
	}
}

// setOriginal changes the request line.
func setOriginal(x *exchange, target string) {
	o := x.r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	o.RequestURI = target
	x.r = x.r.WithContext(context.WithValue(x.r.Context(), caddyhttp.OriginalRequestCtxKey, o))
}

func TestAnyHost(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "host")
	if err := os.WriteFile(file, []byte("*.*"), 0o600); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]bool{
		"{file." + file + "}": true, "api.{file." + file + "}": false,
		"api.example.com": false, "*.example.com": false, "localhost": false, "{env.HOST}": false, "api.{system.hostname}": false,
		"{file./etc/host}": false,
		"":                 true, "*": true, "*.*": true, "{http.request.host}": true, "{vars.host}": true, "{env.A}.{http.request.header.B}": true,
	} {
		if got := anyHost(pattern); got != want {
			t.Errorf("anyHost(%q) = %v, want %v", pattern, got, want)
		}
	}
}

func TestPublicURLIsChecked(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://api.example.com":          "",
		"https://api.example.com/":         "",
		"https://api.example.com:8443/v1/": "",
		"https://API.example.com/a%7Eb":    "",
		"http://localhost:8080":            "",
		"http://api.localhost/x":           "",
		"http://127.0.0.1:8080":            "",
		"http://[::1]:8080":                "",
		"api.example.com":                  "is not a URL",
		"https://":                         "is not a URL",
		"https:///x":                       "is not a URL",
		"http://api.example.com":           "must use https",
		"ftp://api.example.com":            "must use https",
		"https://u:secret@api.example.com": "must not contain user information",
		"https://api.example.com?x":        "neither a query nor a fragment",
		"https://api.example.com#":         "neither a query nor a fragment",
		"https://api.example.com/a/../b":   "dot segments",
		"https://api.example.com/%2e%2e/b": "dot segments",
		"https://api.example.com/a%2Fb":    "encoded slashes",
		"https://b\u00fccher.example":      "can't be compared",
		"https://api.example.com:99999":    "can't be compared",
	} {
		err := checkPublicURL(raw)
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("checkPublicURL(%q) = %v, want %q", raw, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error quotes a password: %v", err)
		}
	}
	s := newSite(t)
	for _, config := range []string{`{"public_urls":["http://api.example.com"]}`, `{"public_urls":[""]}`, `{"public_urls":["{env.POPAUTH_UNSET}"]}`} {
		if _, err := s.load("http.handlers.pop_auth", config); err == nil {
			t.Errorf("%s: got no error", config)
		}
	}
}

func TestProofIsComparedWithThePublicURLs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{"public_urls":["https://api.example.com/v1/","https://example.com:8443"]}`)
	token := s.token(t)
	for htu, passes := range map[string]bool{
		"https://api.example.com/v1/reports":     true,
		"https://API.example.com:443/v1/reports": true,
		"https://example.com:8443/reports":       true,
		"https://api.example.com/reports":        false,
		"https://example.com/reports":            false,
		"https://example.com:8443/v1/reports":    false,
		"http://example.com:8443/reports":        false,
		"https://other.example.com/reports":      false,
	} {
		x := begin(s.signed(t, token, func(p *fixture.Proof) { p.URL = htu }))
		x.r.Host = "other.example.com"
		x.as(stranger, true).r.Header.Set("X-Forwarded-Host", "other.example.com")
		x.through(auth)
		if x.passed != passes {
			t.Errorf("htu %q: passed: %v, want %v (%v)", htu, x.passed, passes, x.err)
		}
	}
}

// The log line of a proof for another URL names the cause and the line to add.
func TestURLMismatchSaysWhatToAdd(t *testing.T) {
	t.Parallel()
	const proto, host = "X-Forwarded-Proto", "X-Forwarded-Host"
	for _, tt := range []struct {
		name, config, htu string
		change            func(x *exchange)
		want              string // the hint, or a part of it; "" for none
	}{
		{
			"a proxy that is not trusted", `{}`, "https://shop.example.com/reports",
			func(x *exchange) { x.r.Header.Set(proto, "https"); x.r.Header.Set(host, "shop.example.com") },
			"servers { trusted_proxies static 192.0.2.7 } in the global options",
		},
		{
			"a proxy that ends TLS and is not trusted", `{}`, "https://api.example.com/reports",
			func(x *exchange) { x.r.TLS = nil; x.r.RemoteAddr = loopback; x.r.Header.Set(proto, "https") },
			"servers { trusted_proxies static 127.0.0.1 } in the global options",
		},
		{
			"a proxy at a unix socket", `{}`, "https://api.example.com/reports",
			func(x *exchange) { x.r.TLS = nil; x.r.RemoteAddr = "@"; x.r.Header.Set(proto, "https") },
			"trusted_proxies_unix",
		},
		{
			"a proxy that strips a prefix", `{}`, "https://api.example.com/v1/reports", func(*exchange) {},
			"pop_auth { public_url https://api.example.com/v1 }",
		},
		{
			"a proxy that changes the host", `{}`, "https://shop.example.com/reports", func(*exchange) {},
			"name it in pop_auth { public_url ... }",
		},
		{
			"a trusted proxy with a host of no matcher", `{}`, "https://shop.example.net/reports",
			func(x *exchange) { x.as(stranger, true).r.Header.Set(host, "shop.example.net") },
			"names a host that no host matcher of this site lets in; if that is where clients reach this site: pop_auth { public_url https://shop.example.net }",
		},
		{
			"another public_url", `{"public_urls":["https://example.com"]}`, "https://api.example.com/reports", func(*exchange) {},
			"pop_auth { public_url https://api.example.com }",
		},
		{"another path", `{}`, "https://api.example.com/other", func(*exchange) {}, ""},
		{"no URL", `{}`, "/reports", func(*exchange) {}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			x := begin(s.signed(t, s.token(t), func(p *fixture.Proof) { p.URL = tt.htu })).as(stranger, false)
			tt.change(x)
			x.through(s.auth(t, tt.config)).mustBeRefused(t, oauth.ProofURLMismatch)
			refusal, _ := errors.AsType[*oauth.Refusal](x.err)
			if refusal.Option != "public_url" || !strings.Contains(refusal.Hint, tt.want) || (tt.want == "") != (refusal.Hint == "") {
				t.Errorf("got option %q and hint %q, want a hint with %q", refusal.Option, refusal.Hint, tt.want)
			}
		})
	}
}

// What the client's Connection field names is gone before a handler behind sets
// a field of that name, and so can't be deleted afterwards.
func TestConnectionFieldIsSettled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	token := s.token(t)
	for _, tt := range []struct{ fields, want []string }{
		{nil, nil},
		{[]string{"close"}, []string{"close"}},
		{[]string{"close, X-User"}, []string{"close"}},
		{[]string{"x-user"}, nil},
		{[]string{"X-USER", "Keep-Alive"}, []string{"Keep-Alive"}},
		{[]string{"Upgrade, ,X-User ", "x-other"}, []string{"Upgrade"}},
	} {
		r := s.signed(t, token)
		r.Header.Set("X-User", "admin")
		r.Header["Connection"] = tt.fields
		named := strings.Contains(strings.ToLower(fmt.Sprint(tt.fields)), "x-user")
		x := begin(r)
		var got []string
		var user string
		x.upstream = func(_ http.ResponseWriter, r *http.Request) error {
			got, user = r.Header.Values("Connection"), r.Header.Get("X-User")
			return nil
		}
		x.through(auth).mustPass(t)
		if !slices.Equal(got, tt.want) {
			t.Errorf("Connection %q: upstream got %q, want %q", tt.fields, got, tt.want)
		}
		if (user == "") != named {
			t.Errorf("Connection %q: upstream got X-User %q", tt.fields, user)
		}
	}
}

func TestUpgradeToAProtocolThatCarriesRequestsIsIgnored(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ fields, want []string }{
		{[]string{"websocket"}, []string{"websocket"}},
		{[]string{"SPDY/3.1"}, []string{"SPDY/3.1"}},
		{[]string{"h2c"}, nil},
		{[]string{"H2C", "TLS/1.0"}, nil},
		{[]string{"websocket, h2c", " HTTP/2.0 ,irc"}, []string{"websocket, irc"}},
	} {
		h := http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Http2-Settings": {"AAMAAABk"}, "Upgrade": tt.fields}
		settleConnection(h)
		if got := h.Values("Upgrade"); !slices.Equal(got, tt.want) || h.Get("HTTP2-Settings") != "" || h.Get("Connection") != "Upgrade" {
			t.Errorf("Upgrade %q: got %v, want %q", tt.fields, h, tt.want)
		}
	}
}
