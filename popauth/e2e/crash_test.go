// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// fate is what a client was told about a token.
type fate int

const (
	good      fate = iota // it was issued
	undecided             // it is to be revoked, and there was no answer yet
	revoked
)

// ledger is what clients were told about their tokens.
type ledger struct {
	mu      sync.Mutex
	tokens  map[string]fate
	answers int // 200s
}

// visit gets a token and revokes every third one. It writes down what was
// answered with 200, when it was.
func (l *ledger) visit(v *visitor) error {
	if err := v.issue(); err != nil {
		return err
	}
	l.note(v.token, good)
	if v.visits%3 != 0 {
		return nil
	}
	l.note(v.token, undecided)
	if err := v.revoke(); err != nil {
		return err
	}
	l.note(v.token, revoked)
	return nil
}

func (l *ledger) note(token string, f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens[token] = f
	if f != undecided {
		l.answers++
	}
}

// count is how many answers there were.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers
}

// holds checks that the server keeps its word: what it issued is active, and
// what it revoked is neither active nor good for anything.
func (l *ledger) holds(t *testing.T, s *server, c *http.Client) {
	t.Helper()
	since, refused := len(s.log(t)), 0
	for token, f := range l.tokens {
		switch f {
		case good:
			if !s.active(t, c, token) {
				t.Errorf("a token that was issued is gone: %s", token)
			}
		case revoked:
			if s.active(t, c, token) {
				t.Errorf("a token that was revoked is active: %s", token)
			}
			got := do(t, c, newRequest(t, http.MethodGet, s.site("api", "/"), "", "Authorization", "DPoP "+token))
			if got.status != http.StatusUnauthorized {
				t.Errorf("a token that was revoked: got %d, want 401", got.status)
			}
			refused++
		}
	}
	logged := s.refusals(t, since)
	for _, entry := range logged {
		if entry["reason"] != string(oauth.TokenRevoked) {
			t.Errorf("got reason %v, want %s; the log line is %v", entry["reason"], oauth.TokenRevoked, entry)
		}
	}
	if len(logged) != refused {
		t.Errorf("got %d refusals in the log, want %d", len(logged), refused)
	}
}

// each is how many visitors of each of four kinds there are under load.
const each = 16

// underLoad lets 64 clients ask and revoke until there are enough answers, and
// then takes the server away from under them.
func (s *server) underLoad(t *testing.T, enough int, away func()) *ledger {
	t.Helper()
	l := &ledger{tokens: map[string]fate{}}
	traffic := s.crowd(t, each, time.Microsecond, l.visit)
	await(t, "answers", func() bool { return traffic.over.Load() || l.count() >= enough })
	traffic.broken.Store(true)
	away()
	// they end when there is nobody left to connect to
	traffic.all.Wait()
	return l
}

// F01: TestKilledServerKeepsWhatItAnswered kills the server while 64 clients
// get and revoke tokens, again and again. What was answered with 200 must hold
// afterwards.
func TestKilledServerKeepsWhatItAnswered(t *testing.T) {
	t.Parallel()
	const answers = 300
	rounds := fixture.Scale(4, 200)
	s := start(t, stateGlobals, stateSites)
	var all []*ledger
	total, slowest := 0, time.Duration(0)
	for round := range rounds {
		l := s.underLoad(t, answers, s.kill)
		began := time.Now()
		s.run(t)
		took := time.Since(began)
		t.Logf("round %d: %d answers, started again within %v", round, l.answers, took.Round(time.Millisecond))
		total, slowest = total+l.answers, max(slowest, took)
		l.holds(t, s, s.client(t, protocols[round%2]))
		all = append(all, l)
		if t.Failed() {
			return
		}
	}
	c := s.client(t, "HTTP/2.0")
	for _, l := range all {
		l.holds(t, s, c)
	}
	s.honest(t, c, fixture.Load(t, "p256"))
	s.honest(t, c, fixture.Load(t, "p256"))
	fixture.Figure(t, "F01", "kills=%d clients=%d answers=%d lost=0 revived=0 slowest_start=%v",
		rounds, 4*each, total, slowest.Round(time.Millisecond))
}

// F25: TestSIGTERMFinishesGrants stops the server in good order while clients get
// and revoke tokens.
func TestSIGTERMFinishesGrants(t *testing.T) {
	t.Parallel()
	s := start(t, stateGlobals, stateSites)
	total, rounds := 0, fixture.Scale(2, 50)
	for range rounds {
		l := s.underLoad(t, 300, func() {
			if code := s.end(syscall.SIGTERM); code != 0 {
				t.Errorf("got exit code %d, want 0", code)
			}
		})
		s.run(t)
		total += l.answers
		l.holds(t, s, s.client(t, "HTTP/2.0"))
		if t.Failed() {
			return
		}
	}
	s.honest(t, s.client(t, "HTTP/1.1"), fixture.Load(t, "p256"))
	fixture.Figure(t, "F25", "stops=%d clients=%d answers=%d lost=0 exit=0", rounds, 4*each, total)
}
