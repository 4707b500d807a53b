// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"encoding/base64"
	"errors"
	"strings"
)

var base64url = base64.RawURLEncoding.Strict()

// DecodeBase64 decodes base64url without padding (RFC 7515 §2). Exactly one
// text decodes to given bytes: padding, the standard alphabet, blanks, line
// ends and trailing bits other than zero are refused. An empty text decodes
// to no bytes.
func DecodeBase64(s string) ([]byte, error) {
	// the decoder of Go skips these two wherever they stand, so without this
	// a signed token could be spelled in any number of ways
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("base64url contains a line end")
	}
	b, err := base64url.DecodeString(s)
	if err != nil {
		return nil, errors.New("not canonical base64url without padding")
	}
	return b, nil
}
