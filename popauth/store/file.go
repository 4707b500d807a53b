// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

// File is a Store in one file of a local disk (bbolt). It is for one process:
// the file is locked while it is open. What it has reported as done is on the
// disk.
//
// Expiry is judged by the wall clock, and an expired record stays for another
// hour. If the clock is set forward by mistake for longer than that, what was
// removed stays so.
//
// A damaged record never passes for a good one: a damaged token is not there,
// and a damaged revocation or assertion still counts as made. A file that has
// lost one of the latter by damage can't be opened.
//
// A copy of the file that is put back after a crash, as from a backup, lacks
// the revocations that were made since. The store sees that by its generation,
// which is raised in the file and then in Caddy's storage when it is opened and
// closed, and by the first revocation a minute or more after it was raised
// last. Then it is complete only since now; so is a file of another store, or
// one of which Caddy's storage knows nothing. It can't see it if the copy is
// younger than the last raise, so that at most the revocations of one minute
// are missing; or if Caddy's storage was put back as well, or could not be
// written.
type File struct {
	clock       clock.Clock
	notify      func(Event)
	generations Generation
	db          *bolt.DB
	since       time.Time
	id          [storeIDSize]byte
	damaged     atomic.Uint64 // how often a damaged record was met

	space space
	stall stall

	beginning sync.Mutex    // to read; see begin
	breaking  sync.Once     // of broken
	broken    chan struct{} // closed when bbolt must not be called any more

	entering sync.RWMutex // for writing: to close the queue
	closed   bool
	queue    chan *write
	done     chan struct{} // closed when run has ended, and closeErr is there
	closeErr error

	// of run alone
	rest       rest
	state      state
	number     uint64 // of the newest record
	raisedAt   time.Duration
	publishing sync.WaitGroup
	publishes  atomic.Bool // whether a generation is on its way to storage
}

// FileConfig says how to open a File. All but Notify and MaxSize is required.
type FileConfig struct {
	// Path of the file. It is made if it does not exist, and its directory
	// too, so that only the user of this process can read them.
	Path string

	Clock      clock.Clock
	Generation Generation

	// MaxSize is how many bytes the file may take of the disk. When only 15 %
	// of that are left, PutIfAbsent is unknown for tokens and assertions, and
	// the rest is for revocations. A file whose disk has no more room is full in
	// the same way. Default: DefaultMaxSize; at least SmallestMaxSize.
	MaxSize int64

	// Notify is told what an operator must know. It may be nil, is called from
	// any goroutine, and must not block.
	Notify func(Event)

	reserve func(file *os.File, from, size int64) error // reserveBlocks
}

// Event is something that an operator must know: the store works, but
// something is wrong, or no more.
type Event struct {
	Message string
	Err     error

	// Damaged is how often a damaged record was met since the store was
	// opened; 0 if the event is about something else.
	Damaged uint64

	// Resolved says that what an earlier event told of is over.
	Resolved bool
}

// maxValue is the size of the largest value.
const maxValue = 64 << 10

// PutIfAbsent implements Store.
func (f *File) PutIfAbsent(ctx context.Context, key Key, value []byte, expires time.Time) (won bool, err error) {
	if len(value) > maxValue {
		return false, fmt.Errorf("%w: a value of %d bytes is too large, want at most %d", ErrUnavailable, len(value), maxValue)
	}
	return f.ask(ctx, &write{key: recordKey(key), value: bytes.Clone(value), expires: expires})
}

