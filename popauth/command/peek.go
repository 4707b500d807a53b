// SPDX-License-Identifier: Apache-2.0

package command

import (
	"math"
	"strings"
	"time"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// answerLimits are those of JSON from a server.
var answerLimits = strict.Limits{Size: maxAnswer, Depth: 16, Members: 4096}

// unverified is what a JWT says of itself. Nothing has been verified: it is
// for hints and warnings to the one who holds the token, never for decisions.
type unverified struct {
	expires    time.Time // zero: it does not say
	bound      bool      // it has a cnf claim
	thumbprint string    // of the key it is bound to, as far as we know how
}

// peek looks into a token. A client must not need this (RFC 9068 §6), so a
// token that can't be read is no fault.
func peek(token string) (unverified, bool) {
	claims, ok := peekClaims(token)
	if !ok {
		return unverified{}, false
	}
	var t unverified
	if v, ok := claims.Get("exp"); ok {
		if n, ok := v.Number(); ok && math.Abs(n) < 1<<40 {
			t.expires = time.Unix(int64(n), 0)
		}
	}
	if v, ok := claims.Get("cnf"); ok {
		t.bound = true
		if c, err := cnf.ParseMember(v); err == nil {
			t.thumbprint = c.Thumbprint()
		}
	}
	return t, true
}

func peekClaims(token string) (strict.Object, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return strict.Object{}, false
	}
	payload, err := strict.DecodeBase64(parts[1])
	if err != nil {
		return strict.Object{}, false
	}
	claims, err := strict.ParseObject(payload, answerLimits)
	return claims, err == nil
}
