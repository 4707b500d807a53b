// SPDX-License-Identifier: Apache-2.0

package jwk

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"slices"

	"github.com/popauth/caddy-popauth/popauth/strict"
)

// The policy for RSA. Its one exponent is the one that everybody uses: small
// ones have a history of forged padding, large ones cost the verifier.
const (
	minModulus = 2048 // bits
	maxModulus = 4096 // bits
	exponent   = 65537
	exponent64 = "AQAB"
)

// Rules that both the JWK and the Go form of a key can break.
var (
	errCurve        = errors.New("curve is not P-256, P-384 or Ed25519")
	errPoint        = errors.New("point is not on the curve")
	errExponent     = errors.New("RSA exponent is not 65537")
	errShortModulus = fmt.Errorf("RSA modulus is shorter than %d bits", minModulus)
	errLongModulus  = fmt.Errorf("RSA modulus is longer than %d bits", maxModulus)
)

// family is what decides on the algorithms of a key.
type family uint8

const (
	p256 family = iota + 1
	p384
	edwards
	rsaFamily
)

func (f family) algorithms() []string {
	switch f {
	case p256:
		return []string{"ES256"}
	case p384:
		return []string{"ES384"}
	case edwards:
		return []string{"Ed25519", "EdDSA"}
	case rsaFamily:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	}
	return nil
}

// curve is a curve of kty EC.
type curve struct {
	family family
	name   string
	size   int // bytes of a coordinate
	params elliptic.Curve
}

var (
	p256Curve = curve{p256, "P-256", 32, elliptic.P256()}
	p384Curve = curve{p384, "P-384", 48, elliptic.P384()}
)

// readMaterial reads the required members of the key types (RFC 7518 §6.2
// and §6.3, RFC 8037 §2).
func readMaterial(o strict.Object) (material, error) {
	kty, _ := o.Text("kty")
	switch kty {
	case "EC":
		return readCurve(o)
	case "OKP":
		return readEdwards(o)
	case "RSA":
		return readRSA(o)
	}
	return material{}, errors.New("key type is not EC, OKP or RSA")
}

func readCurve(o strict.Object) (material, error) {
	var c curve
	switch crv, _ := o.Text("crv"); crv {
	case p256Curve.name:
		c = p256Curve
	case p384Curve.name:
		c = p384Curve
	default:
		return material{}, errCurve
	}
	x, err := coordinate(o, "x", c.size)
	if err != nil {
		return material{}, err
	}
	y, err := coordinate(o, "y", c.size)
	if err != nil {
		return material{}, err
	}
	return curveKey(c, x, y)
}

// curveKey takes coordinates of the exact size.
func curveKey(c curve, x, y []byte) (material, error) {
	// fails for coordinates beyond the field and for points that are not on
	// the curve, (0,0) among them
	pub, err := ecdsa.ParseUncompressedPublicKey(c.params, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return material{}, errPoint
	}
	return material{
		family:    c.family,
		public:    pub,
		canonical: `{"crv":"` + c.name + `","kty":"EC","x":"` + encode(x) + `","y":"` + encode(y) + `"}`,
	}, nil
}

func readEdwards(o strict.Object) (material, error) {
	if crv, _ := o.Text("crv"); crv != "Ed25519" {
		return material{}, errCurve
	}
	x, err := coordinate(o, "x", ed25519.PublicKeySize)
	if err != nil {
		return material{}, err
	}
	return edwardsKey(x)
}

// edwardsKey takes an encoded point of Ed25519. It does not find out whether
// there is a point with that y, which costs as much as half a verification:
// no signature verifies with a key that has none.
func edwardsKey(x []byte) (material, error) {
	if len(x) != ed25519.PublicKeySize {
		return material{}, errors.New("'x' does not have the length of the curve")
	}
	if err := checkEdwards([ed25519.PublicKeySize]byte(x)); err != nil {
		return material{}, err
	}
	return material{
		family:    edwards,
		public:    ed25519.PublicKey(slices.Clone(x)),
		canonical: `{"crv":"Ed25519","kty":"OKP","x":"` + encode(x) + `"}`,
	}, nil
}

func readRSA(o strict.Object) (material, error) {
	// one spelling of one number, so nothing is left to compare
	if e, _ := o.Text("e"); e != exponent64 {
		return material{}, errExponent
	}
	text, ok := o.Text("n")
	if !ok {
		return material{}, errors.New("'n' is missing or not a string")
	}
	// by length, before any work on it: verifying with 16384 bits takes
	// milliseconds
	if len(text) > base64.RawURLEncoding.EncodedLen(maxModulus/8) {
		return material{}, errLongModulus
	}
	n, err := strict.DecodeBase64(text)
	if err != nil {
		return material{}, fmt.Errorf("'n': %w", err)
	}
	return rsaKey(n)
}

// rsaKey takes a modulus in big-endian order.
func rsaKey(n []byte) (material, error) {
	if len(n) > 0 && n[0] == 0 {
		return material{}, errors.New("RSA modulus has a leading zero octet")
	}
	switch size := bitLen(n); {
	case size < minModulus:
		return material{}, errShortModulus
	case size > maxModulus:
		return material{}, errLongModulus
	}
	if n[len(n)-1]&1 == 0 {
		return material{}, errors.New("RSA modulus is even")
	}
	return material{
		family:    rsaFamily,
		public:    &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exponent},
		canonical: `{"e":"` + exponent64 + `","kty":"RSA","n":"` + encode(n) + `"}`,
	}, nil
}

// bitLen is the bit length of a number without leading zero octets.
func bitLen(n []byte) int {
	if len(n) == 0 {
		return 0
	}
	return 8*(len(n)-1) + bits.Len8(n[0])
}

// coordinate reads a member of exactly size bytes. RFC 7518 §6.2.1.2 demands
// the full length, leading zeros included.
func coordinate(o strict.Object, name string, size int) ([]byte, error) {
	text, ok := o.Text(name)
	if !ok {
		return nil, fmt.Errorf("'%s' is missing or not a string", name)
	}
	if len(text) != base64.RawURLEncoding.EncodedLen(size) {
		return nil, fmt.Errorf("'%s' does not have the length of the curve", name)
	}
	b, err := strict.DecodeBase64(text)
	if err != nil {
		return nil, fmt.Errorf("'%s': %w", name, err)
	}
	return b, nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func thumbprint(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return encode(sum[:])
}