// Get implements Store. A damaged token is not there; a damaged record of any
// other kind is, without its value.
func (f *File) Get(ctx context.Context, key Key) (value []byte, ok bool, err error) {
	err = f.view(ctx, func(tx *bolt.Tx) error {
		k := recordKey(key)
		sealed := tx.Bucket(recordsBucket).Get(k)
		if sealed == nil {
			return nil
		}
		s, intact := unsealRecord(k, sealed)
		if !intact {
			f.alarm()
			ok = key.Kind != KindToken
			return nil
		}
		if ok = !expired(s.expires, f.clock.Now()); ok {
			value = bytes.Clone(s.value)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return value, ok, nil
}

// Consume implements Store.
func (f *File) Consume(ctx context.Context, key Key) (first bool, err error) {
	return f.ask(ctx, &write{key: recordKey(key), consume: true})
}

// Revocations implements Store.
func (f *File) Revocations(ctx context.Context, issuer [sha256.Size]byte, since uint64) (Feed, error) {
	feed := Feed{Next: since}
	err := f.view(ctx, func(tx *bolt.Tx) error {
		if since == math.MaxUint64 {
			return nil
		}
		now := f.clock.Now()
		cursor := tx.Bucket(feedBucket).Cursor()
		key, sealed := cursor.Seek(feedKey(issuer[:], since+1))
		for ; bytes.HasPrefix(key, issuer[:]) && len(feed.Revocations) < feedSize; key, sealed = cursor.Next() {
			entry, ok := unsealListed(key, sealed)
			if !ok {
				f.alarm()
				if entry, ok = relist(tx, key); !ok {
					return fmt.Errorf("revocation %x is damaged", key[sha256.Size:])
				}
			}
			feed.Next = binary.BigEndian.Uint64(key[sha256.Size:])
			if !expired(entry.expires, now) {
				feed.Revocations = append(feed.Revocations, f.revocation(tx, issuer, entry))
			}
		}
		return nil
	})
	if err != nil {
		return Feed{}, err
	}
	return feed, nil
}

// revocation adds the value to an entry of the feed. A damaged record has none.
func (f *File) revocation(tx *bolt.Tx, issuer [sha256.Size]byte, entry listed) Revocation {
	key := recordKey(Key{Issuer: issuer, Kind: KindRevocation, ID: entry.id})
	s, ok := unsealRecord(key, tx.Bucket(recordsBucket).Get(key))
	if !ok {
		f.alarm()
	}
	return Revocation{ID: entry.id, Value: bytes.Clone(s.value), Expires: timeOf(entry.expires)}
}

// relist finds the revocation of a damaged entry of the feed by its number.
func relist(tx *bolt.Tx, place []byte) (listed, bool) {
	prefix := append(bytes.Clone(place[:sha256.Size]), byte(KindRevocation))
	cursor := tx.Bucket(recordsBucket).Cursor()
	for key, sealed := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, sealed = cursor.Next() {
		s, ok := unsealRecord(key, sealed)
		if ok && s.number == binary.BigEndian.Uint64(place[sha256.Size:]) {
			return listed{[idSize]byte(key[len(prefix):]), s.expires}, true
		}
	}
	return listed{}, false
}

// CompleteSince implements Store. It is the time when the file was made, or
// when it was opened and seen to be an older copy of itself.
func (f *File) CompleteSince() time.Time { return f.since }

// ID implements Store.
func (f *File) ID() [16]byte { return f.id }

// Close implements Store. When storage does not answer, that takes up to twice
// storageTimeout.
func (f *File) Close(ctx context.Context) error {
	f.entering.Lock()
	if !f.closed {
		f.closed = true
		close(f.queue)
	}
	f.entering.Unlock()
	select {
	case <-f.done:
		return f.closeErr
	case <-f.broken:
		return fmt.Errorf("closing the store: %w", errBroken)
	case <-ctx.Done():
		return fmt.Errorf("closing the store: %w", ctx.Err())
	}
}

// alarm counts a damaged record. It tells of it at the first, second, fourth
// and so on, since one record may be met often.
func (f *File) alarm() {
	if n := f.damaged.Add(1); bits.OnesCount64(n) == 1 {
		f.notify(Event{
			Message: "a record of the store is damaged, which may be a sign of a bad disk",
			Damaged: n,
		})
	}
}

// Interface guard
var _ Store = (*File)(nil)
