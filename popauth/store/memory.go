// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

const (
	// sweep is how many expired records a call removes: more than it can
	// make, so that expired ones don't pile up.
	sweep = 4

	// feedSize is how many revocations a feed holds.
	feedSize = 1024
)

// Memory is a Store that lives and dies with the process: nothing survives a
// restart, and all tokens that were issued before it are of unknown state. It
// has no limit; what bounds it is the expiry of its records.
//
// A record goes only when both clocks say so: the wall clock, because it is
// what tokens are judged by, and the monotonic clock, because the wall clock
// may be set forward by mistake. If a revocation went by that, the token would
// be good again when the mistake is mended.
type Memory struct {
	clock clock.Clock
	since time.Time
	id    [16]byte

	mu       sync.Mutex
	closed   bool
	records  map[Key]*record
	byExpiry expiryHeap
	feeds    map[[sha256.Size]byte]*journal // by issuer
	made     uint64                         // number of the newest revocation
}

// record is what is kept under a key.
type record struct {
	key     Key
	value   []byte
	expires time.Time
	until   time.Duration // the same on the monotonic clock, as of putting
	used    bool
	place   int    // in the heap; -1: no more
	number  uint64 // of a revocation
}

// instant is one reading of the clock.
type instant struct {
	now  time.Time
	mono time.Duration
}

// gone says whether both clocks have passed the expiry.
func (r *record) gone(at instant) bool {
	return !at.now.Before(r.expires) && at.mono >= r.until
}

// NewMemory returns an empty store, whose revocations are complete from now.
func NewMemory(c clock.Clock) *Memory {
	return &Memory{
		clock:   c,
		since:   c.Now(),
		id:      newID(),
		records: map[Key]*record{},
		feeds:   map[[sha256.Size]byte]*journal{},
	}
}

// PutIfAbsent implements Store.
func (m *Memory) PutIfAbsent(ctx context.Context, key Key, value []byte, expires time.Time) (won bool, err error) {
	at, err := m.begin(ctx)
	if err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	if m.find(key, at) != nil || !expires.After(at.now) {
		return false, nil
	}
	r := &record{
		key: key, value: bytes.Clone(value),
		expires: expires, until: at.mono + expires.Sub(at.now),
	}
	if key.Kind == KindRevocation {
		m.made++
		r.number = m.made
		m.journal(key.Issuer).append(r)
	}
	m.records[key] = r
	heap.Push(&m.byExpiry, r)
	return true, nil
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key Key) (value []byte, ok bool, err error) {
	at, err := m.begin(ctx)
	if err != nil {
		return nil, false, err
	}
	defer m.mu.Unlock()
	r := m.find(key, at)
	if r == nil {
		return nil, false, nil
	}
	return bytes.Clone(r.value), true, nil
}

// Consume implements Store.
func (m *Memory) Consume(ctx context.Context, key Key) (first bool, err error) {
	at, err := m.begin(ctx)
	if err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	r := m.find(key, at)
	if r == nil || r.used {
		return false, nil
	}
	r.used = true
	return true, nil
}

// Revocations implements Store.
func (m *Memory) Revocations(ctx context.Context, issuer [sha256.Size]byte, since uint64) (Feed, error) {
	at, err := m.begin(ctx)
	if err != nil {
		return Feed{}, err
	}
	defer m.mu.Unlock()
	feed := Feed{Next: since}
	for _, r := range m.feeds[issuer].after(since) {
		if len(feed.Revocations) == feedSize {
			break
		}
		feed.Next = r.number
		if r.place >= 0 && !r.gone(at) {
			feed.Revocations = append(feed.Revocations, Revocation{
				ID: r.key.ID, Value: bytes.Clone(r.value), Expires: r.expires,
			})
		}
	}
	return feed, nil
}

// CompleteSince implements Store. It is the time when the store was made.
func (m *Memory) CompleteSince() time.Time { return m.since }

// ID implements Store.
func (m *Memory) ID() [16]byte { return m.id }

// Close implements Store. It forgets everything.
func (m *Memory) Close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.records, m.byExpiry, m.feeds = nil, nil, nil
	return nil
}

// begin sweeps and returns the time, with the store locked for one call;
// or an error, with nothing locked, if the store can't answer.
func (m *Memory) begin(ctx context.Context) (instant, error) {
	if err := ctx.Err(); err != nil {
		return instant{}, unavailable(err)
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return instant{}, unavailable(errClosed)
	}
	at := instant{m.clock.Now(), m.clock.Mono()}
	for range sweep {
		if len(m.byExpiry) == 0 || !m.byExpiry[0].gone(at) {
			break
		}
		m.remove(m.byExpiry[0])
	}
	return at, nil
}

// find returns the record under key. One that has expired but was not swept is
// removed, as if it had been.
func (m *Memory) find(key Key, at instant) *record {
	r := m.records[key]
	if r != nil && r.gone(at) {
		m.remove(r)
		return nil
	}
	return r
}

func (m *Memory) remove(r *record) {
	delete(m.records, r.key)
	heap.Remove(&m.byExpiry, r.place)
	if r.key.Kind == KindRevocation && m.feeds[r.key.Issuer].drop(r) {
		delete(m.feeds, r.key.Issuer)
	}
}

// journal returns the journal of an issuer, made if it has none.
func (m *Memory) journal(issuer [sha256.Size]byte) *journal {
	j := m.feeds[issuer]
	if j == nil {
		j = new(journal)
		m.feeds[issuer] = j
	}
	return j
}

// Interface guard
var _ Store = (*Memory)(nil)
