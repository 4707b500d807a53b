// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// siteGlobals is an issuer at the root of its host, and one beneath a path of a
// host that has other things, too.
const siteGlobals = `
	popauth {
		issuer https://auth.localhost:$HTTPS
		audience https://api.example.com
		client reports reports-secret
		client sealed sealed-secret {
			access_token opaque
		}
	}
	popauth tenant {
		issuer https://shared.localhost:$HTTPS/tenant/a
		audience https://api.example.com
		client reports reports-secret
	}
`

// siteKinds has pop_auth and pop_server in every kind of place that a Caddyfile
// has for them.
const siteKinds = `
(guard) {
	pop_auth {
		issuer default
	}
}

# of several directives without a matcher, Caddy keeps only the first in a named
# route; in a route block it keeps all
&(guarded) {
	route {
		import guard
		respond "named {http.auth.user.id}"
	}
}

auth.localhost {
	rewrite /oauth2/jwks /elsewhere
	pop_server {
		issuer default
	}
}

shared.localhost {
	handle_path /tenant/* {
		pop_server {
			issuer tenant
		}
		respond "none of its endpoints" 404
	}
	pop_server {
		issuer tenant
		only metadata
	}
	respond "shared"
}

api.localhost {
	handle /handle/* {
		pop_auth {
			issuer default tenant
		}
		respond "handle {http.auth.user.id} {http.auth.user.issuer}"
	}
	handle_path /handle_path/* {
		pop_auth {
			issuer default
		}
		respond "handle_path {uri} {http.auth.user.id}"
	}
	handle /route/* {
		route {
			uri strip_prefix /route
			pop_auth {
				issuer default
			}
			respond "route {uri} {http.auth.user.id}"
		}
	}
	handle /snippet/* {
		import guard
		respond "snippet {http.auth.user.id}"
	}
	handle /named/* {
		invoke guarded
	}
	handle /rewrite/* {
		rewrite * /rewritten?a=b
		import guard
		respond "rewrite {uri} {http.auth.user.id}"
	}
	handle /strip/* {
		uri strip_prefix /strip
		import guard
		respond "strip {uri} {http.auth.user.id}"
	}
	handle /method/* {
		method PUT
		import guard
		respond "method {http.request.method} {http.auth.user.id}"
	}
	handle /reports {
		import guard
		respond "hello {http.auth.user.id}"
	}
	handle {
		import guard
		error 404
	}
	handle_errors {
		respond "{err.status_code} {http.pop_auth.reason}|{http.auth.user.id}"
	}
}

second.localhost {
	import guard
	respond "second {http.auth.user.id}"
}
`

// visit sends a GET with a proof for htm and htu.
func (h *hand) visit(target, htm, htu string) answer {
	h.Helper()
	proof := h.key.Proof(h, fixture.Proof{Method: htm, URL: htu, Token: h.token, Nonce: h.nonce})
	return do(h.T, h.c, newRequest(h.T, http.MethodGet, target, "", "Authorization", "DPoP "+h.token, "Dpop", proof))
}

// A proof is for the URL and the method that the client used. What the server
// makes of them on the way to pop_auth is no concern of the client's, and a
// proof for that is refused.
func TestProofIsForTheRequestAsTheClientSentIt(t *testing.T) {
	t.Parallel()
	s := start(t, siteGlobals, siteKinds)
	for _, protocol := range protocols {
		h := s.deal(t, s.client(t, protocol))
		for _, tt := range []struct {
			name, site, path, body string
			inside                 string // the path as the handler sees it
		}{
			{"handle", "api", "/handle/x", "handle reports " + s.site("auth", ""), "/handle"},
			{"handle_path", "api", "/handle_path/x", "handle_path /x reports", "/x"},
			{"route", "api", "/route/x", "route /x reports", "/x"},
			{"a snippet", "api", "/snippet/x", "snippet reports", "/snippet"},
			{"a named route", "api", "/named/x", "named reports", "/named"},
			{"rewrite", "api", "/rewrite/x", "rewrite /rewritten?a=b reports", "/rewritten"},
			{"uri strip_prefix", "api", "/strip/x", "strip /x reports", "/x"},
			{"method", "api", "/method/x", "method PUT reports", "/method"},
			{"another site of the server", "second", "/x", "second reports", "/"},
		} {
			t.Run(protocol+" "+tt.name, func(t *testing.T) {
				h := *h
				h.T = t
				since := len(s.log(t))
				s.refusedAs401(t, h.visit(s.site(tt.site, tt.path), "GET", s.site(tt.site, tt.inside)), since, oauth.ProofURLMismatch)
				since = len(s.log(t))
				s.refusedAs401(t, h.visit(s.site(tt.site, tt.path), "PUT", s.site(tt.site, tt.path)), since, oauth.ProofMethodMismatch)
				if got := h.visit(s.site(tt.site, tt.path), "GET", s.site(tt.site, tt.path)); got.status != http.StatusOK || got.body != tt.body {
					t.Errorf("honest request: got %d %q, want 200 %q", got.status, got.body, tt.body)
				}
			})
		}
		t.Run(protocol+" the host of one site at another", func(t *testing.T) {
			h := *h
			h.T = t
			since := len(s.log(t))
			s.refusedAs401(t, h.visit(s.site("second", "/x"), "GET", s.site("api", "/x")), since, oauth.ProofURLMismatch)
			s.honest(t, h.c, h.key)
		})
	}
}

