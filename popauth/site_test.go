// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

const (
	issuerURL = "https://auth.example.com"
	place     = "https://api.example.com"
)

// site is a provisioned configuration with both halves: an issuer that signs
// with a key of the fixtures, and handlers in front of place.
type site struct {
	config  *App // before Provision; a change may edit it
	storage *storage
	backend *fault // of issuers that name no store

	ctx    caddy.Context
	app    *App
	clock  *clock.Fake // of the memory; tokens go by the clock of the machine
	memory *replay.Memory
	logs   *observer.ObservedLogs
	logger *zap.Logger

	signer, key, thief fixture.Key // of the issuer, the client, somebody else
}

// newSite provisions a site with a memory of its own, so that tests don't
// disturb each other, past the fence of that memory.
func newSite(t testing.TB, changes ...func(*site)) *site {
	t.Helper()
	s := newSharedSite(t, changes...)
	s.clock = clock.NewFake(time.Now())
	s.memory = replay.New(s.clock, 1<<12)
	s.app.runtime = &runtime{memory: s.memory, limiter: client.NewLimiter(s.clock)}
	for _, iss := range s.app.Issuers {
		iss.issuing.Memory = s.memory
	}
	s.clock.Advance(10 * time.Minute)
	return s
}

// newSharedSite provisions a site with the memory of the process.
func newSharedSite(t testing.TB, changes ...func(*site)) *site {
	t.Helper()
	s := &site{
		storage: newStorage(t), backend: newFault(t),
		signer: fixture.Load(t, "p384"), key: fixture.Load(t, "p256"), thief: fixture.Load(t, "p256-thief"),
		config: &App{Issuers: map[string]*Issuer{"default": {
			URL: issuerURL, Audience: []string{place},
			Signing: &Signing{Keys: []string{privateKey(t, "p384")}},
			Clients: []*Client{
				{ID: "reports", Secrets: []string{"reports-secret"}, Scopes: []string{"reports:read", "reports:write"}},
				{ID: "loose", Secrets: []string{"loose-secret"}, Binding: "optional"},
				{ID: "inspector", Secrets: []string{"inspector-secret"}, Introspect: &Introspect{}},
			},
		}}},
	}
	for _, change := range changes {
		change(s)
	}
	for id, iss := range s.config.Issuers {
		complete := *iss
		if iss.StoreRaw == nil {
			complete.StoreRaw = s.backend.raw
		}
		if iss.Signing == nil && id != "default" {
			// one that is made is made beside the test, which may have ended
			complete.Signing = &Signing{Keys: []string{privateKey(t, "p384")}}
		}
		s.config.Issuers[id] = &complete
	}
	core, logs := observer.New(zapcore.DebugLevel)
	s.logger, s.logs = zap.New(core), logs
	raw, err := json.Marshal(s.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := provision(s.storage, caddy.ModuleMap{"popauth": raw})
	if err != nil {
		t.Fatalf("provisioning: %v", err)
	}
	s.ctx, s.app = ctx, appIn(t, ctx)
	return s
}

// provisioning changes globals of Caddy, so one must wait for the other.
var provisioning sync.Mutex

// provision has Caddy provision a configuration, as for a reload. It is not
// started.
func provision(s *storage, apps caddy.ModuleMap) (caddy.Context, error) {
	provisioning.Lock()
	defer provisioning.Unlock()
	return caddy.ProvisionContext(configOf(s, apps))
}

func configOf(s *storage, apps caddy.ModuleMap) *caddy.Config {
	quiet := &caddy.CustomLog{BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}}
	return &caddy.Config{
		Logging:    &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": quiet}},
		StorageRaw: s.raw,
		AppsRaw:    apps,
	}
}

