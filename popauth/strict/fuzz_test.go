// SPDX-License-Identifier: Apache-2.0

package strict_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// plain turns a value into what encoding/json makes of one.
func plain(t *testing.T, v strict.Value) any {
	t.Helper()
	switch v.Kind() {
	case strict.Null:
		return nil
	case strict.Bool:
		b, _ := v.Bool()
		return b
	case strict.Number:
		n, _ := v.Number()
		return n
	case strict.String:
		s, _ := v.Text()
		return s
	case strict.Array:
		list, _ := v.Array()
		plainList := make([]any, 0, len(list))
		for _, element := range list {
			plainList = append(plainList, plain(t, element))
		}
		return plainList
	case strict.ObjectKind:
		o, _ := v.Object()
		return plainObject(t, o)
	}
	t.Fatalf("unknown kind %d", v.Kind())
	return nil
}

func plainObject(t *testing.T, o strict.Object) map[string]any {
	t.Helper()
	m := make(map[string]any, o.Len())
	for _, name := range o.Names() {
		v, ok := o.Get(name)
		if !ok {
			t.Fatalf("no member of the name %q, which Names gave", name)
		}
		m[name] = plain(t, v)
	}
	if len(m) != o.Len() {
		t.Fatalf("%d members of %d names", o.Len(), len(m))
	}
	return m
}

// FuzzParseObject compares with encoding/json: what passes here means the
// same there, survives being written and read again, and what is refused is
// refused without a word of it in the error.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, ` {"a":[1,2,{"b":null}],"c":"\u00e9\ud83d\ude00"} `, `{"a":-0.5e+3,"b":true,"c":false}`,
		`{"a":1,"a":2}`, `{"\u0061":1,"a":2}`, `{"a":"\ud800"}`, `{"a":01}`, `{"a":1e999}`, "{\"a\":\"\xff\"}",
		`{"a":[[[[]]]]}`, `{}x`, `[]`, "\ufeff{}", `{"alg":"ES256","jwk":{"kty":"EC"}}`, `{"a":"\/\b\f\n\r\t\"\\"}`,
	} {
		f.Add([]byte(seed))
	}
	fixture.EachVector(f, func(v any) {
		if members, ok := v.(map[string]any); ok && members["kty"] != nil {
			data, err := json.Marshal(members)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}, "rfc-jose.json", "jose-cookbook/jwk")
	f.Fuzz(func(t *testing.T, data []byte) {
		limits := strict.Limits{Size: 1 << 16, Depth: 16, Members: 256}
		o, err := strict.ParseObject(data, limits)
		if err != nil {
			checkError(t, err)
			return
		}
		if len(data) > limits.Size {
			t.Fatalf("accepted %d bytes", len(data))
		}
		got := plainObject(t, o)
		if members, depth := extent(got); members > limits.Members || depth > limits.Depth {
			t.Fatalf("accepted %d members, %d deep", members, depth)
		}
		var want map[string]any
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", data, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is %v, encoding/json has %v", data, got, want)
		}
		written, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		limits.Size = len(written)
		again, err := strict.ParseObject(written, limits)
		if err != nil {
			t.Fatalf("refused what was accepted and written again, %q: %v", written, err)
		}
		if !reflect.DeepEqual(plainObject(t, again), got) {
			t.Fatalf("%q became %q", data, written)
		}
		if _, err := strict.ParseObject(append(bytes.Clone(written), 'x'), strict.Limits{Size: len(written) + 1, Depth: 16, Members: 256}); err == nil {
			t.Fatalf("accepted %qx", written)
		}
	})
}

// extent counts members and elements, and how deep they are nested.
func extent(v any) (members, depth int) {
	add := func(inner any) {
		m, d := extent(inner)
		members, depth = members+1+m, max(depth, 1+d)
	}
	switch v := v.(type) {
	case map[string]any:
		depth = 1
		for _, inner := range v {
			add(inner)
		}
	case []any:
		depth = 1
		for _, inner := range v {
			add(inner)
		}
	}
	return members, depth
}

// checkError sees to it that an error can go into an error_description (RFC
// 6749 §5.2).
func checkError(t *testing.T, err error) {
	t.Helper()
	for _, c := range []byte(err.Error()) {
		if c < ' ' || c > '~' || strings.IndexByte("\"\\", c) >= 0 {
			t.Errorf("error has the byte %#x: %v", c, err)
		}
	}
}
