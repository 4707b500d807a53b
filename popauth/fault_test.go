// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
)

func init() {
	caddy.RegisterModule(faultModule{})
}

// faultModule lets a test have its own backend in a Caddy configuration.
type faultModule struct {
	ID string `json:"id"`
}

func (faultModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "popauth.stores.fault", New: func() caddy.Module { return new(faultModule) }}
}

func (m *faultModule) Identity() string { return m.ID }

func (m *faultModule) Open(ctx context.Context, host StoreHost) (store.Store, error) {
	f, ok := faults.Load(m.ID)
	if !ok {
		return nil, errors.New("no such backend")
	}
	return f.(*fault).open(ctx, host)
}

var faults sync.Map

// errFault is what a broken backend says.
var errFault = errors.New("the cable is cut")

// errUnknown is an answer of a broken backend.
var errUnknown = fmt.Errorf("%w: %w", store.ErrUnavailable, errFault)

// fault is a memory store, which fails where a test says so. Its revocations
// are complete since long ago, so that a token may be older than the test.
type fault struct {
	backend *faultModule
	raw     json.RawMessage // how a Caddy configuration names it

	attempts atomic.Int64  // to open it
	hold     chan struct{} // unless nil, opening waits until it is closed
	shut     atomic.Bool   // it can't be opened
	panics   atomic.Bool   // instead of being opened

	calls    atomic.Int64           // of the verbs
	writes   atomic.Int64           // those that would change something
	down     atomic.Bool            // nothing is answered
	readOnly atomic.Bool            // no write is done
	stuck    atomic.Pointer[func()] // unless nil, a write calls it, and waits for the end of its context
	lost     atomic.Bool            // writes are done, and their answers lost

	mu   sync.Mutex
	host StoreHost // of the last attempt
	last *faulty   // that was opened
}

func newFault(t testing.TB) *fault {
	t.Helper()
	id := rand.Text()
	raw, err := json.Marshal(map[string]string{"backend": "fault", "id": id})
	if err != nil {
		t.Fatal(err)
	}
	f := &fault{backend: &faultModule{ID: id}, raw: raw}
	faults.Store(id, f)
	t.Cleanup(func() { faults.Delete(id) })
	return f
}

func (f *fault) open(ctx context.Context, host StoreHost) (store.Store, error) {
	f.attempts.Add(1)
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.host = host
	switch {
	case f.panics.Load():
		panic(errFault)
	case f.shut.Load():
		return nil, errFault
	}
	f.last = &faulty{fault: f, Store: store.NewMemory(clock.System), since: time.Now().Add(-time.Hour)}
	return f.last, nil
}

// opened is the store that was opened last.
func (f *fault) opened() *faulty {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// faulty is the open store of a fault.
type faulty struct {
	store.Store
	fault  *fault
	since  time.Time
	closed atomic.Int64
}

func (s *faulty) called() error {
	s.fault.calls.Add(1)
	if s.fault.down.Load() {
		return errUnknown
	}
	return nil
}

func (s *faulty) PutIfAbsent(ctx context.Context, key store.Key, value []byte, expires time.Time) (bool, error) {
	s.fault.writes.Add(1)
	if err := s.called(); err != nil || s.fault.readOnly.Load() {
		return false, errUnknown
	}
	if wait := s.fault.stuck.Load(); wait != nil {
		(*wait)()
		<-ctx.Done()
		return false, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	won, err := s.Store.PutIfAbsent(ctx, key, value, expires)
	if s.fault.lost.Load() {
		return false, errUnknown
	}
	return won, err
}

func (s *faulty) Get(ctx context.Context, key store.Key) ([]byte, bool, error) {
	if err := s.called(); err != nil {
		return nil, false, err
	}
	return s.Store.Get(ctx, key)
}

func (s *faulty) Consume(ctx context.Context, key store.Key) (bool, error) {
	s.fault.writes.Add(1)
	if err := s.called(); err != nil {
		return false, err
	}
	return s.Store.Consume(ctx, key)
}

func (s *faulty) Revocations(ctx context.Context, issuer [sha256.Size]byte, since uint64) (store.Feed, error) {
	if err := s.called(); err != nil {
		return store.Feed{}, err
	}
	return s.Store.Revocations(ctx, issuer, since)
}

func (s *faulty) CompleteSince() time.Time { return s.since }

func (s *faulty) Close(ctx context.Context) error {
	s.closed.Add(1)
	return s.Store.Close(ctx)
}

var _ Backend = (*faultModule)(nil)
