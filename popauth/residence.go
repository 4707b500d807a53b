// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/popauth/caddy-popauth/popauth/store"
)

// residence is where an issuer lives in this process. While a config is replaced
// by one with another store, both serve: a revocation that one of them writes to
// its store is unknown to the other's. So only one store serves at a time, that
// of the newest config that has been asked, and whoever comes back to a store
// knows nothing for sure of the time before.
type residence struct {
	turn chan struct{} // of capacity 1, full while one moves in
	stay atomic.Pointer[stay]

	mu sync.Mutex // guards changes of stay, its guests, and who has left
}

// stay is the time between two changes of the store.
type stay struct {
	handle *handle
	guests map[*tenancy]struct{} // who has moved in and not left
	since  time.Time             // the latest that a guest knows of; guarded by the turn
}

// residenceKey is what a record in Caddy's storage is for. Two storages that
// can't be told apart count as one.
type residenceKey struct{ storage, issuer string }

var (
	residences = caddy.NewUsagePool()
	configs    atomic.Uint64 // numbers tenancies in the order of their configs
)

func residenceOf(storage certmagic.Storage, issuer string) residenceKey {
	key := residenceKey{storage: fmt.Sprintf("%T", storage), issuer: issuer}
	if s, ok := storage.(fmt.Stringer); ok {
		key.storage += " " + s.String()
	}
	return key
}

// Destruct implements caddy.Destructor. There is nothing to give back.
func (*residence) Destruct() error { return nil }

var (
	errNewerServes = errors.New("a newer configuration serves this issuer from another store")
	errLeft        = errors.New("the configuration has ended")
)

// take makes the store of a tenancy the one that serves. From then on the
// tenancies of another store answer nothing.
func (r *residence) take(t *tenancy) (*stay, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.left {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, errLeft)
	}
	s := r.stay.Load()
	if s == nil || s.handle != t.handle {
		if s != nil && s.newest() > t.config {
			return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, errNewerServes)
		}
		s = &stay{handle: t.handle, guests: map[*tenancy]struct{}{}}
		r.stay.Store(s)
	}
	s.guests[t] = struct{}{}
	return s, nil
}

// newest is the number of the newest config among the guests.
func (s *stay) newest() (newest uint64) {
	for t := range s.guests {
		newest = max(newest, t.config)
	}
	return newest
}

// leave makes room for an older config that is still there, since this one
// failed to load. Nothing changes until that one is asked: requests of a config
// that has ended still drain, while the next one has the same store. It reports
// whether the tenancy was still there.
func (r *residence) leave(t *tenancy) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.left {
		return false
	}
	t.left = true
	if s := r.stay.Load(); s != nil {
		delete(s.guests, t)
	}
	return true
}
