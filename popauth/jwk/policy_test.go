// SPDX-License-Identifier: Apache-2.0

package jwk_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func unb64(t *testing.T, v any) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(v.(string))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseRefusesKeyTypes(t *testing.T) {
	t.Parallel()
	p521 := fixture.Load(t, "p521").JWK
	for _, c := range []struct {
		name    string
		key     string
		changes map[string]any
		want    string
	}{
		{"no kty", "p256", map[string]any{"kty": nil}, "key type is not"},
		{"kty in another case", "p256", map[string]any{"kty": "ec"}, "key type is not"},
		{"kty as a list", "p256", map[string]any{"kty": []string{"EC"}}, "key type is not"},
		{"a symmetric key", "p256", map[string]any{"kty": "oct"}, "key type is not"},
		{"the kty of ML-DSA", "p256", map[string]any{"kty": "AKP"}, "key type is not"},
		{"P-521", "p521", nil, "curve is not"},
		{"P-521 called P-384", "p384", map[string]any{"x": p521["x"], "y": p521["y"]}, "length of the curve"},
		{"secp256k1", "p256", map[string]any{"crv": "secp256k1"}, "curve is not"},
		{"another name of P-256", "p256", map[string]any{"crv": "secp256r1"}, "curve is not"},
		{"crv in another case", "p256", map[string]any{"crv": "p-256"}, "curve is not"},
		{"no crv", "p256", map[string]any{"crv": nil}, "curve is not"},
		{"X25519", "ed25519", map[string]any{"crv": "X25519"}, "curve is not"},
		{"Ed448", "ed25519", map[string]any{"crv": "Ed448"}, "curve is not"},
		{"Ed25519 with kty EC", "ed25519", map[string]any{"kty": "EC"}, "curve is not"},
		{"P-256 with kty OKP", "p256", map[string]any{"kty": "OKP"}, "curve is not"},
		{"P-256 with kty RSA", "p256", map[string]any{"kty": "RSA"}, "exponent is not"},
		{"RSA with kty EC", "rsa2048", map[string]any{"kty": "EC", "alg": nil}, "curve is not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expect(t, with(t, c.key, c.changes), c.want)
		})
	}
}

func TestParseRefusesCurvePoints(t *testing.T) {
	t.Parallel()
	m := fixture.Load(t, "p256").JWK
	x, y := unb64(t, m["x"]), unb64(t, m["y"])
	p := elliptic.P256().Params().P
	// x = 5 is a point of P-256; x = 5 + p is it again, and fits 32 bytes too
	five, fiveY := make([]byte, 32), pointY(t, 5)
	five[31] = 5
	beyond := new(big.Int).Add(p, big.NewInt(5)).FillBytes(make([]byte, 32))
	off := slices.Clone(y)
	off[31] ^= 1
	for _, c := range []struct{ name, x, y, want string }{
		{"a point of small x", b64(five), b64(fiveY), ""},
		{"x beyond the field", b64(beyond), b64(fiveY), "not on the curve"},
		{"off the curve", b64(x), b64(off), "not on the curve"},
		{"x and y swapped", b64(y), b64(x), "not on the curve"},
		{"(0,0)", b64(make([]byte, 32)), b64(make([]byte, 32)), "not on the curve"},
		{"the largest numbers", b64(bytes.Repeat([]byte{255}, 32)), b64(bytes.Repeat([]byte{255}, 32)), "not on the curve"},
		{"x without its leading zeros", b64(five[31:]), b64(fiveY), "'x' does not have the length"},
		{"x with a zero too many", b64(append([]byte{0}, x...)), b64(y), "'x' does not have the length"},
		{"y of 31 bytes", b64(x), b64(y[:31]), "'y' does not have the length"},
		{"empty x", "", b64(y), "'x' does not have the length"},
		{"x with padding", b64(x) + "=", b64(y), "'x' does not have the length"},
		{"x with a line end", b64(x)[:42] + "\n", b64(y), "'x': base64url contains a line end"},
		{"x with trailing bits", b64(x)[:42] + otherBits(b64(x)[42]), b64(y), "'x': not canonical"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expect(t, with(t, "p256", map[string]any{"x": c.x, "y": c.y}), c.want)
		})
	}
	for _, member := range []string{"x", "y"} {
		expect(t, with(t, "p256", map[string]any{member: nil}), "'"+member+"' is missing or not a string")
		expect(t, with(t, "p256", map[string]any{member: 5}), "'"+member+"' is missing or not a string")
	}
}

