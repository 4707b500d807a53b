// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/jws"
)

// algorithms are those of keys that are made.
var algorithms = []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"}

// rsaBits is the size of RSA keys that are made.
const rsaBits = 3072

// key is a private key for one algorithm. It never changes.
type key struct {
	private crypto.Signer
	public  *jwk.Key // with kid and alg

	activeFrom time.Time // it signs from then on

	// These follow from the other keys. Zero: not in sight.
	replacedAt time.Time // another key signs from then on
	retireAt   time.Time // it is published until then
}

// newKey makes sure that a private key can be used with alg, and that its
// public part satisfies the key policy. Without a kid it is called by its
// thumbprint (RFC 7638).
func newKey(private crypto.Signer, kid, alg string) (*key, error) {
	public, err := jwk.FromPublic(private.Public(), kid, alg)
	if err != nil {
		return nil, err
	}
	if kid == "" {
		if public, err = jwk.FromPublic(private.Public(), public.Thumbprint(), alg); err != nil {
			return nil, err
		}
	}
	k := &key{private: private, public: public}
	return k, k.check()
}

// check signs something and verifies it, since the two halves of a key that
// was typed in or has rotted on disk need not fit together.
func (k *key) check() error {
	mismatch := errors.New("the private and the public part of the key do not fit together")
	compact, err := k.sign("check", []byte("{}"))
	if err != nil {
		return mismatch
	}
	m, err := jws.Parse(compact, jws.Limits{Size: 4 << 10, Header: 1 << 10})
	if err != nil {
		return mismatch
	}
	if m.Verify(k.public, k.public.Algorithm()) != nil {
		return mismatch
	}
	return nil
}

// sign returns a compact JWS.
func (k *key) sign(typ string, payload []byte) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(k.public.Algorithm()),
		Key:       jose.JSONWebKey{Key: k.private, KeyID: k.public.ID()},
	}, new(jose.SignerOptions).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", fmt.Errorf("signing with key %q: %w", k.public.ID(), err)
	}
	object, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing with key %q: %w", k.public.ID(), err)
	}
	return object.CompactSerialize()
}

// generate makes a private key for one of algorithms.
func generate(alg string) (crypto.Signer, error) {
	switch alg {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case "PS256", "RS256":
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("unknown signing algorithm %q", alg)
}
