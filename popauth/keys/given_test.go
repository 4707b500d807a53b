// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// text is a private JWK of testdata/keys.
func text(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// fixtureJWK is text with members changed; nil deletes.
func fixtureJWK(t testing.TB, name string, changes map[string]any) string {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(text(t, name)), &members); err != nil {
		t.Fatal(err)
	}
	for name, v := range changes {
		members[name] = v
		if v == nil {
			delete(members, name)
		}
	}
	data, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func block(kind string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(k any) string {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return block("PRIVATE KEY", der, err)
}

func TestParseGivenReadsEveryForm(t *testing.T) {
	t.Parallel()
	p256, p384 := fixture.Load(t, "p256"), fixture.Load(t, "p384")
	ed, rs := fixture.Load(t, "ed25519"), fixture.Load(t, "rsa2048")
	sec1, err := x509.MarshalECPrivateKey(p256.Private.(*ecdsa.PrivateKey))
	tests := []struct{ name, text, alg, kid string }{
		{"JWK P-256", text(t, "p256"), "ES256", p256.Thumbprint(t)},
		{"JWK P-384", text(t, "p384"), "ES384", p384.Thumbprint(t)},
		{"JWK Ed25519", fixtureJWK(t, "ed25519", map[string]any{"alg": nil, "kid": nil}), "EdDSA", ed.Thumbprint(t)},
		{"JWK Ed25519 by its new name", fixtureJWK(t, "ed25519", map[string]any{"alg": "Ed25519", "kid": nil}), "EdDSA", ed.Thumbprint(t)},
		{"JWK RSA with kid and alg", text(t, "rsa2048"), "RS256", "smoff-key"},
		{"JWK RSA for PS512", fixtureJWK(t, "rsa2048", map[string]any{"alg": "PS512"}), "PS512", "smoff-key"},
		{"JWK with key_ops", fixtureJWK(t, "p256", map[string]any{"key_ops": []string{"sign"}}), "ES256", p256.Thumbprint(t)},
		{"JWK with blanks around", "\n " + text(t, "p256") + " \r\n", "ES256", p256.Thumbprint(t)},
		{"PKCS #8 P-256", pkcs8(p256.Private), "ES256", p256.Thumbprint(t)},
		{"PKCS #8 Ed25519", pkcs8(ed.Private), "EdDSA", ed.Thumbprint(t)},
		{"PKCS #8 RSA", pkcs8(rs.Private), "RS256", rs.Thumbprint(t)},
		{"PKCS #1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs.Private.(*rsa.PrivateKey)), nil), "RS256", rs.Thumbprint(t)},
		{"SEC 1", block("EC PRIVATE KEY", sec1, err), "ES256", p256.Thumbprint(t)},
		{"SEC 1 after its curve", block("EC PARAMETERS", []byte{6, 0}, nil) + block("EC PRIVATE KEY", sec1, err), "ES256", p256.Thumbprint(t)},
		{"PEM after text", "Bag Attributes\n" + pkcs8(p384.Private), "ES384", p384.Thumbprint(t)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g, err := ParseGiven(test.text)
			if err != nil {
				t.Fatalf("ParseGiven: %v", err)
			}
			if got := g.key.public; got.ID() != test.kid || got.Algorithm() != test.alg {
				t.Errorf("kid %q, alg %q; want %q, %q", got.ID(), got.Algorithm(), test.kid, test.alg)
			}
		})
	}
}

func TestParseGivenRefuses(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(ed.Public())
	thief := fixture.Load(t, "p256-thief").JWK
	tests := map[string]string{
		"nothing":                "",
		"a password":             "MARKER",
		"an array":               "[" + text(t, "p256") + "]",
		"a set":                  `{"keys":[` + text(t, "p256") + `]}`,
		"two objects":            text(t, "p256") + text(t, "p256"),
		"a repeated member":      strings.Replace(text(t, "p256"), `"d"`, `"d":"MARKER","d"`, 1),
		"too long":               text(t, "p256") + strings.Repeat(" ", 32<<10) + "}",
		"a public JWK":           fixtureJWK(t, "p256", map[string]any{"d": nil}),
		"a symmetric JWK":        `{"kty":"oct","k":"MARKERMARKERMARKERMARKER"}`,
		"a symmetric JWK with d": `{"kty":"oct","k":"MARKER","d":"MARKER"}`,
		"X25519":                 fixtureJWK(t, "ed25519", map[string]any{"crv": "X25519"}),
		"an unknown curve":       fixtureJWK(t, "p256", map[string]any{"crv": "MARKER"}),
		"an unknown type":        fixtureJWK(t, "p256", map[string]any{"kty": "MARKER"}),
		"P-521":                  text(t, "p521"),
		"RSA of 1024 bits":       text(t, "rsa1024"),
		"for encryption":         fixtureJWK(t, "p256", map[string]any{"use": "enc"}),
		"not for signing":        fixtureJWK(t, "p256", map[string]any{"key_ops": []string{"verify"}}),
		"key_ops no array":       fixtureJWK(t, "p256", map[string]any{"key_ops": "sign"}),
		"alg of another type":    fixtureJWK(t, "p256", map[string]any{"alg": "RS256"}),
		"alg none":               fixtureJWK(t, "p256", map[string]any{"alg": "none"}),
		"alg HS256":              fixtureJWK(t, "p256", map[string]any{"alg": "HS256"}),
		"alg no string":          fixtureJWK(t, "p256", map[string]any{"alg": 256}),
		"kid no string":          fixtureJWK(t, "p256", map[string]any{"kid": []string{"MARKER"}}),
		"kid not printable":      fixtureJWK(t, "p256", map[string]any{"kid": "MARKER\n"}),
		"kid too long":           fixtureJWK(t, "p256", map[string]any{"kid": strings.Repeat("MARKER", 50)}),
		"d of another EC key":    fixtureJWK(t, "p256", map[string]any{"x": thief["x"], "y": thief["y"]}),
		"d zero":                 fixtureJWK(t, "p256", map[string]any{"d": strings.Repeat("A", 43)}),
		"d of another Ed25519":   fixtureJWK(t, "ed25519", map[string]any{"d": strings.Repeat("M", 42) + "A"}),
		"d short":                fixtureJWK(t, "p256", map[string]any{"d": "MARK"}),
		"d of another RSA key":   fixtureJWK(t, "rsa2048", map[string]any{"d": "MARKER"}),
		"PEM of a public key":    block("PUBLIC KEY", public, err),
		"PEM of P-521":           pkcs8(p521),
		"PEM of two keys":        pkcs8(ed) + pkcs8(ed),
		"PEM that is encrypted":  block("ENCRYPTED PRIVATE KEY", []byte("MARKER"), nil),
		"PEM of rubbish":         block("PRIVATE KEY", []byte("MARKER"), nil),
		"PEM of rubbish, PKCS 1": block("RSA PRIVATE KEY", []byte("MARKER"), nil),
		"PEM of rubbish, SEC 1":  block("EC PRIVATE KEY", []byte("MARKER"), nil),
		"PEM of another kind":    block("MARKER", []byte("MARKER"), nil),
		"PEM after long text":    strings.Repeat("MARKER\n", 4<<10) + pkcs8(ed),
		"PEM cut off":            pkcs8(ed)[:60],
	}
	for name, input := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, err := ParseGiven(input)
			if err == nil {
				t.Fatalf("ParseGiven = %v, want an error", g)
			}
			if g != nil {
				t.Errorf("ParseGiven returns %v beside the error", g)
			}
			if strings.Contains(err.Error(), "MARK") {
				t.Errorf("the error %q quotes the input", err)
			}
		})
	}
}

