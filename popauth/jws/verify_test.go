// SPDX-License-Identifier: Apache-2.0

package jws_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/jws"
)

// signers are the algorithms and a key of the fixture for each.
var signers = map[string]string{
	"ES256": "p256", "ES384": "p384", "Ed25519": "ed25519", "EdDSA": "ed25519",
	"PS256": "rsa2048", "PS384": "rsa2048", "PS512": "rsa2048",
	"RS256": "rsa2048", "RS384": "rsa2048", "RS512": "rsa2048",
}

func TestVerify(t *testing.T) {
	t.Parallel()
	if len(signers) != len(jws.Algorithms) {
		t.Errorf("%d algorithms are tested, %d exist", len(signers), len(jws.Algorithms))
	}
	for _, alg := range jws.Algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			f := fixture.Load(t, signers[alg])
			text := f.JWS(t, map[string]any{"alg": alg}, map[string]any{"sub": "x"})
			m := parse(t, text)
			k := key(t, f)
			if err := m.Verify(k, alg); err != nil {
				t.Fatalf("Verify = %v", err)
			}
			for _, other := range append([]string{"", "none", "HS256", "ES512"}, jws.Algorithms...) {
				same := other == alg || alg == "EdDSA" && other == "Ed25519" || alg == "Ed25519" && other == "EdDSA"
				if err := m.Verify(k, other); (err == nil) != same {
					t.Errorf("Verify as %q = %v", other, err)
				}
			}
			dot := strings.LastIndexByte(text, '.')
			header, payload, _ := strings.Cut(text[:dot], ".")
			otherHeader := b64(`{"alg":"` + alg + `","typ":"x"}`)
			for name, changed := range map[string]string{
				"another payload":   header + "." + b64(`{"sub":"y"}`) + text[dot:],
				"another header":    otherHeader + "." + payload + text[dot:],
				"another signature": text[:dot+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
				"a bit of it":       text[:dot+1] + flip(t, text[dot+1:]),
			} {
				err := parse(t, changed).Verify(k, alg)
				if err == nil || !strings.Contains(err.Error(), "signature") {
					t.Errorf("with %s: got %v, want an error about the signature", name, err)
				}
			}
		})
	}
}

