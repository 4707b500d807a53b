// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// Backend is a module of the namespace popauth.stores: a place for what must
// survive.
type Backend interface {
	caddy.Module

	// Identity tells apart two stores of the same backend. Configurations
	// with the same identity share one open store.
	Identity() string

	// Open opens the store. It is called when a configuration is started, or
	// at first need, and never while one is only validated; again, if it failed.
	// The store outlives the configuration that the backend belongs to, and so
	// does the host. The context ends when nobody wants the store any more.
	Open(ctx context.Context, host StoreHost) (store.Store, error)
}

// StoreHost is what an open store may use of the configuration that runs, which
// changes with every reload.
type StoreHost interface {
	Storage() certmagic.Storage
	Logger() *zap.Logger
}

// stores are the stores of the process, open or not, from one config to the
// next.
var stores = caddy.NewUsagePool()

// storeKey says which store it is. Nothing that may be tuned is part of it.
type storeKey struct {
	backend  caddy.ModuleID
	identity string
}

// keyOf is the key of a backend's store.
func keyOf(b Backend) storeKey { return storeKey{b.CaddyModule().ID, b.Identity()} }

// retryOpening is how long a failed attempt to open a store answers for those
// who come after it.
const retryOpening = time.Second

// closing is how long a store may take to close: twice what a file waits for
// Caddy's storage, and some for the disk.
const closing = 30 * time.Second

// handle is one store of the process. It is opened once, by the first who needs
// it; until then, and while that fails, every answer is unknown.
type handle struct {
	backend Backend
	clock   clock.Clock
	open    atomic.Pointer[store.Mirror] // nil: not open

	turn     chan struct{} // of capacity 1, full while one opens or closes; guards:
	closed   bool
	failure  error         // of the last attempt
	failedAt time.Duration // on the monotonic clock

	ctx    context.Context // of opening, which the end of the handle ends
	cancel context.CancelFunc

	host  atomic.Pointer[storeHost] // of the config that runs
	mu    sync.Mutex
	hosts []*storeHost // of all that hold a reference; the last one runs
}

// storeHost is the StoreHost of one configuration.
type storeHost struct {
	storage certmagic.Storage
	logger  *zap.Logger
}

// acquireStore takes a reference, which releaseStore gives back. Until a config
// is started, the one that came first is the host.
func acquireStore(key storeKey, b Backend, c clock.Clock, host *storeHost) (*handle, error) {
	value, _, err := stores.LoadOrNew(key, func() (caddy.Destructor, error) {
		h := &handle{backend: b, clock: c, turn: make(chan struct{}, 1)}
		h.ctx, h.cancel = context.WithCancel(context.Background())
		return h, nil
	})
	if err != nil {
		return nil, err
	}
	h := value.(*handle)
	h.line(func() { h.hosts = slices.Insert(h.hosts, 0, host) })
	return h, nil
}

// releaseStore gives back the reference of a host.
func releaseStore(key storeKey, h *handle, host *storeHost) error {
	h.line(func() { h.hosts = without(h.hosts, host) })
	_, err := stores.Delete(key)
	return err
}

// adopt makes a configuration that is started the host of the store. If it ends
// before the one that ran until now, because something else in it could not be
// started, then that one is the host again.
func (h *handle) adopt(host *storeHost) {
	h.line(func() { h.hosts = append(without(h.hosts, host), host) })
}

// line changes the line of hosts. The last one stays when all have left: it is
// still needed to close the store.
func (h *handle) line(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	if n := len(h.hosts); n > 0 {
		h.host.Store(h.hosts[n-1])
	}
}

// without is the line of hosts without one.
func without(hosts []*storeHost, host *storeHost) []*storeHost {
	return slices.DeleteFunc(hosts, func(other *storeHost) bool { return other == host })
}

// Storage implements StoreHost.
func (h *handle) Storage() certmagic.Storage { return h.host.Load().storage }

// Logger implements StoreHost.
func (h *handle) Logger() *zap.Logger { return h.host.Load().logger }

