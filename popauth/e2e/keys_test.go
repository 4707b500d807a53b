// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// TestEveryKindOfKey is the whole story for each kind of key a client may
// have: token of either format, the same cnf.jwk at introspection, challenge,
// proof, 200.
func TestEveryKindOfKey(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	for _, protocol := range protocols {
		c := s.client(t, protocol)
		for _, kind := range []struct {
			name, key, alg string
		}{
			{"RSA with alg RS256, use sig and a kid", "rsa2048", "RS256"},
			{"RSA with alg RS512", "rsa2048-rs512", "RS512"},
			{"P-256", "p256", "ES256"},
			{"P-384", "p384", "ES384"},
			{"Ed25519", "ed25519", "Ed25519"},
			{"Ed25519 by its older name", "ed25519", "EdDSA"},
		} {
			for format, client := range formats {
				t.Run(protocol+" "+format+" "+kind.name, func(t *testing.T) {
					key := fixture.Load(t, kind.key)
					token := s.tokenOf(t, c, key, client)
					s.introspects(t, c, token, key, client)
					s.proves(t, c, token, key, kind.alg, client)
				})
			}
		}
	}
}

// TestEveryAlgorithmOfAKeyWithoutOne proves with each algorithm that a key
// which names none can be used with.
func TestEveryAlgorithmOfAKeyWithoutOne(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	c := s.client(t, "HTTP/2.0")
	key := fixture.Load(t, "rsa2048")
	delete(key.JWK, "alg")
	token := s.token(t, c, key)
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		t.Run(alg, func(t *testing.T) { s.proves(t, c, token, key, alg, jwtClient) })
	}
}

// introspects asks for a token and compares its cnf with the key.
func (s *server) introspects(t *testing.T, c *http.Client, token string, key fixture.Key, client string) {
	t.Helper()
	got := s.post(t, c, "/oauth2/introspect", url.Values{"token": {token}}, "Authorization", basic("inspector", "inspector-secret"))
	answer := object(t, got.body)
	if got.status != http.StatusOK || answer["active"] != true {
		t.Fatalf("introspection: got %d %s, want an active token", got.status, got.body)
	}
	want := map[string]any{"jwk": map[string]any(key.JWK)}
	if !reflect.DeepEqual(answer["cnf"], any(want)) {
		t.Errorf("introspection: got cnf %v, want %v", answer["cnf"], want)
	}
	if answer["token_type"] != "Bearer" || answer["client_id"] != client || answer["sub"] != client {
		t.Errorf("introspection: got %s", got.body)
	}
}

// proves answers the challenge of the API with a proof made with alg.
func (s *server) proves(t *testing.T, c *http.Client, token string, key fixture.Key, alg, client string) {
	t.Helper()
	target := s.site("api", "/reports")
	proof := key.Proof(t, fixture.Proof{
		Method: http.MethodGet, URL: target, Token: token,
		Nonce: s.challenge(t, c, target, token), Header: map[string]any{"alg": alg},
	})
	for _, scheme := range []string{"Bearer", "dpop"} {
		got := do(t, c, newRequest(t, http.MethodGet, target, "", "Authorization", scheme+" "+token, "Dpop", proof))
		if got.status != http.StatusOK || got.body != "hello "+client {
			t.Errorf("%s: got %d %q %v, want 200", scheme, got.status, got.body, got.header["Www-Authenticate"])
		}
		proof = key.Proof(t, fixture.Proof{
			Method: http.MethodGet, URL: target, Token: token,
			Nonce: s.challenge(t, c, target, token), Header: map[string]any{"alg": alg},
		})
	}
}

func TestThumbprintConfirmationMakesATokenOfTypeDPoP(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	c := s.client(t, "HTTP/2.0")
	key := fixture.Load(t, "p256")
	got := s.post(t, c, "/jkt/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "cnf_key": {cnfKey(t, key)}},
		"Authorization", basic("reports", "reports-secret"))
	answer := object(t, got.body)
	if answer["token_type"] != "DPoP" {
		t.Errorf("got %s, want token_type DPoP", got.body)
	}
	token, _ := answer["access_token"].(string)
	target := s.site("api", "/reports")
	challenged := do(t, c, newRequest(t, http.MethodGet, target, "", "Authorization", "DPoP "+token))
	proof := key.Proof(t, fixture.Proof{Method: http.MethodGet, URL: target, Token: token, Nonce: challenged.header.Get("DPoP-Nonce")})
	if got := do(t, c, newRequest(t, http.MethodGet, target, "", "Authorization", "DPoP "+token, "Dpop", proof)); got.status != http.StatusOK {
		t.Errorf("got %d %v, want 200", got.status, got.header["Www-Authenticate"])
	}
}

func TestDemoTellsItsStory(t *testing.T) {
	t.Parallel()
	s := &server{dir: t.TempDir()}
	out, err := s.command(t.Context(), "pop", "demo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, reason := range []string{"proof_missing", "proof_key_mismatch", "proof_replayed", "proof_url_mismatch", "bearer_downgrade"} {
		if !strings.Contains(string(out), reason) {
			t.Errorf("the story does not tell of %s:\n%s", reason, out)
		}
	}
}

// TestProofsStayOutOfTheAccessLog holds the filter that the examples show to
// what it promises.
func TestProofsStayOutOfTheAccessLog(t *testing.T) {
	t.Parallel()
	s := start(t, `popauth {
		issuer https://auth.localhost:$HTTPS
		store file $DIR/store.db
		client reports reports-secret
	}`, `
auth.localhost {
	log {
		output file $DIR/access.json
		format filter {
			request>headers>Dpop delete
		}
	}
	pop_server
}
api.localhost {
	log {
		output file $DIR/access.json
		format filter {
			request>headers>Dpop delete
		}
	}
	pop_auth
	respond "hello {http.auth.user.id}"
}
`)
	c := s.client(t, "HTTP/2.0")
	key := fixture.Load(t, "p256")
	token := s.token(t, c, key)
	target := s.site("api", "/reports")
	proof := key.Proof(t, fixture.Proof{Method: http.MethodGet, URL: target, Token: token, Nonce: s.challenge(t, c, target, token)})
	for range 2 { // accepted, then refused
		do(t, c, newRequest(t, http.MethodGet, target, "", "Authorization", "DPoP "+token, "Dpop", proof))
	}
	s.stop()
	access := s.read(t, "access.json")
	if !strings.Contains(access, `"user_id":"reports"`) {
		t.Errorf("the access log does not name the user:\n%s", access)
	}
	for _, secret := range []string{proof, token, "reports-secret", basic("reports", "reports-secret")} {
		if strings.Contains(access, secret) {
			t.Errorf("the access log holds %q", secret)
		}
	}
	s.assertSilent(t, proof, token, "reports-secret")
}
