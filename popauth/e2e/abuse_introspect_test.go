// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func TestIntrospectionRefusesStrangers(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	unauthenticated := want{401, "invalid_client", oauth.ClientUnauthenticated, false, "WWW-Authenticate"}
	inspector := append(form, "Authorization", basic("inspector", "inspector-secret"))
	for _, w := range worlds(t) {
		s, c := w.server, w.client(t, w.protocol)
		token := s.token(t, c, key)
		for _, abuse := range []tokenAbuse{
			{name: "I01 no authentication", fields: form, body: "token=" + token, want: unauthenticated},
			{name: "I01 wrong secret", fields: append(form, "Authorization", basic("inspector", "x")), body: "token=" + token, want: unauthenticated},
			{name: "I01 wrong secret in the body", fields: form, body: "client_id=inspector&client_secret=x&token=" + token, want: unauthenticated},
			{name: "I02 GET with the token in the query", method: "GET", path: "/oauth2/introspect?token=" + token, want: want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
			{name: "token in the query of a POST", path: "/oauth2/introspect?token=" + token, fields: inspector, body: "x=1", want: invalidRequest(oauth.ParameterInQuery)},
			{name: "no token", fields: inspector, body: "x=1", want: invalidRequest(oauth.ParameterMissing)},
			{name: "T34 markup as token_type_hint, twice", path: "", fields: inspector, body: "token=x&token_type_hint=%22%3E%3Cscript%3E&token_type_hint={env.HOME}" + echoed, want: invalidRequest(oauth.ParameterRepeated)},
			{name: "I02 PUT", method: "PUT", path: "/oauth2/introspect", fields: inspector, body: "token=" + token, want: want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
			{name: "J01 POST to the keys", path: "/oauth2/jwks", want: want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
			{name: "POST to the metadata", path: "/.well-known/oauth-authorization-server", want: want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
		} {
			t.Run(w.name+" "+abuse.name, func(t *testing.T) {
				if abuse.path == "" {
					abuse.path = "/oauth2/introspect"
				}
				since := len(s.log(t))
				got := do(t, c, abuse.request(t, s, key))
				if got.proto != w.protocol {
					t.Fatalf("spoke %s, want %s", got.proto, w.protocol)
				}
				s.refusedEndpoint(t, got, since, abuse.want)
				s.honest(t, c, key)
			})
		}
	}
}

func TestIntrospectionTellsNothingOfTokensThatAreNotActive(t *testing.T) {
	t.Parallel()
	for _, w := range worlds(t) {
		s := w.server
		h := s.deal(t, s.client(t, w.protocol))
		revoked := s.token(t, h.c, h.key)
		s.acceptsRevocation(t, s.revoke(t, h.c, revoked, jwtClient))
		for _, inactive := range []struct{ name, client, token string }{
			{"I03 unknown", "inspector", "unknown"},
			{"I03 empty parts", "inspector", ".."},
			{"I03 expired", "inspector", h.minted(nil, map[string]any{"exp": time.Now().Unix() - 1})},
			{"I03 revoked", "inspector", revoked},
			{"I03 markup", "inspector", `"><script>{env.HOME}` + echoed},
			{"I03 forged", "inspector", h.token[:len(h.token)-4] + "AAAA"},
			{"I03 of another issuer", "inspector", h.minted(nil, map[string]any{"iss": "https://elsewhere.example.com"})},
			{"I03 of a client that is gone", "inspector", h.minted(nil, map[string]any{"client_id": "gone"})},
			{"I03 of another client, to one that sees its own", "other", h.token},
			{"I03 for another audience, to one that sees some", "narrow", h.token},
			{"I03 a proof", "inspector", h.proof(h.key, nil)},
		} {
			t.Run(w.name+" "+inactive.name, func(t *testing.T) {
				checked(t, w.protocol)
				since := len(s.log(t))
				got := s.post(t, h.c, "/oauth2/introspect", url.Values{"token": {inactive.token}},
					"Authorization", basic(inactive.client, inactive.client+"-secret"))
				if got.status != http.StatusOK || got.body != "{\"active\":false}\n" && got.body != `{"active":false}` {
					t.Errorf("got %d %q, want 200 and {\"active\":false} alone", got.status, got.body)
				}
				if cc := got.header.Get("Cache-Control"); cc != "no-store" {
					t.Errorf("got Cache-Control %q, want no-store", cc)
				}
				s.tells(t, got, since)
				s.honest(t, h.c, h.key)
			})
		}
		s.introspects(t, h.c, h.token, h.key, jwtClient)
	}
}

func TestPublishedDocuments(t *testing.T) {
	t.Parallel()
	covers(t, "J01")
	s := startAbused(t)
	for _, protocol := range protocols {
		c := s.client(t, protocol)
		checked(t, protocol)
		got := do(t, c, newRequest(t, http.MethodGet, s.site("auth", "/oauth2/jwks"), ""))
		if cc := got.header.Get("Cache-Control"); got.status != http.StatusOK || cc != "public, max-age=300" {
			t.Errorf("J01: got %d and Cache-Control %q, want 200 and max-age=300", got.status, cc)
		}
		keys, _ := object(t, got.body)["keys"].([]any)
		if len(keys) != 1 {
			t.Fatalf("got keys %s, want one", got.body)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, there := keys[0].(map[string]any)[private]; there {
				t.Errorf("J01: the published key has the private member %q", private)
			}
		}
		got = do(t, c, newRequest(t, http.MethodGet, s.site("auth", "/.well-known/oauth-authorization-server/jkt"), ""))
		metadata := object(t, got.body)
		for member, want := range map[string]string{
			"issuer":                 s.site("auth", "/jkt"),
			"token_endpoint":         s.site("auth", "/jkt/oauth2/token"),
			"introspection_endpoint": s.site("auth", "/jkt/oauth2/introspect"),
			"jwks_uri":               s.site("auth", "/jkt/oauth2/jwks"),
		} {
			if metadata[member] != want {
				t.Errorf("got %s %v, want %q", member, metadata[member], want)
			}
		}
		if got := do(t, c, newRequest(t, http.MethodGet, s.site("auth", "/oauth2/token/"), "")); got.status != http.StatusNotFound {
			t.Errorf("a path that only resembles an endpoint: got %d, want the next handler's 404", got.status)
		}
	}
}
