// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// An opaque token is the prefix, by which people and scanners of leaked secrets
// know what it is, and 256 random bits in base64url. No JWT begins like that:
// its header would not begin with a brace.
const (
	opaquePrefix = "pop_at_"
	opaqueBytes  = 32
)

// opaqueSize is the length of an opaque token in characters.
var opaqueSize = len(opaquePrefix) + base64.RawURLEncoding.EncodedLen(opaqueBytes)

// isOpaque says whether a token is to be looked up, if it is any good.
func isOpaque(token string) bool { return strings.HasPrefix(token, opaquePrefix) }

// opaqueKey is where the claims of an opaque token are kept. The issuer is a
// part of it, so a token that is found needs no further word on whose it is.
func (s *Service) opaqueKey(token string) store.Key {
	return store.Key{Issuer: s.hash, Kind: store.KindToken, ID: sha256.Sum256([]byte(token))}
}

// keep makes an opaque token for the claims, which are durable when it returns:
// a client must not hold a token that a crash makes unknown.
func (s *Service) keep(ctx context.Context, c *Claims) (string, *oauth.Refusal) {
	random := make([]byte, opaqueBytes)
	_, _ = rand.Read(random) // crashes the process rather than fail
	token := opaquePrefix + base64.RawURLEncoding.EncodeToString(random)
	won, err := s.store.PutIfAbsent(ctx, s.opaqueKey(token), c.payload(), c.Expires)
	if err == nil && !won {
		err = errors.New("the store did not take a new token")
	}
	if err != nil {
		return "", oauth.Unavailable(oauth.StoreUnavailable, err)
	}
	return token, nil
}

// verifyOpaque is the checklist for an opaque token. It is looked up every
// time: a store that can't answer must not be covered up by a cache.
func (s *Service) verifyOpaque(ctx context.Context, token string) (*Claims, *oauth.Refusal) {
	v, refusal := s.lookup(ctx, token)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := s.judge(ctx, v); refusal != nil {
		return nil, refusal
	}
	return v.claims, nil
}

// lookup finds the claims of an opaque token, without judging what they say.
// What has another shape is refused unread, so that a stranger's noise costs no
// access to the disk.
func (s *Service) lookup(ctx context.Context, token string) (verified, *oauth.Refusal) {
	if len(token) != opaqueSize {
		return verified{}, oauth.Refuse(oauth.TokenMalformed, "an opaque token of another length")
	}
	if _, err := strict.DecodeBase64(token[len(opaquePrefix):]); err != nil {
		return verified{}, oauth.Refuse(oauth.TokenMalformed, "opaque token: "+err.Error())
	}
	record, ok, err := s.store.Get(ctx, s.opaqueKey(token))
	if err != nil {
		return verified{}, oauth.Unavailable(oauth.StoreUnavailable, err)
	}
	if !ok {
		return verified{}, oauth.Refuse(oauth.TokenUnknown, "")
	}
	v, err := s.readRecord(record)
	if err != nil {
		return verified{}, oauth.Unavailable(oauth.StoreUnavailable, fmt.Errorf("reading the record of a token: %w", err))
	}
	return v, nil
}

// recordMembers are the members of payload.
var recordMembers = []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "cnf"}

// readRecord reads what payload has written. Anything else is a damaged record
// or one of a later version, which may restrict the token in a way that is not
// known here; to leave out what is not understood would make more of the token
// than was granted. There is no limit on the size, since whoever writes to the
// store can do worse.
func (s *Service) readRecord(record []byte) (verified, error) {
	o, err := strict.ParseObject(record, strict.Limits{Size: len(record), Depth: 3, Members: len(record)})
	if err != nil {
		return verified{}, err
	}
	for _, name := range o.Names() {
		if !slices.Contains(recordMembers, name) {
			return verified{}, errors.New("there is an unknown member")
		}
	}
	if issuer, _ := o.Text("iss"); issuer != s.issuer {
		return verified{}, errors.New("it is of another issuer")
	}
	v, refusal := s.read(o)
	if refusal != nil {
		return verified{}, refusal
	}
	c, err := readConfirmation(o)
	if err != nil {
		return verified{}, err
	}
	if c.Bound() && (len(c.Members()) != 1 || len(c.Unsupported) > 0) {
		return verified{}, errors.New("'cnf' has not exactly one known member")
	}
	v.claims.Confirmation = c
	return v, nil
}
