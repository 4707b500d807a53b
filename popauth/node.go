// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// nodeID tells this node from others that share Caddy's storage. It is made at
// first need and kept in Caddy's data directory.
//
// caddy.InstanceID would not do: at the very first start several parts of Caddy
// ask for it at once, each may make one of its own, and which of them is there
// the next time is chance.
func nodeID() (string, error) {
	dir := filepath.Join(caddy.AppDataDir(), "popauth")
	file := filepath.Join(dir, "node")
	id, err := readNodeID(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	made, err := os.CreateTemp(dir, "node-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(made.Name())
	_, err = made.WriteString(rand.Text() + "\n")
	if err := errors.Join(err, made.Sync(), made.Close()); err != nil {
		return "", err
	}
	// whole or not at all, and only the first one counts
	if err := os.Link(made.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return readNodeID(file)
}

func readNodeID(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if id == "" {
		return "", fmt.Errorf("%s is empty, remove it", file)
	}
	return id, nil
}
