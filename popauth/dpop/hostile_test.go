// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// hostile is a proof that must not pass, and the reason it must give.
type hostile struct {
	name   string
	proof  string
	reason oauth.Reason
}

// Rows T20 to T26, R05 to R09, R18 and R20 of the abuse table, as far as a
// proof alone can show them.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	w := want(t, fixture.Load(t, "p256"))
	for _, tt := range hostileProofs(t) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, refusal := dpop.Verify(tt.proof, w)
			if refusal == nil {
				t.Fatalf("accepted: %+v", p)
			}
			if p != nil {
				t.Error("got a proof beside the refusal")
			}
			if refusal.Reason != tt.reason {
				t.Errorf("got %s (%s), want %s", refusal.Reason, refusal.Detail, tt.reason)
			}
			if strings.Contains(refusal.Detail, `"`) {
				t.Errorf("the detail has a double quote: %s", refusal.Detail)
			}
			if shown := fmt.Sprintf("%+v", *refusal); strings.Contains(shown, marker[:12]) {
				t.Errorf("the refusal shows the input: %s", shown)
			}
		})
	}
}

func hostileProofs(t testing.TB) []hostile {
	t.Helper()
	key := fixture.Load(t, "p256")
	whole := key.Proof(t, good())
	var all []hostile
	raw := func(name, proof string, reason oauth.Reason) { all = append(all, hostile{name, proof, reason}) }
	header := func(name string, header object, reason oauth.Reason) {
		p := good()
		p.Header = header
		raw(name, key.Proof(t, p), reason)
	}
	claims := func(name string, claims object, reason oauth.Reason) {
		p := good()
		p.Claims = claims
		raw(name, key.Proof(t, p), reason)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	parts := strings.Split(whole, ".")

	raw("T20 empty", "", oauth.ProofMalformed)
	raw("T20 two proofs in one field", whole+", "+whole, oauth.ProofMalformed)
	raw("T20 not a JWT", marker, oauth.ProofMalformed)
	raw("T20 two parts", parts[0]+"."+parts[1], oauth.ProofMalformed)
	raw("T20 empty signature", parts[0]+"."+parts[1]+".", oauth.ProofMalformed)
	raw("R20 five parts", whole+".AAAA.AAAA", oauth.ProofMalformed)
	raw("R20 JSON serialization", `{"protected":"`+parts[0]+`","payload":"`+parts[1]+`","signature":"`+parts[2]+`"}`, oauth.ProofMalformed)
	raw("blank in front", " "+whole, oauth.ProofMalformed)
	raw("line end inside", parts[0]+".\r\n"+parts[1]+"."+parts[2], oauth.ProofMalformed)
	raw("padding", whole+"==", oauth.ProofMalformed)
	raw("trailing bits", whole[:len(whole)-1]+trailing(whole[len(whole)-1]), oauth.ProofMalformed)
	raw("dots only", strings.Repeat(".", 8<<10), oauth.ProofMalformed)
	claims("T20 more than 8 KiB", object{"x": strings.Repeat("a", 8<<10)}, oauth.ProofMalformed)
	header("header of more than 2 KiB", object{"x": strings.Repeat("a", 2<<10)}, oauth.ProofMalformed)

	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		header("T21 private member "+member, object{"jwk": public(key, object{member: marker})}, oauth.ProofKeyInvalid)
	}
	header("T21 no jwk", object{"jwk": nil}, oauth.ProofKeyInvalid)
	header("T21 kid and no jwk", object{"jwk": nil, "kid": key.Thumbprint(t)}, oauth.ProofKeyInvalid)
	header("T21 jwk a string of JSON", object{"jwk": string(key.JSON(t))}, oauth.ProofKeyInvalid)
	header("T21 jwk in an array", object{"jwk": []any{public(key, nil)}}, oauth.ProofKeyInvalid)
	header("T21 jwk empty", object{"jwk": object{}}, oauth.ProofKeyInvalid)
	header("T21 jwk for encryption", object{"jwk": public(key, object{"use": "enc"})}, oauth.ProofKeyInvalid)
	header("T21 kid beside jwk", object{"kid": marker}, oauth.ProofKeyInvalid)
	header("T21 symmetric jwk", object{"jwk": object{"kty": "oct", "k": marker}}, oauth.ProofKeyInvalid)
	for _, member := range []string{"jku", "x5u", "x5c"} {
		header("R18 "+member, object{member: "https://" + marker}, oauth.ProofMalformed)
	}
	raw("jwk P-521", fixture.Load(t, "p521").Proof(t, fixture.Proof{
		Method: method, URL: target, Token: token, Header: object{"alg": "ES256"},
	}), oauth.ProofKeyInvalid)
	raw("jwk RSA 1024", fixture.Load(t, "rsa1024").Proof(t, good()), oauth.ProofKeyInvalid)

	for _, typ := range []string{"JWT", "at+jwt", "DPoP+JWT", "application/dpop+jwt", "dpop+jwt ", "dpop", ""} {
		header(fmt.Sprintf("T22 typ %q", typ), object{"typ": typ}, oauth.ProofTypeWrong)
	}
	header("T22 no typ", object{"typ": nil}, oauth.ProofTypeWrong)
	header("typ a number", object{"typ": 1}, oauth.ProofMalformed)
	for _, alg := range []string{"none", "None", "HS256", "ES512", "ES256K", "es256", "RSA-OAEP"} {
		header("T22 alg "+alg, object{"alg": alg}, oauth.ProofAlgorithmWrong)
	}
	for _, alg := range []string{"ES384", "RS256", "PS256", "EdDSA"} {
		p := good()
		p.Header = object{"alg": alg}
		head := fmt.Appendf(nil, `{"typ":"dpop+jwt","alg":%q,"jwk":%s}`, alg, key.JSON(t))
		raw("T22 alg "+alg+" with a P-256 key", key.Raw(t, head, fmt.Appendf(nil, `{"jti":"1","htm":%q,"htu":%q,"iat":1}`, method, target), "ES256"), oauth.ProofAlgorithmWrong)
	}
	header("T22 no alg", object{"alg": nil}, oauth.ProofMalformed)
	header("alg a number", object{"alg": 1}, oauth.ProofMalformed)
	header("alg an array", object{"alg": []string{"ES256"}}, oauth.ProofMalformed)
	rsa := fixture.Load(t, "rsa2048")
	raw("alg against that of the jwk", rsa.Proof(t, fixture.Proof{
		Method: method, URL: target, Token: token, Header: object{"alg": "PS256", "jwk": public(rsa, nil)},
	}), oauth.ProofAlgorithmWrong)

	header("R20 crit empty", object{"crit": []string{}}, oauth.ProofMalformed)
	header("R20 crit", object{"crit": []string{"foo"}, "foo": 1}, oauth.ProofMalformed)
	header("R20 b64", object{"crit": []string{"b64"}, "b64": false}, oauth.ProofMalformed)
	header("R20 b64 without crit", object{"b64": false}, oauth.ProofMalformed)
	header("R20 zip", object{"zip": "DEF"}, oauth.ProofMalformed)
	head, _ := base64.RawURLEncoding.DecodeString(parts[0])
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	raw("R20 duplicate member in the header", key.Raw(t, []byte(strings.Replace(string(head), "{", `{"typ":"JWT",`, 1)), body, "ES256"), oauth.ProofMalformed)
	raw("R20 duplicate claim", key.Raw(t, head, []byte(strings.Replace(string(body), "{", `{"htm":"POST",`, 1)), "ES256"), oauth.ProofMalformed)
	raw("R20 duplicate claim, escaped", key.Raw(t, head, []byte(strings.Replace(string(body), "{", `{"ht\u006d":"POST",`, 1)), "ES256"), oauth.ProofMalformed)
	raw("claims in an array", key.Raw(t, head, append(append([]byte("["), body...), ']'), "ES256"), oauth.ProofMalformed)
	raw("claims that are no JSON", key.Raw(t, head, []byte(marker), "ES256"), oauth.ProofMalformed)
	raw("header that is no JSON", b64([]byte(marker))+"."+parts[1]+"."+parts[2], oauth.ProofMalformed)

	for _, name := range []string{"jti", "htm", "htu", "iat"} {
		claims("no "+name, object{name: nil}, oauth.ProofMalformed)
		claims(name+" an array", object{name: []any{"x"}}, oauth.ProofMalformed)
		claims(name+" true", object{name: true}, oauth.ProofMalformed)
	}
	for _, name := range []string{"jti", "htm", "htu", "nonce", "ath"} {
		claims(name+" a number", object{name: 7}, oauth.ProofMalformed)
		raw(name+" null", key.Raw(t, head, without(t, body, name), "ES256"), oauth.ProofMalformed)
	}
	claims("T26 jti empty", object{"jti": ""}, oauth.ProofMalformed)
	claims("T26 jti of 129 bytes", object{"jti": strings.Repeat("a", 129)}, oauth.ProofMalformed)
	claims("T26 jti with a line end", object{"jti": "a\nb"}, oauth.ProofMalformed)
	claims("T26 jti with NUL", object{"jti": "a\x00"}, oauth.ProofMalformed)
	claims("T26 jti with NEL", object{"jti": "a\u0085"}, oauth.ProofMalformed)
	claims("iat a string", object{"iat": "1700000000"}, oauth.ProofMalformed)
	raw("iat beyond all numbers", key.Raw(t, head, []byte(`{"jti":"1","htm":"GET","htu":"`+target+`","iat":1e999}`), "ES256"), oauth.ProofMalformed)
	claims("nonce too long", object{"nonce": strings.Repeat("a", 257)}, oauth.ProofMalformed)

	thief := fixture.Load(t, "p256-thief")
	raw("R05 proof by another key", thief.Proof(t, good()), oauth.ProofKeyMismatch)
	p := good()
	p.Header = object{"jwk": public(key, nil)}
	raw("R05 our jwk, signed by another key", thief.Proof(t, p), oauth.ProofSignatureInvalid)

	sum := sha256.Sum256([]byte(token))
	claims("R06 no ath", object{"ath": nil}, oauth.ProofTokenMismatch)
	claims("R06 empty ath", object{"ath": ""}, oauth.ProofTokenMismatch)
	claims("R06 ath of another token", object{"ath": dpop.TokenHash(token + "x")}, oauth.ProofTokenMismatch)
	claims("R06 padded ath", object{"ath": base64.URLEncoding.EncodeToString(sum[:])}, oauth.ProofTokenMismatch)
	claims("R06 hexadecimal ath", object{"ath": hex.EncodeToString(sum[:])}, oauth.ProofTokenMismatch)
	claims("R06 token as ath", object{"ath": token}, oauth.ProofTokenMismatch)
	claims("R06 ath cut short", object{"ath": dpop.TokenHash(token)[:42]}, oauth.ProofTokenMismatch)

	for _, htm := range []string{"HEAD", "POST", "get", "Get", "GET ", "*"} {
		claims(fmt.Sprintf("R07 htm %q", htm), object{"htm": htm}, oauth.ProofMethodMismatch)
	}
	claims("htm empty", object{"htm": ""}, oauth.ProofMalformed)
	claims("htu empty", object{"htu": ""}, oauth.ProofMalformed)
	for _, htu := range []string{
		"http://api.example.com/reports/7", "https://evil.example.com/reports/7", "https://api.example.com:8443/reports/7",
		"https://api.example.com/reports/8", "https://api.example.com/reports%2F7", "https://api.example.com/reports/7/",
		"https://api.example.com/Reports/7", "https://api.example.com//reports/7", "https://api.example.com/reports/7;x",
		"https://api.example.com/x/../reports/7", "https://api.example.com/./reports/7", "https://api.example.com./reports/7",
		"https://" + marker + ":pw@api.example.com/reports/7", "https://api.example.com@evil.example.com/reports/7",
		"//api.example.com/reports/7", "/reports/7", "api.example.com/reports/7", "ftp://api.example.com/reports/7",
		"https:/api.example.com/reports/7", "https:///reports/7", " " + target, target + " ", target + "\n", target + "%",
		"javascript:" + marker + "//", "https://api.example.com\\@x/reports/7?" + marker, target + "%00",
	} {
		claims(fmt.Sprintf("R09 htu %q", htu), object{"htu": htu}, oauth.ProofURLMismatch)
	}

	raw("signature of other claims", parts[0]+"."+b64([]byte(strings.Replace(string(body), `"jti":"`, `"jti":"x`, 1)))+"."+parts[2], oauth.ProofSignatureInvalid)
	raw("signature of zeros", parts[0]+"."+parts[1]+"."+b64(make([]byte, 64)), oauth.ProofSignatureInvalid)
	raw("signature cut short", parts[0]+"."+parts[1]+"."+b64(make([]byte, 63)), oauth.ProofSignatureInvalid)
	raw("signature in ASN.1", parts[0]+"."+parts[1]+"."+b64(asn1(t, key, parts[0]+"."+parts[1])), oauth.ProofSignatureInvalid)
	return all
}

