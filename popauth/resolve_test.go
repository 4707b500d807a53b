// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// The environment belongs to the process, so this test has no parallel ones.
func TestResolveSecret(t *testing.T) {
	t.Setenv("POPAUTH_SET", "from the {env.HOME} environment")
	t.Setenv("POPAUTH_EMPTY", "")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, value, want, wantError string
	}{
		{"a variable, whose value is not expanded again", "{env.POPAUTH_SET}", "from the {env.HOME} environment", ""},
		{"a file, without the line end", "{file." + file + "}", "from a file", ""},
		{"an unset variable", "{env.POPAUTH_UNSET}", "", "secret: the placeholder {env.POPAUTH_UNSET} is empty"},
		{"an empty variable", "{env.POPAUTH_EMPTY}", "", "secret: the placeholder {env.POPAUTH_EMPTY} is empty"},
		{"a missing file", "{file." + file + "2}", "", "is empty"},
		{"an unknown placeholder", "{vault.secret}", "", "secret: the placeholder {vault.secret} is not known"},

		{"plain text", "s3cret", "s3cret", ""},
		{"nothing", "", "", ""},
		{"a placeholder inside", "a{env.POPAUTH_SET}", "a{env.POPAUTH_SET}", ""},
		{"a placeholder and a line end", "{env.POPAUTH_SET}\n", "{env.POPAUTH_SET}\n", ""},
		{"two placeholders", "{env.POPAUTH_SET}{env.POPAUTH_SET}", "{env.POPAUTH_SET}{env.POPAUTH_SET}", ""},
		{"braces", "{secret}", "{secret}", ""},
		{"empty braces", "{}", "{}", ""},
		{"a JWK", `{"kty":"EC","a.b":"{env.POPAUTH_SET}"}`, `{"kty":"EC","a.b":"{env.POPAUTH_SET}"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resolveSecret("secret", tt.value)
			if tt.wantError != "" {
				mustSay(t, err, tt.wantError)
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestSecretsAreResolvedAndNeverShown(t *testing.T) {
	t.Setenv("POPAUTH_SECRET", "hunter2")
	t.Setenv("POPAUTH_KEY", privateKey(t, "p384"))
	t.Setenv("POPAUTH_HOST", "auth.example.com")
	s := newSite(t, func(s *site) {
		i := s.config.Issuers["default"]
		i.URL = "https://{env.POPAUTH_HOST}"
		i.Clients[0].Secrets = []string{"{env.POPAUTH_SECRET}"}
		i.Signing.Keys = []string{"{env.POPAUTH_KEY}"}
	})

	r := post("/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
	r.SetBasicAuth("reports", "hunter2")
	if x := begin(r).through(s.server(t, `{}`)); !strings.Contains(x.Body.String(), "cnf_key") {
		t.Errorf("the client could not authenticate: %s", x.Body)
	}
	if got := s.app.Issuers["default"].url; got != issuerURL {
		t.Errorf("got issuer %q, want %q", got, issuerURL)
	}

	raw, err := json.Marshal(s.app)
	if err != nil {
		t.Fatal(err)
	}
	for _, placeholder := range []string{"{env.POPAUTH_SECRET}", "{env.POPAUTH_KEY}", "{env.POPAUTH_HOST}"} {
		if !strings.Contains(string(raw), placeholder) {
			t.Errorf("%s is not in the config any more", placeholder)
		}
	}
	var members map[string]string
	if err := json.Unmarshal([]byte(privateKey(t, "p384")), &members); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", members["d"]} {
		if secret == "" || strings.Contains(string(raw), secret) {
			t.Error("a secret is in the config")
		}
	}
}

// A literal secret may look like almost anything.
func TestSecretWithBraces(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site) { s.config.Issuers["default"].Clients[0].Secrets = []string{"old", "{se}cr{et"} })
	for _, secret := range []string{"old", "{se}cr{et"} {
		r := post("/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
		r.SetBasicAuth("reports", secret)
		if x := begin(r).through(s.server(t, `{}`)); !strings.Contains(x.Body.String(), "cnf_key") {
			t.Errorf("the client could not authenticate with %q: %s", secret, x.Body)
		}
	}
}

// Whatever is wrong with a private key, no part of it may get into an error:
// those are logged and shown by the admin API.
func TestUnreadableSigningKeyIsNotShown(t *testing.T) {
	t.Parallel()
	const marker = "c2VjcmV0LW1hcmtlcg"
	storage := newStorage(t)
	for name, value := range map[string]string{
		"no JSON":            `{"kty":"EC","d":"` + marker,
		"an unknown type":    `{"kty":"` + marker + `","d":"` + marker + `"}`,
		"a member too much":  `{"kty":"EC","crv":"P-256","x":"","y":"","d":"` + marker + `"}`,
		"a symmetric key":    `{"kty":"oct","k":"` + marker + `"}`,
		"PEM of nonsense":    "-----BEGIN PRIVATE KEY-----\n" + marker + "\n-----END PRIVATE KEY-----\n",
		"neither of the two": marker,
		"a public key":       string(fixture.Load(t, "p256").JSON(t)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			_, err = provision(storage, caddy.ModuleMap{"popauth": json.RawMessage(
				`{"issuers":{"default":{"url":"https://auth.example.com","signing":{"keys":[` + string(key) + `]}}}}`)})
			mustSay(t, err, `issuer "default": signing_key 1: `)
			if strings.Contains(err.Error(), marker) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}
