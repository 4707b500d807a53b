// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// keyFile makes a key file and returns its name.
func keyFile(t *testing.T, alg string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "my key.json")
	mustPop(t, "key", "--alg", alg, "--out", name)
	return name
}

func TestKeyAndItsConfirmationKey(t *testing.T) {
	t.Parallel()
	for alg, want := range map[string]string{"ES256": "ES256", "ES384": "ES384", "Ed25519": "EdDSA", "EdDSA": "EdDSA", "RS256": "RS256"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			name := keyFile(t, alg)
			p, err := terminal{err: t.Output()}.readKey(name)
			if err != nil {
				t.Fatal(err)
			}
			if p.alg != want {
				t.Errorf("algorithm = %s, want %s", p.alg, want)
			}
			for _, form := range [][]string{{}, {"--bare"}} {
				value, stderr := mustPop(t, append([]string{"cnf-key", "--key", name}, form...)...)
				if stderr != "" {
					t.Errorf("cnf-key %v: stderr = %q, want nothing", form, stderr)
				}
				value = strings.TrimSuffix(value, "\n")
				key, refusal := cnf.ParseParameter(value)
				if refusal != nil {
					t.Fatalf("cnf-key %v: the server's parser says %v", form, refusal)
				}
				if got, want := key.Thumbprint(), p.key.Thumbprint(); got != want {
					t.Errorf("cnf-key %v: thumbprint = %s, want %s", form, got, want)
				}
				if got, want := wrapped(t, value), len(form) == 0; got != want {
					t.Errorf("cnf-key %v: has a jwk member: %t, want %t", form, got, want)
				}
			}
		})
	}
}

func wrapped(t *testing.T, value string) bool {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		t.Fatalf("cnf_key is not padded standard Base64: %v", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	if _, leaked := members["d"]; leaked || strings.Contains(string(text), `"d":`) {
		t.Fatal("cnf_key has the private member d")
	}
	_, ok := members["jwk"]
	return ok
}

func TestKeyFileIsPrivateAndNeverWrittenOver(t *testing.T) {
	t.Parallel()
	name := keyFile(t, "ES256")
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v (%v), want 0600", info.Mode(), err)
	}
	_, stderr, err := pop(t, "", "key", "--out", name)
	if err == nil {
		t.Error("writing over a key is no error")
	}
	if !strings.Contains(stderr, "exists") || !strings.Contains(stderr, "\nhint: ") {
		t.Errorf("stderr = %q, want that the file exists and a hint", stderr)
	}
	if after, _ := os.ReadFile(name); string(after) != string(before) {
		t.Error("the key file was changed")
	}
}

func TestKeyFileIsAnnouncedOnStandardError(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "key.json")
	stdout, stderr := mustPop(t, "key", "--out", name)
	p, err := terminal{err: t.Output()}.readKey(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := "wrote " + name + ": ES256, thumbprint " + p.key.Thumbprint() + "\n"; stdout != "" || stderr != want {
		t.Errorf("stdout = %q, stderr = %q; want nothing and %q", stdout, stderr, want)
	}
}

func TestKeyOnStandardOutputCanBeReadFromStandardInput(t *testing.T) {
	t.Parallel()
	key, stderr := mustPop(t, "key")
	if stderr != "" {
		t.Errorf("stderr = %q, want nothing", stderr)
	}
	if _, stderr, err := pop(t, key, "cnf-key", "--key", "-"); err != nil || stderr != "" {
		t.Errorf("cnf-key --key - : %v, stderr %q", err, stderr)
	}
}

func TestKeyThatOthersCanReadIsWarnedOf(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits here")
	}
	name := keyFile(t, "ES256")
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	value, stderr := mustPop(t, "cnf-key", "--key", name)
	if !strings.Contains(stderr, "warning: ") || !strings.Contains(stderr, "mode 0640") || !strings.Contains(stderr, "hint: chmod 600 '") {
		t.Errorf("stderr = %q, want a warning with the mode and how to mend it", stderr)
	}
	if _, refusal := cnf.ParseParameter(strings.TrimSpace(value)); refusal != nil {
		t.Errorf("a warning must not change the output: %v", refusal)
	}
}

func TestFilesThatAreNoKeysAreNotWarnedOf(t *testing.T) {
	t.Parallel()
	public, err := json.Marshal(fixture.Load(t, "p256").JWK)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a certificate": "-----BEGIN CERTIFICATE-----\nMC4=\n-----END CERTIFICATE-----\n",
		"a public key":  string(public),
		"a note":        "my key\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "root.crt")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
			_, stderr, err := pop(t, "", "cnf-key", "--key", file)
			if err == nil || !strings.HasPrefix(stderr, "error: ") || strings.Contains(stderr, "warning: ") {
				t.Errorf("error = %v, stderr = %q; want an error and no warning", err, stderr)
			}
		})
	}
}

func TestUnusableKeysAreRefused(t *testing.T) {
	t.Parallel()
	private := func(name string) map[string]any {
		raw, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		return members
	}
	mixed := private("p256")
	mixed["x"], mixed["y"] = private("p256-thief")["x"], private("p256-thief")["y"]
	encrypting := private("p256")
	encrypting["use"] = "enc"
	foreign := private("p256")
	foreign["alg"] = "ES384"
	for name, key := range map[string]any{
		"a public key":                         fixture.Load(t, "p256").JWK,
		"a symmetric key":                      map[string]any{"kty": "oct", "k": "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"},
		"a curve that proofs can't use":        private("p521"),
		"an RSA key that is too short":         private("rsa1024"),
		"a public part of another key":         mixed,
		"a key for encryption":                 encrypting,
		"an algorithm that doesn't fit":        foreign,
		"something that is no JWK":             map[string]any{"kty": "marble"},
		"something that is not even an object": "p256",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := json.Marshal(key)
			if err != nil {
				t.Fatal(err)
			}
			out, stderr, err := pop(t, string(text), "cnf-key", "--key", "-")
			if err == nil || out != "" {
				t.Errorf("error = %v, output = %q; want an error and no output", err, out)
			}
			if members, ok := key.(map[string]any); ok {
				for _, secret := range []string{"d", "k"} {
					if s, ok := members[secret].(string); ok && strings.Contains(stderr, s) {
						t.Errorf("stderr %q has the private member %s in it", stderr, secret)
					}
				}
			}
		})
	}
}

func TestPEMIsToldFromGarbage(t *testing.T) {
	t.Parallel()
	_, stderr, err := pop(t, "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n", "cnf-key", "--key", "-")
	if err == nil || !strings.Contains(stderr, "it is PEM, not a JWK") {
		t.Errorf("error = %v, stderr = %q; want that it is PEM", err, stderr)
	}
}
