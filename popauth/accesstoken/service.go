// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"cmp"
	"context"
	"crypto/sha256"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/keys"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// Store keeps opaque tokens and revocations, and answers the question that
// every request asks.
type Store interface {
	store.Store

	// Revoked says whether there is a record of KindRevocation under the id.
	// It is asked for every token at every use, so it should answer from
	// memory. A revocation that was begun and whose outcome is unknown counts.
	// An error is one of store.ErrUnavailable: unknown. After an answer
	// CompleteSince is not the zero time.
	Revoked(ctx context.Context, issuer, id [sha256.Size]byte) (bool, error)
}

// Config of a Service.
type Config struct {
	// Issuer is the iss of all tokens, compared byte for byte. Required.
	Issuer string

	// Lifetime of a token in whole seconds, a fraction is cut off.
	// Default: 5m.
	Lifetime time.Duration

	// Keys sign and verify. Required.
	Keys *keys.Ring

	// Store keeps what must survive. It may be shared with other issuers, which
	// see nothing of each other in it. Required.
	Store Store

	// Clock tells the wall time. Required.
	Clock clock.Clock

	// Known says whether a client is still registered. nil: none is.
	Known func(clientID string) bool
}

// Service mints, verifies and revokes one issuer's tokens. It is safe for
// concurrent use.
type Service struct {
	issuer   string
	hash     [sha256.Size]byte // of issuer, which is its name in the store
	lifetime time.Duration
	keys     *keys.Ring
	store    Store
	clock    clock.Clock
	known    func(clientID string) bool
	cache    *cache
}

// New returns a service. It starts nothing and touches no storage.
func New(c Config) *Service {
	s := &Service{
		issuer:   c.Issuer,
		hash:     sha256.Sum256([]byte(c.Issuer)),
		lifetime: cmp.Or(c.Lifetime, 5*time.Minute).Truncate(time.Second),
		keys:     c.Keys,
		store:    c.Store,
		clock:    c.Clock,
		known:    c.Known,
		cache:    newCache(),
	}
	if s.known == nil {
		s.known = func(string) bool { return false }
	}
	return s
}

// Issuer is the URL that the tokens carry as iss.
func (s *Service) Issuer() string { return s.issuer }

// Lifetime is how long a token is valid.
func (s *Service) Lifetime() time.Duration { return s.lifetime }