// without returns the claims with one of them null.
func without(t testing.TB, claims []byte, name string) []byte {
	t.Helper()
	text := string(claims)
	start := strings.Index(text, `"`+name+`":`)
	if start < 0 {
		return []byte(strings.Replace(text, "{", `{"`+name+`":null,`, 1))
	}
	end := start + strings.IndexAny(text[start:], ",}")
	return []byte(text[:start] + `"` + name + `":null` + text[end:])
}

// trailing is the character whose last bit differs from that of c.
func trailing(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)^1])
}

func asn1(t testing.TB, k fixture.Key, input string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	signature, err := ecdsa.SignASN1(rand.Reader, k.Private.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// An RSA-4096 key must fit into the limit of the header. The step after jwk
// is where a proof that says nothing else is refused.
func TestVerifyReadsTheLargestKey(t *testing.T) {
	t.Parallel()
	n := make([]byte, 512)
	n[0], n[511] = 0x80, 1
	head := fmt.Appendf(nil, `{"typ":"dpop+jwt","alg":"PS512","jwk":{"kty":"RSA","e":"AQAB","kid":%q,"n":%q}}`,
		strings.Repeat("k", 128), base64.RawURLEncoding.EncodeToString(n))
	w := dpop.Want{Trace: func(step string, err error) {
		if (err != nil) != (step == "claims") {
			t.Errorf("step %s: got error %v", step, err)
		}
	}}
	key := fixture.Load(t, "rsa2048")
	if _, refusal := dpop.Verify(key.Raw(t, head, []byte("{}"), "PS512"), w); refusal == nil {
		t.Error("accepted a proof without claims")
	}
}

// A confirmation key that names an algorithm must be proven with it.
func TestVerifyHoldsToTheConfirmedAlgorithm(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key, alg, confirmed string
		ok                  bool
	}{
		{"rsa2048", "RS256", "RS256", true},
		{"rsa2048", "PS256", "RS256", false},
		{"rsa2048", "RS512", "RS256", false},
		{"ed25519", "Ed25519", "EdDSA", true},
		{"ed25519", "EdDSA", "Ed25519", true},
		{"p256", "ES256", "ES384", false},
	} {
		t.Run(tt.alg+" for "+tt.confirmed, func(t *testing.T) {
			t.Parallel()
			key := fixture.Load(t, tt.key)
			p, w := good(), want(t, key)
			p.Header, w.Algorithm = object{"alg": tt.alg}, tt.confirmed
			_, refusal := dpop.Verify(key.Proof(t, p), w)
			if tt.ok {
				if refusal != nil {
					t.Errorf("refused: %v", refusal)
				}
				return
			}
			if refusal == nil {
				t.Fatal("accepted")
			}
			if refusal.Reason != oauth.ProofAlgorithmWrong || refusal.Expected != tt.confirmed || refusal.Got != tt.alg {
				t.Errorf("got %s, expected %q, got %q", refusal.Reason, refusal.Expected, refusal.Got)
			}
		})
	}
}
