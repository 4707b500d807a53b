// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxInput is the most bytes of a key, a token or a secret.
const maxInput = 64 << 10

// open opens a file; "-" is the standard input.
func (t terminal) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(t.in), nil
	}
	return os.Open(name)
}

// read reads a small text file without the line ends behind it, which
// editors and echo add and no key, token or secret has.
func (t terminal) read(name string) (string, error) {
	f, err := t.open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err != nil {
		return "", fmt.Errorf("reading %q: %w", name, err)
	}
	if len(data) > maxInput {
		return "", fmt.Errorf("%q has more than %d bytes", name, maxInput)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// argument is the value of an option; one that starts with an @ names the
// file that has it.
func (t terminal) argument(value string) (string, error) {
	if name, ok := strings.CutPrefix(value, "@"); ok {
		return t.read(name)
	}
	return value, nil
}

// accessToken is the value of --token. An access token is one word of
// printable ASCII (RFC 6750 §2.1): anything else is a wrong file, and is told
// here and not by a server.
func (t terminal) accessToken(value string) (string, error) {
	token, err := t.argument(value)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token = strings.TrimSpace(token)
	if token == "" {
		return "", errors.New("the token is empty")
	}
	if strings.HasPrefix(token, "{") {
		return "", hint(errors.New("the token is a JSON object"), "caddy pop token --raw prints the access token alone")
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return "", errors.New("the token is not one word of printable ASCII")
		}
	}
	return token, nil
}
