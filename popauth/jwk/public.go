// SPDX-License-Identifier: Apache-2.0

package jwk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
)

// FromPublic takes a *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey
// through the same policy. kid and alg may be ""; use stays "".
func FromPublic(pub crypto.PublicKey, kid, alg string) (*Key, error) {
	m, err := convert(pub)
	if err != nil {
		return nil, err
	}
	k := &Key{id: kid, algorithm: alg}
	return k.complete(m)
}

func convert(pub crypto.PublicKey) (material, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if pub == nil {
			return material{}, errors.New("key is nil")
		}
		return convertCurve(pub)
	case ed25519.PublicKey:
		return edwardsKey(pub)
	case *rsa.PublicKey:
		if pub == nil || pub.N == nil {
			return material{}, errors.New("key is nil")
		}
		if pub.E != exponent {
			return material{}, errExponent
		}
		if pub.N.Sign() < 0 {
			return material{}, errShortModulus
		}
		return rsaKey(pub.N.Bytes())
	}
	return material{}, errors.New("key type is not EC, OKP or RSA")
}

func convertCurve(pub *ecdsa.PublicKey) (material, error) {
	var c curve
	switch pub.Curve {
	case elliptic.P256():
		c = p256Curve
	case elliptic.P384():
		c = p384Curve
	default:
		return material{}, errCurve
	}
	point, err := pub.Bytes()
	if err != nil {
		return material{}, errPoint
	}
	return curveKey(c, point[1:1+c.size], point[1+c.size:])
}
