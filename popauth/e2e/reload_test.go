// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// edition is stateSites with a number in what the API answers.
func edition(n int) string {
	return strings.Replace(stateSites, "hello", fmt.Sprintf("edition %d for", n), 1)
}

// F08: TestReloadUnderTraffic replaces the config under clients who must not
// notice, and a thief who must not profit: no request fails, no proof that was
// accepted is accepted again by the next config, a nonce that was given out
// stays good, and no goroutines or files pile up.
func TestReloadUnderTraffic(t *testing.T) {
	t.Parallel()
	covers(t, "R11")
	const warmup = 5
	reloads := fixture.Scale(10, 100)
	s := start(t, stateGlobals, edition(0))
	n, visits, resent, replays := 0, 0, 0, 0
	reloaded := func(times int) {
		loot := new(loot)
		traffic := s.traffic(t, 50*time.Millisecond, func(v *visitor) error {
			if err := v.issue(); err != nil {
				return err
			}
			if err := v.call(s.site("api", "/reports")); err != nil {
				return err
			}
			r := v.proven(s.site("api", "/reports"))
			if err := v.passes(r); err != nil {
				return err
			}
			loot.add(r)
			return nil
		})
		for range times {
			n++
			taken := loot.take() // each was accepted by an earlier config
			s.reloadBetween(t, protocols[n%2], n)
			s.replays(t, taken)
			replays += len(taken)
			if n%10 == 0 {
				s.validates(t)
				s.refusesConfigs(t, n, unloadable)
			}
		}
		traffic.end()
		v, r := traffic.counts()
		// a request is sent again only if the old config closes an idle
		// connection in the instant in which the client sends it. That each
		// visitor meets this at each reload would be no such chance.
		if most := times * len(traffic.visitors) / 2; r > most {
			t.Errorf("%d requests were sent again at %d reloads, want %d at most", r, times, most)
		}
		visits, resent = visits+v, resent+r
	}
	reloaded(warmup)
	before, heap := s.settled(t, steady()), s.heap(t)
	visits, resent, replays = 0, 0, 0
	reloaded(reloads)
	for range 10 {
		s.refusesConfigs(t, n, unstartable)
	}
	after := s.settled(t, func(u usage) bool { return u.within(before, 5) })
	grown := s.heap(t) - heap
	t.Logf("held before %+v, after %+v, %d bytes of heap and %d more", before, after, heap, grown)
	for _, entry := range s.entries(t, 0) {
		if entry["level"] == "error" && !strings.HasPrefix(fmt.Sprint(entry["logger"]), "admin") {
			t.Errorf("an error was logged: %v", entry)
		}
	}
	fixture.Figure(t, "F08", "reloads=%d requests=%d failed=0 resent=%d proofs=%d replays=%d accepted=0 goroutines=%+d files=%+d heap=%+.1f%%_with_what_the_proofs_left",
		reloads, 3*visits, resent, 2*visits, replays, after.goroutines-before.goroutines, after.descriptors-before.descriptors,
		100*float64(grown)/float64(heap))
}

// F08: TestReloadsLeaveNothingInMemory reloads without traffic, of which proofs
// and tokens would remain: the heap grows by 5 % at most.
func TestReloadsLeaveNothingInMemory(t *testing.T) {
	t.Parallel()
	reloads := fixture.Scale(20, 100)
	s := start(t, stateGlobals, edition(0))
	s.honest(t, s.client(t, "HTTP/1.1"), fixture.Load(t, "p256"))
	for n := range 10 {
		s.load(t, stateGlobals, edition(n))
	}
	before := s.heap(t)
	for n := range reloads {
		s.load(t, stateGlobals, edition(n))
	}
	grown := s.heap(t) - before
	if grown > before/20 {
		t.Errorf("the heap has grown by %d bytes from %d, want %d at most", grown, before, before/20)
	}
	fixture.Figure(t, "F08", "quiet_reloads=%d heap=%+.1f%%", reloads, 100*float64(grown)/float64(before))
}

// loot is requests whose proofs were accepted.
type loot struct {
	mu       sync.Mutex
	requests []*http.Request
}

func (l *loot) add(r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, r)
}

// take returns what was added since it was called last.
func (l *loot) take() []*http.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.requests
	l.requests = nil
	return taken
}

// replays sends requests a second time, none of which may pass.
func (s *server) replays(t *testing.T, requests []*http.Request) {
	t.Helper()
	thief := s.visitor(t, "HTTP/2.0", jwtClient)
	defer thief.c.CloseIdleConnections()
	for _, r := range requests {
		if err := thief.challenged(r.Clone(t.Context()), "invalid_dpop_proof"); err != nil {
			t.Fatalf("a used proof after a reload: %v", err)
		}
	}
}

// validates has `caddy validate` look at the config that runs.
func (s *server) validates(t *testing.T) {
	t.Helper()
	out, err := s.command(t.Context(), "validate", "--config", "Caddyfile", "--adapter", "caddyfile").CombinedOutput()
	if err != nil {
		t.Errorf("caddy validate: %v\n%s", err, out)
	}
}

