// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

const (
	page      = "https://app.example.com"
	otherPage = "https://evil.example"
)

const corsSites = `
auth.localhost {
	pop_server {
		cors https://app.example.com
	}
}

api.localhost {
	handle /own {
		pop_auth {
			cors https://app.example.com {
				headers X-Request-Id
			}
		}
		reverse_proxy $BACKEND
	}
	handle /upstream {
		pop_auth {
			cors upstream
		}
		reverse_proxy $BACKEND
	}
	handle /without {
		pop_auth
		reverse_proxy $BACKEND
	}
	handle {
		header +Access-Control-Expose-Headers X-More
		pop_auth {
			cors https://app.example.com http://localhost:3000
		}
		reverse_proxy $BACKEND
	}
	handle_errors {
		respond "refused" {err.status_code}
	}
}
`

// backend is an API. At /own and /upstream it has CORS of its own, for all
// pages, and answers preflights, unless the proof or a method was left in them.
func backend(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.URL.Path == "/own" || r.URL.Path == "/upstream" {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "X-Total")
	}
	if body, _ := io.ReadAll(r.Body); r.Method == http.MethodOptions && r.URL.Path == "/upstream" {
		if len(body) > 0 || r.Header.Get("Authorization")+r.Header.Get("DPoP")+r.Header.Get("X-HTTP-Method-Override")+r.Header.Get("Cookie")+r.Header.Get("Upgrade") != "" {
			w.WriteHeader(http.StatusBadRequest)
		}
		return
	}
	h.Set("X-Total", "7")
	h.Set("Trailer", "X-Sum")
	_, _ = io.WriteString(w, "hello "+r.URL.Path)
	h.Set("X-Sum", "42")
}

// startCORS runs a server whose sites pages use.
func startCORS(t *testing.T) *server {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(backend))
	t.Cleanup(api.Close)
	s := prepare(t, `
	popauth {
		issuer https://auth.localhost:$HTTPS
		store memory
		client reports reports-secret
	}
`, strings.ReplaceAll(corsSites, "$BACKEND", strings.TrimPrefix(api.URL, "http://")))
	s.run(t)
	return s
}

// readable is what a browser shows a script of an answer: nothing unless the
// one Access-Control-Allow-Origin is the origin of its page, and else the
// fields that are exposed.
func readable(got answer, origin string) (http.Header, bool) {
	if allowed := got.header.Values("Access-Control-Allow-Origin"); len(allowed) != 1 || allowed[0] != origin && allowed[0] != "*" {
		return nil, false
	}
	shown := http.Header{}
	for _, names := range got.header.Values("Access-Control-Expose-Headers") {
		for name := range strings.SplitSeq(names, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			shown[name] = got.header[name]
		}
	}
	return shown, true
}

// preflight is what a browser asks before a GET with a proof.
func (s *server) preflight(t *testing.T, c *http.Client, target, origin string, fields ...string) answer {
	t.Helper()
	return do(t, c, newRequest(t, http.MethodOptions, target, "", append([]string{
		"Origin", origin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization,dpop",
	}, fields...)...))
}

// fetch is a GET by a script of a page with a proof, without one for no nonce.
func (s *server) fetch(t *testing.T, c *http.Client, target, origin, token, nonce string) answer {
	t.Helper()
	r := newRequest(t, http.MethodGet, target, "", "Origin", origin, "Authorization", "Bearer "+token)
	if nonce != "" {
		proof := fixture.Load(t, "p256").Proof(t, fixture.Proof{Method: http.MethodGet, URL: target, Token: token, Nonce: nonce})
		r.Header.Set("DPoP", proof)
	}
	return do(t, c, r)
}

// accessControl are the fields of CORS in an answer.
func accessControl(h http.Header) []string {
	var fields []string
	for name, values := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			fields = append(fields, name+": "+strings.Join(values, " | "))
		}
	}
	slices.Sort(fields)
	return fields
}

func TestPagesUseTheAPI(t *testing.T) {
	t.Parallel()
	s := startCORS(t)
	for _, protocol := range protocols {
		c := s.client(t, protocol)
		token := s.token(t, c, fixture.Load(t, "p256"))
		for path, exposed := range map[string][]string{"/own": {"X-Total"}, "/plain": {"X-More"}} {
			t.Run(protocol+" "+path, func(t *testing.T) {
				target := s.site("api", path)
				got := s.preflight(t, c, target, page)
				if got.status != http.StatusNoContent || got.proto != protocol || got.header.Get("Access-Control-Allow-Origin") != page ||
					got.header.Get("Access-Control-Allow-Methods") != "GET" || !strings.HasPrefix(got.header.Get("Access-Control-Allow-Headers"), "Authorization, Content-Type, DPoP") {
					t.Fatalf("preflight: got %d %v", got.status, got.header)
				}

				got = s.fetch(t, c, target, page, token, "")
				shown, ok := readable(got, page)
				if got.status != http.StatusUnauthorized || got.body != "refused" || !ok || shown.Get("WWW-Authenticate") == "" || shown.Get("DPoP-Nonce") == "" {
					t.Fatalf("challenge: got %d %q %v, of which the page sees %v", got.status, got.body, got.header, shown)
				}

				r := newRequest(t, http.MethodGet, target, "", "Origin", page, "Authorization", "Bearer "+token, "Dpop",
					fixture.Load(t, "p256").Proof(t, fixture.Proof{Method: http.MethodGet, URL: target, Token: token, Nonce: shown.Get("DPoP-Nonce")}))
				resp, err := c.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				got = answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
				shown, ok = readable(got, page)
				if err != nil || got.status != http.StatusOK || got.body != "hello "+path || !ok || resp.Trailer.Get("X-Sum") != "42" {
					t.Fatalf("got %d %q, trailer %v, %v, readable %v: %v", got.status, got.body, resp.Trailer, err, ok, got.header)
				}
				for _, name := range append(exposed, "DPoP-Nonce", "WWW-Authenticate") {
					if _, there := shown[http.CanonicalHeaderKey(name)]; !there {
						t.Errorf("the page is not shown %s: %v", name, got.header)
					}
				}
				if !slices.Contains(got.header.Values("Vary"), "Origin") || got.header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("got %v, want Vary: Origin and no cookies", got.header)
				}
			})
		}
	}
}