// appIn is the app of a context, which is cleaned up with the test.
func appIn(t testing.TB, ctx caddy.Context) *App {
	t.Helper()
	mod, err := ctx.App("popauth")
	if err != nil {
		t.Fatal(err)
	}
	app := mod.(*App)
	app.ctx.Context = t.Context() // what the app has started ends with the test
	t.Cleanup(func() {
		if err := app.Cleanup(); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return app
}

// load loads a module as Caddy does.
func (s *site) load(id, config string) (any, error) {
	provisioning.Lock()
	defer provisioning.Unlock()
	return s.ctx.LoadModuleByID(id, json.RawMessage(config))
}

// auth is a pop_auth that is in use.
func (s *site) auth(t testing.TB, config string) *Auth {
	t.Helper()
	a := s.provisionedAuth(t, config)
	if err := s.app.Start(); err != nil {
		t.Fatalf("starting: %v", err)
	}
	if s.clock != nil {
		s.clock.Advance(10 * time.Minute) // past the fence that a new window has raised
	}
	return a
}

// provisionedAuth is a pop_auth of a configuration that is not started yet.
func (s *site) provisionedAuth(t testing.TB, config string) *Auth {
	t.Helper()
	mod, err := s.load("http.handlers.pop_auth", config)
	if err != nil {
		t.Fatalf("loading pop_auth: %v", err)
	}
	a := mod.(*Auth)
	a.logger = s.logger
	// there are no routes around it
	s.app.auths = slices.DeleteFunc(s.app.auths, func(other *Auth) bool { return other == a })
	ids := make([]string, 0, len(a.resources))
	for _, r := range a.resources {
		ids = append(ids, r.id)
	}
	a.served.ids.Store(&ids)
	if a.site != nil {
		a.site.hosts.Store(&caddyhttp.MatchHost{"*.example.com"})
	}
	return a
}

// server is a pop_server.
func (s *site) server(t testing.TB, config string) *Server {
	t.Helper()
	mod, err := s.load("http.handlers.pop_server", config)
	if err != nil {
		t.Fatalf("loading pop_server: %v", err)
	}
	h := mod.(*Server)
	h.logger = s.logger
	return h
}

// token asks the token endpoint for a token that is bound to the key.
func (s *site) token(t testing.TB) string {
	t.Helper()
	return accessToken(t, begin(s.tokenRequest(t)).through(s.server(t, `{"only":["token"]}`)))
}

// tokenRequest is a request for a token that is bound to the key.
func (s *site) tokenRequest(t testing.TB) *http.Request {
	t.Helper()
	return post("/oauth2/token", url.Values{
		"grant_type": {"client_credentials"}, "cnf_key": {base64.StdEncoding.EncodeToString(s.key.JSON(t))},
	})
}

// mint signs a token by hand. The changes are laid over its claims, where nil
// deletes.
func (s *site) mint(t testing.TB, changes map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": issuerURL, "sub": "reports", "client_id": "reports", "aud": place, "jti": rand.Text(),
		"iat": now, "exp": now + 300, "scope": "reports:read", "cnf": map[string]any{"jkt": s.key.Thumbprint(t)},
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return s.signer.JWS(t, map[string]any{"typ": "at+jwt", "alg": s.signer.Alg, "kid": s.signer.Thumbprint(t)}, claims)
}

// proof signs a proof for a GET of /reports.
func (s *site) proof(t testing.TB, token string, changes ...func(*fixture.Proof)) string {
	t.Helper()
	p := fixture.Proof{Method: "GET", URL: place + "/reports", Token: token, Nonce: s.app.runtime.memory.Nonce()}
	for _, change := range changes {
		change(&p)
	}
	return s.key.Proof(t, p)
}

// signed is a GET of /reports that passes.
func (s *site) signed(t testing.TB, token string, changes ...func(*fixture.Proof)) *http.Request {
	t.Helper()
	r := get("/reports")
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header.Set("DPoP", s.proof(t, token, changes...))
	return r
}

// privateKey is the file of a fixture key, with its private members.
func privateKey(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// request is one over TLS from a stranger.
func request(method, target string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, target, body)
	r.Host = "api.example.com"
	r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	return r
}

func get(target string) *http.Request { return request("GET", target, nil) }

// post is the form of the client reports.
func post(target string, form url.Values) *http.Request {
	r := request("POST", target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("reports", "reports-secret")
	return r
}

// exchange is a request on its way through handlers, and what became of it.
type exchange struct {
	*httptest.ResponseRecorder
	r    *http.Request
	repl *caddy.Replacer

	upstream func(w http.ResponseWriter, r *http.Request) error // nil: writes "through"

	passed bool // it came to the upstream
	err    error
}

// begin prepares a request as Caddy's server does.
func begin(r *http.Request) *exchange {
	x := &exchange{ResponseRecorder: httptest.NewRecorder(), repl: caddy.NewReplacer()}
	x.r = caddyhttp.PrepareRequest(r, x.repl, x.ResponseRecorder, nil)
	return x
}

// through sends it through handlers to the upstream.
func (x *exchange) through(handlers ...caddyhttp.MiddlewareHandler) *exchange {
	var next caddyhttp.Handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		x.passed = true
		if x.upstream != nil {
			return x.upstream(w, r)
		}
		_, err := io.WriteString(w, "through")
		return err
	})
	for _, h := range slices.Backward(handlers) {
		inner := next
		next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error { return h.ServeHTTP(w, r, inner) })
	}
	x.err = next.ServeHTTP(x, x.r)
	return x
}

// middleware is a handler from a function.
type middleware func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error

func (m middleware) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return m(w, r, next)
}

// mustPass checks that the request came through.
func (x *exchange) mustPass(t testing.TB) {
	t.Helper()
	if x.err != nil || !x.passed {
		t.Fatalf("the request was refused (%v): %v", x.reason(), x.err)
	}
}

// mustBeRefused checks that the request was refused by pop_auth for a reason,
// with the status that the reason has.
func (x *exchange) mustBeRefused(t testing.TB, want oauth.Reason) {
	t.Helper()
	if x.passed {
		t.Fatal("the request came through")
	}
	handlerError, ok := errors.AsType[caddyhttp.HandlerError](x.err)
	if !ok {
		t.Fatalf("got error %v (%T), want a HandlerError", x.err, x.err)
	}
	if got := x.reason(); got != want || handlerError.StatusCode != want.Rule().API {
		t.Errorf("got reason %q with status %d, want %q with %d", got, handlerError.StatusCode, want, want.Rule().API)
	}
}

// reason is why pop_auth refused the request.
func (x *exchange) reason() oauth.Reason {
	if refusal, ok := oauth.AsRefusal(x.err); ok {
		return refusal.Reason
	}
	return ""
}

// placeholder is what a handler would print.
func (x *exchange) placeholder(name string) string {
	return x.repl.ReplaceAll("{"+name+"}", "")
}
