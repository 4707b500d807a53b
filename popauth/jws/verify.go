// SPDX-License-Identifier: Apache-2.0

package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // of ES256, PS256 and RS256
	_ "crypto/sha512" // of the algorithms with 384 and 512
	"errors"
	"math/big"

	"github.com/popauth/caddy-popauth/popauth/jwk"
)

// Algorithms are those that proofs and tokens may be signed with, in the
// order in which they are advertised.
var Algorithms = []string{"ES256", "ES384", "Ed25519", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}

var errSignature = errors.New("signature is not valid")

// Verify checks the signature with a key and an algorithm that the caller
// knows from elsewhere. alg must be one of Algorithms and allowed by the key,
// and the header must name the same (Ed25519 and EdDSA are one): the message
// never chooses how it is verified.
func (m *Message) Verify(k *jwk.Key, alg string) error {
	hash, ok := hashOf(alg)
	if !ok {
		return errors.New("algorithm is not supported")
	}
	if name(m.algorithm) != name(alg) {
		return errors.New("JWS header names another algorithm")
	}
	if !k.Allows(alg) {
		return errors.New("algorithm does not fit the key")
	}
	if hash == 0 {
		return verifyEdwards(k.Public(), m.input, m.signature)
	}
	h := hash.New()
	h.Write([]byte(m.input))
	digest := h.Sum(nil)
	switch alg[0] {
	case 'E':
		return verifyECDSA(k.Public(), digest, m.signature)
	case 'P':
		return verifyPSS(k.Public(), hash, digest, m.signature)
	case 'R':
		return verifyPKCS1(k.Public(), hash, digest, m.signature)
	}
	return errSignature
}

// name makes the two names of Ed25519 one.
func name(alg string) string {
	if alg == "EdDSA" {
		return "Ed25519"
	}
	return alg
}

// hashOf returns the hash of one of Algorithms, 0 for those that take the
// message itself. It does not consult the variable, which is writable.
func hashOf(alg string) (crypto.Hash, bool) {
	switch alg {
	case "ES256", "PS256", "RS256":
		return crypto.SHA256, true
	case "ES384", "PS384", "RS384":
		return crypto.SHA384, true
	case "PS512", "RS512":
		return crypto.SHA512, true
	case "Ed25519", "EdDSA":
		return 0, true
	}
	return 0, false
}

// verifyECDSA takes r and s, each as long as a coordinate (RFC 7518 §3.4).
// crypto/ecdsa refuses those outside 1 to n-1.
func verifyECDSA(pub crypto.PublicKey, digest, sig []byte) error {
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return errSignature
	}
	size := (key.Curve.Params().BitSize + 7) / 8
	if len(sig) != 2*size {
		return errors.New("ECDSA signature does not have the length of the curve")
	}
	r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
	if !ecdsa.Verify(key, digest, r, s) {
		return errSignature
	}
	return nil
}

// verifyEdwards is RFC 8037 §3.1. crypto/ed25519 refuses other lengths and an
// S beyond the order of the group.
func verifyEdwards(pub crypto.PublicKey, input string, sig []byte) error {
	key, ok := pub.(ed25519.PublicKey)
	if !ok || !ed25519.Verify(key, []byte(input), sig) {
		return errSignature
	}
	return nil
}

// verifyPKCS1 is RFC 7518 §3.3. crypto/rsa compares the whole padded block,
// and refuses signatures that are not as long as the modulus.
func verifyPKCS1(pub crypto.PublicKey, hash crypto.Hash, digest, sig []byte) error {
	key, ok := pub.(*rsa.PublicKey)
	if !ok || rsa.VerifyPKCS1v15(key, hash, digest, sig) != nil {
		return errSignature
	}
	return nil
}

// verifyPSS is RFC 7518 §3.5: the salt is as long as the hash, MGF1 uses the
// same hash.
func verifyPSS(pub crypto.PublicKey, hash crypto.Hash, digest, sig []byte) error {
	key, ok := pub.(*rsa.PublicKey)
	if !ok {
		return errSignature
	}
	options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	if rsa.VerifyPSS(key, hash, digest, sig, options) != nil {
		return errSignature
	}
	return nil
}
