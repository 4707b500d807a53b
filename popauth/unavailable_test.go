// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/popauth/caddy-popauth/popauth/keys"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// keyless is a site whose keys are in a storage that does not answer any more.
func keyless(t *testing.T) *site {
	t.Helper()
	s := newSite(t, func(s *site) { s.config.Issuers["default"].Signing = nil })
	if err := s.app.Issuers["default"].store.moveIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.storage.calls.Store(0)
	s.storage.down.Store(true)
	return s
}

// mustRetryLater checks what is common to the answers, and that the operator
// learns the cause, and only he.
func mustRetryLater(t *testing.T, s *site, x *exchange, reason oauth.Reason) {
	t.Helper()
	if got := x.Header().Values("Retry-After"); len(got) != 1 || got[0] != "1" {
		t.Errorf("got Retry-After %q, want 1", got)
	}
	if got := x.Header().Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
		t.Errorf("got Cache-Control %q, want no-store", got)
	}
	shown := x.Body.String() + x.Header().Get("WWW-Authenticate")
	if x.err != nil {
		shown += x.err.Error()
	}
	if strings.Contains(shown, errDown.Error()) || strings.Contains(shown, errFault.Error()) {
		t.Errorf("the client is shown %q", shown)
	}
	lines := s.lines()
	if len(lines) != 1 || lines[0]["level"] != zapcore.ErrorLevel || lines[0]["reason"] != string(reason) {
		t.Fatalf("got %v, want one line of level ERROR for %s", lines, reason)
	}
	cause := map[oauth.Reason]error{oauth.KeysUnavailable: errDown, oauth.StoreUnavailable: errFault}[reason]
	if text, _ := lines[0]["error"].(string); !strings.Contains(text, cause.Error()) {
		t.Errorf("the log does not say why: %v", lines[0])
	}
}

// Unknown is never an answer, be it yes or no.
func TestEndpointsWithoutKeys(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]func(*testing.T, *site) *http.Request{
		"token": func(t *testing.T, s *site) *http.Request { return s.tokenRequest(t) },
		"introspection": func(t *testing.T, s *site) *http.Request {
			return post("/oauth2/introspect", url.Values{"token": {s.mint(t, nil)}})
		},
		"keys": func(*testing.T, *site) *http.Request { return get("/oauth2/jwks") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := keyless(t)
			x := begin(request(t, s)).through(s.server(t, `{}`))
			x.mustAnswer(t, http.StatusServiceUnavailable, "temporarily_unavailable")
			mustRetryLater(t, s, x, oauth.KeysUnavailable)
		})
	}
}

func TestMetadataNeedsNoKeys(t *testing.T) {
	t.Parallel()
	s := keyless(t)
	begin(get("/.well-known/oauth-authorization-server")).through(s.server(t, `{}`)).mustAnswer(t, http.StatusOK, "")
}

func TestAuthWithoutKeys(t *testing.T) {
	t.Parallel()
	s := keyless(t)
	x := begin(s.signed(t, s.mint(t, nil))).through(s.auth(t, `{}`))
	x.mustBeRefused(t, oauth.KeysUnavailable)
	mustRetryLater(t, s, x, oauth.KeysUnavailable)
	mustChallenge(t, x.Header(), "-")
	if got := x.Header().Get("DPoP-Nonce"); got != "" {
		t.Errorf("got DPoP-Nonce %q", got)
	}
}

// A token that can be told by its shape needs no keys, and gets its answer.
func TestAuthWithoutKeysStillRefusesNonsense(t *testing.T) {
	t.Parallel()
	s := keyless(t)
	auth := s.provisionedAuth(t, `{}`)
	r := get("/reports")
	r.Header.Set("Authorization", "DPoP nonsense")
	begin(r).through(auth).mustBeRefused(t, oauth.TokenMalformed)
	begin(get("/reports")).through(auth).mustBeRefused(t, oauth.TokenMissing)
	if got := s.storage.calls.Load(); got != 0 {
		t.Errorf("storage was asked %d times", got)
	}
}

// Forgetting a proof would let it pass twice, so a full memory refuses.
func TestAuthWithAFullMemory(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		capacity, fits int
		want           oauth.Reason
		level          zapcore.Level
	}{
		{1, 1, oauth.ReplayGuardFull, zapcore.ErrorLevel},
		{8, 5, oauth.ReplayShareExceeded, zapcore.InfoLevel}, // the others' half is left to them
	} {
		s := newSite(t, func(s *site) { s.config.ReplayCapacity = 1 })
		s.memory = replay.New(s.clock, tt.capacity)
		s.app.runtime.memory = s.memory
		auth := s.auth(t, `{}`)
		token := s.mint(t, nil)
		for range tt.fits {
			begin(s.signed(t, token)).through(auth).mustPass(t)
		}
		r := s.signed(t, token)
		x := begin(r.Clone(t.Context())).through(auth)
		x.mustBeRefused(t, tt.want)
		if got := x.Header().Get("Retry-After"); got != "1" {
			t.Errorf("got Retry-After %q, want 1", got)
		}
		if lines := s.lines(); len(lines) != 1 || lines[0]["level"] != tt.level || lines[0]["option"] != "replay_capacity" {
			t.Errorf("got %v, want one line of level %s that names replay_capacity", lines, tt.level)
		}
		// the proof was not used up: it passes when there is room again
		s.memory.Configure(64, 0, 0)
		begin(r).through(auth).mustPass(t)
	}
}

func TestKeyEventsAreLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	logKeyEvent(zap.New(core), keys.Event{Message: "made a signing key", KeyID: "k1"})
	logKeyEvent(zap.New(core), keys.Event{Message: "signing keys cannot be had", Err: errors.New("on fire")})
	entries := logs.All()
	if len(entries) != 2 || entries[0].Level != zapcore.InfoLevel || entries[0].ContextMap()["kid"] != "k1" {
		t.Fatalf("got %v, want an INFO line with the kid first", entries)
	}
	if entries[1].Level != zapcore.ErrorLevel || entries[1].ContextMap()["error"] != "on fire" {
		t.Errorf("got %v, want an ERROR line with the cause", entries[1])
	}
}

// troubles are the ways in which a store has no answer.
var troubles = map[string]func(*fault){
	"it can't be opened":         func(f *fault) { f.shut.Store(true) },
	"it has answered nothing":    func(f *fault) { f.down.Store(true) },
	"opening it ends in a panic": func(f *fault) { f.panics.Store(true) },
}

// Unknown is never an answer. Neither is a
// token issued that nobody could judge, nor one accepted that may have been
// revoked, nor one reported as revoked that is not, nor as one that never was.
func TestStoreIsDown(t *testing.T) {
	t.Parallel()
	opaque := "pop_at_" + strings.Repeat("A", 43)
	tests := []struct {
		name    string
		format  string
		request func(*testing.T, *site) *http.Request
	}{
		{"a JWT is asked for", "jwt", func(t *testing.T, s *site) *http.Request { return s.tokenRequest(t) }},
		{"an opaque token is asked for", "opaque", func(t *testing.T, s *site) *http.Request { return s.tokenRequest(t) }},
		{"a JWT is introspected", "jwt", func(t *testing.T, s *site) *http.Request { return s.introspection(s.mint(t, nil)) }},
		{"an opaque token is introspected", "opaque", func(_ *testing.T, s *site) *http.Request { return s.introspection(opaque) }},
		{"a JWT is revoked", "jwt", func(t *testing.T, s *site) *http.Request { return s.revocation(s.mint(t, nil)) }},
		{"an opaque token is revoked", "opaque", func(_ *testing.T, s *site) *http.Request { return s.revocation(opaque) }},
		{"a JWT is used", "jwt", func(t *testing.T, s *site) *http.Request { return s.signed(t, s.mint(t, nil)) }},
		{"an opaque token is used", "opaque", func(t *testing.T, s *site) *http.Request { return s.signed(t, opaque) }},
	}
	for trouble, cause := range troubles {
		for _, tt := range tests {
			t.Run(tt.name+" and "+trouble, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, formats[tt.format])
				cause(s.backend)
				auth, server := s.provisionedAuth(t, `{}`), s.server(t, `{}`)
				r := tt.request(t, s)
				x := begin(r).through(server, auth)
				if r.URL.Path == "/reports" {
					x.mustBeRefused(t, oauth.StoreUnavailable)
					mustChallenge(t, x.Header(), "-")
				} else {
					x.mustAnswer(t, http.StatusServiceUnavailable, "temporarily_unavailable")
				}
				mustRetryLater(t, s, x, oauth.StoreUnavailable)
			})
		}
	}
}

// Once the revocations are read, they are known without the store: JWTs are
// judged while it is down, and new ones are issued. What needs it says so.
func TestStoreGoesDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site) { s.config.Issuers["default"].Clients[1].AccessToken = "opaque" })
	auth, server := s.auth(t, `{"allow_unbound_tokens":true}`), s.server(t, `{}`)
	jwt, revoked := s.token(t), s.token(t)
	begin(s.revocation(revoked)).through(server).mustBeDone(t)
	r := post("/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
	r.SetBasicAuth("loose", "loose-secret")
	opaque := accessToken(t, begin(r.Clone(t.Context())).through(server))

	s.backend.down.Store(true)
	begin(s.signed(t, jwt)).through(auth).mustPass(t)
	begin(s.signed(t, revoked)).through(auth).mustBeRefused(t, oauth.TokenRevoked)
	begin(s.signed(t, s.token(t))).through(auth).mustPass(t)
	begin(s.introspection(jwt)).through(server).mustBeActive(t, true)

	use := get("/reports")
	use.Header.Set("Authorization", "Bearer "+opaque)
	begin(use.Clone(t.Context())).through(auth).mustBeRefused(t, oauth.StoreUnavailable)
	begin(s.introspection(opaque)).through(server).mustAnswer(t, http.StatusServiceUnavailable, "temporarily_unavailable")
	begin(s.revocation(jwt)).through(server).mustAnswer(t, http.StatusServiceUnavailable, "temporarily_unavailable")
	// to be safe: it may have come to the disk
	begin(s.signed(t, jwt)).through(auth).mustBeRefused(t, oauth.TokenRevoked)

	s.backend.down.Store(false)
	begin(use).through(auth).mustPass(t)
}

// A store that is well again is used again, without a reload.
func TestStoreComesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.backend.down.Store(true)
	auth := s.auth(t, `{}`)
	token := s.mint(t, nil)
	begin(s.signed(t, token)).through(auth).mustBeRefused(t, oauth.StoreUnavailable)
	s.backend.down.Store(false)
	begin(s.signed(t, token)).through(auth).mustPass(t)
}
