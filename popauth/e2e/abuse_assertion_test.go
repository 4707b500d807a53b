// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

const assertionGlobals = `
	servers {
		trusted_proxies static 127.0.0.1/32
	}
	popauth {
		issuer https://auth.localhost:$HTTPS
		audience https://api.example.com
		store $STORE
		client reports reports-secret
		client sealed sealed-secret {
			access_token opaque
		}
		client signer {
			jwks_file $DIR/signer.jwks
			introspect
			grants client_credentials
		}
	}
`

// startAsserted runs a server with the client signer, whose keys are those of
// the fixtures ed25519 and p384.
func startAsserted(t *testing.T, store string) *server {
	t.Helper()
	s := prepare(t, strings.ReplaceAll(assertionGlobals, "$STORE", store), abuseSitesOfOne)
	set := `{"keys":[` + string(fixture.Load(t, "ed25519").JSON(t)) + `,` + string(fixture.Load(t, "p384").JSON(t)) + `]}`
	if err := os.WriteFile(filepath.Join(s.dir, "signer.jwks"), []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	nextSecond(t) // the store is younger than no assertion from now on
	return s
}

const abuseSitesOfOne = `
auth.localhost {
	pop_server
}

api.localhost {
	pop_auth
	respond "hello {http.auth.user.id}"
}
`

// assertion signs an assertion of the client signer with changes, where nil
// deletes. It expires as late as it may.
func (s *server) assertion(t *testing.T, k fixture.Key, header, claims map[string]any) string {
	t.Helper()
	h := map[string]any{"alg": k.Alg}
	c := map[string]any{"iss": "signer", "sub": "signer", "aud": s.site("auth", ""), "exp": time.Now().Unix() + 300, "jti": rand.Text()}
	for _, laid := range []struct{ over, changes map[string]any }{{h, header}, {c, claims}} {
		maps.Copy(laid.over, laid.changes)
		maps.DeleteFunc(laid.over, func(_ string, v any) bool { return v == nil })
	}
	return k.JWS(t, h, c)
}

// asserted is a token request with an assertion.
func (s *server) asserted(t *testing.T, c *http.Client, assertion string, fields ...string) answer {
	t.Helper()
	form := url.Values{
		"grant_type": {"client_credentials"}, "cnf_key": {cnfKey(t, fixture.Load(t, "p256"))},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
	}
	fields = append([]string{"Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-For", newAddress()}, fields...)
	return do(t, c, newRequest(t, http.MethodPost, s.site("auth", "/oauth2/token"), form.Encode(), fields...))
}

func TestAssertionsAreRefusedAsAbuse(t *testing.T) {
	t.Parallel()
	key, thief := fixture.Load(t, "ed25519"), fixture.Load(t, "p256-thief")
	wrong := want{400, "invalid_client", oauth.ClientUnauthenticated, false, ""}
	exp := func(ahead int64) map[string]any { return map[string]any{"exp": time.Now().Unix() + ahead} }
	for _, w := range worldsOf(t, startAsserted) {
		s, c := w.server, w.client(t, w.protocol)
		issuer := s.site("auth", "")
		for _, abuse := range []struct {
			name           string
			key            fixture.Key
			header, claims map[string]any
			fields         []string
			want           want
		}{
			{"T31 typ dpop+jwt", key, map[string]any{"typ": "dpop+jwt"}, nil, nil, wrong},
			{"T31 typ at+jwt", key, map[string]any{"typ": "at+jwt"}, nil, nil, wrong},
			{"T31 wrong aud", key, nil, map[string]any{"aud": "https://elsewhere.example.com"}, nil, wrong},
			{"T31 the endpoint as aud", key, nil, map[string]any{"aud": issuer + "/oauth2/token"}, nil, wrong},
			{"T31 aud array", key, nil, map[string]any{"aud": []string{issuer}}, nil, wrong},
			{"T31 exp over 5 min", key, nil, exp(600), nil, wrong},
			{"T31 expired", key, nil, exp(-1), nil, wrong},
			{"T31 no exp", key, nil, map[string]any{"exp": nil}, nil, wrong},
			{"T31 no jti", key, nil, map[string]any{"jti": nil}, nil, wrong},
			{"T31 another client", key, nil, map[string]any{"iss": "reports", "sub": "reports"}, nil, wrong},
			{"T31 an unknown client", key, nil, map[string]any{"iss": "nobody", "sub": "nobody"}, nil, wrong},
			{"T31 another sub", key, nil, map[string]any{"sub": "reports"}, nil, wrong},
			{"T31 another key", thief, nil, nil, nil, wrong},
			{"T31 another key in the header", thief, map[string]any{"jwk": thief.JWK}, nil, nil, wrong},
			{"T31 jku", thief, map[string]any{"jku": "https://evil.example/" + marker}, nil, nil, wrong},
			{"T31 x5c", thief, map[string]any{"x5c": []string{marker}}, nil, nil, wrong},
			{"T31 crit", key, map[string]any{"crit": []string{"exp"}}, nil, nil, wrong},
			{"T31 none", key, map[string]any{"alg": "none"}, nil, nil, wrong},
			{"T31 unknown kid", key, map[string]any{"kid": marker}, nil, nil, wrong},
			{"T08 Basic besides", key, nil, nil, []string{"Authorization", basic("reports", "reports-secret")}, invalidRequest(oauth.ClientAuthRepeated)},
		} {
			t.Run(w.name+" "+abuse.name, func(t *testing.T) {
				sent := s.assertion(t, abuse.key, abuse.header, abuse.claims)
				since := len(s.log(t))
				s.refusedEndpoint(t, s.asserted(t, c, sent, append(abuse.fields, planted...)...), since, abuse.want)
				s.assertSilent(t, sent)
				if got := s.asserted(t, c, s.assertion(t, key, nil, nil)); got.status != http.StatusOK {
					t.Errorf("an honest request afterwards: got %d %s, want 200", got.status, got.body)
				}
			})
		}
	}
}

// T32: whatever happens to the server, an assertion serves once.
func TestAssertionServesOnceAcrossRestarts(t *testing.T) {
	t.Parallel()
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startAsserted(t, store)
			key := fixture.Load(t, "p384")
			sent := map[string]string{}
			for _, protocol := range protocols {
				sent[protocol] = s.assertion(t, key, nil, nil)
				if got := s.asserted(t, s.client(t, protocol), sent[protocol]); got.status != http.StatusOK {
					t.Fatalf("got %d %s, want 200", got.status, got.body)
				}
			}
			replayed := want{400, "invalid_client", oauth.AssertionReplayed, false, ""}
			// with the store goes what is known of the assertion
			unknown := want{503, "temporarily_unavailable", oauth.AssertionBeforeStore, false, "Retry-After"}
			afterwards := replayed
			if name == "memory" {
				afterwards = unknown
			}
			for _, again := range []struct {
				name   string
				happen func()
				want   want
			}{
				{"at once", func() {}, replayed},
				{"after a reload", func() {
					s.load(t, strings.ReplaceAll(assertionGlobals, "$STORE", store), strings.Replace(abuseSitesOfOne, "hello", "hi", 1))
				}, replayed},
				{"after a restart", func() { s.stop(); nextSecond(t); s.run(t) }, afterwards},
				{"after a crash", func() { s.kill(); nextSecond(t); s.run(t) }, afterwards},
				{"after the loss of the store", func() { s.stop(); _ = os.Remove(filepath.Join(s.dir, "store.db")); nextSecond(t); s.run(t) }, unknown},
			} {
				again.happen()
				nextSecond(t) // a store that is new is younger than no assertion from now on
				for _, protocol := range protocols {
					t.Run(protocol+" T32 "+again.name, func(t *testing.T) {
						c, since := s.client(t, protocol), len(s.log(t))
						s.refusedEndpoint(t, s.asserted(t, c, sent[protocol]), since, again.want)
						if got := s.asserted(t, c, s.assertion(t, key, nil, nil)); got.status != http.StatusOK {
							t.Errorf("an honest request: got %d %s, want 200", got.status, got.body)
						}
					})
				}
			}
			s.assertSilent(t, slices.Collect(maps.Values(sent))...)
		})
	}
}

