// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stateGlobals is the authorization server of the tests of what survives a
// reload or a restart.
const stateGlobals = `
	popauth {
		issuer https://auth.localhost:$HTTPS
		store file $DIR/store.db
		access_token {
			lifetime 1h
		}
		client reports reports-secret
		client sealed sealed-secret {
			access_token opaque
		}
		client inspector inspector-secret {
			introspect
		}
	}
`

const stateSites = `
auth.localhost {
	pop_server
}

api.localhost {
	pop_auth
	respond "hello {http.auth.user.id}"
}
`

// admin asks the admin endpoint.
func (s *server) admin(t *testing.T, method, path, body string, fields ...string) answer {
	t.Helper()
	c := &http.Client{Timeout: startup, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, "admin.sock"))
		},
		// every config has an admin endpoint of its own
		DisableKeepAlives: true,
	}}
	for try := 0; ; try++ {
		got, err := send(c, newRequest(t, method, "http://127.0.0.1"+path, body, fields...))
		if err == nil {
			return got
		}
		// the endpoint of the config before may take a connection just before
		// it is shut down, and end it unanswered; all that is asked of it can be
		// asked twice, as the same config is not loaded again
		if try == 3 {
			t.Fatal(err)
		}
	}
}

// reload loads the Caddyfile as it stands now, as `caddy reload` does.
func (s *server) reload(t *testing.T) answer {
	t.Helper()
	return s.admin(t, http.MethodPost, "/load", s.read(t, "Caddyfile"), "Content-Type", "text/caddyfile")
}

// load writes and loads a Caddyfile, which must be taken. The config before
// takes no TCP connections any more when it returns: Caddy says that it has
// loaded a moment earlier, and until then both configs listen.
func (s *server) load(t *testing.T, globals, sites string) {
	t.Helper()
	before := s.read(t, "Caddyfile")
	ended := s.idle(t)
	s.write(t, globals, sites)
	if got := s.reload(t); got.status != http.StatusOK {
		t.Fatalf("reload: got %d %s, want 200", got.status, got.body)
	}
	if s.read(t, "Caddyfile") != before { // else Caddy keeps the config
		ended()
	}
}

// idle opens a connection and leaves it idle. The function that it returns waits
// for the server to end it, as one that shuts down does once it has closed its
// listeners.
func (s *server) idle(t *testing.T) (ended func()) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address(), &tls.Config{RootCAs: s.roots(t), ServerName: "auth.localhost", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	in := bufio.NewReader(conn)
	r := newRequest(t, http.MethodHead, s.site("auth", "/nothing"), "")
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(in, r); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(startup))
		if _, err := in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("an idle connection is not ended by a reload: %v", err)
		}
	}
}

// goroutines are how many the process has, and what they do.
func (s *server) goroutines(t *testing.T) (n int, profile string) {
	t.Helper()
	profile = s.admin(t, http.MethodGet, "/debug/pprof/goroutine?debug=1", "").body
	if _, err := fmt.Sscanf(profile, "goroutine profile: total %d", &n); err != nil {
		t.Fatalf("reading the goroutine profile: %v", err)
	}
	return n, profile
}

// descriptors are the files that the process has open, none where the system
// does not tell.
func (s *server) descriptors(t *testing.T) []string {
	t.Helper()
	folder := fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var open []string
	for _, entry := range entries {
		// one that has been closed meanwhile has no target
		if target, err := os.Readlink(filepath.Join(folder, entry.Name())); err == nil {
			open = append(open, target)
		}
	}
	return open
}

// usage is what a process holds.
type usage struct{ goroutines, descriptors int }

// heap is how many bytes are in use after garbage collection: the least of some
// looks, as pools need more than one to be emptied.
func (s *server) heap(t *testing.T) int {
	t.Helper()
	least := math.MaxInt
	for range 4 {
		profile := s.admin(t, http.MethodGet, "/debug/pprof/heap?debug=1&gc=1", "").body
		_, rest, _ := strings.Cut(profile, "\n# HeapAlloc = ")
		line, _, _ := strings.Cut(rest, "\n")
		n, err := strconv.Atoi(line)
		if err != nil {
			t.Fatalf("reading the heap profile: %v", err)
		}
		least = min(least, n)
	}
	return least
}

// within says whether no more is held than before, but for a little.
func (u usage) within(before usage, slack int) bool {
	return u.goroutines <= before.goroutines+slack && u.descriptors <= before.descriptors+slack
}

// settled waits until what the process holds satisfies a condition. Connections
// that were closed and configs that were replaced take a moment to go.
func (s *server) settled(t *testing.T, enough func(u usage) bool) usage {
	t.Helper()
	end := time.After(startup)
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		n, profile := s.goroutines(t)
		open := s.descriptors(t)
		u := usage{n, len(open)}
		if enough(u) {
			return u
		}
		select {
		case <-retry.C:
		case <-end:
			t.Fatalf("the process holds too much: %+v\n%s\n%s", u, strings.Join(open, "\n"), profile)
		}
	}
}

// steady is a condition for settled: for two seconds, no less was ever held.
func steady() func(u usage) bool {
	low, times := usage{math.MaxInt, math.MaxInt}, 0
	return func(u usage) bool {
		times++
		if u.goroutines < low.goroutines || u.descriptors < low.descriptors {
			low = usage{min(u.goroutines, low.goroutines), min(u.descriptors, low.descriptors)}
			times = 0
		}
		return times >= 20 && u.within(low, 2)
	}
}

// active asks about a token as the client that sees all.
func (s *server) active(t *testing.T, c *http.Client, token string) bool {
	t.Helper()
	return s.activeFor(t, c, "", token, "inspector")
}

// activeFor asks the issuer beneath a path about a token as some client.
func (s *server) activeFor(t *testing.T, c *http.Client, issuer, token, client string) bool {
	t.Helper()
	got := s.post(t, c, issuer+"/oauth2/introspect", form("token", token), "Authorization", basic(client, client+"-secret"))
	if got.status != http.StatusOK {
		t.Fatalf("introspection: got %d %s, want 200", got.status, got.body)
	}
	active, _ := object(t, got.body)["active"].(bool)
	return active
}

// revoke revokes a token as some client.
func (s *server) revoke(t *testing.T, c *http.Client, token, client string) answer {
	t.Helper()
	return s.post(t, c, "/oauth2/revoke", form("token", token), "Authorization", basic(client, client+"-secret"))
}

// await polls until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.After(startup)
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for !holds() {
		select {
		case <-retry.C:
		case <-end:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
