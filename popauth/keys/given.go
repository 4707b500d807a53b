// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/popauth/caddy-popauth/popauth/strict"
)

// maxSize is the most bytes that a private key may have as text. One of RSA
// with 4096 bits has about 3,300.
const maxSize = 16 << 10

// Given is a private key that the operator brought. It shows its kid to fmt
// and nothing else.
type Given struct {
	key *key

	// named says that the key names its algorithm itself.
	named bool
}

// String names the key by its kid.
func (g *Given) String() string { return fmt.Sprintf("signing key %q", g.key.public.ID()) }

// GoString is String: %#v would print the private key.
func (g *Given) GoString() string { return g.String() }

// ParseGiven reads a private key: a JWK, or PEM with one key in PKCS #8, PKCS
// #1 or SEC 1. Its kid is that of the JWK, else the thumbprint; its algorithm
// is that of the JWK, else the one of its type. The public part must satisfy
// the policy that holds for every key. Errors contain nothing of the text.
func ParseGiven(text string) (*Given, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxSize {
		return nil, fmt.Errorf("key is longer than %d bytes", maxSize)
	}
	var p parsed
	var err error
	switch {
	case strings.HasPrefix(text, "{"):
		p, err = parseJWK([]byte(text))
	case strings.Contains(text, "-----BEGIN "):
		p.private, err = parsePEM([]byte(text))
	default:
		err = errors.New("key is neither a JWK nor PEM")
	}
	if err != nil {
		return nil, err
	}
	g := &Given{named: p.alg != ""}
	switch p.alg {
	case "":
		p.alg, err = defaultAlgorithm(p.private)
	case "Ed25519":
		// RFC 9864 renamed it, but verifiers in the field know the old name
		p.alg = "EdDSA"
	}
	if err != nil {
		return nil, err
	}
	if g.key, err = newKey(p.private, p.kid, p.alg); err != nil {
		return nil, err
	}
	return g, nil
}

// as returns the key for a ring whose algorithm is alg. It is for that only
// where both are possible: RSA keys mostly don't say for which padding they are.
func (g *Given) as(alg string) (*key, error) {
	if _, ok := g.key.private.(*rsa.PrivateKey); ok && !g.named && alg == "PS256" {
		return newKey(g.key.private, g.key.public.ID(), alg)
	}
	return g.key, nil
}

func defaultAlgorithm(private crypto.Signer) (string, error) {
	switch private := private.(type) {
	case *ecdsa.PrivateKey:
		switch private.Curve {
		case elliptic.P256():
			return "ES256", nil
		case elliptic.P384():
			return "ES384", nil
		}
		return "", errors.New("curve is not P-256 or P-384")
	case ed25519.PrivateKey:
		return "EdDSA", nil
	case *rsa.PrivateKey:
		return "RS256", nil
	}
	return "", errType
}

var errType = errors.New("key is not one of EC, Ed25519 or RSA that can sign")

// parsed is a private key with what a JWK says of it.
type parsed struct {
	private  crypto.Signer
	kid, alg string
}

// parseJWK reads a private JWK. The errors of go-jose are not passed on: they
// may quote what they could not read.
func parseJWK(data []byte) (parsed, error) {
	o, err := strict.ParseObject(data, strict.Limits{Size: maxSize, Depth: 3, Members: 64})
	if err != nil {
		return parsed{}, fmt.Errorf("reading JWK: %w", err)
	}
	if !o.Has("d") {
		return parsed{}, errors.New("JWK has no private member 'd'")
	}
	for _, name := range []string{"kid", "alg", "use"} {
		if _, ok := o.Text(name); !ok && o.Has(name) {
			return parsed{}, fmt.Errorf("'%s' of the JWK is not a string", name)
		}
	}
	if use, ok := o.Text("use"); ok && use != "sig" {
		return parsed{}, errors.New("'use' of the JWK is not 'sig'")
	}
	if !maySign(o) {
		return parsed{}, errors.New("'key_ops' of the JWK does not contain 'sign'")
	}
	var k jose.JSONWebKey
	if k.UnmarshalJSON(data) != nil {
		return parsed{}, errors.New("JWK is not a complete private key, or its members do not fit together")
	}
	private, err := signer(k.Key)
	return parsed{private: private, kid: k.KeyID, alg: k.Algorithm}, err
}

// maySign says whether key_ops (RFC 7517 §4.3), if present, names signing.
func maySign(o strict.Object) bool {
	v, ok := o.Get("key_ops")
	if !ok {
		return true
	}
	operations, _ := v.Array()
	return slices.ContainsFunc(operations, func(v strict.Value) bool {
		operation, _ := v.Text()
		return operation == "sign"
	})
}

// parsePEM reads PEM with exactly one private key. The errors of x509 are not
// passed on: they may quote what they could not read.
func parsePEM(text []byte) (crypto.Signer, error) {
	var found *pem.Block
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		// openssl ecparam -genkey writes the curve in front of the key
		if block.Type == "EC PARAMETERS" {
			continue
		}
		if found != nil {
			return nil, errors.New("PEM has more than one block, want one private key")
		}
		found = block
	}
	if found == nil {
		return nil, errors.New("PEM is malformed")
	}
	var k any
	var err error
	switch found.Type {
	case "PRIVATE KEY":
		k, err = x509.ParsePKCS8PrivateKey(found.Bytes)
	case "RSA PRIVATE KEY":
		k, err = x509.ParsePKCS1PrivateKey(found.Bytes)
	case "EC PRIVATE KEY":
		k, err = x509.ParseECPrivateKey(found.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("PEM is encrypted, which is not supported")
	default:
		return nil, errors.New("PEM is not a private key")
	}
	if err != nil {
		return nil, errors.New("PEM does not contain a private key that can be read; is it encrypted")
	}
	return signer(k)
}

// signer returns the key if it can sign.
func signer(k any) (crypto.Signer, error) {
	switch k := k.(type) {
	case *ecdsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		return k, nil
	}
	return nil, errType
}
