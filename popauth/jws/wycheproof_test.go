// SPDX-License-Identifier: Apache-2.0

package jws_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/jws"
)

// suite is a file of Wycheproof about JOSE: keys, and messages for them.
type suite struct {
	Groups []struct {
		Comment string          `json:"comment"`
		Public  json.RawMessage `json:"public"`
		Private json.RawMessage `json:"private"` // all there is of a secret
		Tests   []struct {
			ID     int             `json:"tcId"`
			JWS    json.RawMessage `json:"jws"`
			JWE    json.RawMessage `json:"jwe"`
			Result string          `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

// deviations are the tests of the JOSE files with another outcome here than
// there, by file and number, and why.
var deviations = map[string]map[int]string{
	"json_web_key": {
		2: noHMAC, 13: noHMAC, 14: noHMAC, 15: noHMAC,
		7: roca,
	},
	"json_web_signature": {
		1: noHMAC, 348: noHMAC, 352: noHMAC, 357: noHMAC, 358: noHMAC, 359: noHMAC, 372: noHMAC, 373: noHMAC, 376: noHMAC, 377: noHMAC,
		259: emptyPayload, 264: emptyPayload, 268: emptyPayload, 272: emptyPayload, 320: emptyPayload, 325: emptyPayload,
		346: otherAlgorithm, 350: otherAlgorithm,
		347: noP521, 351: noP521,
	},
	"json_web_crypto": {
		1: noHMAC, 48: noHMAC,
		46: roca,
		50: noJWE, 67: noJWE,
	},
}

const (
	noHMAC       = "valid, refused: HMAC, for which there is no code"
	noP521       = "valid, refused: P-521, which is not in the key policy"
	noJWE        = "valid, refused: a JWE"
	emptyPayload = "valid, refused: an empty payload, which neither a token nor a proof can have"
	// the key says PS256, the message PS384
	otherAlgorithm = "valid, refused: another algorithm than the key's own"
	smallExponent  = "valid, refused: an RSA key with e = 3"
	// a weakness of one maker's chips in their time. Whoever binds tokens to
	// such a key endangers his own tokens, as with any key that he let leak
	roca = "invalid, accepted: an RSA key whose primes have the structure of CVE-2017-15361"
)

func TestWycheproofJOSE(t *testing.T) {
	t.Parallel()
	for file, known := range deviations {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			var s suite
			vectors(t, "wycheproof/"+file+"_test.json", &s)
			count, deviating := 0, 0
			for _, g := range s.Groups {
				if g.Public == nil {
					g.Public = g.Private
				}
				for _, c := range g.Tests {
					count++
					message := c.JWS
					if message == nil {
						message = c.JWE
					}
					var compact string
					if json.Unmarshal(message, &compact) != nil {
						compact = string(message) // a JSON serialization
					}
					err := verifySet(g.Public, compact)
					why, deviates := known[c.ID]
					if deviates {
						deviating++
					}
					if agrees := (err == nil) == (c.Result == "valid"); agrees == deviates {
						t.Errorf("%d of %s is %s, got %v (deviation: %q)", c.ID, g.Comment, c.Result, err, why)
					}
				}
			}
			if count < 20 || deviating != len(known) {
				t.Errorf("%d tests in the file, %d of %d deviations", count, deviating, len(known))
			}
		})
	}
}

// verifySet verifies with any key of a set, or one bare key, by the algorithm
// that the key names.
func verifySet(public []byte, compact string) error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(public, &set); err != nil {
		return err
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{public}
	}
	err := errors.New("no key")
	for _, raw := range set.Keys {
		var k *jwk.Key
		if k, err = jwk.Parse(raw); err != nil {
			continue
		}
		var m *jws.Message
		if m, err = jws.Parse(compact, wide); err != nil {
			return err
		}
		alg := k.Algorithm()
		if alg == "" {
			alg = m.Algorithm()
		}
		if err = m.Verify(k, alg); err == nil {
			return nil
		}
	}
	return err
}

// primitives is a file of Wycheproof about one signature algorithm.
type primitives struct {
	Groups []struct {
		DER   string `json:"publicKeyDer"`
		Tests []struct {
			ID        int    `json:"tcId"`
			Comment   string `json:"comment"`
			Message   string `json:"msg"`
			Signature string `json:"sig"`
			Result    string `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

// signatures are those files. The keys of refused ones do not pass the policy.
var signatures = []struct {
	file, alg string
	known     map[int]string // tests of another outcome than in the file, and why
	refused   string
}{
	{file: "ecdsa_secp256r1_sha256_p1363", alg: "ES256"},
	{file: "ecdsa_secp384r1_sha384_p1363", alg: "ES384"},
	{file: "ecdsa_secp521r1_sha512_p1363", alg: "ES512", refused: "curve is not"},
	{file: "ed25519", alg: "Ed25519"},
	{file: "rsa_signature_2048_sha256", alg: "RS256", known: map[int]string{258: smallExponent, 259: smallExponent}},
	{file: "rsa_pss_2048_sha256_mgf1_32", alg: "PS256"},
}

func TestWycheproofSignatures(t *testing.T) {
	t.Parallel()
	for _, c := range signatures {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			var s primitives
			vectors(t, "wycheproof/"+c.file+"_test.json", &s)
			count, deviating := 0, 0
			for _, g := range s.Groups {
				k, keyErr := keyOfDER(t, g.DER)
				if c.refused != "" {
					expect(t, keyErr, c.refused)
					count += len(g.Tests)
					continue
				}
				for _, v := range g.Tests {
					count++
					err := keyErr
					if err == nil {
						err = jws.Raw(c.alg, unhex(t, v.Message), unhex(t, v.Signature)).Verify(k, c.alg)
					}
					why, deviates := c.known[v.ID]
					if deviates {
						deviating++
					}
					if agrees := (err == nil) == (v.Result == "valid"); agrees == deviates {
						t.Errorf("%d (%s) is %s, got %v (deviation: %q)", v.ID, v.Comment, v.Result, err, why)
					}
				}
			}
			if count < 100 || deviating != len(c.known) {
				t.Errorf("%d tests in the file, %d of %d deviations", count, deviating, len(c.known))
			}
		})
	}
}

// keyOfDER brings a key into our own form by way of a JWK written by hand.
func keyOfDER(t *testing.T, der string) (*jwk.Key, error) {
	t.Helper()
	pub, err := x509.ParsePKIXPublicKey(unhex(t, der))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	var text string
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		text = fmt.Sprintf(`{"kty":"EC","crv":%q,"x":%q,"y":%q}`, pub.Params().Name, b64(point[1:1+half]), b64(point[1+half:]))
	case ed25519.PublicKey:
		text = fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q}`, b64(pub))
	case *rsa.PublicKey:
		e := big.NewInt(int64(pub.E)).Bytes()
		text = fmt.Sprintf(`{"kty":"RSA","e":%q,"n":%q}`, b64(e), b64(pub.N.Bytes()))
	}
	return jwk.Parse([]byte(text))
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
