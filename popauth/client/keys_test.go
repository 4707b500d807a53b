// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
)

func TestParseKeySet(t *testing.T) {
	t.Parallel()
	ec, ed := string(fixture.Load(t, "p256").JSON(t)), string(fixture.Load(t, "ed25519").JSON(t))
	for name, test := range map[string]struct {
		text string
		want string // of the error, or the thumbprints
	}{
		"two keys":            {`{"keys":[` + ec + `,` + ed + `]}`, fixture.Load(t, "p256").Thumbprint(t) + " " + fixture.Load(t, "ed25519").Thumbprint(t)},
		"members of others":   {`{"issued":"today","keys":[` + ec + `]}`, fixture.Load(t, "p256").Thumbprint(t)},
		"a single key":        {ec, "not a JWK Set"},
		"nothing":             {``, "JSON"},
		"no keys":             {`{"keys":[]}`, "not a JWK Set"},
		"keys null":           {`{"keys":null}`, "not a JWK Set"},
		"keys twice":          {`{"keys":[` + ec + `],"keys":[` + ed + `]}`, "duplicate"},
		"no object":           {`{"keys":["x"]}`, "key 1: not an object"},
		"a private key":       {`{"keys":[` + ec + `,` + ed[:len(ed)-1] + `,"d":"AAAA"}]}`, "key 2: private member 'd'"},
		"a symmetric key":     {`{"keys":[{"kty":"oct","k":"AAAA"}]}`, "key 1: private member 'k'"},
		"for encryption":      {`{"keys":[` + ec[:len(ec)-1] + `,"use":"enc"}]}`, "key 1: 'use'"},
		"RSA without alg":     {`{"keys":[` + rsaWithoutAlg(t) + `]}`, "key 1: an RSA key must say by 'alg'"},
		"a short RSA key":     {`{"keys":[` + ec + `,` + string(fixture.Load(t, "rsa1024").JSON(t)) + `]}`, "key 2: "},
		"another curve":       {`{"keys":[` + string(fixture.Load(t, "p521").JSON(t)) + `]}`, "key 1: "},
		"larger than 64 KiB":  {`{"keys":[` + ec + `],"x":"` + strings.Repeat("x", 64<<10) + `"}`, "65536"},
		"something behind it": {`{"keys":[` + ec + `]} x`, "JSON"},
	} {
		keys, err := ParseKeySet([]byte(test.text))
		var got []string
		for _, k := range keys {
			got = append(got, k.Thumbprint())
		}
		switch {
		case err == nil && strings.Join(got, " ") != test.want:
			t.Errorf("%s: ParseKeySet = %q, want %q", name, got, test.want)
		case err != nil && (keys != nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: ParseKeySet = %q, %v, want %q", name, got, err, test.want)
		}
	}
}

func TestParseKeySetTakesTheLimits(t *testing.T) {
	t.Parallel()
	key := string(fixture.Load(t, "p256").JSON(t))
	var own map[string]any
	if err := json.Unmarshal([]byte(key), &own); err != nil {
		t.Fatal(err)
	}
	with := func(member string) string { return `{"keys":[` + key[:len(key)-1] + `,"other":` + member + `}]}` }
	// elements makes a set of so many members and elements: keys, its one
	// element, those of the key, other and what is in it
	elements := func(n int) string { return with("[0" + strings.Repeat(",0", n-4-len(own)) + "]") }
	sized := func(n int) string {
		start := `{"keys":[` + key + `],"x":"`
		return start + strings.Repeat("x", n-len(start)-2) + `"}`
	}
	for name, test := range map[string]struct {
		text string
		ok   bool
	}{
		"64 KiB":                {sized(65536), true},
		"a byte more":           {sized(65537), false},
		"six levels":            {with("[[[]]]"), true},
		"seven levels":          {with("[[[[]]]]"), false},
		"2048 members":          {elements(2048), true},
		"a member more":         {elements(2049), false},
		"nothing out of bounds": {with("[]"), true},
	} {
		if keys, err := ParseKeySet([]byte(test.text)); (err == nil) != test.ok {
			t.Errorf("%s: ParseKeySet = %d keys, %v", name, len(keys), err)
		}
	}
}

func TestRegistryTakesSixteenKeys(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, Config{ID: "c", Keys: fresh(t, 16)})
	if c, _ := k.Lookup("c"); len(c.keys) != 16 {
		t.Errorf("the client has %d keys, want 16", len(c.keys))
	}
}

func rsaWithoutAlg(t *testing.T) string {
	t.Helper()
	key := fixture.Load(t, "rsa2048")
	delete(key.JWK, "alg")
	return string(key.JSON(t))
}

func TestRegistryRefusesKeys(t *testing.T) {
	t.Parallel()
	loose, err := jwk.Parse([]byte(rsaWithoutAlg(t)))
	if err != nil {
		t.Fatal(err)
	}
	ec := public(t, "p256", nil)
	var many []*jwk.Key
	for range maxKeys + 1 {
		many = append(many, ec)
	}
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"keys and a secret":      {Config{Keys: []*jwk.Key{ec}, Secrets: []string{"hunter2"}}, `client "c" has both secrets and keys`},
		"neither":                {Config{}, `client "c" has no way to authenticate`},
		"RSA without alg":        {Config{Keys: []*jwk.Key{ec, loose}}, `client "c": key 2: an RSA key`},
		"the same key twice":     {Config{Keys: []*jwk.Key{ec, public(t, "p256", members{"kid": "x"})}}, `client "c": key 2 is there twice`},
		"two keys with one kid":  {Config{Keys: []*jwk.Key{public(t, "p256", members{"kid": "x"}), public(t, "p384", members{"kid": "x"})}}, `client "c": key 2 has the kid of another`},
		"a kid that is a digest": {Config{Keys: []*jwk.Key{ec, public(t, "p384", members{"kid": ec.Thumbprint()})}}, `client "c": key 2 has the kid of another`},
		"and the other way":      {Config{Keys: []*jwk.Key{public(t, "p384", members{"kid": ec.Thumbprint()}), ec}}, `client "c": key 2 has the kid of another`},
		"too many":               {Config{Keys: many}, `client "c": there are more than 16 keys`},
	} {
		test.config.ID = "c"
		k := newKeyed(t)
		_, err := NewRegistry([]Config{test.config}, Assertions{Issuer: issuerURL, Store: k.state, Clock: k.clock})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: NewRegistry = %v, want %q", name, err, test.want)
		}
	}
}
