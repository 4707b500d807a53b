// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// errSince is a store that has answered and does not know since when it knows.
var errSince = errors.New("the store does not say since when its revocations are complete")

// Revoke ends a token before its time, at the wish of the client that got it
// (RFC 7009). The client has been authenticated; whether it is still registered
// is not asked.
//
// nil says that the token is not valid from now on and that this is durable.
// It is also the answer to what was never valid, or is no more (RFC 7009 §2.2),
// and then nothing is written: else anybody could fill the store with names of
// his own. The refusals are TokenOfAnotherClient and, when it is unknown whether
// the token is revoked, StoreUnavailable and KeysUnavailable.
func (s *Service) Revoke(ctx context.Context, token, clientID string) *oauth.Refusal {
	v, refusal := s.find(ctx, token)
	if refusal != nil {
		if refusal.Reason.Undecided() {
			return refusal
		}
		return nil
	}
	c := v.claims
	if !s.clock.Now().Before(c.Expires) {
		return nil
	}
	if c.ClientID != clientID {
		return &oauth.Refusal{Reason: oauth.TokenOfAnotherClient, Expected: c.ClientID, Got: clientID}
	}
	// a token has several spellings but one jti. It is written even if Revoked
	// says that it was: that one may be a write of unknown outcome, and to
	// lose against one that is done is as good as to win
	expires := roundUp(c.Expires).Add(time.Second)
	if _, err := s.store.PutIfAbsent(ctx, s.revocationKey(c.ID), nil, expires); err != nil {
		return oauth.Unavailable(oauth.StoreUnavailable, err)
	}
	return nil
}

// find returns the claims of a token of ours, expired and revoked ones too.
func (s *Service) find(ctx context.Context, token string) (verified, *oauth.Refusal) {
	if isOpaque(token) {
		return s.lookup(ctx, token)
	}
	o, refusal := s.open(ctx, token)
	if refusal != nil {
		return verified{}, refusal
	}
	return s.read(o.claims)
}

// notRevoked judges whether a token was revoked. One that was issued before the
// store knew of all revocations may have been, and nobody knows: the store was
// lost, or an old copy of it restored.
func (s *Service) notRevoked(ctx context.Context, c *Claims) *oauth.Refusal {
	revoked, since, refusal := s.revocation(ctx, c.ID)
	if refusal != nil {
		return refusal
	}
	if revoked {
		return oauth.Refuse(oauth.TokenRevoked, "")
	}
	if c.IssuedAt.Before(since) {
		return &oauth.Refusal{
			Reason:   oauth.IssuedBeforeStore,
			Expected: since.UTC().Format(time.RFC3339), Got: c.IssuedAt.UTC().Format(time.RFC3339),
			Hint:   "the store is younger than the token, so it is unknown whether the token was revoked",
			Option: "store",
		}
	}
	return nil
}

// revocation says whether the token of an id was revoked, and from which whole
// second on the store knows. In that order: before the first answer the store
// may not be open, and its time the zero time, which no token is older than.
func (s *Service) revocation(ctx context.Context, id string) (revoked bool, since time.Time, refusal *oauth.Refusal) {
	revoked, err := s.store.Revoked(ctx, s.hash, s.revocationKey(id).ID)
	if err == nil {
		if since = s.store.CompleteSince(); since.IsZero() {
			err = errSince
		}
	}
	if err != nil {
		return false, time.Time{}, oauth.Unavailable(oauth.StoreUnavailable, err)
	}
	return revoked, roundUp(since), nil
}

// revocationKey is where the revocation of a token is kept.
func (s *Service) revocationKey(id string) store.Key {
	return store.Key{Issuer: s.hash, Kind: store.KindRevocation, ID: sha256.Sum256([]byte(id))}
}

// roundUp rounds up to a whole second.
func roundUp(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		return whole.Add(time.Second)
	}
	return t
}
