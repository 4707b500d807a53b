// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// identitySites set a field for the upstream in the two ways that there are, and
// have a public part, where nobody is proven.
const identitySites = `
auth.localhost {
	pop_server
}

api.localhost {
	handle /header_up {
		pop_auth
		reverse_proxy $ECHO {
			header_up X-User {http.auth.user.id}
		}
	}
	handle /request_header {
		pop_auth
		request_header X-User {http.auth.user.id}
		reverse_proxy $ECHO
	}
	handle {
		reverse_proxy $ECHO {
			header_up -X-User
		}
	}
}
`

// echo is an upstream that answers with the X-User fields it was sent, by any
// name that a CGI program would take for that one.
func echo(t *testing.T) string {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var seen []string
		for name, values := range r.Header {
			if alias := strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(name)); alias == "X_USER" {
				seen = append(seen, fmt.Sprintf("%s=%q", name, values))
			}
		}
		slices.Sort(seen)
		_, _ = fmt.Fprint(w, strings.Join(seen, " "))
	}))
	t.Cleanup(upstream.Close)
	return strings.TrimPrefix(upstream.URL, "http://")
}

// Whose request it is, the upstream learns from exactly one field, whatever the
// client does to have it deleted, doubled or shadowed by another name.
func TestUpstreamLearnsWhoseRequestItIs(t *testing.T) {
	t.Parallel()
	covers(t, "R26")
	s := start(t, stateGlobals, strings.ReplaceAll(identitySites, "$ECHO", echo(t)))
	for _, protocol := range protocols {
		h := &hand{T: t, s: s, c: s.client(t, protocol), key: fixture.Load(t, "p256")}
		h.token = s.token(t, h.c, h.key)
		h.nonce = s.challenge(t, h.c, s.site("api", "/header_up"), h.token)
		for name, fields := range map[string][]string{
			"nothing of the client's":                nil,
			"a field of the client's":                {"X-User", "admin"},
			"two of them":                            {"X-User", "admin", "X-User", "root"},
			"in lower case":                          {"x-user", "admin"},
			"with an underscore":                     {"X_User", "admin"},
			"with a dot":                             {"X.User", "admin"},
			"named in Connection":                    {"Connection", "close, X-User"},
			"named in Connection in lower case":      {"Connection", "x-user", "X-User", "admin"},
			"named in Connection with an underscore": {"Connection", "X_User", "X_User", "admin"},
			"named in a second Connection field":     {"Connection", "keep-alive", "Connection", "X-User"},
		} {
			if protocol != "HTTP/1.1" && slices.Contains(fields, "Connection") {
				continue // HTTP/2 and 3 have no such field
			}
			for _, path := range []string{"/header_up", "/request_header"} {
				t.Run(protocol+" "+path+" "+name, func(t *testing.T) {
					if slices.Contains(fields, "Connection") {
						covers(t, "R27")
					}
					checked(t, protocol)
					proof := h.key.Proof(t, fixture.Proof{Method: "GET", URL: s.site("api", path), Token: h.token, Nonce: h.nonce})
					r := newRequest(t, http.MethodGet, s.site("api", path), "", append([]string{"Authorization", "DPoP " + h.token, "Dpop", proof}, fields...)...)
					if got := do(t, h.c, r); got.status != http.StatusOK || got.body != `X-User=["reports"]` {
						t.Errorf("got %d %q, want exactly one X-User with reports", got.status, got.body)
					}
				})
			}
			t.Run(protocol+" public "+name, func(t *testing.T) {
				checked(t, protocol)
				if got := do(t, h.c, newRequest(t, http.MethodGet, s.site("api", "/"), "", fields...)); got.body != "" {
					t.Errorf("got %q, want no X-User where nobody is proven", got.body)
				}
			})
		}
	}
}
