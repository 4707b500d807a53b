// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// Authentication is who sent a request, as far as that is known.
type Authentication struct {
	// Client is the client that authenticated. Nil: none did.
	Client *Client

	// ClaimedID is the id of the client that the request says it is from. It
	// may be anything, and nothing may be done with it but to count failures.
	ClaimedID string

	// UsedHeader says that an Authorization field was there, also beside a
	// refusal: RFC 6749 §5.2 wants a 401 then.
	UsedHeader bool

	consume func(context.Context) *oauth.Refusal // nil: nothing to use up
}

// Consume uses up what serves only once: an assertion, and not a secret. It
// must be called after everything else about the request was judged and before
// it is acted on or answered: without it the same request passes again, and
// called earlier it takes from the client what a better request would need.
//
// The refusals are AssertionReplayed, AssertionBeforeStore and, which is no
// verdict, StoreUnavailable.
func (a Authentication) Consume(ctx context.Context) *oauth.Refusal {
	if a.consume == nil {
		return nil
	}
	return a.consume(ctx)
}

// Store keeps which assertions were used. It is a part of store.Store, with the
// same contract; after an answer CompleteSince is not the zero time.
type Store interface {
	PutIfAbsent(ctx context.Context, key store.Key, value []byte, expires time.Time) (won bool, err error)
	CompleteSince() time.Time
}

// Assertions is what it takes to judge client assertions. All of it is required
// once a client has keys.
type Assertions struct {
	// Issuer is the URL that assertions must have as their aud.
	Issuer string

	// Store keeps which were used. It may be shared with other issuers.
	Store Store

	// Clock tells the wall time.
	Clock clock.Clock
}

// errSince is a store that has answered and does not know since when it knows.
var errSince = errors.New("the store does not say since when its record of used assertions is complete")

// use marks an assertion of a client as used, durably, and refuses it if it was
// already or may have been: one that could have been accepted before the store
// began may be in the record that was lost.
func (s Assertions) use(ctx context.Context, c *Client, a assertion) *oauth.Refusal {
	won, err := s.Store.PutIfAbsent(ctx, s.key(c, a), nil, a.expires.Add(maxAhead))
	// in this order: before the first answer the store may not be open, and
	// its time the zero time, which nothing is older than
	since := s.Store.CompleteSince()
	if err == nil && since.IsZero() {
		err = errSince
	}
	switch {
	case err != nil:
		return oauth.Unavailable(oauth.StoreUnavailable, err)
	case !won:
		return &oauth.Refusal{
			Reason: oauth.AssertionReplayed,
			Hint:   "the client must make a new assertion with a new jti for each request, also for a retry; else somebody has copied it",
		}
	case a.earliest.Before(since):
		return &oauth.Refusal{
			Reason:   oauth.AssertionBeforeStore,
			Expected: since.UTC().Format(time.RFC3339), Got: a.earliest.UTC().Format(time.RFC3339),
			Hint:   "the store is younger than the first moment at which the assertion could have been used (the latest of exp - 5m, iat - 1m and nbf - 1m), so it is unknown whether it was; this passes within minutes",
			Option: "store",
			// one that is made so much later passes
			RetryAfter: since.Sub(a.earliest),
		}
	}
	return nil
}

// key is where it is kept that the client's assertion was used. An id of a
// client holds no NUL.
func (s Assertions) key(c *Client, a assertion) store.Key {
	return store.Key{
		Issuer: sha256.Sum256([]byte(s.Issuer)),
		Kind:   store.KindAssertion,
		ID:     sha256.Sum256([]byte(c.id + "\x00" + a.id)),
	}
}
