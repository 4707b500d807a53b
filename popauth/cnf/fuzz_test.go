// SPDX-License-Identifier: Apache-2.0

package cnf_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// eachKey hands the JWKs of the vectors of others to add.
func eachKey(f *testing.F, add func(text string)) {
	fixture.EachVector(f, func(v any) {
		if members, ok := v.(map[string]any); ok && members["kty"] != nil {
			text, err := json.Marshal(members)
			if err != nil {
				f.Fatal(err)
			}
			add(string(text))
		}
	}, "rfc-jose.json", "jose-cookbook/jwk", "wycheproof/json_web_key_test.json")
}

// FuzzParseParameter: what passes is written, read again and is the same; it
// has one JSON text, whatever base64 it came in; what does not leaves nothing
// of itself in the refusal.
func FuzzParseParameter(f *testing.F) {
	for _, name := range []string{"p256", "p384", "ed25519", "rsa2048"} {
		text := string(fixture.Load(f, name).JSON(f))
		f.Add(encode(text))
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"jwk":` + text + `}`)))
	}
	eachKey(f, func(text string) { f.Add(encode(text)) })
	f.Add("eyAiandrIjogeyAidGVzdCI6IDEyMyB9IH0=")
	f.Add(" a b-/= ")
	f.Add(encode(`{"jwk":{"kty":"oct","k":"` + marker + `"}}`))
	f.Fuzz(func(t *testing.T, value string) {
		key, refusal := cnf.ParseParameter(value)
		if refusal != nil {
			if key != nil || refusal.Reason != oauth.ConfirmationKeyInvalid || refusal.Detail == "" {
				t.Fatalf("got key %v, refusal %+v", key, refusal)
			}
			if strings.Contains(fmt.Sprintf("%+v", *refusal), marker) {
				t.Fatalf("the refusal shows a secret: %+v", *refusal)
			}
			return
		}
		if len(value) > 12<<10 {
			t.Fatalf("accepted %d bytes", len(value))
		}
		text, err := json.Marshal(cnf.Confirmation{JWK: key})
		if err != nil {
			t.Fatalf("writing what was accepted: %v", err)
		}
		again, refusal := cnf.ParseParameter(encode(string(text)))
		if refusal != nil {
			t.Fatalf("reading %s back: %v", text, refusal)
		}
		if got, want := again.Thumbprint(), key.Thumbprint(); got != want {
			t.Fatalf("thumbprint after a round trip: got %s, want %s", got, want)
		}
	})
}

// FuzzParseMember: what is read is bound to something, and a confirmation that
// can be written is the same when it is read again.
func FuzzParseMember(f *testing.F) {
	key := fixture.Load(f, "p256")
	jkt := key.Thumbprint(f)
	for _, seed := range []string{
		`null`, `{}`, `[]`, `{"jkt":"` + jkt + `"}`, `{"jkt":"` + jkt + `="}`, `{"jkt":5,"kid":"x"}`, `{"x5t#S256":"` + jkt + `"}`,
		`{"jwk":` + string(key.JSON(f)) + `,"jkt":"` + jkt + `"}`,
	} {
		f.Add([]byte(seed))
	}
	eachKey(f, func(text string) { f.Add([]byte(`{"jwk":` + text + `}`)) })
	f.Fuzz(func(t *testing.T, text []byte) {
		wrapped := slices.Concat([]byte(`{"cnf":`), text, []byte("}"))
		object, err := strict.ParseObject(wrapped, strict.Limits{Size: jwk.MaxSize, Depth: 8, Members: 256})
		if err != nil {
			return
		}
		v, _ := object.Get("cnf")
		c, err := cnf.ParseMember(v)
		if err != nil {
			if c.Bound() {
				t.Fatalf("%s: got %+v beside the error %v", text, c, err)
			}
			return
		}
		inner, _ := v.Object()
		if !c.Bound() || len(c.Members()) != inner.Len() {
			t.Fatalf("%s became %+v", text, c)
		}
		written, err := json.Marshal(c)
		if one := len(c.Members()) == 1 && len(c.Unsupported) == 0; one != (err == nil) {
			t.Fatalf("writing %+v: %v", c, err)
		}
		if err != nil {
			return
		}
		again, err := cnf.ParseMember(member(t, string(written)))
		if err != nil || again.Thumbprint() != c.Thumbprint() || c.Thumbprint() == "" {
			t.Fatalf("%s became %s, then %+v, %v", text, written, again, err)
		}
		twice, err := json.Marshal(again)
		if err != nil || !bytes.Equal(twice, written) {
			t.Fatalf("%s was written as %s and then as %s, %v", text, written, twice, err)
		}
	})
}
