// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// The pool belongs to the process, so the tests that count its references do
// not run beside others.

func init() {
	caddy.RegisterModule(failing{})
}

// failing is an app that fails after it made sure that popauth was provisioned.
type failing struct{}

func (failing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "popauth_test_failing", New: func() caddy.Module { return new(failing) }}
}

func (*failing) Provision(ctx caddy.Context) error {
	if _, err := ctx.App("popauth"); err != nil {
		return err
	}
	return errors.New("failing as it should")
}

func (*failing) Start() error { return nil }
func (*failing) Stop() error  { return nil }

// references is how many configs hold the memory.
func references() int {
	n, _ := runtimes.References(runtimeKey)
	return n
}

func mustHold(t *testing.T, want int) {
	t.Helper()
	if got := references(); got != want {
		t.Errorf("the memory has %d references, want %d", got, want)
	}
}

// cleanUp does what Caddy does with a config that is replaced.
func cleanUp(t *testing.T, s *site) {
	t.Helper()
	if err := s.app.Cleanup(); err != nil {
		t.Errorf("cleaning up: %v", err)
	}
}

func TestMemorySurvivesReloads(t *testing.T) {
	mustHold(t, 0)
	first := newSharedSite(t)
	memory := first.app.runtime.memory
	auth := first.auth(t, `{}`)
	token := first.token(t)
	r := first.signed(t, token)
	replayed := r.Header.Clone()
	begin(r).through(auth).mustPass(t)

	second := newSharedSite(t)
	mustHold(t, 2)
	cleanUp(t, first)
	third := newSharedSite(t)
	cleanUp(t, second)
	mustHold(t, 1)
	if third.app.runtime.memory != memory {
		t.Fatal("the third config has another memory than the first")
	}
	auth = third.auth(t, `{}`)
	if auth.policy.Memory != memory {
		t.Error("pop_auth of the third config has another memory than the first")
	}

	r = get("/reports")
	r.Header = replayed
	begin(r).through(auth).mustBeRefused(t, oauth.ProofReplayed)
	begin(third.signed(t, token)).through(auth).mustPass(t)

	cleanUp(t, third)
	mustHold(t, 0)
	if newSharedSite(t).app.runtime.memory == memory {
		t.Error("the memory outlives the last config")
	}
}

