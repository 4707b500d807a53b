// SPDX-License-Identifier: Apache-2.0

package jws_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jws"
)

// FuzzParse: one message has one spelling, errors have nothing of the input,
// and nothing verifies that was not signed.
func FuzzParse(f *testing.F) {
	f.Add(compact(`{"alg":"ES256"}`))
	f.Add(compact(`{"alg":"none"}`))
	f.Add(compact(`{"alg":"ES256","crit":["b64"],"b64":false}`))
	f.Add("a.b.c.d.e")
	f.Add("..")
	k := fixture.Load(f, "p256")
	// the same in every process that fuzzes, but for the signature
	text := k.JWS(f, map[string]any{"alg": "ES256", "typ": "dpop+jwt"}, `{"jti":"x"}`)
	signed := text[:strings.LastIndexByte(text, '.')]
	f.Add(text)
	fixture.EachVector(f, func(v any) {
		if text, ok := v.(string); ok && strings.Count(text, ".") == 2 && !strings.Contains(text, " ") {
			f.Add(text)
		}
	}, "rfc-jose.json", "jose-cookbook/jws", "jose-cookbook/curve25519", "wycheproof/json_web_signature_test.json", "wycheproof/json_web_key_test.json")
	pub := key(f, k)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := jws.Parse(text, wide)
		if err != nil {
			checkError(t, err)
			return
		}
		parts := strings.Split(text, ".")
		if len(parts) != 3 || parts[1] != base64.RawURLEncoding.EncodeToString(m.Payload) {
			t.Errorf("payload %q of %q", m.Payload, text)
		}
		if len(text) > wide.Size || len(parts[0]) > wide.Header {
			t.Errorf("accepted %d bytes, %d of them in the header", len(text), len(parts[0]))
		}
		if m.Algorithm() == "" || m.Header.Has("crit") {
			t.Errorf("accepted the header of %q", text)
		}
		if _, err := m.Claims(); err != nil {
			checkError(t, err)
		}
		input := text[:strings.LastIndexByte(text, '.')]
		if err := m.Verify(pub, m.Algorithm()); err != nil {
			checkError(t, err)
		} else if input != signed {
			t.Errorf("%q verifies, and nobody signed it", text)
		}
	})
}

// checkError sees to it that an error can go into an error_description (RFC
// 6749 §5.2).
func checkError(t *testing.T, err error) {
	t.Helper()
	for _, c := range []byte(err.Error()) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			t.Errorf("error has the byte %#x: %v", c, err)
		}
	}
}
