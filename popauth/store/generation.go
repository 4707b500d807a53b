// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/caddyserver/certmagic"
)

// Generation is a number that is kept apart from the store, by which the store
// sees that it was replaced by an older copy of itself. It only ever grows.
type Generation interface {
	// Load returns the number that was stored last, 0 if none ever was. An
	// error means that it is unknown.
	Load(ctx context.Context) (uint64, error)

	Store(ctx context.Context, number uint64) error
}

// NewGeneration returns the generation of the store with that identity in
// Caddy's storage.
func NewGeneration(s certmagic.Storage, identity string) Generation {
	sum := sha256.Sum256([]byte(identity))
	return &generation{storage: s, key: "popauth/store/" + hex.EncodeToString(sum[:]) + "/generation"}
}

// generation is the number as a decimal, in a file of Caddy's storage.
type generation struct {
	storage certmagic.Storage
	key     string
}

// Load implements Generation. Only a storage that says there is none counts as
// 0: taking a fault for that would make every backup look new.
func (g *generation) Load(ctx context.Context) (uint64, error) {
	text, err := g.storage.Load(ctx, g.key)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading %s from storage: %w", g.key, err)
	}
	number, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s in storage is damaged: remove it, and the store's file too "+
			"if that may be a backup", g.key)
	}
	return number, nil
}

// Store implements Generation.
func (g *generation) Store(ctx context.Context, number uint64) error {
	if err := g.storage.Store(ctx, g.key, strconv.AppendUint(nil, number, 10)); err != nil {
		return fmt.Errorf("writing %s to storage: %w", g.key, err)
	}
	return nil
}
