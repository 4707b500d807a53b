// SPDX-License-Identifier: Apache-2.0

package jws_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/jws"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

func TestClaims(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, payload, want string }{
		{"an object", `{"sub":"x","cnf":{"jwk":{"kty":"EC"}}}`, ""},
		{"an object as deep as allowed", strings.Repeat(`{"a":`, 8) + `1` + strings.Repeat(`}`, 8), ""},
		{"a level more", strings.Repeat(`{"a":`, 9) + `1` + strings.Repeat(`}`, 9), "JWS payload: JSON is nested too deeply"},
		{"an array as long as allowed", `{"a":[` + strings.Repeat("0,", 1022) + `0]}`, ""},
		{"an element more", `{"a":[` + strings.Repeat("0,", 1023) + `0]}`, "JWS payload: JSON has too many members"},
		{"no JSON", "hello", "JWS payload: JSON text is not an object"},
		{"a string", `"{}"`, "JWS payload: JSON text is not an object"},
		{"a duplicate", `{"sub":"a","sub":"b"}`, "JWS payload: duplicate JSON member"},
		{"a duplicate below", `{"cnf":{"jkt":"a","jkt":"b"}}`, "JWS payload: duplicate JSON member"},
		{"something after it", `{}x`, "JWS payload: something follows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := parse(t, b64(`{"alg":"ES256"}`)+"."+b64(c.payload)+".c2ln")
			_, err := m.Claims()
			expect(t, err, c.want)
		})
	}
}

func TestNumericDate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, want string
	}{
		{"0", "1970-01-01T00:00:00Z"},
		{"-0", "1970-01-01T00:00:00Z"},
		{"1300819380", "2011-03-22T18:43:00Z"},
		{"1300819380.0", "2011-03-22T18:43:00Z"},
		{"1.30081938e9", "2011-03-22T18:43:00Z"},
		{"1300819380.5", "2011-03-22T18:43:00.5Z"},
		{"1300819380.25", "2011-03-22T18:43:00.25Z"},
		{"0.999999999", "1970-01-01T00:00:00.999999999Z"},
		{"253402300799", "9999-12-31T23:59:59Z"},
		{"253402300799.5", "time is out of range"},
		{"253402300800", "time is out of range"},
		{"1300819380000000", "time is out of range"},
		{"1e300", "time is out of range"},
		{"-1", "time is out of range"},
		{"-0.5", "time is out of range"},
		{`"1300819380"`, "time is not a number"},
		{"null", "time is not a number"},
		{"true", "time is not a number"},
		{"[1300819380]", "time is not a number"},
		{"{}", "time is not a number"},
	} {
		t.Run(c.text, func(t *testing.T) {
			t.Parallel()
			o, err := strict.ParseObject(fmt.Appendf(nil, `{"t":%s}`, c.text), strict.Limits{Size: 100, Depth: 3, Members: 3})
			if err != nil {
				t.Fatal(err)
			}
			v, _ := o.Get("t")
			at, err := jws.NumericDate(v)
			if err != nil {
				if err.Error() != c.want || !at.IsZero() {
					t.Errorf("got %v, %v, want %s", at, err, c.want)
				}
				return
			}
			if got := at.Format(time.RFC3339Nano); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if at, err := jws.NumericDate(strict.Value{}); err == nil {
		t.Errorf("a missing time is %v", at)
	}
}