// T07: the eleventh failure is told nothing, the right secret always passes, and
// a reload forgets nothing.
func TestFailuresAreLimited(t *testing.T) {
	t.Parallel()
	for _, w := range worldsOf(t, startAsserted) {
		t.Run(w.name+" T07", func(t *testing.T) { w.limitsFailures(t) })
	}
}

func (w world) limitsFailures(t *testing.T) {
	t.Helper()
	s, c := w.server, w.client(t, w.protocol)
	form := url.Values{"grant_type": {"client_credentials"}, "cnf_key": {cnfKey(t, fixture.Load(t, "p256"))}}
	ask := func(address, secret string) answer {
		return s.post(t, c, "/oauth2/token", form, "Authorization", basic("reports", secret), "X-Forwarded-For", address)
	}
	here := newAddress()
	limited := func() bool {
		for range 30 { // a slow machine may win back some of the ten
			since := len(s.log(t))
			got := ask(here, "wrong")
			if got.status != http.StatusTooManyRequests {
				continue
			}
			s.refusedEndpoint(t, got, since, want{429, "temporarily_unavailable", oauth.TooManyFailures, false, "Retry-After"})
			return true
		}
		return false
	}
	if !limited() {
		t.Fatal("30 failures in a row, and none was limited")
	}
	if got := ask(here, "reports-secret"); got.status != http.StatusOK {
		t.Errorf("the right secret: got %d %s, want 200", got.status, got.body)
	}
	if got := ask(newAddress(), "wrong"); got.status != http.StatusUnauthorized {
		t.Errorf("from another address: got %d %s, want 401", got.status, got.body)
	}
	s.load(t, strings.ReplaceAll(assertionGlobals, "$STORE", stores[w.store]), strings.Replace(abuseSitesOfOne, "hello", w.protocol, 1))
	c.CloseIdleConnections() // the old config may end them at any time
	again := 0
	for range 9 {
		if ask(here, "wrong").status == http.StatusTooManyRequests {
			again++
		}
	}
	if again == 0 {
		t.Error("after a reload 9 failures were answered, want the ones before to count")
	}
}
