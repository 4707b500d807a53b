// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/keys"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

const issuerURL = "https://auth.example.com"

// start is a time with a fraction, so that cutting it off shows.
var start = time.Unix(1_700_000_000, 600_000_000).UTC()

// service returns a service whose first key is the named fixture, the clock
// it goes by, and that key. The clients reports and billing are registered. The
// store is an hour old.
func service(t testing.TB, names ...string) (*Service, *clock.Fake, fixture.Key) {
	t.Helper()
	if len(names) == 0 {
		names = []string{"p256"}
	}
	c := clock.NewFake(start.Add(-time.Hour))
	s := serviceOn(t, c, issuerURL, store.NewMirror(store.NewMemory(c), c), names...)
	c.Advance(time.Hour)
	return s, c, fixture.Load(t, names[0])
}

// serviceOn returns a service of an issuer on a store.
func serviceOn(t testing.TB, c clock.Clock, issuer string, s Store, names ...string) *Service {
	t.Helper()
	return New(Config{
		Issuer: issuer,
		Keys:   ring(t, c, names...),
		Store:  s,
		Clock:  c,
		Known:  func(id string) bool { return id == "reports" || id == "billing" },
	})
}

func ring(t testing.TB, c clock.Clock, names ...string) *keys.Ring {
	t.Helper()
	var given []*keys.Given
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := keys.ParseGiven(string(text))
		if err != nil {
			t.Fatalf("ParseGiven(%s): %v", name, err)
		}
		given = append(given, key)
	}
	r, err := keys.NewRing(keys.Config{Given: given, Clock: c})
	if err != nil {
		t.Fatalf("NewRing: %v", err)
	}
	return r
}

// header is that of a good token of the key; changes are laid over it, nil
// deletes.
func header(t testing.TB, k fixture.Key, changes map[string]any) map[string]any {
	t.Helper()
	kid, ok := k.JWK["kid"]
	if !ok {
		kid = k.Thumbprint(t)
	}
	return lay(map[string]any{"typ": "at+jwt", "alg": k.Alg, "kid": kid}, changes)
}

// claims are those of a good token.
func claims(changes map[string]any) map[string]any {
	return lay(map[string]any{
		"iss": issuerURL, "sub": "reports", "aud": "https://api.example.com", "client_id": "reports",
		"iat": start.Unix(), "exp": start.Unix() + 300, "jti": "one", "scope": "reports:read",
	}, changes)
}

func lay(members, changes map[string]any) map[string]any {
	maps.Copy(members, changes)
	maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
	return members
}

// confirmationOf binds to the key of a fixture.
func confirmationOf(t testing.TB, name string) cnf.Confirmation {
	t.Helper()
	key, err := jwk.Parse(fixture.Load(t, name).JSON(t))
	if err != nil {
		t.Fatal(err)
	}
	return cnf.Confirmation{JWK: key}
}

func reason(refusal *oauth.Refusal) oauth.Reason {
	if refusal == nil {
		return ""
	}
	return refusal.Reason
}

// brokenStorage is a storage that answers nothing.
type brokenStorage struct{}

var errBroken = errors.New("the disk is on fire")

func (brokenStorage) Lock(context.Context, string) error                   { return errBroken }
func (brokenStorage) Unlock(context.Context, string) error                 { return errBroken }
func (brokenStorage) Store(context.Context, string, []byte) error          { return errBroken }
func (brokenStorage) Load(context.Context, string) ([]byte, error)         { return nil, errBroken }
func (brokenStorage) Delete(context.Context, string) error                 { return errBroken }
func (brokenStorage) Exists(context.Context, string) bool                  { return false }
func (brokenStorage) List(context.Context, string, bool) ([]string, error) { return nil, errBroken }
func (brokenStorage) Stat(context.Context, string) (k certmagic.KeyInfo, err error) {
	return k, errBroken
}

func brokenRing(t testing.TB, c clock.Clock) *keys.Ring {
	t.Helper()
	r, err := keys.NewRing(keys.Config{Storage: brokenStorage{}, Prefix: "popauth/x/keys", Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStorageFaultIsNeitherATokenNorAForgery(t *testing.T) {
	t.Parallel()
	s, c, key := service(t)
	s.keys = brokenRing(t, c)
	got, refusal := s.Verify(t.Context(), key.JWS(t, header(t, key, nil), claims(nil)))
	if got != nil || reason(refusal) != oauth.KeysUnavailable || !errors.Is(refusal, errBroken) {
		t.Errorf("Verify = %v, %v, want %s for the fault", got, refusal, oauth.KeysUnavailable)
	}
	minted, got, refusal := s.Mint(t.Context(), Grant{ClientID: "reports", Subject: "reports"})
	if minted != "" || got != nil || reason(refusal) != oauth.KeysUnavailable || !errors.Is(refusal, errBroken) {
		t.Errorf("Mint = %q, %v, %v, want %s for the fault", minted, got, refusal, oauth.KeysUnavailable)
	}
}

func TestServiceWithoutKnownKnowsNobody(t *testing.T) {
	t.Parallel()
	s, c, key := service(t)
	s = New(Config{Issuer: issuerURL, Keys: s.keys, Store: s.store, Clock: c})
	_, refusal := s.Verify(t.Context(), key.JWS(t, header(t, key, nil), claims(nil)))
	if got, want := reason(refusal), oauth.TokenClientUnknown; got != want {
		t.Errorf("Verify = %q, want %q", got, want)
	}
}

func TestClaimsType(t *testing.T) {
	t.Parallel()
	whole := confirmationOf(t, "p256")
	for name, test := range map[string]struct {
		confirmation cnf.Confirmation
		want         string
	}{
		"not bound":           {cnf.Confirmation{}, "Bearer"},
		"bound by key":        {whole, "Bearer"},
		"bound by thumbprint": {cnf.Confirmation{JKT: whole.Thumbprint()}, "DPoP"},
	} {
		if got := (&Claims{Confirmation: test.confirmation}).Type(); got != test.want {
			t.Errorf("%s: Type() = %q, want %q", name, got, test.want)
		}
	}
}

func TestClaimsMissingScopes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		scope string
		want  []string
		miss  string
	}{
		"none wanted":          {"a b", nil, "null"},
		"all there":            {"a b c", []string{"c", "a"}, "null"},
		"some missing":         {"a b", []string{"d", "a", "c"}, `["d","c"]`},
		"no scope at all":      {"", []string{"a"}, `["a"]`},
		"a prefix is no scope": {"reports:read", []string{"reports"}, `["reports"]`},
		"case matters":         {"A", []string{"a"}, `["a"]`},
	} {
		got, _ := json.Marshal((&Claims{Scope: test.scope}).MissingScopes(test.want))
		if string(got) != test.miss {
			t.Errorf("%s: MissingScopes(%v) of %q = %s, want %s", name, test.want, test.scope, got, test.miss)
		}
	}
}

func TestAudienceIsAStringWhenItIsOne(t *testing.T) {
	t.Parallel()
	for want, audience := range map[string]Audience{
		`[]`:        nil,
		`"a"`:       {"a"},
		`["a","b"]`: {"a", "b"},
	} {
		if got, err := json.Marshal(audience); err != nil || string(got) != want {
			t.Errorf("Marshal(%q) = %s, %v, want %s", []string(audience), got, err, want)
		}
	}
}
