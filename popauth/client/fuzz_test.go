// SPDX-License-Identifier: Apache-2.0

package client

import (
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
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