// pointY is a y of the point of P-256 with that x.
func pointY(t *testing.T, x int64) []byte {
	t.Helper()
	c := elliptic.P256().Params()
	y := new(big.Int).Exp(big.NewInt(x), big.NewInt(3), c.P)
	y.Sub(y, big.NewInt(3*x)).Add(y, c.B).Mod(y, c.P)
	if y.ModSqrt(y, c.P) == nil {
		t.Fatalf("no point of P-256 with x = %d", x)
	}
	return y.FillBytes(make([]byte, 32))
}

// otherBits is another last character of the same 256 bits.
func otherBits(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}

func TestParseRefusesRSA(t *testing.T) {
	t.Parallel()
	n := unb64(t, fixture.Load(t, "rsa2048").JWK["n"])
	number := func(bits int) []byte { // odd, of exactly that many bits
		i := new(big.Int).SetBit(new(big.Int), bits-1, 1)
		return i.SetBit(i, 0, 1).Bytes()
	}
	even := slices.Clone(n)
	even[len(even)-1] &^= 1
	text := b64(n)
	for _, c := range []struct {
		name string
		n    any
		e    any
		want string
	}{
		{"2048 bits", text, "AQAB", ""},
		{"4096 bits", b64(number(4096)), "AQAB", ""},
		{"3071 bits", b64(number(3071)), "AQAB", ""},
		{"512 bits", b64(number(512)), "AQAB", "shorter than 2048 bits"},
		{"1024 bits", b64(number(1024)), "AQAB", "shorter than 2048 bits"},
		{"2047 bits", b64(number(2047)), "AQAB", "shorter than 2048 bits"},
		{"2047 bits, most of them set", b64(append([]byte{0x7f}, bytes.Repeat([]byte{255}, 255)...)), "AQAB", "shorter than 2048 bits"},
		{"4097 bits", b64(number(4097)), "AQAB", "longer than 4096 bits"},
		{"a byte more than 4096 bits", b64(number(4104)), "AQAB", "longer than 4096 bits"},
		{"16384 bits", b64(number(16384)), "AQAB", "longer than 4096 bits"},
		{"too long, before it is decoded", strings.Repeat("!", 684), "AQAB", "longer than 4096 bits"},
		{"an even modulus", b64(even), "AQAB", "even"},
		{"a leading zero in n", b64(append([]byte{0}, n...)), "AQAB", "leading zero octet"},
		{"a short n made long by zeros", b64(append(make([]byte, 128), number(1024)...)), "AQAB", "leading zero octet"},
		{"an n of one zero", "AA", "AQAB", "leading zero octet"},
		{"a zero n", b64(make([]byte, 256)), "AQAB", "leading zero octet"},
		{"an empty n", "", "AQAB", "shorter than 2048 bits"},
		{"n as a number", 5, "AQAB", "'n' is missing or not a string"},
		{"no n", nil, "AQAB", "'n' is missing or not a string"},
		{"n with a line end", text[:9] + "\n" + text[9:], "AQAB", "'n': base64url contains a line end"},
		{"n with padding", text + "==", "AQAB", "'n': not canonical"},
		{"n in the standard alphabet", "+" + text[1:], "AQAB", "'n': not canonical"},
		{"n with trailing bits", text[:len(text)-1] + otherBits(text[len(text)-1]), "AQAB", "'n': not canonical"},
		{"e = 1", text, "AQ", "exponent is not 65537"},
		{"e = 2", text, "Ag", "exponent is not 65537"},
		{"e = 3", text, "Aw", "exponent is not 65537"},
		{"e = 65536", text, "AQAA", "exponent is not 65537"},
		{"e = 2³¹-1", text, "f____w", "exponent is not 65537"},
		{"a leading zero in e", text, "AAEAAQ", "exponent is not 65537"},
		{"padding after e", text, "AQAB====", "exponent is not 65537"},
		{"a line end after e", text, "AQAB\n", "exponent is not 65537"},
		{"an empty e", text, "", "exponent is not 65537"},
		{"e as a number", text, 65537, "exponent is not 65537"},
		{"no e", text, nil, "exponent is not 65537"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expect(t, with(t, "rsa2048", map[string]any{"n": c.n, "e": c.e}), c.want)
		})
	}
}

// Every encoding that crypto/ed25519 decodes to a point whose order divides
// 8: the eight canonical ones, and six more with y beyond the field or with a
// sign of zero.
var lowOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestParseRefusesLowOrderPoints(t *testing.T) {
	t.Parallel()
	for _, encoded := range lowOrder {
		t.Run(encoded, func(t *testing.T) {
			t.Parallel()
			x, err := hex.DecodeString(encoded)
			if err != nil {
				t.Fatal(err)
			}
			// the vector is what it says: without knowing a private key, the
			// signature R = 0·B or a point of low order, S = 0 verifies soon
			if !forgeable(x) {
				t.Error("no forgery found: is the point of low order?")
			}
			expect(t, with(t, "ed25519", map[string]any{"x": b64(x)}), "Ed25519 point")
			if k, err := jwk.FromPublic(ed25519.PublicKey(x), "", ""); err == nil {
				t.Errorf("FromPublic made the key %s", k.Thumbprint())
			}
		})
	}
}

