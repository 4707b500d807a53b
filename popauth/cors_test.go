// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

const (
	page      = "https://app.example.com"
	otherPage = "https://evil.example"

	withCORS     = `{"cors":{"origins":["https://app.example.com"]}}`
	corsUpstream = `{"cors":{"upstream":true}}`
)

// preflightFrom is a preflight of a page, with more header fields in pairs.
func preflightFrom(origin, target, method string, fields ...string) *http.Request {
	r := request("OPTIONS", target, nil)
	r.Header.Set("Origin", origin)
	r.Header.Set("Access-Control-Request-Method", method)
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// corsFields are the fields of CORS in a header.
func corsFields(h http.Header) map[string]string {
	fields := map[string]string{}
	for name, values := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			fields[strings.TrimPrefix(name, "Access-Control-")] = strings.Join(values, " | ")
		}
	}
	return fields
}

// mustHave checks the fields of CORS, in pairs, and that there are no others.
func mustHave(t *testing.T, h http.Header, fields ...string) {
	t.Helper()
	got := corsFields(h)
	for i := 0; i+1 < len(fields); i += 2 {
		if got[fields[i]] != fields[i+1] {
			t.Errorf("got Access-Control-%s %q, want %q", fields[i], got[fields[i]], fields[i+1])
		}
		delete(got, fields[i])
	}
	if len(got) > 0 {
		t.Errorf("got further fields %q", got)
	}
}

// mustVary checks that a cache keeps the answers to origins apart.
func mustVary(t *testing.T, h http.Header) {
	t.Helper()
	if !slices.Contains(h.Values("Vary"), "Origin") {
		t.Errorf("got Vary %q, want Origin in it", h.Values("Vary"))
	}
}

func TestAuthAnswersPreflightsOfListedPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{"cors":{"origins":["http://localhost:3000","https://app.example.com"],"headers":["X-Request-Id","If-Match"],"max_age":"1h"}}`)
	for _, method := range []string{"GET", "DELETE", "patch", "M-SEARCH"} {
		x := begin(preflightFrom(page, "/reports", method, "Access-Control-Request-Private-Network", "true")).through(auth)
		if x.err != nil || x.passed || x.Code != http.StatusNoContent || x.Body.Len() > 0 {
			t.Fatalf("got %d %q, %v, passed on: %v, want 204", x.Code, x.Body, x.err, x.passed)
		}
		mustVary(t, x.Header())
		mustHave(t, x.Header(), "Allow-Origin", page, "Allow-Methods", method, "Max-Age", "3600",
			"Allow-Headers", "Authorization, Content-Type, DPoP, X-Request-Id, If-Match", "Expose-Headers", challengeFields)
	}
	x := begin(preflightFrom("http://localhost:3000", "/reports", "GET")).through(s.auth(t, `{"cors":{"origins":["http://localhost:3000"]}}`))
	mustHave(t, x.Header(), "Allow-Origin", "http://localhost:3000", "Allow-Methods", "GET", "Max-Age", "600",
		"Allow-Headers", proofFields, "Expose-Headers", challengeFields)
}

func TestAuthRefusesPreflightsOfOtherPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, withCORS)
	for _, origin := range []string{
		otherPage, "null", "*", "https://app.example.com:443", "https://app.example.com/", "https://APP.example.com",
		"http://app.example.com", "https://app.example.com.", "https://app.example.com.evil.example", "https://evil.example/https://app.example.com",
		"https://app.example.com, https://app.example.com", "https://app.example.com https://app.example.com", " https://app.example.com", "app.example.com",
	} {
		x := begin(preflightFrom(origin, "/reports", "GET")).through(auth)
		x.mustBeRefused(t, oauth.OriginForbidden)
		mustVary(t, x.Header())
		mustHave(t, x.Header())
		if lines := s.lines(); len(lines) != 1 || lines[0]["reason"] != "origin_forbidden" || lines[0]["got"] != origin || lines[0]["expected"] != page {
			t.Errorf("%q: got the log %v", origin, lines)
		}
	}
}

// What is no preflight needs a proof, whatever it calls itself.
func TestAuthJudgesWhatIsNoPreflight(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tests := []struct {
		name   string
		change func(r *http.Request)
		before middleware // may be nil
	}{
		{"another method", func(r *http.Request) { r.Method = "GET" }, nil},
		{"options in lower case", func(r *http.Request) { r.Method = "options" }, nil},
		{"no Origin", func(r *http.Request) { r.Header.Del("Origin") }, nil},
		{"an empty Origin", func(r *http.Request) { r.Header.Set("Origin", "") }, nil},
		{"two Origins", func(r *http.Request) { r.Header.Add("Origin", page) }, nil},
		{"a long Origin", func(r *http.Request) { r.Header.Set("Origin", "https://"+strings.Repeat("a", longestOrigin)) }, nil},
		{"no method asked for", func(r *http.Request) { r.Header.Del("Access-Control-Request-Method") }, nil},
		{"an empty method", func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "") }, nil},
		{"two methods", func(r *http.Request) { r.Header.Add("Access-Control-Request-Method", "GET") }, nil},
		{"a list of methods", func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "GET, PUT") }, nil},
		{"all methods", func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "*") }, nil},
		{"a method that is no token", func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "G\x80T") }, nil},
		{"a long method", func(r *http.Request) {
			r.Header.Set("Access-Control-Request-Method", strings.Repeat("A", longestMethod+1))
		}, nil},
		{"a GET that was rewritten", func(r *http.Request) { r.Method = "GET" }, rewrite("OPTIONS", "/reports")},
	}
	for _, config := range []string{withCORS, corsUpstream} {
		auth := s.auth(t, config)
		for _, tt := range tests {
			r := preflightFrom(page, "/reports", "GET")
			tt.change(r)
			x := begin(r)
			if tt.before != nil {
				x.through(tt.before, auth)
			} else {
				x.through(auth)
			}
			if x.passed || x.err == nil || x.reason() == oauth.OriginForbidden {
				t.Errorf("%s, %s: got %d, passed on: %v, %v", config, tt.name, x.Code, x.passed, x.err)
			}
		}
	}
	for _, config := range []string{`{}`, `{"nonce":"off"}`} {
		x := begin(preflightFrom(page, "/reports", "GET")).through(s.auth(t, config))
		x.mustBeRefused(t, oauth.TokenMissing)
		mustHave(t, x.Header())
		if vary := x.Header().Values("Vary"); len(vary) > 0 {
			t.Errorf("got Vary %q where there is no cors", vary)
		}
	}
}

func TestPreflightsMustBeSentSecurelyToo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, config := range []string{withCORS, corsUpstream} {
		auth := s.auth(t, config)
		r := preflightFrom(page, "/reports", "GET")
		r.TLS = nil
		begin(r).through(auth).mustBeRefused(t, oauth.InsecureTransport)
		begin(preflightFrom(page, "/reports", "GET", "Early-Data", "1")).through(auth).mustBeRefused(t, oauth.EarlyData)
	}
	server := s.server(t, withCORS)
	r := preflightFrom(page, "/oauth2/token", "POST")
	r.TLS = nil
	begin(r).through(server).mustAnswer(t, 400, "invalid_request")
}

func TestRefusalsCanBeReadByListedPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.mint(t, nil)
	tests := []struct {
		name, config string
		origins      []string
		want         []string
	}{
		{"listed", withCORS, []string{page}, []string{"Allow-Origin", page, "Expose-Headers", challengeFields}},
		{"unlisted", withCORS, []string{otherPage}, nil},
		{"two", withCORS, []string{page, page}, nil},
		{"none", withCORS, nil, nil},
		{"left to the upstream", corsUpstream, []string{page}, []string{"Expose-Headers", challengeFields}},
		{"no cors", `{}`, []string{page}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			auth := s.auth(t, tt.config)
			for reason, change := range map[oauth.Reason]func(r *http.Request){
				oauth.TokenMissing:   func(r *http.Request) { r.Header.Del("Authorization") },
				oauth.ProofMissing:   func(r *http.Request) { r.Header.Del("DPoP") },
				oauth.AmbiguousProof: func(r *http.Request) { r.Header.Add("DPoP", "x") },
			} {
				r := s.signed(t, token)
				r.Header["Origin"] = tt.origins
				change(r)
				x := begin(r).through(auth)
				x.mustBeRefused(t, reason)
				mustHave(t, x.Header(), tt.want...)
				if tt.config == withCORS {
					mustVary(t, x.Header())
				}
			}
		})
	}
}

// The answers of an API that has CORS of its own, and of one that has none.
func TestAnswersOfTheUpstreamCanBeReadByListedPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.mint(t, nil)
	broken := errors.New("the upstream is broken")
	own := func(status int, err error) func(w http.ResponseWriter, r *http.Request) error {
		return func(w http.ResponseWriter, _ *http.Request) error {
			h := w.Header()
			h.Add("Access-Control-Allow-Origin", "*")
			h.Add("Access-Control-Allow-Credentials", "true")
			h.Add("Access-Control-Expose-Headers", "X-Total")
			h.Add("Vary", "Accept")
			if status != 0 {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, "through")
			}
			return err
		}
	}
	ours := []string{"Allow-Origin", page, "Expose-Headers", challengeFields}
	both := []string{"Allow-Origin", page, "Expose-Headers", "X-Total | " + challengeFields}
	tests := []struct {
		name, config, origin string
		upstream             func(w http.ResponseWriter, r *http.Request) error
		want                 []string
	}{
		{"none of its own", withCORS, page, nil, ours},
		{"its own", withCORS, page, own(200, nil), both},
		{"its own, an error", withCORS, page, own(500, nil), both},
		{"its own, nothing written", withCORS, page, own(0, nil), both},
		{"its own, an error of the handler", withCORS, page, own(0, broken), both},
		{"a nonce besides", `{"nonce":"single_use","cors":{"origins":["https://app.example.com"]}}`, page, own(200, nil), both},
		{"none of its own, another page", withCORS, otherPage, nil, nil},
		{"its own, another page", withCORS, otherPage, own(200, nil), []string{"Expose-Headers", "X-Total"}},
		{"its own, no page", withCORS, "", own(200, nil), []string{"Expose-Headers", "X-Total"}},
		{"left to it", corsUpstream, page, own(200, nil), []string{"Allow-Origin", "*", "Allow-Credentials", "true", "Expose-Headers", "X-Total | " + challengeFields}},
		{"left to it, and it has none", corsUpstream, page, nil, []string{"Expose-Headers", challengeFields}},
		{"no cors", `{}`, page, own(200, nil), []string{"Allow-Origin", "*", "Allow-Credentials", "true", "Expose-Headers", "X-Total"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			auth := s.auth(t, tt.config)
			r := s.signed(t, token)
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			x := begin(r)
			x.upstream = tt.upstream
			if x.through(auth); !x.passed {
				t.Fatal(x.err)
			}
			h := x.Header()
			if x.err == nil && x.Body.Len() > 0 {
				h = x.Result().Header // as it was when the head was written
			}
			mustHave(t, h, tt.want...)
			if strings.Contains(tt.config, "origins") {
				mustVary(t, h)
				if tt.upstream != nil && !slices.Contains(h.Values("Vary"), "Accept") {
					t.Errorf("the upstream's Vary is gone: %q", h.Values("Vary"))
				}
			}
			if strings.Contains(tt.config, "single_use") {
				mustRenew(t, h, "")
			}
		})
	}
}

// A second pop_auth judges again, and says what there is to say once.
func TestTwoAuthsAnswerOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	outer, inner, without := s.auth(t, withCORS), s.auth(t, withCORS), s.auth(t, `{}`)
	r := s.signed(t, s.mint(t, nil))
	r.Header.Set("Origin", page)
	x := begin(r).through(outer, inner)
	x.mustPass(t)
	mustHave(t, x.Header(), "Allow-Origin", page, "Expose-Headers", challengeFields)
	if vary := x.Header().Values("Vary"); len(vary) != 1 {
		t.Errorf("got Vary %q, want one", vary)
	}
	r = s.signed(t, s.mint(t, nil))
	r.Header.Set("Origin", page)
	x = begin(r).through(without, inner)
	x.mustPass(t)
	mustHave(t, x.Header(), "Allow-Origin", page, "Expose-Headers", challengeFields)
	// what the first one passes on without a proof, the second one does not
	begin(preflightFrom(page, "/reports", "GET")).through(s.auth(t, corsUpstream), s.auth(t, `{}`)).mustBeRefused(t, oauth.TokenMissing)
}

func TestPreflightsGoToTheUpstreamBare(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, corsUpstream)
	hostile := []string{
		"Authorization", "DPoP", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Http-Method-Anything", "X-Method-Override",
		"X_HTTP_Method_Override", "x-http_method-override", "X_Method-Override", "Content-Length", "Transfer-Encoding",
		"Cookie", "Proxy-Authorization", "Upgrade", "HTTP2-Settings",
	}
	r := request("OPTIONS", "/reports", strings.NewReader("_method=DELETE"))
	r.Header.Set("Origin", otherPage)
	r.Header.Set("Access-Control-Request-Method", "GET")
	r.Header.Set("X-Other", "kept")
	r.Header.Set("Connection", "X-User, upgrade") // a handler behind might set X-User
	r.Trailer = http.Header{"X-Later": nil}
	for _, name := range hostile {
		r.Header[name] = []string{"DELETE"}
		r.Header.Set(name, "DELETE")
	}
	x := begin(r)
	x.repl.Set("http.auth.user.id", "somebody")
	x.upstream = func(w http.ResponseWriter, r *http.Request) error {
		if len(r.Header) != 3 || r.Header.Get("X-Other") != "kept" {
			t.Errorf("the upstream got the fields %v", r.Header)
		}
		if body, err := io.ReadAll(r.Body); err != nil || len(body) > 0 || r.ContentLength != 0 || len(r.Trailer) > 0 {
			t.Errorf("the upstream got the body %q of length %d, %v", body, r.ContentLength, err)
		}
		if id := x.placeholder("http.auth.user.id"); id != "" {
			t.Errorf("the request is that of %q", id)
		}
		w.Header().Set("Access-Control-Allow-Origin", otherPage)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	x.through(auth).mustPass(t)
	mustHave(t, x.Header(), "Allow-Origin", otherPage)

	// the method directive must not make a request of it
	begin(preflightFrom(page, "/reports", "GET")).through(rewrite("DELETE", "/reports"), auth).mustBeRefused(t, oauth.TokenMissing)
}

func TestServerAnswersPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{"cors":{"origins":["https://app.example.com"]}}`)
	for path, methods := range map[string]string{
		"/oauth2/token": "POST", "/oauth2/introspect": "POST", "/oauth2/revoke": "POST",
		"/oauth2/jwks": "GET, HEAD", "/.well-known/oauth-authorization-server": "GET, HEAD",
	} {
		x := begin(preflightFrom(page, path, "DELETE")).through(server)
		if x.Code != http.StatusNoContent {
			t.Errorf("%s: got %d %s, want 204", path, x.Code, x.Body)
		}
		mustVary(t, x.Header())
		mustHave(t, x.Header(), "Allow-Origin", page, "Allow-Methods", methods, "Max-Age", "600",
			"Allow-Headers", proofFields, "Expose-Headers", challengeFields)

		x = begin(preflightFrom(otherPage, path, "GET")).through(server)
		x.mustAnswer(t, http.StatusForbidden, "invalid_request")
		mustVary(t, x.Header())
		mustHave(t, x.Header())

		for origin, want := range map[string][]string{page: {"Allow-Origin", page, "Expose-Headers", challengeFields}, otherPage: nil, "": nil} {
			r := get(path) // the endpoints for POST refuse it
			r.Header.Set("Origin", origin)
			x := begin(r)
			x.Header().Set("Access-Control-Allow-Origin", "*") // as a header directive does
			x.through(server)
			mustVary(t, x.Header())
			mustHave(t, x.Header(), want...)
		}
	}
	r := s.tokenRequest(t)
	r.Header.Set("Origin", page)
	x := begin(r).through(server)
	accessToken(t, x)
	mustHave(t, x.Header(), "Allow-Origin", page, "Expose-Headers", challengeFields)

	if x := begin(preflightFrom(page, "/elsewhere", "GET")).through(server); !x.passed || x.Header().Get("Vary") != "" || len(corsFields(x.Header())) > 0 {
		t.Errorf("a preflight for somebody else was answered: %d %v", x.Code, x.Header())
	}
	x = begin(preflightFrom(page, "/oauth2/token", "POST")).through(s.server(t, `{}`))
	x.mustAnswer(t, http.StatusMethodNotAllowed, "invalid_request")
	mustHave(t, x.Header())
}

