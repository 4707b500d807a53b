// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/jws"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// limits of a token. Its header is three short strings; a larger one costs
// more to parse than the signature costs to verify.
var limits = jws.Limits{Size: MaxSize, Header: 2 << 10}

// Verify judges everything about a token that does not depend on the place
// where it is used (RFC 9068 §4): shape, typ, issuer, key, signature, the
// presence and types of the claims, exp, nbf, revocation, whether its client is
// still registered, and the syntax of cnf. exp gets no leeway. Of an opaque
// token, all but the shape is looked up and then judged alike.
//
// It does not judge audience, scope, the scheme the token came with or the
// possession of a key; a token without cnf and one without an audience (aud an
// empty array) pass here. The claims may be shared and must not be changed.
//
// The refusals are TokenMalformed, TokenTypeWrong, TokenIssuerWrong and
// TokenUnknown (another issuer may be asked), TokenForged, TokenAudienceWrong
// (aud absent or of a wrong type), TokenExpired, TokenNotYetValid, TokenRevoked,
// IssuedBeforeStore, TokenClientUnknown, ConfirmationUnsupported and, which are
// no verdict, KeysUnavailable and StoreUnavailable.
func (s *Service) Verify(ctx context.Context, token string) (*Claims, *oauth.Refusal) {
	if isOpaque(token) {
		return s.verifyOpaque(ctx, token)
	}
	if len(token) > MaxSize {
		return nil, oauth.Refuse(oauth.TokenMalformed, "larger than 8 KiB")
	}
	d := sha256.Sum256([]byte(token))
	if v, ok := s.cache.get(d); ok {
		refusal := s.rejudge(ctx, v)
		if refusal == nil {
			return v.claims, nil
		}
		if !refusal.Reason.Undecided() {
			s.cache.drop(d)
		}
		return nil, refusal
	}
	v, refusal := s.verify(ctx, token)
	if refusal != nil {
		return nil, refusal
	}
	s.cache.put(d, v, s.clock.Now())
	return v.claims, nil
}

// rejudge judges what may have changed since the signature was verified. A key
// that is no longer published ends its tokens here too: withdrawing a key must
// not wait until the cache has forgotten them.
func (s *Service) rejudge(ctx context.Context, v verified) *oauth.Refusal {
	key, refusal := s.key(ctx, v.keyID)
	if refusal != nil {
		return refusal
	}
	if key.Thumbprint() != v.thumbprint {
		return oauth.Refuse(oauth.TokenForged, "")
	}
	return s.judge(ctx, v)
}

// verify is the checklist for a JWT that is not in the cache.
func (s *Service) verify(ctx context.Context, token string) (verified, *oauth.Refusal) {
	o, refusal := s.open(ctx, token)
	if refusal != nil {
		return verified{}, refusal
	}
	v, refusal := s.read(o.claims)
	if refusal != nil {
		return verified{}, refusal
	}
	if refusal := s.judge(ctx, v); refusal != nil {
		return verified{}, refusal
	}
	confirmation, err := readConfirmation(o.claims)
	if err != nil {
		return verified{}, oauth.Refuse(oauth.ConfirmationUnsupported, err.Error())
	}
	v.claims.Confirmation = confirmation
	v.keyID, v.thumbprint = o.keyID, o.thumbprint
	return v, nil
}

// judge judges what may change while a token lives.
func (s *Service) judge(ctx context.Context, v verified) *oauth.Refusal {
	if refusal := s.inTime(v.claims.Expires, v.notBefore); refusal != nil {
		return refusal
	}
	if refusal := s.notRevoked(ctx, v.claims); refusal != nil {
		return refusal
	}
	return s.clientKnown(v.claims.ClientID)
}

// signed is a JWT that we have signed, whatever it says.
type signed struct {
	claims            strict.Object
	keyID, thumbprint string // of the key that verified it
}

// open judges whether a JWT is one of ours: its shape, typ, issuer and
// signature. It does not judge the claims.
func (s *Service) open(ctx context.Context, token string) (signed, *oauth.Refusal) {
	m, err := jws.Parse(token, limits)
	if err != nil {
		return signed{}, oauth.Refuse(oauth.TokenMalformed, err.Error())
	}

	// RFC 8725 §3.11: a DPoP proof, an ID token or a client assertion signed
	// with one of our keys is no access token
	if typ := m.Type(); typ != mediaType && typ != "application/"+mediaType {
		return signed{}, &oauth.Refusal{Reason: oauth.TokenTypeWrong, Expected: mediaType, Got: typ}
	}

	// a token that brings a key asks us to trust its sender. The other members
	// that do (jku, x5u, x5c) are refused by jws for every message
	if m.Header.Has("jwk") {
		return signed{}, oauth.Refuse(oauth.TokenMalformed, "the header has the member 'jwk'")
	}

	claims, err := m.Claims()
	if err != nil {
		return signed{}, oauth.Refuse(oauth.TokenMalformed, err.Error())
	}

	// not verified yet: this iss may only say that somebody else is to be
	// asked, never which key counts
	if iss, _ := claims.Text("iss"); iss != s.issuer {
		return signed{}, &oauth.Refusal{Reason: oauth.TokenIssuerWrong, Expected: s.issuer, Got: iss}
	}

	key, refusal := s.key(ctx, m.KeyID())
	if refusal != nil {
		return signed{}, refusal
	}

	// RFC 8725 §3.1: the algorithm is that of our record of the key. Were it
	// the header's, the sender would choose how his signature is checked
	if err := m.Verify(key, key.Algorithm()); err != nil {
		return signed{}, &oauth.Refusal{Reason: oauth.TokenForged, Cause: err}
	}
	return signed{claims: claims, keyID: m.KeyID(), thumbprint: key.Thumbprint()}, nil
}

