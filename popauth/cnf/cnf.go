// SPDX-License-Identifier: Apache-2.0

// Package cnf reads and writes confirmations (RFC 7800): the cnf member of a
// token, and the cnf_key parameter by which a client asks for one.
//
// It says which key has to be proven, and never that it was proven.
package cnf

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// Confirmation is the cnf member of a token. The zero value is "not bound".
type Confirmation struct {
	// JWK is the key by value (RFC 7800 §3.2), nil when there is none.
	JWK *jwk.Key

	// JKT is the key by its RFC 7638 thumbprint (RFC 9449 §6.1), empty when
	// there is none.
	JKT string

	// Unsupported are the names of the members that are not known here. A
	// confirmation with any of them cannot be proven.
	Unsupported []string
}

// thumbprintSize is the length of a SHA-256 in bytes.
const thumbprintSize = 32

// Bound says whether there is any member at all, known or not.
func (c Confirmation) Bound() bool {
	return c.JWK != nil || c.JKT != "" || len(c.Unsupported) > 0
}

// Members are the names of the members: jwk, jkt, then the unknown ones in
// the order of the token. Those are foreign text.
func (c Confirmation) Members() []string {
	var names []string
	if c.JWK != nil {
		names = append(names, "jwk")
	}
	if c.JKT != "" {
		names = append(names, "jkt")
	}
	return slices.Concat(names, c.Unsupported)
}

// Thumbprint is the RFC 7638 thumbprint of the key that has to be proven. It
// is empty when no key is named, and also when jwk and jkt name two. It does
// not look at Unsupported.
func (c Confirmation) Thumbprint() string {
	if c.JWK == nil {
		return c.JKT
	}
	thumbprint := c.JWK.Thumbprint()
	if c.JKT != "" && c.JKT != thumbprint {
		return ""
	}
	return thumbprint
}

// MarshalJSON writes {"jwk":{…}} or {"jkt":"…"}. Anything but exactly one
// known member is an error: resource servers in the field refuse two, and
// null or {} would read as "not bound" to some of them.
func (c Confirmation) MarshalJSON() ([]byte, error) {
	switch {
	case len(c.Unsupported) > 0:
		return nil, errors.New("a confirmation with unknown members cannot be written")
	case c.JWK != nil && c.JKT == "":
		return json.Marshal(map[string]*jwk.Key{"jwk": c.JWK})
	case c.JWK == nil && c.JKT != "":
		return json.Marshal(map[string]string{"jkt": c.JKT})
	}
	return nil, errors.New("a confirmation must have exactly one of 'jwk' and 'jkt'")
}

// ParseMember reads the value of a token's cnf claim. Whatever it cannot
// read is an error and never "not bound": null, {}, another type, a jwk that
// the key policy refuses, a jkt that is no thumbprint. Members that are not
// known are listed in Unsupported for the caller to refuse.
func ParseMember(v strict.Value) (Confirmation, error) {
	object, ok := v.Object()
	if !ok {
		return Confirmation{}, errors.New("'cnf' is not an object")
	}
	var c Confirmation
	for _, name := range object.Names() {
		member, _ := object.Get(name)
		switch name {
		case "jwk":
			key, err := parseJWK(member)
			if err != nil {
				return Confirmation{}, err
			}
			c.JWK = key
		case "jkt":
			text, _ := member.Text()
			sum, err := strict.DecodeBase64(text)
			if err != nil || len(sum) != thumbprintSize {
				return Confirmation{}, errors.New("'jkt' is not a base64url SHA-256 thumbprint")
			}
			c.JKT = text
		default:
			c.Unsupported = append(c.Unsupported, name)
		}
	}
	if !c.Bound() {
		return Confirmation{}, errors.New("'cnf' has no member")
	}
	return c, nil
}

func parseJWK(v strict.Value) (*jwk.Key, error) {
	object, ok := v.Object()
	if !ok {
		return nil, errors.New("'jwk' is not an object")
	}
	return jwk.FromObject(object)
}

// Interface guard
var _ json.Marshaler = Confirmation{}
