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
	"strings"

	"github.com/caddyserver/certmagic"
)

// Generation is a mark that is kept apart from the store, by which the store
// sees that it was replaced by another, or by an older copy of itself.
type Generation interface {
	// Load returns the mark that was stored last, the zero Mark if none ever
	// was. An error means that it is unknown.
	Load(ctx context.Context) (Mark, error)

	Store(ctx context.Context, m Mark) error
}

// Mark says which store it is for, and how far that had come. Its number only
// ever grows.
type Mark struct {
	ID     [storeIDSize]byte
	Number uint64
}

// NewGeneration returns the generation of the store with that identity in
// Caddy's storage.
func NewGeneration(s certmagic.Storage, identity string) Generation {
	sum := sha256.Sum256([]byte(identity))
	return &generation{storage: s, key: "popauth/store/" + hex.EncodeToString(sum[:]) + "/generation"}
}

// generation is the mark in a file of Caddy's storage: the ID in hexadecimal, a
// blank, and the number in decimal.
type generation struct {
	storage certmagic.Storage
	key     string
}

// Load implements Generation. Only a storage that says there is none counts as
// that. Without a mark the store is complete only since it was opened, so an
// operator may remove a damaged one.
func (g *generation) Load(ctx context.Context) (Mark, error) {
	text, err := g.storage.Load(ctx, g.key)
	if errors.Is(err, fs.ErrNotExist) {
		return Mark{}, nil
	}
	if err != nil {
		return Mark{}, fmt.Errorf("reading %s from storage: %w", g.key, err)
	}
	m, ok := parseMark(string(text))
	if !ok {
		return Mark{}, fmt.Errorf("%s in storage is damaged: remove it, and the store "+
			"refuses all tokens that were issued before", g.key)
	}
	return m, nil
}

// Store implements Generation.
func (g *generation) Store(ctx context.Context, m Mark) error {
	if err := g.storage.Store(ctx, g.key, []byte(m.text())); err != nil {
		return fmt.Errorf("writing %s to storage: %w", g.key, err)
	}
	return nil
}

func (m Mark) text() string { return fmt.Sprintf("%x %d", m.ID, m.Number) }

// parseMark takes only what text returns, and not the zero mark.
func parseMark(text string) (m Mark, ok bool) {
	id, number, _ := strings.Cut(text, " ")
	if len(id) != hex.EncodedLen(len(m.ID)) {
		return Mark{}, false
	}
	if _, err := hex.Decode(m.ID[:], []byte(id)); err != nil {
		return Mark{}, false
	}
	var err error
	if m.Number, err = strconv.ParseUint(number, 10, 64); err != nil {
		return Mark{}, false
	}
	return m, m != Mark{} && m.text() == text
}
