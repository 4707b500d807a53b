// SPDX-License-Identifier: Apache-2.0

package jws_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/jws"
)

var wide = jws.Limits{Size: 16 << 10, Header: 2 << 10}

// vectors reads a file of ../shared/vectors, and skips the test where there
// is none.
func vectors(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(fixture.Vectors(t), name))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no vectors %s here", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
}

// public parses a JWK without its private members.
func public(t *testing.T, members map[string]any) (*jwk.Key, error) {
	t.Helper()
	bare := map[string]any{}
	for name, v := range members {
		switch name {
		case "d", "p", "q", "dp", "dq", "qi":
		default:
			bare[name] = v
		}
	}
	raw, err := json.Marshal(bare)
	if err != nil {
		t.Fatal(err)
	}
	return jwk.Parse(raw)
}

// The example of RFC 7515 Appendix A.3.
func TestVerifiesRFC7515(t *testing.T) {
	t.Parallel()
	const compact = "eyJhbGciOiJFUzI1NiJ9." +
		"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ." +
		"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	k, err := jwk.Parse([]byte(`{"kty":"EC","crv":"P-256",
		"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`))
	if err != nil {
		t.Fatal(err)
	}
	m := parse(t, compact)
	if err := m.Verify(k, "ES256"); err != nil {
		t.Errorf("Verify = %v", err)
	}
	claims, err := m.Claims()
	if err != nil {
		t.Fatal(err)
	}
	if iss, _ := claims.Text("iss"); iss != "joe" || claims.Len() != 3 {
		t.Errorf("claims = %v, want three, iss joe", claims)
	}
}

// The example of RFC 8037 Appendix A.4, which names the algorithm EdDSA.
func TestVerifiesRFC8037(t *testing.T) {
	t.Parallel()
	k, err := jwk.Parse([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	if err != nil {
		t.Fatal(err)
	}
	m := parse(t, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."+
		"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
	for _, alg := range []string{"EdDSA", "Ed25519"} {
		if err := m.Verify(k, alg); err != nil {
			t.Errorf("Verify as %s = %v", alg, err)
		}
	}
	if got := string(m.Payload); got != "Example of Ed25519 signing" {
		t.Errorf("payload = %q", got)
	}
}

// The proofs of RFC 9449 §4.1 and §7.1, signed by the key in their header.
func TestVerifiesRFC9449(t *testing.T) {
	t.Parallel()
	var file struct {
		RFC9449 struct {
			Token    string `json:"token_proof"`
			Resource string `json:"resource_proof"`
			JKT      string `json:"jkt"`
		} `json:"rfc9449"`
	}
	vectors(t, "rfc-jose.json", &file)
	for _, compact := range []string{file.RFC9449.Token, file.RFC9449.Resource} {
		m := parse(t, compact)
		v, _ := m.Header.Get("jwk")
		o, _ := v.Object()
		k, err := jwk.FromObject(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Verify(k, "ES256"); err != nil {
			t.Errorf("Verify = %v", err)
		}
		if m.Type() != "dpop+jwt" || k.Thumbprint() != file.RFC9449.JKT {
			t.Errorf("typ %q, thumbprint %s, want dpop+jwt, %s", m.Type(), k.Thumbprint(), file.RFC9449.JKT)
		}
	}
}

// cookbook are the messages of RFC 7520 §4 and others in the same form, with
// what is wrong with each. What is refused needs HMAC or P-521, or is no
// compact JWS with a payload of its own.
var cookbook = map[string]string{
	"jws/4_1.rsa_v15_signature":                 "",
	"jws/4_2.rsa-pss_signature":                 "",
	"jws/4_3.ecdsa_signature":                   "curve is not P-256, P-384 or Ed25519",
	"jws/4_4.hmac-sha2_integrity_protection":    "private member 'k' present",
	"jws/4_5.signature_with_detached_content":   "JWS has an empty part",
	"jws/4_6.protecting_specific_header_fields": "JWS does not have three parts",
	"jws/4_7.protecting_content_only":           "JWS does not have three parts",
	"jws/4_8.multiple_signatures":               "JWS does not have three parts",
	"curve25519/jws":                            "",
	"curve25519/ecdh-es":                        "JWS does not have three parts",
	"rfc7797/hmac-sha2_b64_false":               "JWS header has 'crit'",
	"rfc7797/4.2.hmac-sha2_b64_false":           "JWS does not have three parts",
}

func TestCookbook(t *testing.T) {
	t.Parallel()
	for name, want := range cookbook {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c struct {
				Input struct {
					Key json.RawMessage `json:"key"`
					Alg any             `json:"alg"`
				} `json:"input"`
				Output struct {
					Compact string          `json:"compact"`
					JSON    json.RawMessage `json:"json"`
				} `json:"output"`
			}
			vectors(t, "jose-cookbook/"+name+".json", &c)
			if c.Output.Compact == "" {
				c.Output.Compact = string(c.Output.JSON)
			}
			m, err := jws.Parse(c.Output.Compact, wide)
			if err == nil {
				var members map[string]any
				if err := json.Unmarshal(c.Input.Key, &members); err != nil {
					t.Fatal(err)
				}
				var k *jwk.Key
				if k, err = public(t, members); err == nil {
					err = m.Verify(k, c.Input.Alg.(string))
				}
			}
			expect(t, err, want)
		})
	}
}

// cookbookKeys are the keys of RFC 7520 §3.
var cookbookKeys = map[string]string{
	"3_1.ec_public_key":                 "curve is not P-256, P-384 or Ed25519",
	"3_2.ec_private_key":                "private member 'd' present",
	"3_3.rsa_public_key":                "",
	"3_4.rsa_private_key":               "private member 'd' present",
	"3_5.symmetric_key_mac_computation": "private member 'k' present",
	"3_6.symmetric_key_encryption":      "private member 'k' present",
}

func TestCookbookKeys(t *testing.T) {
	t.Parallel()
	for name, want := range cookbookKeys {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var raw json.RawMessage
			vectors(t, "jose-cookbook/jwk/"+name+".json", &raw)
			_, err := jwk.Parse(raw)
			expect(t, err, want)
		})
	}
}

