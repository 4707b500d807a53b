// SPDX-License-Identifier: Apache-2.0

package oauth

import "testing"

func TestValidScopeToken(t *testing.T) {
	t.Parallel()
	// the ABNF: 1*( %x21 / %x23-5B / %x5D-7E )
	for c := range 256 {
		want := c == 0x21 || 0x23 <= c && c <= 0x5b || 0x5d <= c && c <= 0x7e
		for _, s := range []string{string([]byte{byte(c)}), "a" + string([]byte{byte(c)}) + "b"} {
			if got := ValidScopeToken(s); got != want {
				t.Errorf("ValidScopeToken(%q) = %v, want %v", s, got, want)
			}
		}
	}
	if ValidScopeToken("") {
		t.Error("ValidScopeToken of nothing = true")
	}
}
