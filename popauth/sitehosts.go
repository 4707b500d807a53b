// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// siteHosts is where a pop_auth without a public_url stands: beneath host
// matchers. It compares proofs with the host of the request, and that means something
// only because a matcher has let just this host in: where any is let in,
// whoever receives a client's proof for his own server could pass it on to
// here, with his own name as Host.
//
// The hosts are found when the app starts, or by the first request, since the
// HTTP app may start earlier and a reload must not refuse anybody. Until then
// nothing can be judged.
type siteHosts struct {
	hosts atomic.Pointer[caddyhttp.MatchHost]
}

// started says whether the hosts are known.
func (s *siteHosts) started() bool { return s.hosts.Load() != nil }

// has says whether one of the matchers lets a host in. A trusted proxy can name
// another host than that of its own request, and a handler before this one may
// have put another one in its place (request_header Host): no matcher has seen
// those.
func (s *siteHosts) has(r *http.Request, host string) bool {
	hosts := s.hosts.Load()
	if hosts == nil {
		return false
	}
	if host != r.Host {
		// a matcher looks at nothing but the Host and the placeholders
		r = new(http.Request).WithContext(r.Context())
		r.Host = host
	}
	ok, err := hosts.MatchWithError(r)
	return ok && err == nil
}

// observeAuth notes a handler, of which findAuths finds out where it stands.
func (a *App) observeAuth(auth *Auth) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.auths, a.found = append(a.auths, auth), false
}

// findAuths finds out where each pop_auth stands: which host matchers are above
// it, of which there must be one on every way, and which documents of it can be
// reached. It must not be called before all apps are provisioned: asking for the
// HTTP app would not come to an end, since its handlers ask for this one.
func (a *App) findAuths() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.found || len(a.auths) == 0 {
		return nil
	}
	mod, err := a.ctx.AppIfConfigured("http")
	if err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return fmt.Errorf("finding the sites of pop_auth: %w", err)
	}
	w := newWalk()
	if app, ok := mod.(*caddyhttp.App); ok {
		for name, server := range app.Servers {
			w.visit(server)
			if w.open != nil {
				return openSite(fmt.Sprintf("listening on %s (server %s)", strings.Join(server.Listen, " "), name))
			}
		}
	}
	for _, auth := range a.auths {
		if auth.site == nil {
			continue
		}
		hosts, ok := w.hosts[auth]
		if !ok {
			// inside a handler that the walk does not know: nobody can tell
			// what reaches it
			return openSite("whose site cannot be found")
		}
		searchable(hosts)
		auth.site.hosts.Store(&hosts)
	}
	a.serveResources(w)
	a.found = true
	return nil
}

// searchable brings hosts of several matchers into the order of those of one,
// which searches them if there are many: the patterns first.
func searchable(hosts caddyhttp.MatchHost) {
	slices.SortFunc(hosts, func(a, b string) int {
		if x, y := strings.ContainsAny(a, "{*"), strings.ContainsAny(b, "{*"); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
}

// openSite is the refusal of a pop_auth that any Host may reach.
func openSite(which string) error {
	return fmt.Errorf(`a pop_auth %s takes requests for any host, so a proof that was made for another server would pass here; give its site a name, or say how clients reach it:

	pop_auth {
		public_url https://api.example.com
	}`, which)
}