func TestCORSConfig(t *testing.T) {
	t.Setenv("POPAUTH_TEST_PAGE", "https://from.example.com")
	s := newSite(t)
	for _, tt := range []struct {
		config string
		want   string // of the error; "" for none
	}{
		{`{"origins":["https://a.example","http://localhost:3000","http://127.0.0.1:8080","http://[::1]:8080","https://a_b.example.","http://a.example:443","capacitor://localhost","chrome-extension://abcdef","{env.POPAUTH_TEST_PAGE}"]}`, ""},
		{`{"origins":["https://a.example"],"headers":["X-Request-Id"],"max_age":"2h"}`, ""},
		{`{"upstream":true}`, ""},

		{`{}`, "there are no origins"},
		{`{"headers":["X-Request-Id"]}`, "there are no origins"},
		{`{"upstream":true,"origins":["https://a.example"]}`, "either origins or upstream"},
		{`{"upstream":true,"headers":["X-Request-Id"]}`, "either origins or upstream"},
		{`{"origins":["*"]}`, "wildcard"},
		{`{"origins":["https://*.example"]}`, "wildcard"},
		{`{"origins":["null"]}`, "null"},
		{`{"origins":[""]}`, "empty"},
		{`{"origins":["{env.POPAUTH_TEST_NOBODY}"]}`, "POPAUTH_TEST_NOBODY"},
		{`{"origins":["a.example"]}`, "is not an origin"},
		{`{"origins":["a.example:3000"]}`, "is not an origin"},
		{`{"origins":["//a.example"]}`, "is not an origin"},
		{`{"origins":["https:a.example"]}`, "is not an origin"},
		{`{"origins":["https://"]}`, "is not an origin"},
		{`{"origins":["https://:443"]}`, "is not an origin"},
		{`{"origins":["https://a example"]}`, "is not an origin"},
		{`{"origins":["https://a.example,https://b.example"]}`, "has no host"},
		{`{"origins":["https://a.example/"]}`, `expected "https://a.example"`},
		{`{"origins":["https://a.example/path"]}`, `expected "https://a.example"`},
		{`{"origins":["https://a.example?q"]}`, `expected "https://a.example"`},
		{`{"origins":["https://a.example?"]}`, `expected "https://a.example"`},
		{`{"origins":["https://a.example#f"]}`, `expected "https://a.example"`},
		{`{"origins":["https://u@a.example"]}`, `expected "https://a.example"`},
		{`{"origins":["https://a.example:443"]}`, `expected "https://a.example"`},
		{`{"origins":["https://a.example:0443"]}`, `expected "https://a.example`},
		{`{"origins":["http://a.example:80"]}`, `expected "http://a.example"`},
		{`{"origins":["https://a.example:"]}`, `expected "https://a.example"`},
		{`{"origins":["https://a.example:08443"]}`, `expected "https://a.example:8443"`},
		{`{"origins":["https://a.example:0"]}`, "valid port"},
		{`{"origins":["https://a.example:65536"]}`, "valid port"},
		{`{"origins":["HTTPS://A.example"]}`, `expected "https://a.example"`},
		{`{"origins":["http://[0:0::1]"]}`, `expected "http://[::1]"`},
		{`{"origins":["http://[::1%25eth0]"]}`, "has no host"},
		{`{"origins":["https://bücher.example"]}`, "has no host"},
		{`{"origins":["https://127.1"]}`, "has no host"},
		{`{"origins":["https://a..example"]}`, "has no host"},
		{`{"origins":["https://a.example"],"headers":["*"]}`, "is not the name"},
		{`{"origins":["https://a.example"],"headers":["X-A, X-B"]}`, "is not the name"},
		{`{"origins":["https://a.example"],"max_age":"-1s"}`, "max_age is -1s"},
		{`{"origins":["https://a.example"],"max_age":"10ms"}`, "max_age is 10ms"},
	} {
		for _, module := range []string{"pop_auth", "pop_server"} {
			_, err := s.load("http.handlers."+module, `{"cors":`+tt.config+`}`)
			want := tt.want
			if module == "pop_server" && strings.Contains(tt.config, "upstream") {
				want = "there is none behind"
			}
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s %s: got error %v, want %q", module, tt.config, err, want)
			}
		}
	}
}

