// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
)

func TestAmbiguous(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		values []string
		want   bool
	}{
		{"no field", nil, false},
		{"one proof", []string{"a.b.c"}, false},
		{"an empty field", []string{""}, false},
		{"two fields", []string{"a.b.c", "d.e.f"}, true},
		{"the same proof twice", []string{"a.b.c", "a.b.c"}, true},
		{"two empty fields", []string{"", ""}, true},
		{"three fields", []string{"a", "b", "c"}, true},
		{"two proofs in one field", []string{"a.b.c,d.e.f"}, true},
		{"a comma alone", []string{","}, true},
		{"a comma in the second field", []string{"a.b.c", ","}, true},
	} {
		if got := dpop.Ambiguous(tt.values); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Every limit is what is said of it, to the byte.
func TestVerifyHoldsLimits(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	const most = 2 << 10 / 4 * 3 // bytes that base64 makes 2 KiB of
	header := func(size int) object {
		text := fixture.Proof{Method: method, URL: target, Token: token, Header: object{"pad": ""}}
		encoded, _, _ := strings.Cut(key.Proof(t, text), ".")
		return object{"pad": strings.Repeat("x", size-len(encoded)*3/4)}
	}
	for _, tt := range []struct {
		name           string
		header, claims object
		detail         string
	}{
		{"as much header as allowed", header(most), nil, ""},
		{"a byte more", header(most + 1), nil, "JWS header is longer than 2048 bytes"},
		{"the longest jti", nil, object{"jti": strings.Repeat("a", 128)}, ""},
		{"the longest nonce", nil, object{"nonce": strings.Repeat("a", 256)}, ""},
		{"a byte more of it", nil, object{"nonce": strings.Repeat("a", 257)}, "'nonce' is too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := good()
			p.Header, p.Claims = tt.header, tt.claims
			_, r := dpop.Verify(key.Proof(t, p), want(t, key))
			if got := fmt.Sprint(r); (r == nil) != (tt.detail == "") || r != nil && r.Detail != tt.detail {
				t.Errorf("got %s, want %q", got, tt.detail)
			}
		})
	}
}

// sized is a proof of exactly that many bytes. The padding is shared between
// header and claims, since base64 alone has no text of every length.
func sized(t *testing.T, key fixture.Key, size int) string {
	t.Helper()
	for header := range 3 {
		for claims := size * 3 / 4; claims > 0; claims-- {
			p := good()
			p.Header, p.Claims = object{"pad": strings.Repeat("x", header)}, object{"pad": strings.Repeat("x", claims)}
			proof := key.Proof(t, p)
			if len(proof) == size {
				return proof
			}
			claims -= max(0, (len(proof)-size)*3/4-3)
			if len(proof) < size {
				break
			}
		}
	}
	t.Fatalf("no proof of %d bytes", size)
	return ""
}

func TestVerifyHoldsTheSizeOfProofs(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	if _, r := dpop.Verify(sized(t, key, 8<<10), want(t, key)); r != nil {
		t.Errorf("8192 bytes: refused: %v", r)
	}
	if _, r := dpop.Verify(sized(t, key, 8<<10+1), want(t, key)); r == nil || r.Detail != "JWS is longer than 8192 bytes" {
		t.Errorf("8193 bytes: got %v", r)
	}
}
