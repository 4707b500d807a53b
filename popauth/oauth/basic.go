// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// maxAuthorizationBytes is the longest Authorization field that we decode.
const maxAuthorizationBytes = 8 << 10

// Credentials is one reading of a Basic Authorization field. Neither member
// is checked; both may be empty.
type Credentials struct{ ID, Secret string }

// Basic reads the client credentials of the Authorization field.
//
// There are two readings. RFC 6749 §2.3.1 has the client form-encode its id
// and its secret before they are joined by a colon; many clients, among them
// curl -u, follow RFC 7617 alone and join them as they are. The field does not
// tell which was meant, so both are returned, the one of RFC 6749 first, or
// one only where they are equal or the first is not possible. The caller must
// try them all and count one failure.
//
// The first colon ends the id. An id that has one itself can therefore be sent
// form-encoded only.
//
// Present says that there is an Authorization field, also beside a refusal.
// Another scheme, a second field, one of more than 8 KiB, base64 that is not
// canonical and credentials without a colon are ClientUnauthenticated.
func Basic(h http.Header) (readings []Credentials, present bool, refusal *Refusal) {
	fields := h.Values("Authorization")
	if len(fields) == 0 {
		return nil, false, nil
	}
	if len(fields) > 1 {
		return nil, true, Refuse(ClientUnauthenticated, "there must be exactly one Authorization field")
	}
	decoded, detail := decodeBasic(fields[0])
	if detail != "" {
		return nil, true, Refuse(ClientUnauthenticated, detail)
	}
	id, secret, ok := strings.Cut(decoded, ":")
	if !ok {
		return nil, true, Refuse(ClientUnauthenticated, "the Basic credentials have no colon")
	}
	raw := Credentials{ID: id, Secret: secret}
	encoded, ok := raw.unescape()
	if !ok || encoded == raw {
		return []Credentials{raw}, true, nil
	}
	return []Credentials{encoded, raw}, true, nil
}

// decodeBasic returns what is behind the Basic scheme, or which rule the
// field breaks.
func decodeBasic(field string) (decoded, detail string) {
	if len(field) > maxAuthorizationBytes {
		return "", "the Authorization field is too large"
	}
	scheme, rest, _ := strings.Cut(field, " ")
	// the length keeps EqualFold to ASCII: it also folds U+017F to s
	if len(scheme) != len("Basic") || !strings.EqualFold(scheme, "Basic") {
		return "", "the scheme of the Authorization field is not Basic"
	}
	rest = strings.TrimLeft(rest, " ")
	b, err := base64.StdEncoding.Strict().DecodeString(rest)
	// encoding/base64 skips line ends even when it is strict
	if err != nil || strings.ContainsAny(rest, "\r\n") {
		return "", "the Basic credentials are not base64"
	}
	return string(b), ""
}

// unescape is the reading of RFC 6749 §2.3.1; false when it is not possible.
func (c Credentials) unescape() (Credentials, bool) {
	id, errID := url.QueryUnescape(c.ID)
	secret, errSecret := url.QueryUnescape(c.Secret)
	return Credentials{ID: id, Secret: secret}, errID == nil && errSecret == nil
}
