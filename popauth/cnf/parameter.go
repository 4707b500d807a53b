// SPDX-License-Identifier: Apache-2.0

package cnf

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// maxEncoded is the most bytes that a cnf_key parameter may have. The base64
// of jwk.MaxSize bytes has 10,924; the rest is room for line ends.
const maxEncoded = 12 << 10

// limits of the decoded parameter. {"jwk":{"key_ops":[…]}} is three deep.
var limits = strict.Limits{Size: jwk.MaxSize, Depth: 4, Members: 64}

// ParseParameter reads the cnf_key parameter of a token request: the base64
// of the RFC 7800 object {"jwk":{…}}, or of the bare JWK. The key has then
// passed the key policy; that the client holds it has not been shown.
//
// The encoding is read generously (base64 or base64url, padded or not, broken
// into lines, with + turned into a space by a form), the content strictly.
// The refusal is oauth.ConfirmationKeyInvalid and names the rule, never any
// part of the value, which may be a private key sent by mistake.
func ParseParameter(value string) (*jwk.Key, *oauth.Refusal) {
	key, err := parseParameter(value)
	if err != nil {
		return nil, oauth.Refuse(oauth.ConfirmationKeyInvalid, err.Error())
	}
	return key, nil
}

func parseParameter(value string) (*jwk.Key, error) {
	if len(value) > maxEncoded {
		return nil, errors.New("it is too long")
	}
	data, err := decode(value)
	if err != nil {
		return nil, err
	}
	object, err := strict.ParseObject(data, limits)
	if err != nil {
		return nil, err
	}
	member, wrapped := object.Get("jwk")
	switch {
	case wrapped && object.Len() > 1:
		// a member beside jwk is another confirmation method, which the
		// client believes to be honoured, or a bare JWK with a jwk inside,
		// which two readers would read differently.
		return nil, errors.New("there is another member beside 'jwk'")
	case wrapped:
		return parseJWK(member)
	case object.Has("kty"):
		return jwk.FromObject(object)
	}
	return nil, errors.New("it is neither a JWK nor an object with the member 'jwk'")
}

// lineEnds are dropped wherever they stand: tools that write base64 break it
// into lines.
var lineEnds = strings.NewReplacer("\r", "", "\n", "", "\t", "")

// decode decodes any of the four common spellings of base64. Bits that are
// left over must be zero (RFC 4648 §3.5), and one text has one alphabet.
func decode(value string) ([]byte, error) {
	text := strings.Trim(lineEnds.Replace(value), " ")
	// a form turns an unescaped + into a space, and no alphabet has a space
	text = strings.ReplaceAll(text, " ", "+")

	encoding := base64.StdEncoding
	if strings.ContainsAny(text, "-_") {
		if strings.ContainsAny(text, "+/") {
			return nil, errors.New("it mixes base64 and base64url")
		}
		encoding = base64.URLEncoding
	}
	if !strings.Contains(text, "=") {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	data, err := encoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	return data, nil
}
