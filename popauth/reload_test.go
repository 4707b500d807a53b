// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// sharing makes a config one that follows another: with its storage, its store
// and the memory of the process.
func sharing(other *site) func(*site) {
	return func(s *site) { s.storage, s.backend = other.storage, other.backend }
}

// mustHoldStore checks how many configs hold the store of a site.
func mustHoldStore(t *testing.T, s *site, want int) {
	t.Helper()
	if got, _ := stores.References(keyOf(s.backend.backend)); got != want {
		t.Errorf("the store has %d references, want %d", got, want)
	}
}

func TestReloadKeepsEverything(t *testing.T) {
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			first := newSharedSite(t, format)
			auth, server := first.auth(t, `{}`), first.server(t, `{}`)
			token, revoked := first.token(t), first.token(t)
			begin(first.revocation(revoked)).through(server).mustBeDone(t)
			r := first.signed(t, token)
			used := r.Header.Clone()
			begin(r).through(auth).mustPass(t)
			nonce := first.app.runtime.memory.Nonce()

			second := newSharedSite(t, sharing(first), format)
			mustHoldStore(t, second, 2)
			auth, server = second.auth(t, `{}`), second.server(t, `{}`)
			cleanUp(t, first)
			mustHoldStore(t, second, 1)

			begin(second.signed(t, token)).through(auth).mustPass(t)
			begin(second.signed(t, token, func(p *fixture.Proof) { p.Nonce = nonce })).through(auth).mustPass(t)
			begin(second.signed(t, revoked)).through(auth).mustBeRefused(t, oauth.TokenRevoked)
			r = get("/reports")
			r.Header = used
			begin(r).through(auth).mustBeRefused(t, oauth.ProofReplayed)
			begin(second.introspection(token)).through(server).mustBeActive(t, true)
			begin(second.introspection(revoked)).through(server).mustBeActive(t, false)
			begin(second.revocation(token)).through(server).mustBeDone(t)
			begin(second.signed(t, token)).through(auth).mustBeRefused(t, oauth.TokenRevoked)

			if got := second.backend.attempts.Load(); got != 1 {
				t.Errorf("the store was opened %d times, want once", got)
			}
			cleanUp(t, second)
			mustHoldStore(t, second, 0)
		})
	}
}

// A config that fails, wherever it does, takes nothing from the running one.
func TestStoreSurvivesAFailedReload(t *testing.T) {
	app := func(s *site, members string) json.RawMessage {
		return json.RawMessage(`{"issuers":{"default":{"url":"https://auth.example.com","store":` + string(s.backend.raw) + members + `}}}`)
	}
	tests := []struct {
		name string
		apps func(s *site) caddy.ModuleMap
		want string
	}{
		{"before it has the store", func(s *site) caddy.ModuleMap {
			return caddy.ModuleMap{"popauth": json.RawMessage(`{"issuers":{"default":{"url":"nonsense","store":` + string(s.backend.raw) + `}}}`)}
		}, "is not a URL"},
		{"when it has the store", func(s *site) caddy.ModuleMap {
			return caddy.ModuleMap{"popauth": app(s, `,"access_token":{"format":"saml"}`)}
		}, "expected jwt or opaque"},
		{"when all is provisioned", func(s *site) caddy.ModuleMap {
			return caddy.ModuleMap{"popauth": app(s, ""), "popauth_test_failing": json.RawMessage(`{}`)}
		}, "failing as it should"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			running := newSharedSite(t)
			auth := running.auth(t, `{}`)
			token := running.token(t)
			_, err := provision(running.storage, tt.apps(running))
			mustSay(t, err, tt.want)
			mustStillServe(t, running)
			begin(running.signed(t, token)).through(auth).mustPass(t)
		})
	}
}

// mustStillServe checks that the store of a config is open and its own.
func mustStillServe(t *testing.T, s *site) {
	t.Helper()
	h := s.app.Issuers["default"].store.handle
	mustHoldStore(t, s, 1)
	if got := s.backend.opened().closed.Load(); got != 0 {
		t.Error("its store was closed")
	}
	if err := verbs["Get"](t.Context(), h); err != nil {
		t.Errorf("its store is gone: %v", err)
	}
	if h.Logger() != s.app.logger || h.Storage() != s.storage {
		t.Error("its store uses the log and the storage of another config")
	}
}

// A config may fail when it has been started, since another app of it was not.
func TestStoreSurvivesAFailedStart(t *testing.T) {
	running := newSharedSite(t)
	running.auth(t, `{}`)
	for name, change := range map[string]func(*site){
		"another app can't be started": func(*site) {},
		"another store can't be opened": func(s *site) {
			s.config.Issuers["second"] = &Issuer{URL: "https://second.example.com", StoreRaw: fileStore(t, t.TempDir())}
		},
	} {
		t.Run(name, func(t *testing.T) {
			failed := newSharedSite(t, func(s *site) { s.backend = running.backend }, change)
			if err := failed.app.Start(); err != nil {
				mustSay(t, err, "is a directory")
			}
			cleanUp(t, failed)
			mustStillServe(t, running)
		})
	}
}

// As `caddy validate` beside a running server, whose file it must not touch.
func TestValidateMakesNoStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "popauth")
	running := newSharedSite(t)
	running.auth(t, `{}`)
	for _, raw := range []string{string(fileStore(t, filepath.Join(dir, "store.db"))), `{"backend":"memory"}`, string(running.backend.raw)} {
		err := func() error {
			provisioning.Lock()
			defer provisioning.Unlock()
			return caddy.Validate(configOf(newStorage(t), caddy.ModuleMap{
				"popauth": json.RawMessage(`{"issuers":{"default":{"url":"https://auth.example.com","store":` + raw + `}}}`),
				"http":    json.RawMessage(`{"servers":{"s":{"routes":[{"handle":[{"handler":"pop_server"},{"handler":"pop_auth"}]}]}}}`),
			}))
		}()
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("to validate has made the directory of the store: %v", err)
	}
	if got := running.backend.attempts.Load(); got != 1 {
		t.Errorf("the store was opened %d times, want once", got)
	}
	mustStillServe(t, running)
	stores.Range(func(key, _ any) bool {
		if strings.HasPrefix(key.(storeKey).identity, dir) {
			t.Error("the store of a config that was validated is held")
		}
		return true
	})
}
