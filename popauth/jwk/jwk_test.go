// SPDX-License-Identifier: Apache-2.0

package jwk_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
)

// accepted are the keys of the fixture that the policy accepts, with the
// algorithms that each may be used with.
var accepted = map[string][]string{
	"p256":          {"ES256"},
	"p256-thief":    {"ES256"},
	"p384":          {"ES384"},
	"ed25519":       {"Ed25519", "EdDSA"},
	"rsa2048":       {"RS256"},
	"rsa2048-rs512": nil, // by what the file says
}

type publicKey interface{ Equal(crypto.PublicKey) bool }

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	for name := range accepted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := fixture.Load(t, name)
			k, err := jwk.Parse(want.JSON(t))
			if err != nil {
				t.Fatal(err)
			}
			if !k.Public().(publicKey).Equal(want.Public()) {
				t.Errorf("public key = %v, want %v", k.Public(), want.Public())
			}
			if got := k.Thumbprint(); got != want.Thumbprint(t) {
				t.Errorf("thumbprint = %s, want %s", got, want.Thumbprint(t))
			}
			for member, got := range map[string]string{"kid": k.ID(), "alg": k.Algorithm(), "use": k.Use()} {
				text, _ := want.JWK[member].(string)
				if got != text {
					t.Errorf("%s = %q, want %q", member, got, text)
				}
			}
		})
	}
}

// The example of RFC 7638 §3.1.
func TestThumbprintOfRFC7638(t *testing.T) {
	t.Parallel()
	const text = `{
		"kty": "RSA",
		"n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
		"e": "AQAB",
		"alg": "RS256",
		"kid": "2011-04-29"
	}`
	k, err := jwk.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := k.Thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; got != want {
		t.Errorf("thumbprint = %s, want %s", got, want)
	}
	if k.ID() != "2011-04-29" || k.Algorithm() != "RS256" || k.Use() != "" {
		t.Errorf("kid, alg, use = %q, %q, %q", k.ID(), k.Algorithm(), k.Use())
	}
}

