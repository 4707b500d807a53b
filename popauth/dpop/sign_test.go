// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
)

func claims() dpop.Claims {
	return dpop.Claims{
		ID: "id-1", Method: method, URL: target, Nonce: "n-1",
		TokenHash: dpop.TokenHash(token), IssuedAt: time.Unix(1700000000, 999),
	}
}

func parseKey(t testing.TB, k fixture.Key) *jwk.Key {
	t.Helper()
	key, err := jwk.FromPublic(k.Public(), "", "")
	if err != nil {
		t.Fatalf("taking the test's own key: %v", err)
	}
	return key
}

func TestSignMakesProofsThatPass(t *testing.T) {
	t.Parallel()
	for name, algs := range map[string][]string{
		"p256":    {"ES256"},
		"p384":    {"ES384"},
		"ed25519": {"Ed25519", "EdDSA"},
		"rsa2048": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
	} {
		key := fixture.Load(t, name)
		for _, alg := range algs {
			t.Run(alg, func(t *testing.T) {
				t.Parallel()
				proof, err := dpop.Sign(key.Private, parseKey(t, key), alg, claims())
				if err != nil {
					t.Fatalf("signing: %v", err)
				}
				p, refusal := dpop.Verify(proof, want(t, key))
				if refusal != nil {
					t.Fatalf("refused: %v", refusal)
				}
				if p.ID != "id-1" || p.Nonce != "n-1" || p.Algorithm != alg || p.IssuedAt != 1700000000 {
					t.Errorf("got %+v", p)
				}
			})
		}
	}
}

func TestSignTakesTheKeyOfTheSeed(t *testing.T) {
	t.Parallel()
	fix := fixture.Load(t, "rsa2048-rs512")
	key, err := jwk.Parse(fix.JSON(t))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := dpop.Sign(fix.Private, key, key.Algorithm(), claims())
	if err != nil {
		t.Fatalf("signing: %v", err)
	}
	w := want(t, fix)
	w.Algorithm = "RS512"
	if _, refusal := dpop.Verify(proof, w); refusal != nil {
		t.Errorf("refused: %v", refusal)
	}
	if _, err := dpop.Sign(fix.Private, key, "RS256", claims()); err == nil {
		t.Error("signed with another algorithm than that of the key")
	}
}

func TestSignLeavesOut(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	c := claims()
	c.URL, c.Nonce, c.TokenHash = target+"?secret=1#x", "", ""
	proof, err := dpop.Sign(key.Private, parseKey(t, key), "ES256", c)
	if err != nil {
		t.Fatalf("signing: %v", err)
	}
	part := func(i int) (members map[string]any) {
		b, err := base64.RawURLEncoding.DecodeString(strings.Split(proof, ".")[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &members); err != nil {
			t.Fatal(err)
		}
		return members
	}
	body := part(1)
	if _, ok := body["nonce"]; ok {
		t.Error("an empty nonce was written")
	}
	if _, ok := body["ath"]; ok {
		t.Error("an empty ath was written")
	}
	if body["htu"] != target {
		t.Errorf("htu: got %v, want it without query and fragment", body["htu"])
	}
	if _, ok := part(0)["jwk"].(map[string]any)["d"]; ok {
		t.Error("the private key was written")
	}
	for _, c.URL = range []string{"?secret=1", "#x"} {
		if proof, err = dpop.Sign(key.Private, parseKey(t, key), "ES256", c); err != nil || part(1)["htu"] != "" {
			t.Errorf("%q alone: got htu %v, %v", c.URL, part(1)["htu"], err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	ours, thief, big := fixture.Load(t, "p256"), fixture.Load(t, "p256-thief"), fixture.Load(t, "rsa2048")
	if _, err := dpop.Sign(thief.Private, parseKey(t, ours), "ES256", claims()); err == nil {
		t.Error("signed with a key that is not the signer's")
	}
	if _, err := dpop.Sign(big.Private, parseKey(t, ours), "ES256", claims()); err == nil {
		t.Error("signed with a key of another type")
	}
	for _, alg := range []string{"", "none", "HS256", "ES384", "ES512", "RS256", "EdDSA"} {
		if _, err := dpop.Sign(ours.Private, parseKey(t, ours), alg, claims()); err == nil {
			t.Errorf("signed with %q by a P-256 key", alg)
		}
	}
}

// odd is a signer that returns what it was told to.
type odd struct {
	crypto.Signer
	signature []byte
	err       error
}

func (o odd) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return o.signature, o.err }

// A signer may be a device or a service. What is no signature of it must not
// become a proof that only the server finds wrong.
func TestSignRefusesOddSignatures(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	long := append([]byte{0x30, 38, 0x02, 33, 0x01}, make([]byte, 32)...) // r of 33 bytes, s = 1
	long = append(long, 0x02, 1, 1)
	for name, o := range map[string]odd{
		"error":           {err: errors.New("no such device")},
		"nothing":         {},
		"r and s bare":    {signature: make([]byte, 64)},
		"something after": {signature: []byte{0x30, 6, 2, 1, 1, 2, 1, 1, 0}},
		"negative r":      {signature: []byte{0x30, 6, 2, 1, 0xff, 2, 1, 1}},
		"negative s":      {signature: []byte{0x30, 6, 2, 1, 1, 2, 1, 0xff}},
		"r = 0":           {signature: []byte{0x30, 6, 2, 1, 0, 2, 1, 1}},
		"s = 0":           {signature: []byte{0x30, 6, 2, 1, 1, 2, 1, 0}},
		"r too long":      {signature: long},
		"s too long":      {signature: slices.Concat(long[:2], long[37:], long[2:37])},
	} {
		o.Signer = key.Private
		if proof, err := dpop.Sign(o, parseKey(t, key), "ES256", claims()); err == nil {
			t.Errorf("%s: got the proof %s", name, proof)
		}
	}
	for name, alg := range map[string]string{"rsa2048": "PS256", "ed25519": "EdDSA"} {
		other := fixture.Load(t, name)
		o := odd{Signer: other.Private, err: errors.New("no such device")}
		if proof, err := dpop.Sign(o, parseKey(t, other), alg, claims()); err == nil {
			t.Errorf("error of %s: got the proof %s", name, proof)
		}
	}
	o := odd{Signer: key.Private, signature: []byte{0x30, 6, 2, 1, 1, 2, 1, 2}}
	proof, err := dpop.Sign(o, parseKey(t, key), "ES256", claims())
	if err != nil {
		t.Fatalf("small r and s: %v", err)
	}
	want := make([]byte, 64)
	want[31], want[63] = 1, 2
	if got := proof[strings.LastIndexByte(proof, '.')+1:]; got != base64.RawURLEncoding.EncodeToString(want) {
		t.Errorf("small r and s: got %s, want them padded to 32 bytes each", got)
	}
}
