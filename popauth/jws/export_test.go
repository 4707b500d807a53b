// SPDX-License-Identifier: Apache-2.0

package jws

// Raw makes a message of any signing input and signature, for vectors that
// are about signatures and not about JWS.
func Raw(alg string, input, signature []byte) *Message {
	return &Message{algorithm: alg, input: string(input), signature: signature}
}