// The example of RFC 8037 Appendix A.3, with the public key of A.2.
func TestThumbprintOfRFC8037(t *testing.T) {
	t.Parallel()
	k, err := jwk.Parse([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := k.Thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("thumbprint = %s, want %s", got, want)
	}
}

// with returns the JSON of a key with changed members; nil deletes.
func with(t *testing.T, name string, changes map[string]any) []byte {
	t.Helper()
	members := maps.Clone(fixture.Load(t, name).JWK)
	for member, v := range changes {
		if v == nil {
			delete(members, member)
			continue
		}
		members[member] = v
	}
	b, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParsePurpose(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("k", 257)
	for _, c := range []struct {
		name    string
		key     string
		changes map[string]any
		want    string // "" accepts
	}{
		{"use sig", "p256", map[string]any{"use": "sig"}, ""},
		{"use enc", "p256", map[string]any{"use": "enc"}, "'use' is not 'sig'"},
		{"use in another case", "p256", map[string]any{"use": "SIG"}, "'use' is not 'sig'"},
		{"an empty use", "p256", map[string]any{"use": ""}, "'use' is not 'sig'"},
		{"use as a list", "p256", map[string]any{"use": []string{"sig"}}, "'use' is not a string"},
		{"key_ops verify", "p256", map[string]any{"key_ops": []string{"verify"}}, ""},
		{"key_ops verify among others", "p256", map[string]any{"key_ops": []string{"sign", "verify", "x"}}, ""},
		{"key_ops without verify", "p256", map[string]any{"key_ops": []string{"sign"}}, "does not contain 'verify'"},
		{"key_ops empty", "p256", map[string]any{"key_ops": []string{}}, "does not contain 'verify'"},
		{"key_ops with a duplicate", "p256", map[string]any{"key_ops": []string{"verify", "verify"}}, "twice"},
		{"key_ops as a string", "p256", map[string]any{"key_ops": "verify"}, "'key_ops' is not an array"},
		{"key_ops with a number", "p256", map[string]any{"key_ops": []any{"verify", 1}}, "not a string"},
		{"ext of WebCrypto", "p256", map[string]any{"ext": true, "key_ops": []string{"verify"}}, ""},
		{"members that nobody knows", "p256", map[string]any{"x5t": "AA", "iat": 1, "Private": "x", "D": "x"}, ""},
		{"alg ES256 for P-256", "p256", map[string]any{"alg": "ES256"}, ""},
		{"alg ES384 for P-256", "p256", map[string]any{"alg": "ES384"}, "'alg' does not fit"},
		{"alg ES256 for P-384", "p384", map[string]any{"alg": "ES256"}, "'alg' does not fit"},
		{"alg ES256K for P-256", "p256", map[string]any{"alg": "ES256K"}, "'alg' does not fit"},
		{"alg RS256 for P-256", "p256", map[string]any{"alg": "RS256"}, "'alg' does not fit"},
		{"alg ECDH-ES for P-256", "p256", map[string]any{"alg": "ECDH-ES"}, "'alg' does not fit"},
		{"alg HS256 for RSA", "rsa2048", map[string]any{"alg": "HS256"}, "'alg' does not fit"},
		{"alg none for RSA", "rsa2048", map[string]any{"alg": "none"}, "'alg' does not fit"},
		{"alg RS1 for RSA", "rsa2048", map[string]any{"alg": "RS1"}, "'alg' does not fit"},
		{"alg RSA-OAEP for RSA", "rsa2048", map[string]any{"alg": "RSA-OAEP"}, "'alg' does not fit"},
		{"alg PS512 for RSA", "rsa2048", map[string]any{"alg": "PS512"}, ""},
		{"alg in another case", "rsa2048", map[string]any{"alg": "rs256"}, "'alg' does not fit"},
		{"alg Ed25519 for Ed25519", "ed25519", map[string]any{"alg": "Ed25519"}, ""},
		{"alg EdDSA for Ed25519", "ed25519", map[string]any{"alg": "EdDSA"}, ""},
		{"alg Ed448 for Ed25519", "ed25519", map[string]any{"alg": "Ed448"}, "'alg' does not fit"},
		{"an empty alg", "p256", map[string]any{"alg": ""}, "'alg' is empty"},
		{"alg as a number", "p256", map[string]any{"alg": 5}, "'alg' is not a string"},
		{"the longest kid", "p256", map[string]any{"kid": many[:256]}, ""},
		{"a kid too long", "p256", map[string]any{"kid": many}, "'kid' is longer than 256 bytes"},
		{"a kid with quotes and slashes", "p256", map[string]any{"kid": `../"\x `}, ""},
		{"a kid with a line end", "p256", map[string]any{"kid": "a\nb"}, "'kid' is not printable ASCII"},
		{"a kid of the first and the last of ASCII", "p256", map[string]any{"kid": " ~"}, ""},
		{"a kid with DEL", "p256", map[string]any{"kid": "a\x7f"}, "'kid' is not printable ASCII"},
		{"a kid with an umlaut", "p256", map[string]any{"kid": "schlüssel"}, "'kid' is not printable ASCII"},
		{"kid as a number", "p256", map[string]any{"kid": 1}, "'kid' is not a string"},
		{"jku", "p256", map[string]any{"jku": "https://evil.example/"}, "member 'jku' is not allowed"},
		{"x5u", "p256", map[string]any{"x5u": "https://evil.example/"}, "member 'x5u' is not allowed"},
		{"x5c", "p256", map[string]any{"x5c": []string{}}, "member 'x5c' is not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expect(t, with(t, c.key, c.changes), c.want)
		})
	}
}

// expect parses a key and compares the error; want "" is none.
func expect(t *testing.T, data []byte, want string) {
	t.Helper()
	k, err := jwk.Parse(data)
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case want != "" && err == nil:
		t.Errorf("got no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("got %v, want %q", err, want)
	}
	if err != nil && k != nil {
		t.Errorf("got a key beside the error %v", err)
	}
}

// A leaked private key is called that whatever else is wrong with it, and not
// one byte of it is in the error.
func TestParseRefusesPrivateMembersFirst(t *testing.T) {
	t.Parallel()
	const marker = "c2VjcmV0LW1hcmtlcg"
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			for _, value := range []any{marker, "", 0, false, []string{marker}, map[string]any{"d": marker}, json.RawMessage("null")} {
				quoted, err := json.Marshal(value)
				if err != nil {
					t.Fatal(err)
				}
				for _, rest := range []string{
					"", `,"kty":"oct"`, `,"kty":"none","use":"enc","kid":5,"jku":""`, `,"kty":"EC","crv":"P-256","x":"","y":""`,
				} {
					_, err := jwk.Parse([]byte(`{"` + member + `":` + string(quoted) + rest + `}`))
					if err == nil || err.Error() != "private member '"+member+"' present" {
						t.Errorf("with %s and %s: got %v", quoted, rest, err)
					}
				}
			}
			expect(t, with(t, "p256", map[string]any{member: marker}), "private member '"+member+"' present")
		})
	}
}