// flip flips the lowest bit of a signature.
func flip(t *testing.T, signature string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestVerifyRefusesOtherKeys(t *testing.T) {
	t.Parallel()
	m := parse(t, fixture.Load(t, "p256").JWS(t, map[string]any{"alg": "ES256"}, "x"))
	expect(t, m.Verify(key(t, fixture.Load(t, "p256-thief")), "ES256"), "signature is not valid")
	for _, name := range []string{"p384", "ed25519", "rsa2048"} {
		expect(t, m.Verify(key(t, fixture.Load(t, name)), "ES256"), "does not fit the key")
	}
	expect(t, m.Verify(nil, "ES256"), "does not fit the key")
	expect(t, m.Verify(new(jwk.Key), "ES256"), "does not fit the key")
	expect(t, new(jws.Message).Verify(key(t, fixture.Load(t, "p256")), "ES256"), "names another algorithm")
	expect(t, new(jws.Message).Verify(key(t, fixture.Load(t, "p256")), ""), "not supported")
}

// A key of another type gets no further, should the algorithms of a key ever
// be taken for those of another.
func TestPrimitivesRefuseKeysOfOtherTypes(t *testing.T) {
	t.Parallel()
	digest := sha256.Sum256([]byte("x"))
	types := map[string]string{"ECDSA": "p256", "EdDSA": "ed25519", "PKCS1": "rsa2048", "PSS": "rsa2048"}
	for name, verify := range jws.Primitives {
		for _, other := range []string{"p256", "ed25519", "rsa2048"} {
			if other == types[name] {
				continue
			}
			for _, size := range []int{64, 256} {
				expect(t, verify(fixture.Load(t, other).Public(), crypto.SHA256, digest[:], make([]byte, size)), "signature is not valid")
			}
		}
		expect(t, verify(nil, crypto.SHA256, digest[:], make([]byte, 64)), "signature is not valid")
	}
}

// A key with an alg of its own is good for nothing else, even where the type
// fits.
func TestVerifyHoldsTheKeyToItsAlgorithm(t *testing.T) {
	t.Parallel()
	f := fixture.Load(t, "rsa2048")
	k, err := jwk.FromPublic(f.Public(), "", "PS256")
	if err != nil {
		t.Fatal(err)
	}
	for alg, want := range map[string]string{"PS256": "", "RS256": "does not fit the key", "PS384": "does not fit the key"} {
		expect(t, parse(t, f.JWS(t, map[string]any{"alg": alg}, "x")).Verify(k, alg), want)
	}
}

// The header is relabelled, the signature stays: RS256 is not PS256, and no
// name of an algorithm is another in a different case.
func TestVerifyRefusesRelabelledMessages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ key, signed, labelled string }{
		{"rsa2048", "RS256", "PS256"},
		{"rsa2048", "PS256", "RS256"},
		{"rsa2048", "RS256", "RS512"},
		{"p256", "ES256", "es256"},
		{"p256", "ES256", "ES256K"},
		{"p256", "ES256", "ES256 "},
		{"p256", "ES256", "none"},
		{"p256", "ES256", "None"},
		{"p256", "ES256", "HS256"},
		{"ed25519", "EdDSA", "Ed25519ph"},
	} {
		t.Run(c.signed+" as "+c.labelled, func(t *testing.T) {
			t.Parallel()
			f := fixture.Load(t, c.key)
			header, err := json.Marshal(map[string]any{"alg": c.labelled})
			if err != nil {
				t.Fatal(err)
			}
			m := parse(t, f.Raw(t, header, []byte("{}"), c.signed))
			if m.Algorithm() != c.labelled {
				t.Fatalf("alg = %q, want %q", m.Algorithm(), c.labelled)
			}
			for _, alg := range []string{c.signed, c.labelled} {
				if err := m.Verify(key(t, f), alg); err == nil {
					t.Errorf("verifies as %s", alg)
				}
			}
		})
	}
}

// The public key, in every form in which it is published, is no secret.
func TestVerifyRefusesMACs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"p256", "rsa2048", "ed25519"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fixture.Load(t, name)
			der, err := x509.MarshalPKIXPublicKey(f.Public())
			if err != nil {
				t.Fatal(err)
			}
			canonical, err := key(t, f).MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range [][]byte{
				der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), f.JSON(t), canonical, nil,
			} {
				for _, alg := range []string{"HS256", "HS512"} {
					input := b64(`{"alg":"`+alg+`"}`) + "." + b64("{}")
					mac := hmac.New(sha256.New, secret)
					if alg == "HS512" {
						mac = hmac.New(sha512.New, secret)
					}
					mac.Write([]byte(input))
					m := parse(t, input+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
					for _, as := range []string{alg, f.Alg} {
						if err := m.Verify(key(t, f), as); err == nil {
							t.Errorf("%s with the public key verifies as %s", alg, as)
						}
					}
				}
			}
		})
	}
}

func TestVerifyRefusesECDSAValues(t *testing.T) {
	t.Parallel()
	for alg, name := range map[string]string{"ES256": "p256", "ES384": "p384"} {
		f := fixture.Load(t, name)
		k := key(t, f)
		pub := f.Public().(*ecdsa.PublicKey)
		n := pub.Params().N
		size := (pub.Params().BitSize + 7) / 8
		input := b64(`{"alg":"`+alg+`"}`) + "." + b64("{}")
		good := f.JWS(t, map[string]any{"alg": alg}, "{}")
		sig, err := base64.RawURLEncoding.DecodeString(good[strings.LastIndexByte(good, '.')+1:])
		if err != nil {
			t.Fatal(err)
		}
		r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
		der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		zero, one := new(big.Int), big.NewInt(1)
		pair := func(r, s *big.Int) []byte {
			return slices.Concat(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size)))
		}
		for _, c := range []struct {
			name string
			sig  []byte
			want string
		}{
			{"as signed", sig, ""},
			{"r = s = 0", pair(zero, zero), "signature is not valid"},
			{"r = 0", pair(zero, s), "signature is not valid"},
			{"s = 0", pair(r, zero), "signature is not valid"},
			{"r = n", pair(n, s), "signature is not valid"},
			{"s = n", pair(r, n), "signature is not valid"},
			{"r = s = n", pair(n, n), "signature is not valid"},
			{"r = s = 1", pair(one, one), "signature is not valid"},
			{"s and r", pair(s, r), "signature is not valid"},
			{"DER", der, "length of the curve"},
			{"a zero before it", append([]byte{0}, sig...), "length of the curve"},
			{"a zero after it", append(slices.Clone(sig), 0), "length of the curve"},
			{"the first half", sig[:size], "length of the curve"},
			{"twice as long", append(slices.Clone(sig), sig...), "length of the curve"},
		} {
			t.Run(alg+" "+c.name, func(t *testing.T) {
				t.Parallel()
				expect(t, parse(t, input+"."+base64.RawURLEncoding.EncodeToString(c.sig)).Verify(k, alg), c.want)
			})
		}
	}
}

