// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
)

func FuzzVerify(f *testing.F) {
	key := fixture.Load(f, "p256")
	w := want(f, key)
	f.Add(key.Proof(f, good()))
	for i := range steps {
		f.Add(wrongFrom(f, i))
	}
	f.Add("...")
	f.Fuzz(func(t *testing.T, proof string) {
		p, refusal := dpop.Verify(proof, w)
		if (p == nil) == (refusal == nil) {
			t.Fatalf("got proof %v and refusal %v", p, refusal)
		}
		assertWanted(t, p, w)
	})
}

// FuzzVerifySigned gets beyond the signature by signing what it is given.
func FuzzVerifySigned(f *testing.F) {
	key := fixture.Load(f, "p256")
	w := want(f, key)
	for _, proof := range []string{key.Proof(f, good()), wrongFrom(f, 1), wrongFrom(f, 4), wrongFrom(f, 7)} {
		var parts [2][]byte
		for i, part := range strings.Split(proof, ".")[:2] {
			parts[i], _ = base64.RawURLEncoding.DecodeString(part)
		}
		f.Add(parts[0], parts[1])
	}
	f.Fuzz(func(t *testing.T, header, claims []byte) {
		p, refusal := dpop.Verify(key.Raw(t, header, claims, "ES256"), w)
		if (p == nil) == (refusal == nil) {
			t.Fatalf("got proof %v and refusal %v", p, refusal)
		}
		if refusal != nil && strings.Contains(fmt.Sprintf("%+v", *refusal), marker) {
			t.Fatalf("the refusal shows a private key: %+v", *refusal)
		}
		assertWanted(t, p, w)
	})
}

func assertWanted(t *testing.T, p *dpop.Proof, w dpop.Want) {
	t.Helper()
	if p == nil {
		return
	}
	url, err := dpop.Normalize(p.URL)
	if err != nil || !slices.Contains(w.URLs, url) {
		t.Errorf("accepted htu %q", p.URL)
	}
	if p.Method != w.Method || p.TokenHash != w.TokenHash || p.Key.Thumbprint() != w.Thumbprint {
		t.Errorf("accepted %+v for %+v", p, w)
	}
	if p.ID == "" || len(p.ID) > 128 {
		t.Errorf("accepted jti %q", p.ID)
	}
}
