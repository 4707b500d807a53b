// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// tenancy is one issuer in a store. A store knows all revocations that were
// made in it; it does not know of those that an issuer made elsewhere, while
// its configuration named another store. So who of an issuer's stores served
// last is kept in Caddy's storage, and a store that the issuer comes back to is
// complete only since then.
type tenancy struct {
	*handle
	prefix string // of the issuer in Caddy's storage
	config uint64 // a newer config has a higher number

	key       residenceKey
	residence *residence
	left      bool // guarded by the residence

	failure  error         // of the last attempt; guarded by the turn of the residence
	failedAt time.Duration // on the monotonic clock

	lodging atomic.Pointer[lodging] // nil: not moved in yet
}

// lodging is what a tenancy knows of the time before it has moved in.
type lodging struct {
	stay  *stay // good until the residence has another one
	since time.Time
}

// tenant is what Caddy's storage says of an issuer on this node.
type tenant struct {
	// Store is the id of the store that served last.
	Store string `json:"store"`

	// Since is when the issuer moved in, if it had another store before.
	Since time.Time `json:"since,omitzero"`
}

// newTenancy moves nobody in: that is left to the start of the config, or to
// the first need. The storage is that of the config.
func newTenancy(h *handle, storage certmagic.Storage, issuerURL string) (*tenancy, error) {
	key := residenceOf(storage, issuerURL)
	r, _, err := residences.LoadOrNew(key, func() (caddy.Destructor, error) {
		return &residence{turn: make(chan struct{}, 1)}, nil
	})
	if err != nil {
		return nil, err
	}
	return &tenancy{handle: h, prefix: storagePrefix(issuerURL), config: configs.Add(1), key: key, residence: r.(*residence)}, nil
}

// leave is for the end of the config, which may come more than once.
func (t *tenancy) leave() error {
	if !t.residence.leave(t) {
		return nil
	}
	_, err := residences.Delete(t.key)
	return err
}

// start moves in, unless another store serves. That one goes on until this one
// is asked: a config that fails to load, because of something else in it, then
// takes nothing from the one that runs.
func (t *tenancy) start(ctx context.Context) error {
	if s := t.residence.stay.Load(); s != nil && s.handle != t.handle {
		return nil
	}
	return t.moveIn(ctx)
}

func (t *tenancy) in() bool {
	l := t.lodging.Load()
	return l != nil && l.stay == t.residence.stay.Load()
}

// moveIn makes sure that the store is open and was the last to serve the
// issuer, or takes note that it was not. Until that is done, every answer is
// unknown. It is tried at most once a second.
func (t *tenancy) moveIn(ctx context.Context) error {
	if t.in() {
		return nil
	}
	m, err := t.ready(ctx)
	if err != nil {
		return err
	}
	select {
	case t.residence.turn <- struct{}{}:
		defer func() { <-t.residence.turn }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	if t.in() {
		return nil
	}
	if t.failure != nil && t.clock.Mono()-t.failedAt < retryOpening {
		return t.failure
	}
	s, err := t.residence.take(t)
	if err != nil {
		return err
	}
	since, err := t.register(m.ID())
	if err != nil {
		// the others stay out: what was written may be in storage all the same
		t.failure, t.failedAt = fmt.Errorf("%w: %w", store.ErrUnavailable, err), t.clock.Mono()
		return t.failure
	}
	if since.After(s.since) {
		s.since = since
	}
	t.lodging.Store(&lodging{s, s.since})
	return nil
}

// register compares the store with the one that served last, and returns since
// when the issuer's revocations are in this one. What it finds out is in
// Caddy's storage before anything is answered.
func (t *tenancy) register(id [16]byte) (since time.Time, err error) {
	// of this node: others that share Caddy's storage have stores of their own
	node, err := nodeID()
	if _, memory := t.backend.(*MemoryStore); memory && err != nil {
		// Caddy's data directory can't be written. Then a file store can't be
		// opened later either, and this one knows only of its own time anyway
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("telling this node from others: %w", err)
	}
	key := t.prefix + "/tenant/" + node
	here := hex.EncodeToString(id[:])
	last, err := t.lastTenant(key)
	if err != nil {
		return time.Time{}, err
	}
	switch last.Store {
	case here:
		return last.Since, nil
	case "":
		last = tenant{Store: here}
	default:
		last = tenant{Store: here, Since: t.clock.Now()}
		t.Logger().Warn("another store has served this issuer in between: tokens from before are refused",
			zap.String("issuer_prefix", t.prefix), zap.Time("since", last.Since))
	}
	text, err := json.Marshal(last)
	if err != nil {
		return time.Time{}, err
	}
	_, err = bounded(t.ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, t.Storage().Store(ctx, key, text)
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("writing %s to storage: %w", key, err)
	}
	return last.Since, nil
}

// lastTenant reads who served last; nobody, if nothing was ever written. What
// can't be read is somebody else: taking it for nobody would make a store look
// complete that is not.
func (t *tenancy) lastTenant(key string) (tenant, error) {
	text, err := bounded(t.ctx, func(ctx context.Context) ([]byte, error) { return t.Storage().Load(ctx, key) })
	if errors.Is(err, fs.ErrNotExist) {
		return tenant{}, nil
	}
	if err != nil {
		return tenant{}, fmt.Errorf("reading %s from storage: %w", key, err)
	}
	var last tenant
	if err := json.Unmarshal(text, &last); err != nil || last.Store == "" {
		return tenant{Store: "damaged"}, nil
	}
	return last, nil
}

// storageTimeout bounds what Caddy's storage may take while others wait.
const storageTimeout = 10 * time.Second

// bounded calls Caddy's storage and waits for a limited time, since not every
// storage heeds its context: a file system that hangs would hang the start.
func bounded[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer cancel()
		value, err := call(ctx)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		select {
		case r := <-done: // it ended, and with it the context
			return r.value, r.err
		default:
			var none T
			return none, ctx.Err()
		}
	}
}

// PutIfAbsent implements store.Store.
func (t *tenancy) PutIfAbsent(ctx context.Context, key store.Key, value []byte, expires time.Time) (won bool, err error) {
	if err := t.moveIn(ctx); err != nil {
		return false, err
	}
	return t.handle.PutIfAbsent(ctx, key, value, expires)
}

// Get implements store.Store.
func (t *tenancy) Get(ctx context.Context, key store.Key) (value []byte, ok bool, err error) {
	if err := t.moveIn(ctx); err != nil {
		return nil, false, err
	}
	return t.handle.Get(ctx, key)
}

// Consume implements store.Store.
func (t *tenancy) Consume(ctx context.Context, key store.Key) (first bool, err error) {
	if err := t.moveIn(ctx); err != nil {
		return false, err
	}
	return t.handle.Consume(ctx, key)
}

// Revoked implements accesstoken.Store.
func (t *tenancy) Revoked(ctx context.Context, issuer, id [sha256.Size]byte) (bool, error) {
	if err := t.moveIn(ctx); err != nil {
		return false, err
	}
	return t.handle.Revoked(ctx, issuer, id)
}

// CompleteSince implements store.Store: what the store knows, but not for the
// time before the issuer moved in. It is the zero time until then.
func (t *tenancy) CompleteSince() time.Time {
	l := t.lodging.Load()
	if l == nil {
		return time.Time{}
	}
	if complete := t.handle.CompleteSince(); complete.IsZero() || complete.After(l.since) {
		return complete
	}
	return l.since
}

// Interface guard
var _ accesstoken.Store = (*tenancy)(nil)