// R29: a page that is not listed gets no permission to ask, and can read
// neither a refusal nor an answer.
func TestOtherPagesAreKeptOut(t *testing.T) {
	t.Parallel()
	covers(t, "R29")
	s := startCORS(t)
	for _, protocol := range protocols {
		c := s.client(t, protocol)
		token := s.token(t, c, fixture.Load(t, "p256"))
		for _, path := range []string{"/own", "/plain"} {
			t.Run(protocol+" "+path, func(t *testing.T) {
				target := s.site("api", path)
				since := len(s.log(t))
				got := s.preflight(t, c, target, otherPage, "Authorization", "DPoP "+token)
				s.refused(t, got, since, want{status: http.StatusForbidden, reason: oauth.OriginForbidden})
				if fields := accessControl(got.header); slices.ContainsFunc(fields, func(f string) bool { return f != "Access-Control-Expose-Headers: X-More" }) {
					t.Errorf("preflight: got the fields %q", fields)
				}

				got = s.fetch(t, c, target, otherPage, token, "")
				if _, ok := readable(got, otherPage); ok || got.status != http.StatusUnauthorized {
					t.Errorf("challenge: got %d %v, readable %v", got.status, got.header, ok)
				}
				got = s.fetch(t, c, target, otherPage, token, got.header.Get("DPoP-Nonce"))
				if _, ok := readable(got, otherPage); ok || got.status != http.StatusOK || !slices.Contains(got.header.Values("Vary"), "Origin") {
					t.Errorf("got %d %v, readable %v", got.status, got.header, ok)
				}
			})
		}
		since := len(s.log(t))
		got := s.preflight(t, c, s.site("auth", "/oauth2/token"), otherPage)
		s.refusedEndpoint(t, got, since, want{status: http.StatusForbidden, code: "invalid_request", reason: oauth.OriginForbidden})
		if fields := accessControl(got.header); len(fields) > 0 {
			t.Errorf("the token endpoint: got the fields %q", fields)
		}
		since = len(s.log(t))
		got = s.preflight(t, c, s.site("api", "/without"), page)
		s.refused(t, got, since, want{status: http.StatusUnauthorized, reason: oauth.TokenMissing})
	}
	s.assertSilent(t, "DPoP eyJ")
}

func TestPreflightsAreLeftToTheAPI(t *testing.T) {
	t.Parallel()
	s := startCORS(t)
	target := s.site("api", "/upstream")
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			c := s.client(t, protocol)
			token := s.token(t, c, fixture.Load(t, "p256"))
			r := newRequest(t, http.MethodOptions, target, "_method=DELETE", "Origin", otherPage, "Access-Control-Request-Method", "GET",
				"Authorization", "DPoP "+token, "Dpop", "x", "X-Http-Method-Override", "DELETE", "Cookie", "session=1")
			if protocol == "HTTP/1.1" { // a connection that was switched would be judged no more
				r.Header.Set("Connection", "Upgrade")
				r.Header.Set("Upgrade", "websocket")
			}
			got := do(t, c, r)
			if got.status != http.StatusOK || got.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("preflight: got %d %v", got.status, got.header)
			}
			got = s.fetch(t, c, target, page, token, "")
			if _, ok := readable(got, page); ok || got.status != http.StatusUnauthorized {
				t.Errorf("challenge: got %d %v, readable %v", got.status, got.header, ok)
			}
			got = s.fetch(t, c, target, page, token, got.header.Get("DPoP-Nonce"))
			if shown, ok := readable(got, page); !ok || got.status != http.StatusOK || shown.Get("X-Total") != "7" {
				t.Errorf("got %d %v, readable %v", got.status, got.header, ok)
			}
			got = do(t, c, newRequest(t, http.MethodOptions, target, "", "Origin", page))
			if got.status != http.StatusUnauthorized {
				t.Errorf("what is no preflight: got %d", got.status)
			}
		})
	}
}

func TestPagesUseTheEndpoints(t *testing.T) {
	t.Parallel()
	s := startCORS(t)
	for _, protocol := range protocols {
		c := s.client(t, protocol)
		for path, methods := range map[string]string{"/oauth2/token": "POST", "/oauth2/jwks": "GET, HEAD"} {
			got := s.preflight(t, c, s.site("auth", path), page)
			if got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Methods") != methods {
				t.Errorf("%s %s: got %d %v", protocol, path, got.status, got.header)
			}
		}
		for path, status := range map[string]int{"/oauth2/token": 405, "/oauth2/jwks": 200, "/.well-known/oauth-authorization-server": 200} {
			got := do(t, c, newRequest(t, http.MethodGet, s.site("auth", path), "", "Origin", page))
			if _, ok := readable(got, page); !ok || got.status != status {
				t.Errorf("%s %s: got %d %v, readable %v", protocol, path, got.status, got.header, ok)
			}
		}
	}
}
