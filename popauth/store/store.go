// SPDX-License-Identifier: Apache-2.0

// Package store keeps what must survive a restart: issued opaque tokens,
// revocations and used assertions.
//
// It is the interface for that, and two backends: Memory, which is lost with
// the process, and File, which is not. The contract is tested by package
// storetest, which every backend must pass. A Mirror in front of either answers
// from memory what every request asks: is this token revoked?
//
// Not kept here: signing keys, which are Caddy's storage's business, and the
// proofs that were accepted, which come a thousand times as often and are
// covered by a fence when they are lost.
package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// Store keeps records of one-time and revocable things until they expire.
//
// A record is a value under a Key. It is written once and never changed but
// for one mark, that it was used. There is no overwriting and no deleting:
// whoever wants a record gone waits for its expiry. So no order of calls, on
// any number of nodes, can bring back what was taken.
//
// Every question has three answers: yes, no, and unknown. Unknown is an error
// for which errors.Is(err, ErrUnavailable) holds; the other results are then
// meaningless, and the caller must neither let anything pass nor report
// success (over HTTP: 503). A write whose outcome is unknown may have happened.
//
// A write that is reported as done is durable, as far as the backend is: it is
// not lost if the process dies in the next instant. Every later call, on any
// node that shares the store, sees it.
//
// Expiry is judged by the wall clock that the backend was opened with. A
// record is never forgotten before its expiry and at most one second later it
// is as if it had never been; backends that count whole seconds round up. After
// the wall clock was set, it may stay longer. So a caller must judge by itself
// the expiry of a token that it has read.
//
// All methods may be called concurrently and honor the context, a canceled
// one being an unknown. Values may be kept and changed by the caller: a
// backend copies what it takes and what it gives. Values are small, a few
// hundred bytes.
type Store interface {
	// PutIfAbsent makes the record if there is none under key. Of any number
	// of concurrent calls with one key exactly one wins. Losing leaves the
	// record that is there, its value and its expiry as they are.
	//
	// It is for things that somebody else made, which we must see only once:
	// the assertion whose id is put first is the one that counts. And it is
	// for things that we make, where losing means that an id is taken.
	//
	// A record that expires now or earlier can't be kept, and so never wins.
	PutIfAbsent(ctx context.Context, key Key, value []byte, expires time.Time) (won bool, err error)

	// Get returns the value of the record under key, used or not. A record
	// without a value has an empty one. Not ok: there is none, because there
	// never was or because it has expired.
	Get(ctx context.Context, key Key) (value []byte, ok bool, err error)

	// Consume marks the record under key as used. Of any number of calls,
	// ever, exactly one is first; all are not if there is no record.
	//
	// It is for things that we made and handed out, to be redeemed once: put
	// when issued, consumed when redeemed. A used record stays until its
	// expiry, for two reasons. PutIfAbsent does not win on it, so that using
	// can't be undone. And Get still finds it, so that a caller who was not
	// first can tell a thing that is redeemed twice, which is an attack, from
	// one that never was.
	Consume(ctx context.Context, key Key) (first bool, err error)

	// Revocations returns the records of KindRevocation of an issuer that were
	// made after since, which is 0 for all or the Next of an earlier Feed.
	//
	// A feed holds a limited number of them; whoever wants all asks again with
	// Next until none come. None that was reported as made before the first
	// call is left out, unless it has expired. Some may come twice.
	Revocations(ctx context.Context, issuer [sha256.Size]byte, since uint64) (Feed, error)

	// CompleteSince is the time since when no record can be missing. Of a token
	// that was issued earlier it is unknown whether it was revoked, and of an
	// assertion whether it was used. It never changes while the store is open.
	CompleteSince() time.Time

	// ID tells this store from any other that is, or was: made with it, kept
	// with it; a restored copy has the same. It never changes, and is never
	// zero.
	ID() [16]byte

	// Close waits for writes that were begun, then gives up what the store
	// holds. All calls after it, but for CompleteSince, ID and Close, are
	// unknown.
	Close(ctx context.Context) error
}

// ErrUnavailable is in every error of a Store: it could not answer.
var ErrUnavailable = errors.New("store unavailable")

var errClosed = errors.New("it is closed")

// newID makes the ID of a new store.
func newID() (id [16]byte) {
	// never an error: the process ends where there is no randomness
	_, _ = rand.Read(id[:])
	return id
}

// unavailable is the error of a store that could not answer because of err.
func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// Key says which record is meant. Keys that differ in anything are different
// records, so nobody sees those of another issuer.
type Key struct {
	// Issuer is the SHA-256 of the issuer's URL.
	Issuer [sha256.Size]byte

	Kind Kind

	// ID is a hash too, so that a copy of the store is of no use to a thief.
	ID [sha256.Size]byte
}

// Kind is what a record is about. Its values are written to disk and never
// change.
type Kind uint8

const (
	// KindToken is an opaque token, under the SHA-256 of the token.
	KindToken Kind = iota + 1

	// KindRevocation is a revoked token, under the SHA-256 of its id. It must
	// not expire before the token.
	KindRevocation

	// KindAssertion is a client assertion that was accepted, under the SHA-256
	// of its client and its id. It must not expire before the assertion.
	KindAssertion
)

// Feed is a part of an issuer's revocations.
type Feed struct {
	// Revocations are the records, in the order in which they were made.
	Revocations []Revocation

	// Next is where to go on. It means nothing to another store, or to the
	// same one opened again.
	Next uint64
}

// Revocation is one record of KindRevocation.
type Revocation struct {
	ID      [sha256.Size]byte
	Value   []byte
	Expires time.Time
}