// forgeable looks for a message among 64 that verifies with S = 0 and R the
// neutral element, which means h·A = 0.
func forgeable(x []byte) bool {
	sig := make([]byte, ed25519.SignatureSize)
	sig[0] = 1
	for i := range 64 {
		if ed25519.Verify(x, []byte{byte(i)}, sig) {
			return true
		}
	}
	return false
}

func TestParseRefusesEd25519Encodings(t *testing.T) {
	t.Parallel()
	x := unb64(t, fixture.Load(t, "ed25519").JWK["x"])
	// y = 3 and y = 3 + p are the same number, both below 2²⁵⁵
	canonical := append([]byte{3}, make([]byte, 31)...)
	beyond, err := hex.DecodeString("f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		x    any
		want string
	}{
		{"a small y", b64(canonical), ""},
		{"the same y beyond the field", b64(beyond), "not canonical"},
		{"the largest y", b64(bytes.Repeat([]byte{255}, 32)), "not canonical"},
		{"1 byte", "AQ", "length of the curve"},
		{"31 bytes", b64(x[:31]), "length of the curve"},
		{"33 bytes", b64(append(slices.Clone(x), 0)), "length of the curve"},
		{"nothing", "", "length of the curve"},
		{"trailing bits", b64(x)[:42] + otherBits(b64(x)[42]), "'x': not canonical"},
		{"a number", 5, "missing or not a string"},
		{"no x", nil, "missing or not a string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expect(t, with(t, "ed25519", map[string]any{"x": c.x}), c.want)
		})
	}
}

// FuzzParse: what passes comes out canonical, once and for all, and what does
// not leaves no trace in the error.
func FuzzParse(f *testing.F) {
	for name := range accepted {
		f.Add(fixture.Load(f, name).JSON(f))
	}
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}`))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","kid":"a\"b"}`))
	f.Add([]byte(`{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256","use":"sig","key_ops":["verify"]}`))
	fixture.EachVector(f, func(v any) {
		if members, ok := v.(map[string]any); ok && members["kty"] != nil {
			data, err := json.Marshal(members)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}, "rfc-jose.json", "jose-cookbook/jwk", "wycheproof/json_web_key_test.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := jwk.Parse(data)
		if err == nil && len(data) > jwk.MaxSize {
			t.Fatalf("accepted %d bytes", len(data))
		}
		if err != nil {
			for _, c := range []byte(err.Error()) {
				if c < ' ' || c > '~' || c == '"' || c == '\\' {
					t.Errorf("error has the byte %#x: %v", c, err)
				}
			}
			return
		}
		written, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		again, err := jwk.Parse(written)
		if err != nil {
			t.Fatalf("refused what was accepted and written again, %s: %v", written, err)
		}
		made, err := jwk.FromPublic(k.Public(), k.ID(), k.Algorithm())
		if err != nil {
			t.Fatalf("FromPublic refuses what Parse accepts: %v", err)
		}
		for _, other := range []*jwk.Key{again, made} {
			if other.Thumbprint() != k.Thumbprint() || other.ID() != k.ID() || other.Algorithm() != k.Algorithm() {
				t.Errorf("%s became %v", data, other)
			}
		}
		// no second spelling of one key
		o, err := strict.ParseObject(data, strict.Limits{Size: jwk.MaxSize, Depth: 8, Members: 1024})
		if err != nil {
			t.Fatal(err)
		}
		canonical, err := strict.ParseObject(written, strict.Limits{Size: jwk.MaxSize, Depth: 1, Members: 16})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
			was, _ := o.Text(name)
			if is, ok := canonical.Text(name); ok && is != was {
				t.Errorf("%s was %q and is %q", name, was, is)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"p256", "ed25519", "rsa2048"} {
		data := fixture.Load(b, name).JSON(b)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jwk.Parse(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	// what a stranger may make us do
	huge := fmt.Sprintf(`{"kty":"RSA","e":"AQAB","n":%q}`, b64(bytes.Repeat([]byte{255}, 2048)))
	b.Run("rsa16384 refused", func(b *testing.B) {
		for b.Loop() {
			if _, err := jwk.Parse([]byte(huge)); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}