// reloadBetween uses a proof, reloads and uses it again, and makes a proof with
// a nonce from before.
func (s *server) reloadBetween(t *testing.T, protocol string, n int) {
	t.Helper()
	v, target := s.visitor(t, protocol, jwtClient), s.site("api", "/reports")
	defer v.c.CloseIdleConnections()
	used := v.usedProof(target)
	s.load(t, stateGlobals, edition(n))
	for want := fmt.Sprintf("edition %d for reports", n); ; {
		got, err := v.send(v.proven(target))
		if err != nil || got.status != http.StatusOK {
			t.Fatalf("a nonce from before reload %d: got %d %v, %v, want 200", n, got.status, got.header, err)
		}
		if got.body == want {
			break
		}
		// the old config answers on the connection it has, or took one by QUIC
		// in the instant before it went
		v.c.CloseIdleConnections()
	}
	if err := v.challenged(used, "invalid_dpop_proof"); err != nil {
		t.Fatalf("a used proof after reload %d: %v", n, err)
	}
}

// usedProof is a request with a proof that was accepted.
func (v *visitor) usedProof(target string) *http.Request {
	v.t.Helper()
	if err := errors.Join(v.issue(), v.call(target)); err != nil {
		v.t.Fatal(err)
	}
	r := v.proven(target)
	if err := v.passes(r); err != nil {
		v.t.Fatal(err)
	}
	return r
}

// broken is a config that can't work: an edition with a part replaced.
type broken struct{ name, old, new, want string }

// unloadable configs are refused before anything of them is started.
var unloadable = []broken{
	{"an unknown issuer", "pop_auth", "pop_auth {\n\t\tissuer nobody\n\t}", `there is no issuer \"nobody\"`},
	{"a placeholder without a value", "reports-secret", "{env.POPAUTH_E2E_NO_SUCH_THING}", "{env.POPAUTH_E2E_NO_SUCH_THING}"},
}

// unstartable configs are refused when parts of them may have begun to serve,
// so that somebody may get a 503 from one.
var unstartable = []broken{
	{"a store that is a directory", "$DIR/store.db", "$DIR/storage", "is a directory"},
}

// refusesConfigs loads configs that can't work, and looks whether the one that
// runs is the same as before, and still knows which proofs were used.
func (s *server) refusesConfigs(t *testing.T, n int, configs []broken) {
	t.Helper()
	v, target := s.visitor(t, "HTTP/1.1", opaqueClient), s.site("api", "/reports")
	defer v.c.CloseIdleConnections()
	used := v.usedProof(target)
	before := s.admin(t, http.MethodGet, "/config/", "").body
	for _, b := range configs {
		s.write(t, strings.Replace(stateGlobals, b.old, b.new, 1), strings.Replace(edition(n), b.old, b.new, 1))
		if got := s.reload(t); got.status < 400 || !strings.Contains(got.body, b.want) {
			t.Errorf("%s: got %d %s, want an error that says %s", b.name, got.status, got.body, b.want)
		}
		if after := s.admin(t, http.MethodGet, "/config/", "").body; after != before {
			t.Errorf("%s: the config became %s", b.name, after)
		}
		if err := v.challenged(used, "invalid_dpop_proof"); err != nil {
			t.Errorf("%s: a used proof: %v", b.name, err)
		}
		if err := v.call(target); err != nil {
			t.Errorf("%s: an honest request: %v", b.name, err)
		}
	}
}

// TestValidateBesideARunningServer holds `caddy validate` to touching nothing of
// a server that runs, and a second server to keeping its hands off the store of
// the first.
func TestValidateBesideARunningServer(t *testing.T) {
	t.Parallel()
	s := start(t, stateGlobals, stateSites)
	c := s.client(t, "HTTP/2.0")
	key := fixture.Load(t, "p256")
	h := s.dealFor(t, c, opaqueClient)
	revoked, used := s.tokenOf(t, c, key, opaqueClient), h.proof(h.key, nil)
	if got := s.revoke(t, c, revoked, opaqueClient); got.status != http.StatusOK {
		t.Fatalf("revoking: got %d %s, want 200", got.status, got.body)
	}
	if got := do(t, c, h.with(used)); got.status != http.StatusOK {
		t.Fatalf("got %d %v, want 200", got.status, got.header)
	}
	unharmed := func() {
		t.Helper()
		if !s.active(t, c, h.token) || s.active(t, c, revoked) {
			t.Error("the tokens are not what they were")
		}
		since := len(s.log(t))
		s.refusedAPI(t, do(t, c, h.with(used)), since, badProof(oauth.ProofReplayed))
		s.honest(t, c, key)
	}

	before := s.read(t, "store.db")
	s.validates(t)
	if s.read(t, "store.db") != before {
		t.Error("caddy validate has written to the store")
	}
	unharmed()

	second := prepare(t, strings.Replace(stateGlobals, "$DIR", s.dir, 1), stateSites)
	ctx, cancel := context.WithTimeout(t.Context(), startup)
	defer cancel()
	out, err := second.command(ctx, "run", "--config", "Caddyfile", "--adapter", "caddyfile").CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Errorf("a second server: got %v, want a failure:\n%s", err, out)
	}
	want := fmt.Sprintf("store file %q is in use by another process", filepath.Join(s.dir, "store.db"))
	if !slices.ContainsFunc(second.entries(t, 0), func(entry map[string]any) bool {
		return entry["level"] == "error" && strings.Contains(fmt.Sprint(entry["msg"]), want)
	}) {
		t.Errorf("the log of a second server does not say %s:\n%s", want, second.log(t))
	}
	unharmed()
}