// A file that nobody runs says nothing. Where there are none there is nothing
// to run.
func TestEveryVectorFileIsRun(t *testing.T) {
	t.Parallel()
	run := map[string]bool{}
	for name := range cookbook {
		run["jose-cookbook/"+name+".json"] = true
	}
	for name := range cookbookKeys {
		run["jose-cookbook/jwk/"+name+".json"] = true
	}
	for name := range deviations {
		run["wycheproof/"+name+"_test.json"] = true
	}
	for _, s := range signatures {
		run["wycheproof/"+s.file+"_test.json"] = true
	}
	for _, pattern := range []string{"jose-cookbook/*/*.json", "wycheproof/*.json"} {
		files, err := filepath.Glob(filepath.Join(fixture.Vectors(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, err := filepath.Rel(fixture.Vectors(t), file)
			if err != nil {
				t.Fatal(err)
			}
			if !run[filepath.ToSlash(name)] {
				t.Errorf("no test reads %s", name)
			}
		}
	}
}

// parse reads a compact JWS that must be well-formed.
func parse(t testing.TB, compact string) *jws.Message {
	t.Helper()
	m, err := jws.Parse(compact, wide)
	if err != nil {
		t.Fatalf("Parse = %v", err)
	}
	return m
}

// key parses the public key of a fixture, held to no algorithm but those that
// fit it.
func key(t testing.TB, f fixture.Key) *jwk.Key {
	t.Helper()
	k, err := jwk.FromPublic(f.Public(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// expect compares an error; want "" is none.
func expect(t testing.TB, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case want != "" && err == nil:
		t.Errorf("got no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("got %v, want %q", err, want)
	}
}
