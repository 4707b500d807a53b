// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
)

func init() {
	caddy.RegisterModule(MemoryStore{})
}

// Backend is a module of the namespace popauth.stores: a place for what must
// survive.
type Backend interface {
	// Identity tells apart two stores of the same backend. Two configurations
	// with the same identity share one open store.
	Identity() string

	// Open opens the store. It is called at most once for an identity, and
	// never while the configuration is only validated.
	Open(ctx context.Context) (store.Store, error)
}

// MemoryStore keeps everything in the memory of the process. All is lost with
// a restart.
type MemoryStore struct{}

// CaddyModule returns the Caddy module information.
func (MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "popauth.stores.memory",
		New: func() caddy.Module { return new(MemoryStore) },
	}
}

// UnmarshalCaddyfile sets up the store. Syntax:
//
//	store memory
func (*MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the name
	if d.Next() {
		return d.Err("the memory store has no options, expected: store memory")
	}
	return nil
}

// Identity is the same for all: there is one memory store per process.
func (*MemoryStore) Identity() string { return "" }

// Open makes an empty store.
func (*MemoryStore) Open(context.Context) (store.Store, error) {
	return store.NewMemory(clock.System), nil
}

// loadBackend loads the store module of an issuer.
func loadBackend(ctx caddy.Context, i *Issuer) (Backend, error) {
	if i.StoreRaw == nil {
		return new(MemoryStore), nil
	}
	mod, err := ctx.LoadModule(i, "StoreRaw")
	if err != nil {
		return nil, fmt.Errorf("loading store: %w", err)
	}
	return mod.(Backend), nil
}

// Interface guards
var (
	_ Backend               = (*MemoryStore)(nil)
	_ caddyfile.Unmarshaler = (*MemoryStore)(nil)
)
