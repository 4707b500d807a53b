// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
)

func init() {
	caddy.RegisterModule(MemoryStore{})
	caddy.RegisterModule(FileStore{})
}

// MemoryStore keeps everything in the memory of the process. All is lost with
// a restart, and tokens from before it are refused: nobody knows which of them
// were revoked.
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
func (*MemoryStore) Open(context.Context, StoreHost) (store.Store, error) {
	return store.NewMemory(clock.System), nil
}

// FileStore keeps everything in one file of a local disk (bbolt), which is what
// a single node needs. What was answered is in the file before the answer goes
// out, and survives a crash.
//
// The file is for one process. It can't be on a network file system.
type FileStore struct {
	// The path of the file, which is made if it does not exist. Default:
	// `popauth/store.db` in Caddy's data directory. Accepts placeholders.
	Path string `json:"path,omitempty"`

	path string // resolved and absolute
}

// CaddyModule returns the Caddy module information.
func (FileStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "popauth.stores.file",
		New: func() caddy.Module { return new(FileStore) },
	}
}

// UnmarshalCaddyfile sets up the store. Syntax:
//
//	store file [<path>]
func (f *FileStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the name
	if d.NextArg() {
		f.Path = d.Val()
		if f.Path == "" {
			return d.Err("the path is empty, expected: store file [<path>]")
		}
	}
	if d.Next() {
		return d.Err("the file store has one option, expected: store file [<path>]")
	}
	return nil
}

// Provision resolves the path. It does not look at the file.
func (f *FileStore) Provision(caddy.Context) error {
	f.path = filepath.Join(caddy.AppDataDir(), "popauth", "store.db")
	if f.Path != "" {
		var err error
		if f.path, err = resolve("path", f.Path); err != nil {
			return err
		}
	}
	var err error
	f.path, err = filepath.Abs(f.path)
	return err
}

// Identity is the absolute path.
func (f *FileStore) Identity() string { return f.path }

// Open opens the file.
func (f *FileStore) Open(ctx context.Context, host StoreHost) (store.Store, error) {
	// nodes that share Caddy's storage have a file each, often at the same path;
	// with one number for all of them, each would take its own for a backup
	node, err := nodeID()
	if err != nil {
		return nil, fmt.Errorf("telling this node from others: %w", err)
	}
	return store.OpenFile(ctx, store.FileConfig{
		Path:       f.path,
		Clock:      clock.System,
		Generation: generation{host: host, identity: node + " " + f.path},
		Notify:     func(e store.Event) { logStoreEvent(host.Logger(), f.path, e) },
	})
}

// generation is the store's generation in the storage of the config that runs.
type generation struct {
	host     StoreHost
	identity string
}

// Load implements store.Generation.
func (g generation) Load(ctx context.Context) (store.Mark, error) {
	return store.NewGeneration(g.host.Storage(), g.identity).Load(ctx)
}

// Store implements store.Generation.
func (g generation) Store(ctx context.Context, m store.Mark) error {
	return store.NewGeneration(g.host.Storage(), g.identity).Store(ctx, m)
}

// logStoreEvent tells the operator that something is wrong with a store that
// works.
func logStoreEvent(logger *zap.Logger, path string, e store.Event) {
	fields := []zap.Field{zap.String("path", path)}
	if e.Damaged > 0 {
		fields = append(fields, zap.Uint64("damaged", e.Damaged))
	}
	if e.Err != nil {
		fields = append(fields, zap.Error(e.Err))
	}
	logger.Error(e.Message, fields...)
}

// loadBackend loads the store module of an issuer.
func loadBackend(ctx caddy.Context, i *Issuer) (Backend, error) {
	if i.StoreRaw == nil {
		i.StoreRaw = json.RawMessage(`{"backend":"file"}`)
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
	_ Backend               = (*FileStore)(nil)
	_ caddy.Provisioner     = (*FileStore)(nil)
	_ caddyfile.Unmarshaler = (*FileStore)(nil)
	_ store.Generation      = generation{}
)