// Whatever is asked, only the page that is listed is answered, and nobody gets
// through without a proof but as an OPTIONS request without a body.
func FuzzPreflight(f *testing.F) {
	f.Add(page, "GET", "OPTIONS", "X-HTTP-Method-Override", false)
	f.Add(page, "*", "OPTIONS", "Origin", true)
	f.Add(otherPage, "PUT", "OPTIONS", "x_http_method", true)
	f.Add("null", "G T", "options", "DPoP", false)
	f.Add("https://app.example.com\x00", "", "GET", "Access-Control-Request-Method", true)
	s := newSite(f)
	list, pass := s.auth(f, withCORS), s.auth(f, corsUpstream)
	f.Fuzz(func(t *testing.T, origin, asked, method, name string, leave bool) {
		auth := list
		if leave {
			auth = pass
		}
		r := request("OPTIONS", "/reports", strings.NewReader("body"))
		r.Method = method
		r.Header = http.Header{"Origin": {origin}, "Access-Control-Request-Method": {asked}}
		r.Header[name] = append(r.Header[name], "DELETE")
		x := begin(r)
		x.upstream = func(_ http.ResponseWriter, r *http.Request) error {
			if !leave || r.Method != "OPTIONS" || r.ContentLength != 0 || len(r.Header["X-Http-Method-Override"]) > 0 {
				t.Errorf("the upstream got %s %v", r.Method, r.Header)
			}
			return nil
		}
		x.through(auth)
		got := corsFields(x.Header())
		if allowed, ok := got["Allow-Origin"]; ok && (leave || allowed != page || origin != page) {
			t.Errorf("%q was allowed: %q", origin, got)
		}
		for field, value := range got {
			if value == "*" || strings.ContainsAny(value, "\r\n\x00") {
				t.Errorf("got Access-Control-%s %q", field, value)
			}
		}
		if x.err == nil && !x.passed && (x.Code != http.StatusNoContent || got["Allow-Origin"] != page || got["Allow-Methods"] != asked) {
			t.Errorf("got %d %q for %q", x.Code, got, asked)
		}
	})
}