func TestParseRefusesTextThatIsNoKey(t *testing.T) {
	t.Parallel()
	good := string(fixture.Load(t, "p256").JSON(t))
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "not an object"},
		{"an empty object", "{}", "key type is not"},
		{"a set of keys", `{"keys":[` + good + `]}`, "key type is not"},
		{"a confirmation", `{"jwk":` + good + `}`, "key type is not"},
		{"two keys", good + good, "something follows"},
		{"a duplicate member", good[:len(good)-1] + `,"kty":"EC"}`, "duplicate"},
		{"a duplicate in an escape", good[:len(good)-1] + `,"\u006bty":"EC"}`, "duplicate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expect(t, []byte(c.text), c.want)
		})
	}
}

// What nobody knows counts too, or it could be of any size.
func TestParseHoldsLimits(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	good := string(key.JSON(t))
	pad := func(text string) []byte { return []byte(good[:len(good)-1] + text + "}") }
	members := func(all int) []byte {
		var b strings.Builder
		for i := range all - len(key.JWK) {
			fmt.Fprintf(&b, `,"m%d":0`, i)
		}
		return pad(b.String())
	}
	room := jwk.MaxSize - len(pad(`,"pad":""`))
	for _, c := range []struct {
		name string
		text []byte
		want string
	}{
		{"as many bytes as allowed", pad(`,"pad":"` + strings.Repeat("x", room) + `"`), ""},
		{"a byte more", pad(`,"pad":"` + strings.Repeat("x", room+1) + `"`), "longer than 8192 bytes"},
		{"as deep as allowed", pad(`,"pad":[[[]]]`), ""},
		{"a level more", pad(`,"pad":[[[[]]]]`), "nested too deeply"},
		{"as many members as allowed", members(128), ""},
		{"a member more", members(129), "too many members"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expect(t, c.text, c.want)
		})
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	rsaAll := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	for _, c := range []struct {
		name, key string
		alg       any
		want      []string
	}{
		{"P-256", "p256", nil, []string{"ES256"}},
		{"P-384", "p384", nil, []string{"ES384"}},
		{"Ed25519", "ed25519", nil, []string{"Ed25519", "EdDSA"}},
		{"Ed25519 named so", "ed25519", "Ed25519", []string{"Ed25519", "EdDSA"}},
		{"Ed25519 named EdDSA", "ed25519", "EdDSA", []string{"Ed25519", "EdDSA"}},
		{"RSA", "rsa2048", nil, rsaAll},
		{"RSA for PS256 alone", "rsa2048", "PS256", []string{"PS256"}},
		{"P-256 named ES256", "p256", "ES256", []string{"ES256"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k, err := jwk.Parse(with(t, c.key, map[string]any{"alg": c.alg}))
			if err != nil {
				t.Fatal(err)
			}
			for _, alg := range append([]string{"", "none", "None", "HS256", "HS512", "ES256", "ES384", "ES512", "ES256K", "Ed25519", "EdDSA", "Ed448", "es256"}, rsaAll...) {
				if got, want := k.Allows(alg), slices.Contains(c.want, alg); got != want {
					t.Errorf("Allows(%q) = %v, want %v", alg, got, want)
				}
			}
		})
	}
	var none *jwk.Key
	if none.Allows("ES256") || new(jwk.Key).Allows("ES256") || new(jwk.Key).Allows("") {
		t.Error("no key allows an algorithm")
	}
}

func TestMarshalJSON(t *testing.T) {
	t.Parallel()
	data := with(t, "p256", map[string]any{
		"kid": `a"b\c<d>&e`, "alg": "ES256", "use": "sig", "ext": true, "x5t": "AA", "iat": 5, "key_ops": []string{"verify"},
	})
	k, err := jwk.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	m := fixture.Load(t, "p256").JWK
	want := `{"crv":"P-256","kty":"EC","x":"` + m["x"].(string) + `","y":"` + m["y"].(string) + `","kid":"a\"b\\c<d>&e","alg":"ES256","use":"sig"}`
	got, err := k.MarshalJSON()
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	again, err := jwk.Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if again.Thumbprint() != k.Thumbprint() || again.ID() != k.ID() || again.Algorithm() != "ES256" || again.Use() != "sig" {
		t.Errorf("read again: %v, want %v", again, k)
	}
	if got, err := new(jwk.Key).MarshalJSON(); err == nil {
		t.Errorf("the zero key is written as %s", got)
	}
}