func TestGivenDoesNotPrintItsKey(t *testing.T) {
	t.Parallel()
	g := given(t, "ed25519")[0]
	private := fixture.Load(t, "ed25519").Private.(ed25519.PrivateKey)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		got := fmt.Sprintf(format, g)
		for _, secret := range []string{fmt.Sprint(private.Seed()), fmt.Sprintf("%x", private.Seed()), fmt.Sprintf("%#v", private.Seed())} {
			if strings.Contains(got, strings.Trim(secret, "[]byte{}")) {
				t.Errorf("%s prints %s", format, got)
			}
		}
	}
	if got, want := fmt.Sprint(g), fmt.Sprintf("signing key %q", g.key.public.ID()); got != want {
		t.Errorf("printed as %s, want %s", got, want)
	}
	//lint:ignore SA9005 that nothing is written is what is tested
	if data, err := json.Marshal(g); err != nil || string(data) != "{}" {
		t.Errorf("as JSON %s, %v; want {}", data, err)
	}
}

func FuzzParseGiven(f *testing.F) {
	for _, name := range []string{"p256", "p384", "p521", "ed25519", "rsa2048", "rsa1024"} {
		f.Add(text(f, name))
	}
	f.Add(pkcs8(fixture.Load(f, "p256").Private))
	f.Add(pkcs8(fixture.Load(f, "ed25519").Private))
	f.Add("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ParseGiven(text)
		if (g == nil) != (err != nil) {
			t.Fatalf("ParseGiven = %v, %v; want one of them", g, err)
		}
		if err != nil {
			return
		}
		// what is accepted can sign, so that no first token fails
		if err := g.key.check(); err != nil {
			t.Errorf("an accepted key does not sign: %v", err)
		}
	})
}
