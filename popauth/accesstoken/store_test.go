// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// fault is what happens to the writes of a faulty store.
type fault int

const (
	works  fault = iota
	before       // the write never happens, and nobody knows
	during       // nobody knows, and it happens when the store is mended
	after        // it has happened, and nobody knows
	loses        // PutIfAbsent says that the record was there
)

// faulty is a store that can be made to fail and that counts what it is asked.
// It stands beneath a mirror, where a real store stands.
type faulty struct {
	store.Store

	mu         sync.Mutex
	writes     fault
	reads      fault // works or before
	late       []func()
	gets, puts int
}

// onFaulty is service with a faulty store.
func onFaulty(t testing.TB) (*Service, *clock.Fake, *faulty) {
	t.Helper()
	c := clock.NewFake(start.Add(-time.Hour))
	f := &faulty{Store: store.NewMemory(c)}
	s := serviceOn(t, c, issuerURL, store.NewMirror(f, c), "p256")
	c.Advance(time.Hour)
	return s, c, f
}

// breaks sets what happens from now on to writes and to reads.
func (f *faulty) breaks(writes, reads fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes, f.reads = writes, reads
}

// mend ends all faults, after the writes that were under way.
func (f *faulty) mend() {
	f.breaks(works, works)
	for _, write := range f.late {
		write()
	}
	f.late = nil
}

func (f *faulty) counts() (gets, puts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gets, f.puts
}

var errFault = fmt.Errorf("%w: the disk is on fire", store.ErrUnavailable)

func (f *faulty) PutIfAbsent(ctx context.Context, key store.Key, value []byte, expires time.Time) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts++
	switch f.writes {
	case before:
		return false, errFault
	case during:
		f.late = append(f.late, func() { _, _ = f.Store.PutIfAbsent(context.WithoutCancel(ctx), key, value, expires) })
		return false, errFault
	case after:
		_, _ = f.Store.PutIfAbsent(ctx, key, value, expires)
		return false, errFault
	case loses:
		return false, nil
	}
	return f.Store.PutIfAbsent(ctx, key, value, expires)
}

func (f *faulty) Get(ctx context.Context, key store.Key) ([]byte, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets++
	if f.reads != works {
		return nil, false, errFault
	}
	return f.Store.Get(ctx, key)
}

func (f *faulty) Revocations(ctx context.Context, issuer [32]byte, since uint64) (store.Feed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reads != works {
		return store.Feed{}, errFault
	}
	return f.Store.Revocations(ctx, issuer, since)
}

// mute is a store that can't say whether a token was revoked.
type mute struct{ Store }

func (mute) Revoked(context.Context, [32]byte, [32]byte) (bool, error) { return false, errFault }

// restored is a store that knows of revocations since a given time.
type restored struct {
	Store
	since time.Time
}

func (r restored) CompleteSince() time.Time { return r.since }
