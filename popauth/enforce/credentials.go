// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// Sizes in bytes. The header is counted as names and values, without what a
// version of HTTP puts around them.
const (
	maxCredentials = 8 << 10
	maxHeader      = 16 << 10
)

// sizes refuses what is too large to be worth a look. The Authorization field
// and those of the proof methods are limited one by one.
func sizes(h http.Header) *oauth.Refusal {
	total := 0
	for name, values := range h {
		for _, value := range values {
			if len(value) > maxCredentials && isCredential(name) {
				return &oauth.Refusal{Reason: oauth.CredentialsTooLarge, Got: strconv.Itoa(len(value)), Limit: strconv.Itoa(maxCredentials)}
			}
			total += len(name) + len(value)
		}
	}
	if total > maxHeader {
		return &oauth.Refusal{Reason: oauth.HeadersTooLarge, Got: strconv.Itoa(total), Limit: strconv.Itoa(maxHeader)}
	}
	return nil
}

// isCredential says whether a field carries the token or a proof.
func isCredential(field string) bool {
	if strings.EqualFold(field, "Authorization") {
		return true
	}
	for _, m := range methods {
		if strings.EqualFold(field, m.field) {
			return true
		}
	}
	return false
}

// connection refuses a Connection field that names a credential (RFC 9110
// §7.6.1). A proxy behind us would delete the field, so that the upstream
// judged another request than we did.
func connection(h http.Header) *oauth.Refusal {
	for _, value := range h.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			if isCredential(strings.Trim(name, " \t")) {
				return oauth.Refuse(oauth.AmbiguousConnection, "")
			}
		}
	}
	return nil
}

// credentials is what an Authorization field carries.
type credentials struct {
	token  string
	bearer bool // by the Bearer scheme, not by DPoP
}

// authorization reads the Authorization field: the scheme DPoP (RFC 9449
// §7.1) or Bearer (RFC 6750 §2.1) in any letter case, blanks, and one token.
// It does not know what a token of ours looks like.
func authorization(h http.Header) (credentials, *oauth.Refusal) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return credentials{}, oauth.Refuse(oauth.TokenMissing, "")
	}
	if len(values) > 1 {
		return credentials{}, oauth.Refuse(oauth.AmbiguousAuthorization, "")
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	bearer := strings.EqualFold(scheme, "Bearer")
	if !bearer && !strings.EqualFold(scheme, "DPoP") {
		return credentials{}, oauth.Refuse(oauth.TokenMissing, "")
	}
	token := strings.TrimLeft(rest, " ")
	if !isToken68(token) {
		return credentials{}, oauth.Refuse(oauth.AmbiguousAuthorization, "")
	}
	return credentials{token: token, bearer: bearer}, nil
}

// isToken68 checks the grammar of RFC 9110 §11.2: at least one character of
// the set, then any number of "=". A blank or a comma ends it, so two tokens
// in one field are not one.
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
