// SPDX-License-Identifier: Apache-2.0

// Package popauth makes stolen access tokens worthless: it is a set of Caddy
// modules that issue OAuth access tokens bound to a key of the client, and let
// a request through to an API only when the client proves that it holds it.
//
// This package is the façade: it turns Caddy's configuration into plain values,
// hands requests to the packages beneath it and writes their answers. The
// authorization server is in issue and introspect, the resource server in
// enforce. How possession is proven is in dpop, what keeps a proof from passing
// twice in replay.
package popauth

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

func init() {
	caddy.RegisterModule(new(App))
}

// DefaultIssuer is the id of an issuer that is given none.
const DefaultIssuer = "default"

// DefaultReplayCapacity is how many proofs are remembered at once.
const DefaultReplayCapacity = 8 << 20

// App holds the issuers: identities that sign access tokens, each with its
// keys, its clients and its store. `pop_server` serves their endpoints, and
// `pop_auth` accepts their tokens.
//
// All issuers and all sites of the process share one memory of the proofs that
// were used and one key for nonces. It is for one node: behind a load balancer,
// requests of one client must stay on one node.
type App struct {
	// The issuers by id.
	Issuers map[string]*Issuer `json:"issuers,omitempty"`

	// How many used proofs are remembered at once. A proof is remembered for
	// about two minutes (one without a nonce for seven, or longer); when the
	// memory is full, further requests are refused with 503, since forgetting a
	// proof would let it pass twice. There is one memory per process, and its
	// limit is never lowered before a restart. It takes about 10 bytes for each
	// proof that is remembered, and none for those that could be. Default:
	// 8388608.
	ReplayCapacity int `json:"replay_capacity,omitempty"`

	ctx     caddy.Context
	logger  *zap.Logger
	clock   clock.Clock
	host    *storeHost           // what this config offers to its stores
	runtime *runtime             // nil until the reference is taken; guards Cleanup
	stores  map[storeKey]*handle // to which references are held; guards Cleanup

	backends map[storeKey][]Backend // of the issuers that share a store

	mu           sync.Mutex
	maxAge, skew time.Duration // largest proof_max_age and clock_skew of all handlers and issuers
	auths        []*Auth
	found        bool // where they stand
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "popauth",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up the issuers. It opens and makes nothing: `caddy validate`
// beside a running server must not touch its state.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.clock = clock.System
	a.host = &storeHost{storage: ctx.Storage(), logger: a.logger}
	a.stores = make(map[storeKey]*handle)
	a.backends = make(map[storeKey][]Backend)
	if a.ReplayCapacity == 0 {
		a.ReplayCapacity = DefaultReplayCapacity
	}
	if a.ReplayCapacity < 0 {
		return fmt.Errorf("replay_capacity is %d, expected a positive number", a.ReplayCapacity)
	}
	var err error
	if a.runtime, err = acquireRuntime(a.clock, a.ReplayCapacity); err != nil {
		return err
	}
	urls := make(map[string]string, len(a.Issuers))
	for id, iss := range a.Issuers {
		if iss == nil {
			return fmt.Errorf("issuer %q is null, expected at least a url", id)
		}
		if err := iss.provision(a, a.logger.With(zap.String("issuer", id))); err != nil {
			return fmt.Errorf("issuer %q: %w", id, err)
		}
		if other, taken := urls[iss.url]; taken {
			// their tokens could not be told apart
			return fmt.Errorf("issuers %q and %q have the same URL %q", other, id, iss.url)
		}
		urls[iss.url] = id
	}
	return nil
}

// store takes a reference to the store of a backend, unless this config has
// one already: Cleanup gives back one for each entry.
func (a *App) store(b Backend) (*handle, error) {
	key := keyOf(b)
	a.backends[key] = append(a.backends[key], b)
	if h, held := a.stores[key]; held {
		return h, nil
	}
	h, err := acquireStore(key, b, a.clock, a.host)
	if err != nil {
		return nil, err
	}
	a.stores[key] = h
	return h, nil
}

// Start applies what only holds for a config that is used: the shared memory
// learns the capacity and the windows, the stores are opened, and the signing
// keys are looked after. A config that is merely validated, or fails to load,
// changes nothing. A store that can't be opened refuses the config, and so does
// a pop_auth that any Host may reach.
func (a *App) Start() error {
	if err := a.findAuths(); err != nil {
		return err
	}
	for key, h := range a.stores {
		h.adopt(a.host)
		m, err := h.ready(a.ctx)
		if err != nil {
			return fmt.Errorf("opening store %q: %w", key.backend.Name(), err)
		}
		resize(m.Store, a.backends[key])
	}
	for id, iss := range a.Issuers {
		if err := iss.store.start(a.ctx); err != nil {
			return fmt.Errorf("issuer %q: %w", id, err)
		}
	}
	for _, iss := range a.Issuers {
		go iss.keys.Maintain(a.ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runtime.memory.Configure(a.ReplayCapacity, a.maxAge, a.skew)
	return nil
}

// Stop does nothing: requests still drain while apps stop, and need it all.
func (a *App) Stop() error { return nil }

// Cleanup gives back what this instance took, and only that: a config that
// failed before it took a reference must not drop the running one's memory,
// or every proof used so far could be used again.
func (a *App) Cleanup() error {
	var failures []error
	for _, iss := range a.Issuers {
		if iss != nil && iss.store != nil {
			failures = append(failures, iss.store.leave())
		}
	}
	for key, h := range a.stores {
		failures = append(failures, releaseStore(key, h, a.host))
	}
	a.stores = nil
	if a.runtime != nil {
		a.runtime = nil
		failures = append(failures, releaseRuntime())
	}
	return errors.Join(failures...)
}

// observeWindow notes how long one handler or issuer takes a proof without a nonce.
func (a *App) observeWindow(maxAge, skew time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.maxAge, a.skew = max(a.maxAge, maxAge), max(a.skew, skew)
}

// issuersNamed finds issuers by id. With no id it is the only one there is, or
// else the one called default.
func (a *App) issuersNamed(ids []string) ([]*Issuer, error) {
	if len(ids) == 0 {
		id := DefaultIssuer
		if len(a.Issuers) == 1 {
			for id = range a.Issuers {
			}
		}
		ids = []string{id}
	}
	issuers := make([]*Issuer, 0, len(ids))
	for i, id := range ids {
		iss, ok := a.Issuers[id]
		if !ok {
			return nil, fmt.Errorf("there is no issuer %q: the global option popauth has %s", id, a.names())
		}
		if slices.Contains(ids[:i], id) {
			return nil, fmt.Errorf("issuer %q is named twice", id)
		}
		issuers = append(issuers, iss)
	}
	return issuers, nil
}

// names lists the ids of the issuers for an error message.
func (a *App) names() string {
	if len(a.Issuers) == 0 {
		return "none"
	}
	names := make([]string, 0, len(a.Issuers))
	for id := range a.Issuers {
		names = append(names, id)
	}
	slices.Sort(names)
	return fmt.Sprintf("%q", names)
}

// appOf finds the app for a handler. An empty app would serve no one, so its
// absence is turned into the lines to add.
func appOf(ctx caddy.Context, handler string) (*App, error) {
	mod, err := ctx.AppIfConfigured("popauth")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, fmt.Errorf(`%s needs an issuer; add this at the top of the Caddyfile:

{
	popauth {
		issuer https://auth.example.com
		client <id> {env.CLIENT_SECRET}
	}
}`, handler)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", handler, err)
	}
	return mod.(*App), nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