func TestFromPublicAccepts(t *testing.T) {
	t.Parallel()
	for name := range accepted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := fixture.Load(t, name)
			k, err := jwk.FromPublic(want.Public(), "kid-1", want.Alg)
			if err != nil {
				t.Fatal(err)
			}
			if !k.Public().(publicKey).Equal(want.Public()) || k.Thumbprint() != want.Thumbprint(t) {
				t.Errorf("another key came out: %s, want %s", k.Thumbprint(), want.Thumbprint(t))
			}
			if k.ID() != "kid-1" || k.Algorithm() != want.Alg || k.Use() != "" {
				t.Errorf("kid, alg, use = %q, %q, %q", k.ID(), k.Algorithm(), k.Use())
			}
		})
	}
}

func TestFromPublicHoldsThePolicy(t *testing.T) {
	t.Parallel()
	p256 := fixture.Load(t, "p256")
	good := fixture.Load(t, "rsa2048").Public().(*rsa.PublicKey)
	even := new(big.Int).Sub(good.N, big.NewInt(1))
	offCurve := *p256.Public().(*ecdsa.PublicKey)
	offCurve.Curve = elliptic.P384()
	for _, c := range []struct {
		name     string
		pub      crypto.PublicKey
		kid, alg string
		want     string
	}{
		{"no key", nil, "", "", "key type is not"},
		{"a private key", p256.Private, "", "", "key type is not"},
		{"a secret", []byte("secret"), "", "", "key type is not"},
		{"a nil EC key", (*ecdsa.PublicKey)(nil), "", "", "key is nil"},
		{"an EC key without a curve", &ecdsa.PublicKey{}, "", "", "curve is not"},
		{"an EC key off the curve", &offCurve, "", "", "not on the curve"},
		{"P-521", fixture.Load(t, "p521").Public(), "", "", "curve is not"},
		{"a nil RSA key", (*rsa.PublicKey)(nil), "", "", "key is nil"},
		{"an RSA key without a modulus", &rsa.PublicKey{E: 65537}, "", "", "key is nil"},
		{"a negative modulus", &rsa.PublicKey{N: new(big.Int).Neg(good.N), E: 65537}, "", "", "shorter than 2048"},
		{"a modulus of zero", &rsa.PublicKey{N: new(big.Int), E: 65537}, "", "", "shorter than 2048"},
		{"an even modulus", &rsa.PublicKey{N: even, E: 65537}, "", "", "even"},
		{"RSA with 1024 bits", fixture.Load(t, "rsa1024").Public(), "", "", "shorter than 2048"},
		{"RSA with 4097 bits", &rsa.PublicKey{N: new(big.Int).Lsh(good.N, 2049), E: 65537}, "", "", "longer than 4096"},
		{"e = 3", &rsa.PublicKey{N: good.N, E: 3}, "", "", "exponent is not 65537"},
		{"an empty Ed25519 key", ed25519.PublicKey{}, "", "", "length of the curve"},
		{"an Ed25519 key of zeros", make(ed25519.PublicKey, 32), "", "", "low order"},
		{"an alg that does not fit", p256.Public(), "", "ES384", "'alg' does not fit"},
		{"a kid too long", p256.Public(), strings.Repeat("k", 257), "", "'kid' is longer"},
		{"a kid with a line end", p256.Public(), "a\n", "", "'kid' is not printable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k, err := jwk.FromPublic(c.pub, c.kid, c.alg)
			if err == nil || !strings.Contains(err.Error(), c.want) || k != nil {
				t.Errorf("got %v, %v, want %q", k, err, c.want)
			}
		})
	}
}

func TestFromPublicCopies(t *testing.T) {
	t.Parallel()
	want := fixture.Load(t, "ed25519").Public().(ed25519.PublicKey)
	given := slices.Clone(want)
	k, err := jwk.FromPublic(given, "", "")
	if err != nil {
		t.Fatal(err)
	}
	clear(given)
	if !want.Equal(k.Public()) {
		t.Error("the key changes with the slice it was made from")
	}
}