// ready returns the open store. One at a time tries to open it, and at most
// once a second, so that a store in trouble is not asked for every request.
// Whoever waits for another gives up with its context.
func (h *handle) ready(ctx context.Context) (*store.Mirror, error) {
	if m := h.open.Load(); m != nil {
		return m, nil
	}
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	switch m := h.open.Load(); {
	case m != nil:
		return m, nil
	case h.closed:
		return nil, fmt.Errorf("%w: it is closed", store.ErrUnavailable)
	case h.failure != nil && h.clock.Mono()-h.failedAt < retryOpening:
		return nil, h.failure
	}
	opened, err := h.attempt()
	if err != nil {
		h.failure, h.failedAt = fmt.Errorf("%w: %w", store.ErrUnavailable, err), h.clock.Mono()
		return nil, h.failure
	}
	m := store.NewMirror(opened, h.clock)
	h.open.Store(m)
	return m, nil
}

// attempt opens the store, not to be canceled with the request that happened
// to come first. A panic is an error, or every request would have it anew.
func (h *handle) attempt() (opened store.Store, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.Logger().Error("opening the store ended in a panic", zap.Any("panic", p), zap.Stack("stack"))
			err = fmt.Errorf("opening it ended in a panic: %v", p)
		}
	}()
	return h.backend.Open(h.ctx, h)
}

// Destruct closes the store when no config refers to it any more.
func (h *handle) Destruct() error {
	h.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return fmt.Errorf("an opening of the store does not end: %w", ctx.Err())
	}
	h.closed = true
	m := h.open.Swap(nil)
	if m == nil {
		return nil
	}
	return m.Close(ctx)
}

// PutIfAbsent implements store.Store.
func (h *handle) PutIfAbsent(ctx context.Context, key store.Key, value []byte, expires time.Time) (won bool, err error) {
	m, err := h.ready(ctx)
	if err != nil {
		return false, err
	}
	return m.PutIfAbsent(ctx, key, value, expires)
}

// Get implements store.Store.
func (h *handle) Get(ctx context.Context, key store.Key) (value []byte, ok bool, err error) {
	m, err := h.ready(ctx)
	if err != nil {
		return nil, false, err
	}
	return m.Get(ctx, key)
}

// Consume implements store.Store.
func (h *handle) Consume(ctx context.Context, key store.Key) (first bool, err error) {
	m, err := h.ready(ctx)
	if err != nil {
		return false, err
	}
	return m.Consume(ctx, key)
}

// Revocations implements store.Store.
func (h *handle) Revocations(ctx context.Context, issuer [sha256.Size]byte, since uint64) (store.Feed, error) {
	m, err := h.ready(ctx)
	if err != nil {
		return store.Feed{}, err
	}
	return m.Revocations(ctx, issuer, since)
}

// Revoked implements accesstoken.Store.
func (h *handle) Revoked(ctx context.Context, issuer, id [sha256.Size]byte) (bool, error) {
	m, err := h.ready(ctx)
	if err != nil {
		return false, err
	}
	return m.Revoked(ctx, issuer, id)
}

// CompleteSince implements store.Store. It is the zero time while the store is
// not open; then every other answer is an error.
func (h *handle) CompleteSince() time.Time {
	if m := h.open.Load(); m != nil {
		return m.CompleteSince()
	}
	return time.Time{}
}

// ID implements store.Store. It is zero while the store is not open; then every
// other answer is an error.
func (h *handle) ID() [16]byte {
	if m := h.open.Load(); m != nil {
		return m.ID()
	}
	return [16]byte{}
}

// Close is not for those who share the store: the pool closes it.
func (h *handle) Close(context.Context) error {
	return errors.New("internal error: a shared store is closed by the pool alone")
}

// Interface guards
var (
	_ caddy.Destructor  = (*handle)(nil)
	_ StoreHost         = (*handle)(nil)
	_ accesstoken.Store = (*handle)(nil)
)
