// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/popauth/caddy-popauth/popauth"
)

func FuzzGlobalOption(f *testing.F) {
	for _, seed := range []string{
		"popauth",
		"popauth {\n}",
		"popauth {\nissuer https://auth.example.com\n}",
		"popauth staff {\nissuer https://auth.example.com\nclient reports secret\nclient gateway {\nsecret a\nintrospect b c\n}\n}",
		"popauth {\nissuer i\naccess_token jwt {\nlifetime 1m\nconfirmation jkt\n}\nendpoints {\ntoken /t\n}\n}",
		"popauth {\nissuer i\nstore memory\nreplay_capacity 5\nsigning_algorithm EdDSA\nsigning_key `{\"kty\":\"EC\"}` b\n}",
		"popauth {\nissuer i\nstore memory {\n}\n}",
		"popauth {\nissuer i\nstore file\naccess_token opaque\nendpoints {\nrevoke /r\n}\n}",
		"popauth {\nissuer i\nstore file a\nclient b c {\naccess_token opaque\n}\n}",
		"popauth {\nissuer i\nstore file a b {\n}\n}",
		"popauth {\nissuer i\nclient a b {\nscopes c\n} scopes d\n}",
		"popauth {\nissuer i\nclient a {\njwk `{\"kty\":\"EC\"}`\njwk {env.K}\njwks_file f\n}\n}",
		"popauth {\nissuer i\nclient a b {",
		"popauth {\nissuer <<END\n  text\n  END\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		tokens, err := caddyfile.Tokenize([]byte(input), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			return
		}
		value, err := parseApp(caddyfile.NewDispenser(slices.Clone(tokens)), nil)
		if err != nil {
			if !strings.Contains(err.Error(), "at Caddyfile:") {
				t.Errorf("got error %q, want one with file and line", err)
			}
			return
		}
		checkApp(t, value)
		if _, err := parseApp(caddyfile.NewDispenser(tokens), value); err == nil {
			t.Error("got no error for the same option again")
		}
	})
}

// checkApp checks what must hold for whatever the parser lets through.
func checkApp(t *testing.T, value any) {
	t.Helper()
	var app popauth.App
	if err := caddy.StrictUnmarshalJSON(value.(httpcaddyfile.App).Value, &app); err != nil {
		t.Fatalf("the JSON is no App: %v", err)
	}
	if len(app.Issuers) != 1 || app.ReplayCapacity < 0 {
		t.Errorf("got %d issuers and the capacity %d", len(app.Issuers), app.ReplayCapacity)
	}
	for id, iss := range app.Issuers {
		if id == "" || iss.URL == "" {
			t.Errorf("got an issuer with the id %q and the URL %q", id, iss.URL)
		}
		seen := make(map[string]bool)
		for _, c := range iss.Clients {
			keys := len(c.JWK) > 0 || c.JWKSFile != ""
			if keys == (len(c.Secrets) > 0) || slices.Contains(c.Secrets, "") || slices.Contains(c.JWK, "") {
				t.Errorf("client %q got in with %d secrets, with keys: %v", c.ID, len(c.Secrets), keys)
			}
			if c.ID == "" || seen[c.ID] {
				t.Errorf("client %q is nameless or there twice", c.ID)
			}
			seen[c.ID] = true
		}
	}
}

func FuzzDirectives(f *testing.F) {
	for _, seed := range []string{
		"pop_auth",
		"pop_auth x",
		"pop_auth {\n}",
		"pop_auth {\nissuer a b\naudience c\nscope d\nscope e\nnonce off\nproof_max_age 1d\nclock_skew 1s\n}",
		"pop_auth {\nupstream_token keep\nallow_encoded_slashes\nallow_unbound_tokens\n}",
		"pop_auth {\nallow_unbound_tokens {\n}\n}",
		"pop_server {\nissuer a\nonly token revoke jwks\n}",
		"pop_token {\nissuer a\n} nonce",
		"pop_auth {\ncors upstream\n}",
		"pop_auth {\ncors a upstream {\n}\n}",
		"pop_server {\ncors a b {\nheaders c\nmax_age 1h\n}\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		tokens, err := caddyfile.Tokenize([]byte(input), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			return
		}
		for _, directive := range directives {
			h := httpcaddyfile.Helper{Dispenser: caddyfile.NewDispenser(slices.Clone(tokens))}
			handler, err := directive.parse(h)
			if err != nil {
				if !strings.Contains(err.Error(), "at Caddyfile:") {
					t.Errorf("got error %q, want one with file and line", err)
				}
				continue
			}
			// what is written as JSON is what was parsed
			again := reflect.New(reflect.TypeOf(handler).Elem()).Interface()
			if err := caddy.StrictUnmarshalJSON(caddyconfig.JSON(handler, nil), again); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(again, handler) {
				t.Errorf("got %+v from the JSON, want %+v", again, handler)
			}
		}
	})
}