// (r, n-s) is a signature as good as (r, s), and known libraries make both,
// so it can't be refused. What follows from it: the text of a message must
// never be what a replay guard or a denylist remembers.
func TestSignedTextIsNoIdentity(t *testing.T) {
	t.Parallel()
	f := fixture.Load(t, "p256")
	text := f.JWS(t, map[string]any{"alg": "ES256"}, "{}")
	flipped := f.FlipS(t, text)
	if text == flipped {
		t.Fatal("nothing changed")
	}
	if err := parse(t, flipped).Verify(key(t, f), "ES256"); err != nil {
		t.Errorf("Verify = %v", err)
	}
}

func TestVerifyRefusesEdwardsValues(t *testing.T) {
	t.Parallel()
	f := fixture.Load(t, "ed25519")
	k := key(t, f)
	good := f.JWS(t, map[string]any{"alg": "Ed25519"}, "{}")
	dot := strings.LastIndexByte(good, '.')
	sig, err := base64.RawURLEncoding.DecodeString(good[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	// S + L is the same number of the group and another text
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	little := slices.Clone(sig[32:])
	slices.Reverse(little)
	beyond := new(big.Int).Add(new(big.Int).SetBytes(little), order).FillBytes(make([]byte, 32))
	slices.Reverse(beyond)
	for name, changed := range map[string][]byte{
		"S beyond the order": slices.Concat(sig[:32], beyond),
		"63 bytes":           sig[:63],
		"65 bytes":           append(slices.Clone(sig), 0),
		"zeros":              make([]byte, 64),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, parse(t, good[:dot+1]+base64.RawURLEncoding.EncodeToString(changed)).Verify(k, "Ed25519"), "signature is not valid")
		})
	}
}

func TestVerifyRefusesRSAValues(t *testing.T) {
	t.Parallel()
	f := fixture.Load(t, "rsa2048")
	k := key(t, f)
	private := f.Private.(*rsa.PrivateKey)
	for _, alg := range []string{"RS256", "PS256"} {
		input := b64(`{"alg":"`+alg+`"}`) + "." + b64("{}")
		digest := sha256.Sum256([]byte(input))
		good, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(f.JWS(t, map[string]any{"alg": alg}, "{}"), input+"."))
		if err != nil {
			t.Fatal(err)
		}
		salt := func(length int) []byte {
			sig, err := rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: length})
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}
		for name, sig := range map[string][]byte{
			"a zero before it":      append([]byte{0}, good...),
			"the last byte missing": good[:len(good)-1],
			"zeros":                 make([]byte, 256),
			"one":                   append(make([]byte, 255), 1),
			"the modulus":           private.N.Bytes(),
			"no salt":               salt(0),
			"the longest salt":      salt(rsa.PSSSaltLengthAuto),
			"a salt of 20 bytes":    salt(20),
		} {
			t.Run(alg+" "+name, func(t *testing.T) {
				t.Parallel()
				expect(t, parse(t, input+"."+base64.RawURLEncoding.EncodeToString(sig)).Verify(k, alg), "signature is not valid")
			})
		}
	}
}