func TestMemorySurvivesAFailedReload(t *testing.T) {
	const good = `{"issuers":{"default":{"url":"https://auth.example.com","store":{"backend":"memory"}}}}`
	tests := []struct {
		name string
		apps caddy.ModuleMap
		want string
	}{
		{"popauth fails", caddy.ModuleMap{
			"popauth": json.RawMessage(`{"replay_capacity":16777216,"issuers":{"default":{"url":"nonsense","store":{"backend":"memory"}}}}`),
		}, "is not a URL"},
		{"popauth can't be decoded", caddy.ModuleMap{
			"popauth": json.RawMessage(`{"unknown":1}`),
		}, "unknown field"},
		{"another app fails after popauth", caddy.ModuleMap{
			"popauth":              json.RawMessage(`{"replay_capacity":16777216,"issuers":{"default":{"url":"https://auth.example.com","store":{"backend":"memory"}}}}`),
			"popauth_test_failing": json.RawMessage(`{}`),
		}, "failing as it should"},
		{"a handler fails", caddy.ModuleMap{
			"popauth": json.RawMessage(good),
			"http":    json.RawMessage(`{"servers":{"s":{"routes":[{"handle":[{"handler":"pop_auth","nonce":"sometimes"}]}]}}}`),
		}, `nonce is "sometimes"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			running := newSharedSite(t)
			memory := running.app.runtime.memory
			capacity := memory.Stats().Capacity
			nonce := memory.Nonce()
			_, err := provision(running.storage, tt.apps)
			mustSay(t, err, tt.want)
			mustHold(t, 1)
			if got := memory.Stats().Capacity; got != capacity {
				t.Errorf("the capacity is %d, was %d", got, capacity)
			}
			again := newSharedSite(t)
			if again.app.runtime.memory != memory {
				t.Error("the failed config dropped the memory of the running one")
			}
			if _, refusal := memory.Fresh(replay.Policy{}, replay.Proof{Nonce: nonce, HasNonce: true}); refusal != nil {
				t.Errorf("the failed config voided the nonces: %v", refusal)
			}
		})
	}
	mustHold(t, 0)
}

// As `caddy validate` beside a running server, or an adapter that validates.
func TestValidateChangesNothing(t *testing.T) {
	running := newSharedSite(t)
	running.auth(t, `{}`)
	before := running.app.runtime.memory.Stats()
	calls := running.storage.calls.Load()
	err := func() error {
		provisioning.Lock()
		defer provisioning.Unlock()
		return caddy.Validate(configOf(running.storage, caddy.ModuleMap{
			"popauth": json.RawMessage(`{"replay_capacity":16777216,"issuers":{"default":{"url":"https://auth.example.com","store":{"backend":"memory"}}}}`),
			"http":    json.RawMessage(`{"servers":{"s":{"routes":[{"handle":[{"handler":"pop_auth","nonce":"off","proof_max_age":"1h"}]}]}}}`),
		}))
	}()
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, 1)
	if after := running.app.runtime.memory.Stats(); after != before {
		t.Errorf("the memory is now %+v, was %+v", after, before)
	}
	if got := running.storage.calls.Load(); got != calls {
		t.Errorf("validating touched storage %d times", got-calls)
	}
}

func TestCleanupTwice(t *testing.T) {
	running, old := newSharedSite(t), newSharedSite(t)
	mustHold(t, 2)
	cleanUp(t, old)
	cleanUp(t, old)
	mustHold(t, 1)
	cleanUp(t, running)
	mustHold(t, 0)
	cleanUp(t, running)
	// one that never came to take a reference
	if err := new(App).Cleanup(); err != nil {
		t.Error(err)
	}
	mustHold(t, 0)
}

// Requests still drain while apps stop, and after the next config, which shares
// the memory and the store, has started.
func TestHandlersWorkAfterStop(t *testing.T) {
	s := newSharedSite(t)
	auth := s.auth(t, `{}`)
	token := s.token(t)
	if err := s.app.Stop(); err != nil {
		t.Fatal(err)
	}
	begin(s.signed(t, token)).through(auth).mustPass(t)
	between, late := s.signed(t, token), s.signed(t, token)
	next := newSharedSite(t, sharing(s))
	cleanUp(t, s)
	begin(between).through(auth).mustPass(t)

	// after the last one there is nobody who would know of a revocation
	cleanUp(t, next)
	begin(late).through(auth).mustBeRefused(t, oauth.StoreUnavailable)
}

// Nothing may touch storage before a config is started: that could make keys
// for one that is only validated.
func TestProvisionTouchesNoStorage(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site) {
		s.storage.down.Store(true)
		s.config.Issuers["default"].Signing = nil
	})
	s.provisionedAuth(t, `{}`)
	server := s.server(t, `{}`)
	begin(get("/.well-known/oauth-authorization-server")).through(server)
	if got := s.storage.calls.Load(); got != 0 {
		t.Errorf("storage was touched %d times before it was needed", got)
	}
	if got := s.backend.attempts.Load(); got != 0 {
		t.Errorf("the store was opened %d times before it was needed", got)
	}
	begin(get("/oauth2/jwks")).through(server)
	if s.storage.calls.Load() == 0 {
		t.Error("storage was not asked for the keys")
	}
}

// Start hands the largest window of all handlers to the memory, and the
// capacity. Before, proofs without a nonce are held up by the fence.
func TestStartConfiguresTheMemory(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site) { s.config.ReplayCapacity = 1 << 14 })
	for _, config := range []string{
		`{"nonce":"off","proof_max_age":"1m","clock_skew":"30s"}`, `{"nonce":"off","proof_max_age":"10m","clock_skew":"1s"}`,
		`{"proof_max_age":"2h","clock_skew":"1h"}`, // which do not count
	} {
		s.provisionedAuth(t, config)
	}
	policy := replay.Policy{Mode: replay.Off, MaxAge: 10 * time.Minute, Skew: 30 * time.Second}
	judge := func(p replay.Policy) oauth.Reason {
		_, refusal := s.memory.Fresh(p, replay.Proof{IssuedAt: float64(s.clock.Now().Unix())})
		if refusal == nil {
			return ""
		}
		return refusal.Reason
	}
	if got := judge(policy); got != oauth.Fenced {
		t.Errorf("before Start got %q, want %q", got, oauth.Fenced)
	}
	if err := s.app.Start(); err != nil {
		t.Fatal(err)
	}
	if got := judge(policy); got != "" {
		t.Errorf("after Start got %q", got)
	}
	policy.MaxAge += 3 * time.Second
	if got := judge(policy); got != oauth.Fenced {
		t.Errorf("with a window that no handler has got %q, want %q", got, oauth.Fenced)
	}
	if got := s.memory.Stats().Capacity; got != 1<<14 {
		t.Errorf("got capacity %d, want %d", got, 1<<14)
	}
}

func TestCapacityNeverShrinks(t *testing.T) {
	t.Parallel()
	memory := replay.New(clock.NewFake(time.Now()), 1<<10)
	for _, tt := range []struct{ capacity, want int }{{1 << 12, 1 << 12}, {1 << 11, 1 << 12}, {1 << 13, 1 << 13}} {
		app := &App{ReplayCapacity: tt.capacity, runtime: &runtime{memory: memory}}
		if err := app.Start(); err != nil {
			t.Fatal(err)
		}
		if got := memory.Stats().Capacity; got != tt.want {
			t.Errorf("after a config with %d got %d, want %d", tt.capacity, got, tt.want)
		}
	}
}

func TestDefaultCapacity(t *testing.T) {
	mustHold(t, 0)
	if got := newSharedSite(t).app.runtime.memory.Stats().Capacity; got != 8388608 {
		t.Errorf("got %d, want 8388608", got)
	}
}
