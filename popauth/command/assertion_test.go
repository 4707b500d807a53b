// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestAsserterSignsWhatAnIssuerTakes(t *testing.T) {
	t.Parallel()
	const issuer = "https://auth.example.com/tenant"
	for alg, want := range map[string]jose.SignatureAlgorithm{"ES256": jose.ES256, "ES384": jose.ES384, "Ed25519": jose.EdDSA, "RS256": jose.RS256} {
		p, err := terminal{err: t.Output()}.readKey(keyFile(t, alg))
		if err != nil {
			t.Fatal(err)
		}
		p.id = "kid of " + alg
		seen := map[string]bool{}
		for range 2 {
			form := url.Values{}
			if err := (asserter{prover: p, client: "reports", issuer: issuer}).authenticate(form); err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			if got := form.Get("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				t.Errorf("%s: client_assertion_type %q", alg, got)
			}
			signed, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{want})
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			payload, err := signed.Verify(p.signer.Public())
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			var c struct {
				Issuer   string `json:"iss"`
				Subject  string `json:"sub"`
				Audience any    `json:"aud"`
				ID       string `json:"jti"`
				IssuedAt int64  `json:"iat"`
				Expires  int64  `json:"exp"`
			}
			if err := json.Unmarshal(payload, &c); err != nil {
				t.Fatal(err)
			}
			if c.Issuer != "reports" || c.Subject != "reports" || c.Audience != issuer || c.ID == "" || seen[c.ID] {
				t.Errorf("%s: claims %+v", alg, c)
			}
			if life := time.Duration(c.Expires-c.IssuedAt) * time.Second; life <= 0 || life > 5*time.Minute {
				t.Errorf("%s: it lives for %v, want five minutes at most", alg, life)
			}
			if h := signed.Signatures[0].Protected; h.KeyID != p.id || h.ExtraHeaders["typ"] != "JWT" {
				t.Errorf("%s: header %+v", alg, h)
			}
			seen[c.ID] = true
		}
	}
}

func TestTokenAuthenticatesByAKey(t *testing.T) {
	t.Parallel()
	client, key := keyFile(t, "Ed25519"), keyFile(t, "ES256")
	s := authorizationServer(t, func(r *http.Request, form url.Values) (int, string) {
		if r.Header.Get("Authorization") != "" || form.Get("client_secret") != "" || form.Get("client_assertion") == "" {
			t.Errorf("Authorization %q, form %v; want an assertion alone", r.Header.Get("Authorization"), form)
		}
		return http.StatusOK, `{"access_token":"token"}`
	})
	o := tokenOptions{issuer: s.URL + "/tenant", client: "reports", clientKey: client, key: key, raw: true}
	if err := o.run(t.Context(), terminal{out: t.Output(), err: t.Output()}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tokenOptions){
		"a secret besides":   func(o *tokenOptions) { o.secretFile = "secret" },
		"--post besides":     func(o *tokenOptions) { o.post = true },
		"no issuer":          func(o *tokenOptions) { o.issuer, o.url = "", s.URL+"/token" },
		"both keys from one": func(o *tokenOptions) { o.clientKey, o.key = "-", "-" },
	} {
		wrong := o
		change(&wrong)
		if err := wrong.check(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
