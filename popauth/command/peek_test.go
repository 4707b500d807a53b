// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

func base64url(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestPeekReadsNumbersThatAreNoTimes(t *testing.T) {
	t.Parallel()
	for exp, want := range map[string]time.Time{
		"1700000000":   time.Unix(1_700_000_000, 0),
		"1700000000.5": time.Unix(1_700_000_000, 0),
		"1e300":        {},
		`"tomorrow"`:   {},
	} {
		got, ok := peek("e30." + base64url(`{"exp":`+exp+`}`) + ".c2ln")
		if !ok || !got.expires.Equal(want) {
			t.Errorf("exp %s: expires = %v, %t; want %v", exp, got.expires, ok, want)
		}
	}
}

func FuzzPeek(f *testing.F) {
	f.Add("pop_at_abc")
	f.Add("e30.e30.c2ln")
	f.Add("e30." + base64url(`{"exp":1,"cnf":{"jkt":"`+strings.Repeat("A", 43)+`"}}`) + ".c2ln")
	f.Add("e30." + base64url(`{"cnf":{"jwk":{"kty":"EC"}}}`) + ".")
	f.Fuzz(func(t *testing.T, token string) {
		got, ok := peek(token)
		if !ok && got != (unverified{}) {
			t.Errorf("peek(%q) = %+v of a token that it could not read", token, got)
		}
		if got.thumbprint != "" && (!got.bound || len(got.thumbprint) != 43) {
			t.Errorf("peek(%q) = %+v, want a thumbprint of a bound token only", token, got)
		}
	})
}

func FuzzPrintable(f *testing.F) {
	f.Add("plain text")
	f.Add("\x1b[2J\x9b1m\x00\x7f\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range printable(s) {
			if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
				t.Errorf("printable(%q) has the control character %U", s, r)
			}
		}
	})
}
