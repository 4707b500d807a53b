// SPDX-License-Identifier: Apache-2.0

package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // of the algorithms that end in 256
	_ "crypto/sha512" // and of those in 384 and 512
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/jwk"
)

// Sign makes a proof, as a client does. pub must be the public key of signer
// and allow alg; it goes into the header. Query and fragment of the URL are
// left out (RFC 9449 §4.2). Nothing else about the claims is judged.
func Sign(signer crypto.Signer, pub *jwk.Key, alg string, c Claims) (string, error) {
	if public, ok := pub.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(signer.Public()) {
		return "", errors.New("the public key is not that of the signer")
	}
	if !pub.Allows(alg) {
		return "", fmt.Errorf("the key cannot be used with %q", alg)
	}
	htu := c.URL
	if i := strings.IndexAny(htu, "?#"); i >= 0 {
		htu = htu[:i]
	}
	header, err := json.Marshal(struct {
		Type      string   `json:"typ"`
		Algorithm string   `json:"alg"`
		Key       *jwk.Key `json:"jwk"`
	}{proofType, alg, pub})
	if err != nil {
		return "", fmt.Errorf("writing the header: %w", err)
	}
	claims, err := json.Marshal(struct {
		ID        string `json:"jti"`
		Method    string `json:"htm"`
		URL       string `json:"htu"`
		IssuedAt  int64  `json:"iat"`
		Nonce     string `json:"nonce,omitempty"`
		TokenHash string `json:"ath,omitempty"`
	}{c.ID, c.Method, htu, c.IssuedAt.Unix(), c.Nonce, c.TokenHash})
	if err != nil {
		return "", fmt.Errorf("writing the claims: %w", err)
	}
	input := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	signature, err := sign(signer, alg, []byte(input))
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// hashes of all algorithms but Ed25519, which takes the message itself.
var hashes = map[string]crypto.Hash{
	"ES256": crypto.SHA256, "ES384": crypto.SHA384,
	"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512,
	"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512,
}

// sign signs as RFC 7518 §3.3 to §3.5 and RFC 8037 §3.1 say. The standard
// library does it directly, because Ed25519 as an alg (RFC 9864) is unknown
// to go-jose.
func sign(signer crypto.Signer, alg string, input []byte) ([]byte, error) {
	if alg == "EdDSA" || alg == "Ed25519" {
		return signer.Sign(rand.Reader, input, crypto.Hash(0))
	}
	hash, ok := hashes[alg]
	if !ok {
		return nil, errors.New("the algorithm is not supported")
	}
	h := hash.New()
	h.Write(input)
	var options crypto.SignerOpts = hash
	if strings.HasPrefix(alg, "PS") {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signature, err := signer.Sign(rand.Reader, h.Sum(nil), options)
	if err != nil {
		return nil, err
	}
	if public, ok := signer.Public().(*ecdsa.PublicKey); ok {
		return concatenated(signature, (public.Params().BitSize+7)/8)
	}
	return signature, nil
}

// concatenated turns the ASN.1 of an ECDSA signature into r and s of size
// bytes each (RFC 7518 §3.4).
func concatenated(der []byte, size int) ([]byte, error) {
	var pair struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &pair); err != nil || len(rest) > 0 {
		return nil, errors.New("the signer returned no ASN.1 signature")
	}
	if pair.R.Sign() <= 0 || pair.S.Sign() <= 0 || pair.R.BitLen() > 8*size || pair.S.BitLen() > 8*size {
		return nil, errors.New("the signer returned a signature out of range")
	}
	signature := make([]byte, 2*size)
	pair.R.FillBytes(signature[:size])
	pair.S.FillBytes(signature[size:])
	return signature, nil
}
