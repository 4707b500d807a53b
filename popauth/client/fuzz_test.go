// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
)

func FuzzAssertion(f *testing.F) {
	k := newKeyed(f, all(f)...)
	var good []string
	for _, id := range []string{"p256", "p384", "ed25519"} {
		good = append(good, k.sign(f, id, id, nil, nil))
	}
	good = append(good, fixture.Load(f, "p256").FlipS(f, good[0]))
	for _, seed := range append(good, "", "..", "e30.e30.AA", k.sign(f, "p256", "nobody", members{"typ": "dpop+jwt"}, nil)) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, refusal := k.Authenticate(nil, asserted(text))
		if (refusal == nil) == (a.Client == nil) {
			t.Fatalf("Authenticate = %v, %v; want one of the two", a.Client, refusal)
		}
		// nobody but the holder of a key makes an assertion. The signature of
		// ECDSA is another one in each process
		input := func(jws string) string { return jws[:strings.LastIndexByte(jws, '.')+1] }
		if refusal == nil && !slices.ContainsFunc(good, func(g string) bool { return input(g) == input(text) }) {
			t.Errorf("Authenticate lets in %q", text)
		}
	})
}

// FuzzParseKeySet: every key of a set passes the policy and has an algorithm,
// and what is written of them is read again as the same set.
func FuzzParseKeySet(f *testing.F) {
	var members []json.RawMessage
	for _, name := range []string{"p256", "p384", "ed25519", "rsa2048"} {
		members = append(members, fixture.Load(f, name).JSON(f))
	}
	set := func(keys ...json.RawMessage) []byte {
		text, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			f.Fatal(err)
		}
		return text
	}
	f.Add(set(members...))
	f.Add(set())
	f.Add([]byte(`{"keys":{}}`))
	f.Add([]byte(members[0]))
	f.Add(set(json.RawMessage(`{"kty":"oct","k":"AA"}`), members[0]))
	fixture.EachVector(f, func(v any) {
		if key, ok := v.(map[string]any); ok && key["kty"] != nil {
			text, err := json.Marshal(key)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(set(text))
		}
	}, "rfc-jose.json", "jose-cookbook/jwk", "wycheproof/json_web_key_test.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ParseKeySet(data)
		if err != nil {
			if keys != nil {
				t.Fatalf("keys beside the error %v", err)
			}
			return
		}
		if len(keys) == 0 || len(data) > maxKeySet {
			t.Fatalf("accepted %d keys in %d bytes", len(keys), len(data))
		}
		for _, k := range keys {
			if algorithm, err := algorithmOf(k); err != nil || !k.Allows(algorithm) {
				t.Fatalf("accepted a key without an algorithm: %q, %v", algorithm, err)
			}
		}
		written, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseKeySet(written)
		if err != nil || !slices.EqualFunc(again, keys, func(a, b *jwk.Key) bool { return a.Thumbprint() == b.Thumbprint() && a.ID() == b.ID() }) {
			t.Fatalf("%s became %s: %v", data, written, err)
		}
	})
}
