// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// twoIssuers share a file, a host and the ids and secrets of their clients.
const twoIssuers = `
	popauth one {
		issuer https://auth.localhost:$HTTPS
		audience https://api.example.com
		store file $DIR/store.db
		client reports reports-secret
		client sealed sealed-secret {
			access_token opaque
		}
		client inspector inspector-secret {
			introspect
		}
	}
	popauth two {
		issuer https://auth.localhost:$HTTPS/two
		audience https://api.example.com
		store file $DIR/store.db
		access_token opaque
		client reports reports-secret {
			access_token jwt
		}
		client sealed sealed-secret
		client inspector inspector-secret {
			introspect
		}
	}
`

const twoIssuersSites = `
auth.localhost {
	pop_server {
		issuer one
	}
	pop_server {
		issuer two
	}
}

api.localhost {
	handle /one {
		pop_auth {
			issuer one
		}
		respond "one"
	}
	handle /two {
		pop_auth {
			issuer two
		}
		respond "two"
	}
	handle {
		pop_auth {
			issuer one two
		}
		respond "both"
	}
}
`

// issuerAt is the path of an issuer's URL by its id.
var issuerAt = map[string]string{"one": "", "two": "/two"}

// TestTwoIssuersShareAFile has two issuers with the same clients in one file.
// Neither may see, take or revoke the other's tokens. It also holds the format
// of tokens to what client and issuer say.
func TestTwoIssuersShareAFile(t *testing.T) {
	t.Parallel()
	s := start(t, twoIssuers, twoIssuersSites)
	key := fixture.Load(t, "p256")
	for _, protocol := range protocols {
		c := s.client(t, protocol)
		for issuer, other := range map[string]string{"one": "two", "two": "one"} {
			for format, client := range formats {
				t.Run(protocol+" "+format+" of "+issuer, func(t *testing.T) {
					token := s.tokenFrom(t, c, issuer, client, key)
					if got := map[bool]string{true: "opaque", false: "JWT"}[strings.HasPrefix(token, "pop_at_")]; got != format {
						t.Fatalf("got the token %q, want it %s", token, format)
					}
					for _, caller := range []string{client, "inspector"} {
						if !s.activeFor(t, c, issuerAt[issuer], token, caller) {
							t.Errorf("%s: the token is not active at its issuer", caller)
						}
						if s.activeFor(t, c, issuerAt[other], token, caller) {
							t.Errorf("%s: the token is active at the other issuer", caller)
						}
					}
					got := s.post(t, c, issuerAt[other]+"/oauth2/revoke", form("token", token), "Authorization", basic(client, client+"-secret"))
					if got.status != http.StatusOK || got.body != "" {
						t.Errorf("revoking at the other issuer: got %d %q, want 200 as for any token that is unknown", got.status, got.body)
					}
					s.passesAt(t, c, key, token, "/"+issuer)
					s.passesAt(t, c, key, token, "/any")

					since := len(s.log(t))
					reason := map[string]oauth.Reason{"JWT": oauth.TokenIssuerWrong, "opaque": oauth.TokenUnknown}[format]
					stranger := newRequest(t, http.MethodGet, s.site("api", "/"+other), "", "Authorization", "DPoP "+token)
					s.refusedAPI(t, do(t, c, stranger), since, badToken(reason))
				})
			}
		}
	}
}

// tokenFrom gets a token from an issuer.
func (s *server) tokenFrom(t *testing.T, c *http.Client, issuer, client string, key fixture.Key) string {
	t.Helper()
	got := s.post(t, c, issuerAt[issuer]+"/oauth2/token", form("grant_type", "client_credentials", "cnf_key", cnfKey(t, key)),
		"Authorization", basic(client, client+"-secret"))
	token, _ := object(t, got.body)["access_token"].(string)
	if got.status != http.StatusOK || token == "" {
		t.Fatalf("token request: got %d %s, want 200", got.status, got.body)
	}
	return token
}

// passesAt proves possession for a GET of a path of the API.
func (s *server) passesAt(t *testing.T, c *http.Client, key fixture.Key, token, path string) {
	t.Helper()
	target := s.site("api", path)
	proof := key.Proof(t, fixture.Proof{Method: http.MethodGet, URL: target, Token: token, Nonce: s.challenge(t, c, target, token)})
	got := do(t, c, newRequest(t, http.MethodGet, target, "", "Authorization", "DPoP "+token, "Dpop", proof))
	if got.status != http.StatusOK {
		t.Errorf("GET %s: got %d %v, want 200", path, got.status, got.header["Www-Authenticate"])
	}
}
