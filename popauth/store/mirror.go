// SPDX-License-Identifier: Apache-2.0

package store

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

// Mirror is a Store that also keeps in memory which tokens are revoked, so
// that asking costs no read of the Store behind it. All revocations must be
// made through the one Mirror of a Store: it reads those that were there
// before, and not what others make beside it.
//
// It holds a revocation until both clocks have passed its expiry, for the
// reason that Memory gives.
type Mirror struct {
	Store
	clock clock.Clock

	mu       sync.RWMutex
	closed   bool
	revoked  map[Key]*record
	byExpiry expiryHeap
	feeds    map[[sha256.Size]byte]*mirrored // by issuer
}

// mirrored is what was read of an issuer's feed.
type mirrored struct {
	complete bool
	at       instant  // when reading it began
	reading  *reading // nil: nobody reads
}

// reading is one reading of a feed, for all who wait for it.
type reading struct {
	done chan struct{} // closed when err is there
	err  error
}

// NewMirror returns the mirror of a store. It reads nothing yet.
func NewMirror(s Store, c clock.Clock) *Mirror {
	return &Mirror{
		Store:   s,
		clock:   c,
		revoked: map[Key]*record{},
		feeds:   map[[sha256.Size]byte]*mirrored{},
	}
}

// PutIfAbsent implements Store. A revocation counts from the moment of the
// call, before it is durable, and whatever comes of it: when the outcome is
// unknown it may have happened.
func (m *Mirror) PutIfAbsent(ctx context.Context, key Key, value []byte, expires time.Time) (won bool, err error) {
	if key.Kind == KindRevocation {
		m.mu.Lock()
		m.add(key, expires, m.now())
		m.mu.Unlock()
	}
	return m.Store.PutIfAbsent(ctx, key, value, expires)
}

// Revoked says whether there is a record of KindRevocation under id, which is
// the SHA-256 of a token's id. It answers from memory, but for the first call
// for an issuer, which reads the feed; whoever waits for that gives up with
// its context. An error is an unknown. A revocation may be reported for some
// time after it has expired.
func (m *Mirror) Revoked(ctx context.Context, issuer, id [sha256.Size]byte) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, unavailable(err)
	}
	key := Key{Issuer: issuer, Kind: KindRevocation, ID: id}
	revoked, complete, err := m.look(key)
	if err != nil || revoked || complete {
		return revoked, err
	}
	r := m.begin(ctx, issuer)
	select {
	case <-r.done:
	case <-ctx.Done():
		return false, unavailable(ctx.Err())
	}
	if r.err != nil {
		return false, r.err
	}
	revoked, _, err = m.look(key)
	return revoked, err
}

// Close implements Store.
func (m *Mirror) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.revoked, m.byExpiry, m.feeds = nil, nil, nil
	m.mu.Unlock()
	return m.Store.Close(ctx)
}

// look says what memory knows. A no counts only if it is complete.
func (m *Mirror) look(key Key) (revoked, complete bool, err error) {
	at := m.now()
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return false, false, unavailable(errClosed)
	}
	if m.revoked[key] != nil {
		return true, true, nil
	}
	return false, m.feeds[key.Issuer].isComplete(at), nil
}

// isComplete says whether the feed was read to its end. It must be read again
// when the wall clock was set back: one that had been ahead made the Store
// leave out revocations as expired which by the clock of now are not.
func (f *mirrored) isComplete(at instant) bool {
	const tolerance = time.Second
	return f != nil && f.complete && at.now.Sub(f.at.now) >= at.mono-f.at.mono-tolerance
}

// begin returns the reading of an issuer's feed that is under way, or begins
// one.
func (m *Mirror) begin(ctx context.Context, issuer [sha256.Size]byte) *reading {
	at := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ended(unavailable(errClosed))
	}
	f := m.feeds[issuer]
	switch {
	case f == nil:
		f = new(mirrored)
		m.feeds[issuer] = f
	case f.reading != nil:
		return f.reading
	case f.isComplete(at):
		// another reading has ended in between
		return ended(nil)
	}
	r := &reading{done: make(chan struct{})}
	f.reading = r
	// not canceled with the request that happened to come first
	go m.finish(context.WithoutCancel(ctx), issuer, f, r, at)
	return r
}

// finish reads the feed and tells all who wait.
func (m *Mirror) finish(ctx context.Context, issuer [sha256.Size]byte, f *mirrored, r *reading, at instant) {
	r.err = m.read(ctx, issuer)
	m.mu.Lock()
	defer m.mu.Unlock()
	f.complete, f.at, f.reading = r.err == nil, at, nil
	close(r.done)
}

// read puts an issuer's feed into memory.
func (m *Mirror) read(ctx context.Context, issuer [sha256.Size]byte) error {
	for since := uint64(0); ; {
		feed, err := m.Revocations(ctx, issuer, since)
		if err != nil || len(feed.Revocations) == 0 {
			return err
		}
		if feed.Next <= since {
			return fmt.Errorf("%w: the feed of revocations does not go on", ErrUnavailable)
		}
		since = feed.Next
		at := m.now()
		m.mu.Lock()
		for _, r := range feed.Revocations {
			m.add(Key{Issuer: issuer, Kind: KindRevocation, ID: r.ID}, r.Expires, at)
		}
		m.mu.Unlock()
	}
}

// add holds a revocation, and drops some that have expired: more than it adds,
// so that they don't pile up. The lock must be held.
func (m *Mirror) add(key Key, expires time.Time, at instant) {
	for range sweep {
		if len(m.byExpiry) == 0 || !m.byExpiry[0].gone(at) {
			break
		}
		delete(m.revoked, heap.Pop(&m.byExpiry).(*record).key)
	}
	if m.closed || !expires.After(at.now) {
		return
	}
	until := at.mono + expires.Sub(at.now)
	if r := m.revoked[key]; r != nil {
		r.until = max(r.until, until)
		if expires.After(r.expires) {
			r.expires = expires
			heap.Fix(&m.byExpiry, r.place)
		}
		return
	}
	r := &record{key: key, expires: expires, until: until}
	m.revoked[key] = r
	heap.Push(&m.byExpiry, r)
}

func (m *Mirror) now() instant { return instant{m.clock.Now(), m.clock.Mono()} }

// ended is a reading that nobody need wait for.
func ended(err error) *reading {
	r := &reading{done: make(chan struct{}), err: err}
	close(r.done)
	return r
}

// Interface guard
var _ Store = (*Mirror)(nil)
