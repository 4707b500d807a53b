// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-jose/go-jose/v4"
	"github.com/spf13/cobra"
)

func keyCommand() *cobra.Command {
	var out, alg string
	cmd := &cobra.Command{
		Use:   "key [--out <file>] [--alg ES256|ES384|Ed25519|RS256]",
		Short: "Makes a private key",
		Long: `
Makes a private key and prints it as a JWK (RFC 7517), or writes it into a new
file that only you can read. A file that exists is never written over: tokens
that are bound to its key could no longer be used.
`,
		RunE: run(func(_ context.Context, t terminal, _ []string) error { return makeKey(t, out, alg) }),
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "The file to write (default: standard output)")
	cmd.Flags().StringVar(&alg, "alg", "ES256", "What the key signs with: ES256, ES384, Ed25519 or RS256")
	return cmd
}

func makeKey(t terminal, out, alg string) error {
	signer, name, err := generate(alg)
	if err != nil {
		return err
	}
	p, err := newProver(signer, name)
	if err != nil {
		return err
	}
	text, err := json.Marshal(jose.JSONWebKey{Key: signer, Algorithm: name})
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if out == "" || out == "-" {
		_, err := t.out.Write(text)
		return err
	}
	if err := writePrivate(out, text); err != nil {
		return err
	}
	t.note("wrote %s: %s, thumbprint %s", out, name, p.key.Thumbprint())
	return nil
}

// generate makes a key and returns its JWS algorithm. Ed25519 is called EdDSA
// in JWS, which every library knows, while the name of RFC 9864 is young.
func generate(alg string) (crypto.Signer, string, error) {
	switch alg {
	case "ES256":
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		return k, alg, err
	case "ES384":
		k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		return k, alg, err
	case "Ed25519", "EdDSA":
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, "EdDSA", err
	case "RS256":
		k, err := rsa.GenerateKey(rand.Reader, 3072)
		return k, alg, err
	}
	return nil, "", fmt.Errorf("unknown algorithm %q: expected ES256, ES384, Ed25519 or RS256", alg)
}

// writePrivate writes a new file that only its owner can read. It is made
// with that mode: a file that is narrowed later can have been opened before.
func writePrivate(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return hint(fmt.Errorf("%q exists", name),
			"take another name, or move the file away if no token is bound to its key any more")
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(name)
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}
