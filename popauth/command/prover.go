// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// prover proves the possession of one private key.
type prover struct {
	signer crypto.Signer
	key    *jwk.Key
	alg    string
	id     string // kid of the file, "" if it has none
}

// newProver refuses a key that no server would take, and one whose public
// part belongs to another private key: its proofs would be refused with no
// better reason than a bad signature. alg may be empty.
func newProver(signer crypto.Signer, alg string) (prover, error) {
	key, err := jwk.FromPublic(signer.Public(), "", alg)
	if err != nil {
		return prover{}, fmt.Errorf("the key is not acceptable: %w", err)
	}
	p := prover{signer: signer, key: key, alg: usualAlgorithm(key)}
	target := &url.URL{Scheme: "https", Host: "localhost", Path: "/"}
	proof, err := p.prove("GET", target, "self-test", "")
	if err != nil {
		return prover{}, err
	}
	_, refusal := dpop.Verify(proof, dpop.Want{
		Thumbprint: key.Thumbprint(), Algorithm: p.alg,
		Method: "GET", URLs: []string{target.String()}, TokenHash: dpop.TokenHash("self-test"),
		Fresh: func(*dpop.Proof) *oauth.Refusal { return nil },
	})
	if refusal != nil {
		return prover{}, errors.New("the public members of the key do not belong to its private ones")
	}
	return p, nil
}

// usualAlgorithm is the algorithm that the key names, else the usual one of its
// type.
func usualAlgorithm(k *jwk.Key) string {
	if k.Algorithm() != "" {
		return k.Algorithm()
	}
	switch pub := k.Public().(type) {
	case ed25519.PublicKey:
		return "EdDSA"
	case *ecdsa.PublicKey:
		if pub.Curve == elliptic.P384() {
			return "ES384"
		}
		return "ES256"
	}
	return "RS256"
}

// prove makes a proof for one request. A token and a nonce are left out when
// empty.
func (p prover) prove(method string, target *url.URL, token, nonce string) (string, error) {
	// RFC 9449 §4.2: htu is the URL without query and fragment
	htu := url.URL{Scheme: target.Scheme, Host: target.Host, Path: target.Path, RawPath: target.RawPath}
	if htu.Path == "" {
		htu.Path = "/"
	}
	claims := dpop.Claims{
		ID:       rand.Text(),
		Method:   method,
		URL:      htu.String(),
		Nonce:    nonce,
		IssuedAt: clock.System.Now(),
	}
	if token != "" {
		claims.TokenHash = dpop.TokenHash(token)
	}
	proof, err := dpop.Sign(p.signer, p.key, p.alg, claims)
	if err != nil {
		return "", fmt.Errorf("signing the proof: %w", err)
	}
	return proof, nil
}

// readKey reads a private JWK and makes a prover of it.
func (t terminal) readKey(name string) (prover, error) {
	if name == "" {
		return prover{}, hint(errors.New("--key is missing"), "caddy pop key --out key.json makes one")
	}
	text, err := t.read(name)
	if errors.Is(err, os.ErrNotExist) {
		return prover{}, hint(err, "caddy pop key --out %s makes a key", quote(name))
	}
	if err != nil {
		return prover{}, fmt.Errorf("reading the key: %w", err)
	}
	p, err := parseKey(text)
	if err != nil {
		return prover{}, fmt.Errorf("reading the key from %q: %w", name, err)
	}
	// only now is it known to be a key, and not a certificate given for one
	t.checkMode("private key", name)
	return p, nil
}

func parseKey(text string) (prover, error) {
	if strings.HasPrefix(text, "-----BEGIN") {
		return prover{}, hint(errors.New("it is PEM, not a JWK"), "caddy pop key makes a JWK")
	}
	var k jose.JSONWebKey
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		// the cause may quote what it stumbled upon, and this is a private key
		return prover{}, hint(errors.New("it is not a JWK"), "caddy pop key makes one")
	}
	signer, ok := k.Key.(crypto.Signer)
	if !ok {
		return prover{}, hint(errors.New("it is not a private key of a pair"), "caddy pop key makes one")
	}
	if k.Use != "" && k.Use != "sig" {
		return prover{}, errors.New("its use is not 'sig'")
	}
	p, err := newProver(signer, k.Algorithm)
	p.id = k.KeyID
	return p, err
}

// checkMode warns when others can read a file. What secret it has in it is
// said by what.
func (t terminal) checkMode(what, name string) {
	if name == "-" {
		return
	}
	info, err := os.Stat(name)
	// windows reports made-up permission bits
	if err != nil || !info.Mode().IsRegular() || runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return
	}
	t.warn(hint(fmt.Errorf("the %s in %q can be read by others (mode %04o)", what, name, info.Mode().Perm()),
		"chmod 600 %s", quote(name)))
}

// quote quotes a word for a POSIX shell where it needs to be.
func quote(word string) string {
	plain := strings.IndexFunc(word, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_+=:,./-", c)
	}) < 0
	if plain && word != "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
