// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"fmt"
	"io"
	"os"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/jwk"
)

// maxKeyFile is the most bytes that are read of a file with keys. Whether that
// is too large a JWK Set is for its parser to say.
const maxKeyFile = 1 << 20

// resolveKeys reads the public keys of a client.
func (c *Client) resolveKeys() ([]*jwk.Key, error) {
	var keys []*jwk.Key
	if c.JWKSFile != "" {
		name, err := resolve("jwks_file", c.JWKSFile)
		if err != nil {
			return nil, err
		}
		text, err := readKeyFile(name)
		if err != nil {
			return nil, fmt.Errorf("jwks_file: %w", err)
		}
		if keys, err = client.ParseKeySet(text); err != nil {
			return nil, fmt.Errorf("jwks_file %q: %w", name, err)
		}
	}
	for n, value := range c.JWK {
		text, err := resolveSecret("jwk", value)
		if err != nil {
			return nil, err
		}
		key, err := jwk.Parse([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("jwk %d: %w", n+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// readKeyFile reads a file of limited size, and nothing that never ends.
func readKeyFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}