// A config is accepted only if a browser would send what is in it.
func FuzzCheckOrigin(f *testing.F) {
	for _, seed := range []string{page, "http://[::1]:8080", "https://127.1", "a://b", "https://a:443", "https://%61", "http://[::ffff:1.2.3.4]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if checkOrigin(raw) != nil {
			return
		}
		scheme, host, ok := strings.Cut(raw, "://")
		if !ok || scheme == "" || host == "" || raw != strings.ToLower(raw) || strings.ContainsAny(raw, "*%@?#, \t\\") || strings.Contains(host, "/") {
			t.Errorf("%q was taken for an origin", raw)
		}
		for i := range len(raw) {
			if raw[i] <= ' ' || raw[i] > '~' {
				t.Errorf("%q was taken for an origin", raw)
			}
		}
	})
}

// The first request of a page with a nonce is challenged, read and repeated.
func TestPageGetsInAfterAChallenge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, withCORS)
	token := s.mint(t, nil)
	r := s.signed(t, token, func(p *fixture.Proof) { p.Nonce = "" })
	r.Header.Set("Origin", page)
	x := begin(r).through(auth)
	x.mustBeRefused(t, oauth.NonceMissing)
	exposed := strings.Split(corsFields(x.Header())["Expose-Headers"], ", ")
	if !slices.Contains(exposed, "DPoP-Nonce") || !slices.Contains(exposed, "WWW-Authenticate") {
		t.Fatalf("the page can read %q alone", exposed)
	}
	r = s.signed(t, token, func(p *fixture.Proof) { p.Nonce = x.Header().Get("DPoP-Nonce") })
	r.Header.Set("Origin", page)
	begin(r).through(auth).mustPass(t)
}
