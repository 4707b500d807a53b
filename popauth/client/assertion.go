// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/popauth/caddy-popauth/popauth/jws"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// assertionType is the client_assertion_type of RFC 7523 §2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionLimits are ample for one with an RSA-4096 signature.
var assertionLimits = jws.Limits{Size: 8 << 10, Header: 2 << 10}

const (
	// maxLife is how far ahead the exp of an assertion may be: as long it must
	// be remembered that it was used.
	maxLife = 5 * time.Minute

	// maxAhead is how far ahead of ours the clock of a client may be.
	maxAhead = time.Minute

	// maxAssertionID is the most bytes that a jti may have.
	maxAssertionID = 128
)

// assertion is a client assertion (RFC 7523 §3) whose claims are in order.
type assertion struct {
	message *jws.Message
	client  string // iss and sub
	id      string // jti
	expires time.Time

	// earliest is the first moment at which it could have been accepted.
	earliest time.Time
}

// readAssertion judges everything about an assertion but its signature, and
// does not know whether there is such a client, nor whether the assertion was
// used before. The errors contain nothing of it.
func readAssertion(text, issuer string, now time.Time) (assertion, error) {
	m, err := jws.Parse(text, assertionLimits)
	if err != nil {
		return assertion{}, err
	}
	// RFC 8725 §3.11: a client signs DPoP proofs and other things too, perhaps
	// with the same key
	switch m.Type() {
	case "JWT", "client-authentication+jwt":
	default:
		if m.Header.Has("typ") {
			return assertion{}, errors.New("its typ is neither JWT nor client-authentication+jwt")
		}
	}
	// a key that comes along asks us to trust the sender
	if m.Header.Has("jwk") {
		return assertion{}, errors.New("its header has the member 'jwk'")
	}
	claims, err := m.Claims()
	if err != nil {
		return assertion{}, err
	}
	a := assertion{message: m}
	// RFC 7523 §3 no. 1 and 2
	subject, _ := claims.Text("sub")
	if a.client, _ = claims.Text("iss"); a.client == "" || a.client != subject {
		return assertion{}, errors.New("its iss and sub are not one client id")
	}
	// no. 3, and not as it says: an assertion for several servers, or for one
	// of our URLs that another server could name as its own, could be sent on
	// to us by that other server
	if audience, ok := claims.Text("aud"); !ok || audience != issuer {
		return assertion{}, fmt.Errorf("its aud is not the one string %q", issuer)
	}
	if a.id, _ = claims.Text("jti"); a.id == "" || len(a.id) > maxAssertionID {
		return assertion{}, fmt.Errorf("its jti is missing, empty, no string or longer than %d bytes", maxAssertionID)
	}
	return a, a.readTimes(claims, now)
}

// readTimes judges exp, nbf and iat (no. 4 to 6) by the wall clock.
func (a *assertion) readTimes(claims strict.Object, now time.Time) error {
	exp, ok := claims.Get("exp")
	if !ok {
		return errors.New("it has no exp")
	}
	var err error
	if a.expires, err = jws.NumericDate(exp); err != nil {
		return fmt.Errorf("its exp: %w", err)
	}
	if !now.Before(a.expires) {
		return fmt.Errorf("it has expired %v ago", now.Sub(a.expires).Truncate(time.Second))
	}
	if ahead := a.expires.Sub(now); ahead > maxLife {
		return fmt.Errorf("its exp is %v ahead, more than %v", ahead.Truncate(time.Second), maxLife)
	}
	a.earliest = a.expires.Add(-maxLife)
	for _, name := range []string{"nbf", "iat"} {
		v, ok := claims.Get(name)
		if !ok {
			continue
		}
		t, err := jws.NumericDate(v)
		if err != nil {
			return fmt.Errorf("its %s: %w", name, err)
		}
		if ahead := t.Sub(now); ahead > maxAhead {
			return fmt.Errorf("its %s is %v ahead, more than %v", name, ahead.Truncate(time.Second), maxAhead)
		}
		if first := t.Add(-maxAhead); first.After(a.earliest) {
			a.earliest = first
		}
	}
	return nil
}
