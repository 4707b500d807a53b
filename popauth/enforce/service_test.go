// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/keys"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// withService puts our own issuer in the place of the fake one. Its signing
// key is the fixture p384, so that tests can sign tokens of their own with it.
func withService(t testing.TB, b *bench) *accesstoken.Service {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", "p384.json"))
	if err != nil {
		t.Fatal(err)
	}
	given, err := keys.ParseGiven(string(text))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.NewRing(keys.Config{Given: []*keys.Given{given}, Clock: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	s := accesstoken.New(accesstoken.Config{
		Issuer: issuerA, Keys: ring, Clock: b.clock,
		Store: store.NewMirror(store.NewMemory(b.clock), b.clock),
		Known: func(id string) bool { return id == "reports" },
	})
	b.policy.Issuers = []TokenVerifier{s}
	return s
}

func mint(t testing.TB, b *bench, s *accesstoken.Service) string {
	t.Helper()
	return mintIn(t, b, s, false)
}

func mintIn(t testing.TB, b *bench, s *accesstoken.Service, opaque bool) string {
	t.Helper()
	token, _, refusal := s.Mint(t.Context(), accesstoken.Grant{
		ClientID: "reports", Subject: "reports", Audience: []string{place}, Scope: "read write",
		Confirmation: cnf.Confirmation{JKT: b.key.Thumbprint(t)}, Opaque: opaque,
	})
	if refusal != nil {
		t.Fatal(refusal)
	}
	return token
}

func TestCheckTokensOfOurOwn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	token := mint(t, b, withService(t, b))
	signer := fixture.Load(t, "p384")

	// the token, taken apart, with one thing changed, and signed again with
	// the right key
	part := func(i int) map[string]any {
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
		if err != nil {
			t.Fatal(err)
		}
		members := map[string]any{}
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		return members
	}
	changed := func(i int, name string, value any) string {
		parts := []map[string]any{part(0), part(1)}
		if parts[i][name] = value; value == nil {
			delete(parts[i], name)
		}
		return signer.JWS(t, parts[0], parts[1])
	}
	jkt, now := b.key.Thumbprint(t), b.clock.Now().Unix()
	sum := sha256.Sum256([]byte("certificate"))
	x5t := base64.RawURLEncoding.EncodeToString(sum[:])

	tests := []struct {
		name  string
		token string
		want  oauth.Reason
	}{
		{"as minted", token, ""},
		{"signed again by hand", changed(1, "sub", "someone"), ""},
		{"signed by somebody else", fixture.Load(t, "p256-thief").JWS(t, part(0), part(1)), oauth.TokenForged},
		{"with a changed signature", flip(token), oauth.TokenForged},
		{"alg none", changed(0, "alg", "none"), oauth.TokenForged},
		{"a key of its own", changed(0, "jwk", signer.JWK), oauth.TokenMalformed},
		{"crit", changed(0, "crit", []string{}), oauth.TokenMalformed},
		{"expired by a second", changed(1, "exp", now-1), oauth.TokenExpired},
		{"expired just now", changed(1, "exp", now), oauth.TokenExpired},
		{"no exp", changed(1, "exp", nil), oauth.TokenMalformed},
		{"exp a string", changed(1, "exp", "x"), oauth.TokenMalformed},
		{"exp negative", changed(1, "exp", -1), oauth.TokenMalformed},
		{"exp beyond all time", changed(1, "exp", float64(1<<63)), oauth.TokenMalformed},
		{"nbf ahead", changed(1, "nbf", now+60), oauth.TokenNotYetValid},
		{"aud another", changed(1, "aud", "https://other.example.com"), oauth.TokenAudienceWrong},
		{"aud with a slash more", changed(1, "aud", place+"/"), oauth.TokenAudienceWrong},
		{"aud empty", changed(1, "aud", []string{}), oauth.TokenAudienceWrong},
		{"no aud", changed(1, "aud", nil), oauth.TokenAudienceWrong},
		{"iss with a slash more", changed(1, "iss", issuerA+"/"), oauth.TokenIssuerWrong},
		{"iss in other case", changed(1, "iss", strings.ToUpper(issuerA)), oauth.TokenIssuerWrong},
		{"no cnf", changed(1, "cnf", nil), oauth.TokenUnbound},
		{"cnf empty", changed(1, "cnf", map[string]any{}), oauth.ConfirmationUnsupported},
		{"cnf null", changed(1, "cnf", json.RawMessage("null")), oauth.ConfirmationUnsupported},
		{"cnf a string", changed(1, "cnf", jkt), oauth.ConfirmationUnsupported},
		{"cnf unknown", changed(1, "cnf", map[string]any{"kid": "1"}), oauth.ConfirmationUnsupported},
		{"cnf with jkt and a certificate", changed(1, "cnf", map[string]any{"jkt": jkt, "x5t#S256": x5t}), oauth.ConfirmationUnsupported},
		{"cnf.jwk for cnf.jkt", changed(1, "cnf", map[string]any{"jwk": b.key.JWK}), ""},
		{"an ID token", changed(0, "typ", "JWT"), oauth.TokenTypeWrong},
		{"a DPoP proof", b.key.Proof(t, fixture.Proof{Method: "GET", URL: place + "/reports"}), oauth.TokenTypeWrong},
		{"of a client that is gone", changed(1, "client_id", "left"), oauth.TokenClientUnknown},
		{"of too small a scope", changed(1, "scope", "read"), oauth.ScopeInsufficient},
		{"not a JWT", "pop_at_x", oauth.TokenMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := reasonOf(b.check(b.request(attempt{token: tt.token}))); got != tt.want {
				t.Errorf("got reason %q, want %q", got, tt.want)
			}
			if v := b.check(b.request(attempt{token: token})); v.Refusal != nil {
				t.Errorf("an honest request afterwards: got %s (%v)", v.Refusal.Reason, v.Refusal)
			}
		})
	}
}

// A token ends at its exp, also one that was verified before and is known.
func TestCheckTokenEndsAtExp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	token := mint(t, b, withService(t, b))
	b.refused(b.check(b.request(attempt{token: token})), "")
	b.clock.Advance(5*time.Minute - time.Millisecond)
	b.refused(b.check(b.request(attempt{token: token})), "")
	b.clock.Advance(time.Millisecond)
	b.refused(b.check(b.request(attempt{token: token})), oauth.TokenExpired)
}

// A revoked token is refused with the next request, and nobody else's is.
func TestCheckRevokedTokens(t *testing.T) {
	t.Parallel()
	for format, opaque := range map[string]bool{"jwt": false, "opaque": true} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			s := withService(t, b)
			token, other := mintIn(t, b, s, opaque), mintIn(t, b, s, opaque)
			for range 2 {
				b.refused(b.check(b.request(attempt{token: token})), "")
			}
			if refusal := s.Revoke(t.Context(), token, "reports"); refusal != nil {
				t.Fatal(refusal)
			}
			for range 2 {
				b.refused(b.check(b.request(attempt{token: token})), oauth.TokenRevoked)
			}
			b.refused(b.check(b.request(attempt{token: other})), "")
		})
	}
}
