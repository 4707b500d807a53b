// SPDX-License-Identifier: Apache-2.0

package jws

import "crypto"

// Primitives are the last steps of Verify, each for keys of one type.
var Primitives = map[string]func(pub crypto.PublicKey, hash crypto.Hash, digest, sig []byte) error{
	"ECDSA": func(pub crypto.PublicKey, _ crypto.Hash, digest, sig []byte) error {
		return verifyECDSA(pub, digest, sig)
	},
	"EdDSA": func(pub crypto.PublicKey, _ crypto.Hash, digest, sig []byte) error {
		return verifyEdwards(pub, string(digest), sig)
	},
	"PKCS1": verifyPKCS1,
	"PSS":   verifyPSS,
}

// Raw makes a message of any signing input and signature, for vectors that
// are about signatures and not about JWS.
func Raw(alg string, input, signature []byte) *Message {
	return &Message{algorithm: alg, input: string(input), signature: signature}
}