// read reads all claims but cnf, of a token whose origin is certain. Absent and
// ill-typed claims are refused: a token without exp would never expire.
func (s *Service) read(o strict.Object) (verified, *oauth.Refusal) {
	c := &Claims{Issuer: s.issuer}
	v := verified{claims: c}

	var refusal *oauth.Refusal
	if c.Expires, refusal = date(o, "exp", true); refusal != nil {
		return verified{}, refusal
	}
	if c.IssuedAt, refusal = date(o, "iat", true); refusal != nil {
		return verified{}, refusal
	}
	if v.notBefore, refusal = date(o, "nbf", false); refusal != nil {
		return verified{}, refusal
	}
	if c.Subject, refusal = text(o, "sub"); refusal != nil {
		return verified{}, refusal
	}
	if c.ClientID, refusal = text(o, "client_id"); refusal != nil {
		return verified{}, refusal
	}
	if c.ID, refusal = text(o, "jti"); refusal != nil {
		return verified{}, refusal
	}
	var ok bool
	if c.Scope, ok = o.Text("scope"); !ok && o.Has("scope") {
		return verified{}, oauth.Refuse(oauth.TokenMalformed, "the claim 'scope' is no string")
	}
	if c.Audience, ok = audience(o); !ok {
		return verified{}, oauth.Refuse(oauth.TokenAudienceWrong, "")
	}
	return v, nil
}

// readConfirmation reads cnf. Only a token that has none is not bound.
func readConfirmation(o strict.Object) (cnf.Confirmation, error) {
	member, ok := o.Get("cnf")
	if !ok {
		return cnf.Confirmation{}, nil
	}
	return cnf.ParseMember(member)
}

// key finds a published key. kid only selects among our own keys; it never
// becomes a path or an address.
func (s *Service) key(ctx context.Context, kid string) (*jwk.Key, *oauth.Refusal) {
	key, err := s.keys.Find(ctx, kid)
	if err != nil {
		return nil, oauth.Unavailable(oauth.KeysUnavailable, err)
	}
	if key == nil {
		return nil, &oauth.Refusal{Reason: oauth.TokenForged, Detail: "the key is not one of ours", Got: kid}
	}
	return key, nil
}

// inTime judges exp and nbf (RFC 7519 §4.1.4, §4.1.5) by the wall clock.
func (s *Service) inTime(expires, notBefore time.Time) *oauth.Refusal {
	now := s.clock.Now()
	if !now.Before(expires) {
		return &oauth.Refusal{Reason: oauth.TokenExpired, Expected: now.UTC().Format(time.RFC3339), Got: expires.UTC().Format(time.RFC3339)}
	}
	if now.Before(notBefore) {
		return &oauth.Refusal{Reason: oauth.TokenNotYetValid, Expected: now.UTC().Format(time.RFC3339), Got: notBefore.UTC().Format(time.RFC3339)}
	}
	return nil
}

// clientKnown judges whether the client is still registered. To take a client
// out of the configuration must end its tokens.
func (s *Service) clientKnown(id string) *oauth.Refusal {
	if !s.known(id) {
		return &oauth.Refusal{Reason: oauth.TokenClientUnknown, Got: id}
	}
	return nil
}

// date reads a NumericDate claim. Zero: it is absent and need not be there.
func date(o strict.Object, name string, required bool) (time.Time, *oauth.Refusal) {
	v, ok := o.Get(name)
	if !ok {
		if required {
			return time.Time{}, oauth.Refuse(oauth.TokenMalformed, "the claim '"+name+"' is missing")
		}
		return time.Time{}, nil
	}
	t, err := jws.NumericDate(v)
	if err != nil {
		return time.Time{}, oauth.Refuse(oauth.TokenMalformed, "the claim '"+name+"': "+err.Error())
	}
	return t, nil
}

// text reads a string claim that must be there and say something.
func text(o strict.Object, name string) (string, *oauth.Refusal) {
	s, _ := o.Text(name)
	if s == "" {
		return "", oauth.Refuse(oauth.TokenMalformed, "the claim '"+name+"' is missing, empty or no string")
	}
	return s, nil
}

// audience reads aud: a string or an array of strings, which may be empty.
func audience(o strict.Object) ([]string, bool) {
	v, ok := o.Get("aud")
	if !ok {
		return nil, false
	}
	if one, ok := v.Text(); ok {
		return []string{one}, true
	}
	values, ok := v.Array()
	if !ok {
		return nil, false
	}
	all := make([]string, 0, len(values))
	for _, value := range values {
		one, ok := value.Text()
		if !ok {
			return nil, false
		}
		all = append(all, one)
	}
	return all, true
}