// refusedAs401 checks a refusal that may have a body.
func (s *server) refusedAs401(t *testing.T, got answer, since int, reason oauth.Reason) {
	t.Helper()
	s.refused(t, got, since, want{status: http.StatusUnauthorized, reason: reason})
	if !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "DPoP ") || got.header.Get("DPoP-Nonce") == "" {
		t.Errorf("got challenge %q and nonce %q, want both", got.header["Www-Authenticate"], got.header["Dpop-Nonce"])
	}
}

// handle_errors renders what pop_auth refuses, with the challenge as it is. The
// OAuth errors of the endpoints are none of its business.
func TestHandleErrorsRendersRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, siteGlobals, siteKinds+`
fallback.localhost {
	pop_server {
		issuer default
	}
	handle_errors {
		respond "rendered"
	}
}
`)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			h := s.deal(t, s.client(t, protocol))
			since := len(s.log(t))
			got := do(t, h.c, h.get("/snippet/x", "Authorization", "Bearer "+h.token))
			s.refusedAs401(t, got, since, oauth.ProofMissing)
			if want := "401 proof_missing|"; got.body != want {
				t.Errorf("got body %q, want %q", got.body, want)
			}
			// an error of a handler behind is not taken for a refusal
			if got := h.visit(s.site("api", "/nothing"), "GET", s.site("api", "/nothing")); got.body != "404 |reports" || got.header.Get("WWW-Authenticate") != "" {
				t.Errorf("got %d %q %v, want the error of the handler behind", got.status, got.body, got.header)
			}
			r := newRequest(t, http.MethodPost, s.site("fallback", "/oauth2/token"), "grant_type=password", "Content-Type", "application/x-www-form-urlencoded",
				"Authorization", basic("reports", "reports-secret"))
			if got := do(t, h.c, r); got.status != http.StatusBadRequest || object(t, got.body)["error"] != "unsupported_grant_type" {
				t.Errorf("token endpoint: got %d %q, want its own JSON", got.status, got.body)
			}
			s.honest(t, h.c, h.key)
		})
	}
}

// The endpoints of an issuer with a path are beneath that path, also where it is
// stripped before pop_server, and its metadata has the place of RFC 8414 §3.1.
func TestIssuerWithAPath(t *testing.T) {
	t.Parallel()
	s := start(t, siteGlobals, siteKinds)
	c := s.client(t, "HTTP/2.0")
	base := s.site("shared", "/tenant/a")
	got := do(t, c, newRequest(t, http.MethodGet, s.site("shared", "/.well-known/oauth-authorization-server/tenant/a"), ""))
	document := object(t, got.body)
	if document["issuer"] != base || document["token_endpoint"] != base+"/oauth2/token" || document["jwks_uri"] != base+"/oauth2/jwks" {
		t.Errorf("got metadata %s", got.body)
	}
	key := fixture.Load(t, "p256")
	got = do(t, c, newRequest(t, http.MethodPost, base+"/oauth2/token", form("grant_type", "client_credentials", "cnf_key", cnfKey(t, key)).Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "Authorization", basic("reports", "reports-secret")))
	token, _ := object(t, got.body)["access_token"].(string)
	if got.status != http.StatusOK || token == "" {
		t.Fatalf("token request: got %d %s, want 200", got.status, got.body)
	}
	h := &hand{T: t, s: s, c: c, key: key, token: token, nonce: s.challenge(t, c, s.site("api", "/handle/x"), token)}
	if got := h.visit(s.site("api", "/handle/x"), "GET", s.site("api", "/handle/x")); got.body != "handle reports "+base {
		t.Errorf("got %d %q, want the token of the tenant to pass", got.status, got.body)
	}
	since := len(s.log(t))
	s.refusedAs401(t, h.visit(s.site("api", "/snippet/x"), "GET", s.site("api", "/snippet/x")), since, oauth.TokenIssuerWrong)
	for path, want := range map[string]string{"/tenant/oauth2/token": "none of its endpoints", "/oauth2/token": "shared"} {
		if got := do(t, c, newRequest(t, http.MethodPost, s.site("shared", path), "")); got.body != want {
			t.Errorf("%s: got %d %q, want %q", path, got.status, got.body, want)
		}
	}
	// the path counts as the client sent it, whatever rewrite makes of it
	if got := do(t, c, newRequest(t, http.MethodGet, s.site("auth", "/oauth2/jwks"), "")); got.status != http.StatusOK || !strings.Contains(got.body, `"keys"`) {
		t.Errorf("JWKS behind a rewrite: got %d %q", got.status, got.body)
	}
}

// A pop_auth that any Host may reach is refused with the lines to add, and a
// reload of such a config leaves the running one as it is.
func TestSiteWithoutAHostIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, stateGlobals, stateSites)
	s.write(t, stateGlobals, stateSites+"\n:$HTTP {\n\tpop_auth\n}\n")
	got := s.reload(t)
	if got.status == http.StatusOK || !strings.Contains(got.body, "takes requests for any host") || !strings.Contains(got.body, "public_url https://") {
		t.Errorf("got %d %s, want an error with the lines to add", got.status, got.body)
	}
	s.honest(t, s.client(t, "HTTP/2.0"), fixture.Load(t, "p256"))
	s.load(t, stateGlobals, stateSites+"\n:$HTTP {\n\tpop_auth {\n\t\tpublic_url https://api.example.com\n\t}\n}\n")
	s.honest(t, s.client(t, "HTTP/2.0"), fixture.Load(t, "p256"))
}
