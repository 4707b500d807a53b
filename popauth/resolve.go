// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// resolve fills in the placeholders of a value. One that is unknown or empty
// is an error: an issuer or an audience with a hole in it is another one.
func resolve(name, value string) (string, error) {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return resolved, nil
}

// resolveAll fills in the placeholders of a list.
func resolveAll(name string, values []string) ([]string, error) {
	var resolved []string
	for _, value := range values {
		r, err := resolve(name, value)
		if err != nil {
			return nil, err
		}
		if r == "" {
			return nil, fmt.Errorf("%s: a value is empty", name)
		}
		resolved = append(resolved, r)
	}
	return resolved, nil
}

// placeholder matches a value that is exactly one placeholder with a provider,
// such as {env.SECRET} or {file./run/secrets/key.pem}.
var placeholder = regexp.MustCompile(`^\{([a-z]+\.[^{}"]+)\}$`)

// resolveSecret fills in a value that is exactly one placeholder. Anything
// else is taken literally, braces and all: a JWK is full of them, and a secret
// may hold some. The error names the placeholder and never a value.
func resolveSecret(name, value string) (string, error) {
	match := placeholder.FindStringSubmatch(value)
	if match == nil {
		return value, nil
	}
	resolved, known := caddy.NewReplacer().GetString(match[1])
	if !known {
		return "", fmt.Errorf("%s: the placeholder %s is not known", name, value)
	}
	if resolved == "" {
		// an unset variable or an unreadable file; an empty secret would be
		// one that everybody knows
		return "", fmt.Errorf("%s: the placeholder %s is empty%s", name, value, emptyHint(match[1]))
	}
	return resolved, nil
}

// emptyHint says why a placeholder for a file may be empty. Caddy itself tells
// the log only, and looks from where the server was started, not from where
// the Caddyfile is.
func emptyHint(name string) string {
	file, ok := strings.CutPrefix(name, "file.")
	if !ok {
		return ""
	}
	dir, err := os.Getwd()
	if err != nil || filepath.IsAbs(file) {
		return ", or its file cannot be read"
	}
	return fmt.Sprintf(", or its file cannot be read (looked for in %s, where Caddy was started)", dir)
}
