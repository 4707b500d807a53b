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
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func FuzzVerify(f *testing.F) {
	key := fixture.Load(f, "p256")
	w := want(f, key)
	f.Add(key.Proof(f, good()))
	for i := range steps {
		f.Add(wrongFrom(f, i))
	}
	f.Add("...")
	fixture.EachVector(f, func(v any) {
		if text, ok := v.(string); ok && strings.Count(text, ".") == 2 && !strings.Contains(text, " ") {
			f.Add(text)
		}
	}, "rfc-jose.json")
	f.Fuzz(func(t *testing.T, proof string) {
		p, refusal := dpop.Verify(proof, w)
		if (p == nil) == (refusal == nil) {
			t.Fatalf("got proof %v and refusal %v", p, refusal)
		}
		if len(proof) > dpop.MaxSize && p != nil {
			t.Fatalf("accepted %d bytes", len(proof))
		}
		assertReason(t, refusal)
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
		assertReason(t, refusal)
		assertWanted(t, p, w)
	})
}

// assertReason sees to it that a proof is refused as what the client did wrong.
func assertReason(t *testing.T, refusal *oauth.Refusal) {
	t.Helper()
	if refusal == nil {
		return
	}
	if rule := refusal.Reason.Rule(); rule.API != 401 {
		t.Errorf("refused with %q, which is %d", refusal.Reason, rule.API)
	}
	if text := refusal.Description(); strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
		t.Errorf("describes it as %q", text)
	}
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
