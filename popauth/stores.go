// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
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

	// How many bytes the file may take of the disk, at least 4 MiB. When only
	// 15 % of it are left, no more opaque tokens are issued (503), and the rest
	// is for revocations. A token takes about 1 KiB and stays until an hour
	// after its expiry. Of several issuers that share a file, the largest
	// counts. Default: 1073741824 (1 GiB).
	MaxSize int64 `json:"max_size,omitempty"`

	path string // resolved and absolute
}

// CaddyModule returns the Caddy module information.
func (FileStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "popauth.stores.file",
		New: func() caddy.Module { return new(FileStore) },
	}
}

// storeFileUsage is what the file store is given in a Caddyfile.
const storeFileUsage = "store file [<path>] { max_size <size> }"

// UnmarshalCaddyfile sets up the store. Syntax:
//
//	store file [<path>] {
//	    max_size <size>
//	}
//
// The size has a unit, as 512MiB or 2GB.
func (f *FileStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the name
	if d.NextArg() {
		f.Path = d.Val()
		if f.Path == "" {
			return d.Errf("the path is empty, expected: %s", storeFileUsage)
		}
	}
	if d.NextArg() {
		return d.Errf("wrong number of arguments, expected: %s", storeFileUsage)
	}
	for d.NextBlock(0) {
		if d.Val() != "max_size" {
			return d.Errf("unrecognized option %q in store file, expected max_size", d.Val())
		}
		if f.MaxSize != 0 {
			return d.Err("max_size is already specified")
		}
		if err := f.unmarshalMaxSize(d); err != nil {
			return err
		}
	}
	return nil
}

func (f *FileStore) unmarshalMaxSize(d *caddyfile.Dispenser) error {
	var text string
	if !d.AllArgs(&text) {
		return d.Err("wrong number of arguments, expected: max_size <size>")
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 || size > math.MaxInt64 {
		return d.Errf("invalid size %q, expected a number with a unit, such as 512MiB: max_size <size>", text)
	}
	f.MaxSize = int64(size)
	return nil
}

// Provision resolves the path and checks the size. It does not look at the
// file.
func (f *FileStore) Provision(caddy.Context) error {
	if f.MaxSize == 0 {
		f.MaxSize = store.DefaultMaxSize
	}
	if least := store.SmallestMaxSize(); f.MaxSize < least {
		return fmt.Errorf("max_size is %d, expected at least %d", f.MaxSize, least)
	}
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
		MaxSize:    f.MaxSize,
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
// works, or no more.
func logStoreEvent(logger *zap.Logger, path string, e store.Event) {
	fields := []zap.Field{zap.String("path", path)}
	if e.Damaged > 0 {
		fields = append(fields, zap.Uint64("damaged", e.Damaged))
	}
	if e.Err != nil {
		fields = append(fields, zap.Error(e.Err))
	}
	level := zap.ErrorLevel
	if e.Resolved {
		level = zap.InfoLevel
	}
	logger.Log(level, e.Message, fields...)
}

// resize gives an open store the size that a config asks for, by the backends
// of the issuers that share it. The store is older than a config that was
// reloaded.
func resize(s store.Store, backends []Backend) {
	var size int64
	for _, b := range backends {
		if f, ok := b.(*FileStore); ok {
			size = max(size, f.MaxSize)
		}
	}
	if f, ok := s.(*store.File); ok {
		f.SetMaxSize(size)
	}
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
