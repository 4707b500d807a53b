// SPDX-License-Identifier: Apache-2.0

// Package jwk reads public keys as JSON Web Keys (RFC 7517, RFC 8037) and
// holds them to one key policy, wherever they come from.
//
// A key that passed is P-256, P-384, Ed25519 or RSA of 2048 to 4096 bits with
// e = 65537, in its one canonical encoding, meant for verifying signatures.
// What JOSE libraries are known to let through is refused here: points of low
// order, for which a signature over everything exists; RSA numbers that are
// even, tiny or so large that verifying stalls; leading zeros and other second
// spellings, which would share a thumbprint or have several; and private
// members, which mean that somebody published his secret.
//
// The package fetches nothing, follows no certificates and knows no sets of
// keys. A Key says nothing about who holds the private half.
//
// Errors name the rule that was broken and contain nothing of the input.
package jwk

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/popauth/caddy-popauth/popauth/strict"
)

// MaxSize is the most bytes that a JWK may have.
const MaxSize = 8 << 10

// maxID is the most bytes that a kid may have.
const maxID = 256

// Key is a public key that passed the key policy. It is immutable: what
// Public returns is shared, and must not be changed either. There is no
// useful zero value; a nil or zero Key allows no algorithm.
type Key struct {
	material
	thumbprint string
	id         string
	algorithm  string
	use        string
}

// material is the key proper.
type material struct {
	family family
	public crypto.PublicKey

	// canonical is the JSON object of the required members in the order of
	// RFC 7638 §3.3, and so the input of the thumbprint.
	canonical string
}

// Parse reads a JWK. Members that it does not know are ignored, as RFC 7517
// §4 demands.
func Parse(data []byte) (*Key, error) {
	o, err := strict.ParseObject(data, strict.Limits{Size: MaxSize, Depth: 4, Members: 128})
	if err != nil {
		return nil, err
	}
	return FromObject(o)
}

// FromObject reads a JWK that has been parsed as JSON already. The size of
// the whole is up to the caller.
func FromObject(o strict.Object) (*Key, error) {
	// the first check, so that a leaked private key is called that, whatever
	// else is wrong with it. priv is the one of ML-DSA
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if o.Has(name) {
			return nil, fmt.Errorf("private member '%s' present", name)
		}
	}
	// references to keys elsewhere: the key would be one to us and another
	// one to whoever follows them
	for _, name := range []string{"jku", "x5u", "x5c"} {
		if o.Has(name) {
			return nil, fmt.Errorf("member '%s' is not allowed", name)
		}
	}
	k := &Key{}
	if err := k.readPurpose(o); err != nil {
		return nil, err
	}
	m, err := readMaterial(o)
	if err != nil {
		return nil, err
	}
	return k.complete(m)
}

// readPurpose reads the members of RFC 7517 §4.2 to §4.5, which say what a
// key is for and what it is called.
func (k *Key) readPurpose(o strict.Object) error {
	for _, m := range []struct {
		name string
		into *string
	}{{"use", &k.use}, {"alg", &k.algorithm}, {"kid", &k.id}} {
		v, ok := o.Get(m.name)
		if !ok {
			continue
		}
		if *m.into, ok = v.Text(); !ok {
			return fmt.Errorf("'%s' is not a string", m.name)
		}
	}
	if o.Has("use") && k.use != "sig" {
		return errors.New("'use' is not 'sig'")
	}
	if o.Has("alg") && k.algorithm == "" {
		return errors.New("'alg' is empty")
	}
	if v, ok := o.Get("key_ops"); ok {
		return checkOperations(v)
	}
	return nil
}

// checkOperations checks key_ops (RFC 7517 §4.3): different strings, one of
// them verify.
func checkOperations(v strict.Value) error {
	list, ok := v.Array()
	if !ok {
		return errors.New("'key_ops' is not an array")
	}
	var ops []string
	for _, element := range list {
		op, ok := element.Text()
		if !ok {
			return errors.New("'key_ops' has an element that is not a string")
		}
		if slices.Contains(ops, op) {
			return errors.New("'key_ops' names an operation twice")
		}
		ops = append(ops, op)
	}
	if !slices.Contains(ops, "verify") {
		return errors.New("'key_ops' does not contain 'verify'")
	}
	return nil
}

// complete checks what depends on both the key and its purpose.
func (k *Key) complete(m material) (*Key, error) {
	if k.algorithm != "" && !slices.Contains(m.family.algorithms(), k.algorithm) {
		return nil, errors.New("'alg' does not fit the key")
	}
	if len(k.id) > maxID {
		return nil, fmt.Errorf("'kid' is longer than %d bytes", maxID)
	}
	for _, c := range []byte(k.id) {
		if c < ' ' || c > '~' {
			return nil, errors.New("'kid' is not printable ASCII")
		}
	}
	k.material = m
	k.thumbprint = thumbprint(m.canonical)
	return k, nil
}

// Public is the key for crypto/ecdsa (*ecdsa.PublicKey), crypto/ed25519
// (ed25519.PublicKey) or crypto/rsa (*rsa.PublicKey).
func (k *Key) Public() crypto.PublicKey { return k.public }

// Thumbprint is the SHA-256 thumbprint of RFC 7638, in base64url.
func (k *Key) Thumbprint() string { return k.thumbprint }

// ID is the kid, or "".
func (k *Key) ID() string { return k.id }

// Algorithm is the alg, or "".
func (k *Key) Algorithm() string { return k.algorithm }

// Use is the use, "sig" or "".
func (k *Key) Use() string { return k.use }

// Allows says whether alg may be used with the key: it must fit its type and
// curve, and be its own alg if it names one. Ed25519 (RFC 9864) and EdDSA
// (RFC 8037) are two names of one algorithm, since no other curve of EdDSA is
// accepted.
func (k *Key) Allows(alg string) bool {
	if k == nil || !slices.Contains(k.family.algorithms(), alg) {
		return false
	}
	return k.algorithm == "" || k.algorithm == alg || k.family == edwards
}

// MarshalJSON writes the required members and kid, alg and use if present, in
// this order. Nothing else of what was read comes out again.
func (k *Key) MarshalJSON() ([]byte, error) {
	if k.canonical == "" {
		return nil, errors.New("key is empty")
	}
	b := []byte(k.canonical[:len(k.canonical)-1])
	for _, m := range [][2]string{{"kid", k.id}, {"alg", k.algorithm}, {"use", k.use}} {
		if m[1] != "" {
			b = append(b, `,"`+m[0]+`":`...)
			// printable ASCII, for which the quoting of Go is that of JSON
			b = strconv.AppendQuote(b, m[1])
		}
	}
	return append(b, '}'), nil
}
