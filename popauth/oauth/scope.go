// SPDX-License-Identifier: Apache-2.0

package oauth

// ValidScopeToken says that s is one scope: scope-token of RFC 6749 §3.3,
// printable ASCII without space, quotation mark and backslash, and not empty.
func ValidScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
