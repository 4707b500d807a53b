// SPDX-License-Identifier: Apache-2.0

// Package keys holds the keys that an issuer signs with.
//
// An operator brings them, or they are made at first need and kept in Caddy's
// storage, so that all nodes of a cluster have the same. Losing them voids
// every token that was signed. So a key in storage is never changed, and one
// is made only when storage says clearly what there is, the first one only when
// it says that there never was any. Any other answer is an error, after which
// the issuer goes on with the keys that it knows; if it knows none, it can't
// answer for a while but has lost nothing.
//
// Keys that were made are replaced every 30 days. Each is published an hour
// before it signs, and until all tokens that it signed have expired; only the
// first key of an issuer signs at once.
//
// The package judges no tokens. It gives out public keys and signatures, never
// a private key.
package keys

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/go-jose/go-jose/v4"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/jwk"
)

// Config of a Ring.
type Config struct {
	// Storage is where keys are kept that were not given, as one file each
	// under Prefix, and beside it Prefix + ".made", which says that there were
	// keys: while it is there, keys that are gone are an error.
	Storage certmagic.Storage
	Prefix  string

	// Algorithm is that of keys that are made: ES256, ES384, EdDSA, PS256 or
	// RS256. When it changes, the key of the old algorithm signs until one of
	// the new algorithm has been published for long enough. Default: ES256.
	Algorithm string

	// Lifetime is the longest that a token is valid which is signed with these
	// keys. A key that was replaced stays published for a day more than that.
	Lifetime time.Duration

	// Given are keys that the operator brought: the first one signs, all are
	// published, none is ever replaced, and storage is not touched.
	Given []*Given

	Clock clock.Clock

	// Notify is told what an operator may want to read in the log. It may be
	// nil, and is called from any goroutine.
	Notify func(Event)
}

// Event is something that an operator may want to read in the log.
type Event struct {
	Message string
	KeyID   string
	Err     error
}

// Ring is an issuer's signing keys. It touches storage at first need, when a
// key is asked for that it does not know, and in Maintain; it remembers what it
// has read. It is safe for concurrent use.
type Ring struct {
	storage   certmagic.Storage
	prefix    string
	algorithm string // of the key that shall sign
	lifetime  time.Duration
	given     bool
	clock     clock.Clock
	notify    func(Event)

	keys   atomic.Pointer[keyring] // nil: not loaded yet
	marked atomic.Bool             // the marker was there once

	mu       sync.Mutex
	loading  *loading      // nil: nobody loads
	failure  error         // of the last load
	failedAt time.Duration // on the monotonic clock
	search   *search       // nil: nobody ever missed a key
	readings uint64        // how many have begun
	adopted  uint64        // which of them the keys are from
	trouble  bool          // it was told that something is wrong
}

// NewRing checks the configuration. It neither reads nor makes keys.
func NewRing(c Config) (*Ring, error) {
	r := &Ring{
		storage: c.Storage, prefix: c.Prefix,
		algorithm: cmp.Or(c.Algorithm, "ES256"),
		lifetime:  c.Lifetime,
		given:     len(c.Given) > 0,
		clock:     c.Clock, notify: c.Notify,
	}
	if r.notify == nil {
		r.notify = func(Event) {}
	}
	if !slices.Contains(algorithms, r.algorithm) {
		return nil, fmt.Errorf("unknown signing algorithm %q, want one of %v", r.algorithm, algorithms)
	}
	switch {
	case c.Clock == nil:
		return nil, errors.New("signing keys need a clock")
	case c.Lifetime < 0:
		return nil, fmt.Errorf("lifetime of tokens is %v", c.Lifetime)
	case r.given:
		return r, r.take(c.Given)
	case c.Storage == nil || c.Prefix == "":
		return nil, errors.New("signing keys need a place in storage")
	}
	return r, nil
}

// take makes the given keys those of the ring.
func (r *Ring) take(given []*Given) error {
	var all keyring
	for _, g := range given {
		k, err := g.as(r.algorithm)
		if err != nil {
			return err
		}
		if all.find(k.public.ID()) != nil {
			return fmt.Errorf("two signing keys have the kid %q", k.public.ID())
		}
		all = append(all, k)
	}
	r.algorithm = all[0].public.Algorithm()
	r.keys.Store(&all)
	return nil
}

// Sign signs payload as a compact JWS with typ, and the alg and kid of the
// active key, in its header. An error means that the keys can't be had now.
func (r *Ring) Sign(ctx context.Context, typ string, payload []byte) (string, error) {
	all, err := r.load(ctx)
	if err != nil {
		return "", err
	}
	k := all.active(r.algorithm, r.clock.Now())
	if k == nil {
		return "", errors.New("no signing key is active")
	}
	return k.sign(typ, payload)
}

// Find returns the published key with that kid, nil without an error if there
// is none. For one that is not known it waits until storage has been read
// again, which happens at most once in five seconds. An error means that the
// keys can't be had now, so that nobody can say whether there is such a key.
func (r *Ring) Find(ctx context.Context, kid string) (*jwk.Key, error) {
	all, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	k := all.find(kid)
	if k == nil && !r.given {
		if k, err = r.searched(ctx, kid); err != nil {
			return nil, err
		}
	}
	if k == nil || k.retired(r.clock.Now()) {
		return nil, nil
	}
	return k.public, nil
}

// Published returns all keys by which tokens may be signed that are still
// valid, and those that will sign next, each with kid and alg.
func (r *Ring) Published(ctx context.Context) ([]*jwk.Key, error) {
	all, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	return all.published(r.clock.Now()), nil
}

// JWKS returns the published keys as a JWK Set (RFC 7517 §5).
func (r *Ring) JWKS(ctx context.Context) ([]byte, error) {
	published, err := r.Published(ctx)
	if err != nil {
		return nil, err
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range published {
		// made from the public key, so that nothing private can get in
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: k.Public(), KeyID: k.ID(), Algorithm: k.Algorithm(), Use: "sig",
		})
	}
	return json.Marshal(set)
}

// Algorithms returns the algorithms of the published keys, that of the active
// one first. It does not touch storage: before first need, it knows only the
// configured algorithm.
func (r *Ring) Algorithms() []string {
	all := r.keys.Load()
	if all == nil {
		return []string{r.algorithm}
	}
	now := r.clock.Now()
	list := []string{all.active(r.algorithm, now).public.Algorithm()}
	for _, k := range all.published(now) {
		if !slices.Contains(list, k.Algorithm()) {
			list = append(list, k.Algorithm())
		}
	}
	return list
}
