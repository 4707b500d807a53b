// SPDX-License-Identifier: Apache-2.0

package jws

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/popauth/caddy-popauth/popauth/strict"
)

// Claims parses the payload as a JSON object, nested at most 8 deep and with
// at most 1024 members in all. It does so anew at each call, and it does not
// verify the signature.
func (m *Message) Claims() (strict.Object, error) {
	o, err := strict.ParseObject(m.Payload, strict.Limits{Size: len(m.Payload), Depth: 8, Members: 1024})
	if err != nil {
		return strict.Object{}, fmt.Errorf("JWS payload: %w", err)
	}
	return o, nil
}

// lastSecond is 9999-12-31T23:59:59Z, the last time that every format knows.
const lastSecond = 253402300799

// NumericDate reads a NumericDate (RFC 7519 §2), fractions of a second
// allowed, from 1970 up to the end of the year 9999.
func NumericDate(v strict.Value) (time.Time, error) {
	n, ok := v.Number()
	if !ok {
		return time.Time{}, errors.New("time is not a number")
	}
	if n < 0 || n > lastSecond {
		return time.Time{}, errors.New("time is out of range")
	}
	seconds, fraction := math.Modf(n)
	return time.Unix(int64(seconds), int64(fraction*1e9)).UTC(), nil
}
