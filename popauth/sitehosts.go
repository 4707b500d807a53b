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

// siteHosts is where a pop_auth without a public_url stands: beneath host matchers.
// It compares proofs with the host of the request, and that means something
// only because a matcher has let just this host in: where any is let in,
// whoever receives a client's proof for his own server could pass it on to
// here, with his own name as Host.
//
// The hosts are known when the app has started. Other apps may start earlier,
// so there may be requests before that, which can't be judged.
type siteHosts struct {
	hosts atomic.Pointer[caddyhttp.MatchHost]
}

// started says whether the hosts are known.
func (s *siteHosts) started() bool { return s.hosts.Load() != nil }

// has says whether one of the matchers lets a host in. A trusted proxy can name
// another host than that of its own request, which no matcher has seen.
func (s *siteHosts) has(r *http.Request, host string) bool {
	hosts := s.hosts.Load()
	if hosts == nil {
		return false
	}
	// a matcher looks at nothing but the Host and the placeholders
	other := new(http.Request).WithContext(r.Context())
	other.Host = host
	ok, err := hosts.MatchWithError(other)
	return ok && err == nil
}

// newSiteHosts makes those of a handler, which findSites fills in.
func (a *App) newSiteHosts(auth *Auth) *siteHosts {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sites == nil {
		a.sites = make(map[*Auth]*siteHosts)
	}
	s := new(siteHosts)
	a.sites[auth] = s
	return s
}

// findSites finds out which host matchers are above each handler, and refuses
// those that are reachable without one. It belongs to Start: while apps are
// provisioned, asking for the HTTP app would not come to an end, since its
// handlers ask for this one.
func (a *App) findSites() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.sites) == 0 {
		return nil
	}
	mod, err := a.ctx.AppIfConfigured("http")
	if err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return fmt.Errorf("finding the sites of pop_auth: %w", err)
	}
	found := make(map[*Auth]caddyhttp.MatchHost)
	if app, ok := mod.(*caddyhttp.App); ok {
		for name, server := range app.Servers {
			w := &walk{server: server, found: found}
			w.routes(server.Routes, nil)
			if server.Errors != nil {
				w.routes(server.Errors.Routes, nil)
			}
			if w.open != nil {
				return openSite(fmt.Sprintf("listening on %s (server %s)", strings.Join(server.Listen, " "), name))
			}
		}
	}
	for auth, s := range a.sites {
		hosts, ok := found[auth]
		if !ok {
			// inside a handler that this one does not know: nobody can tell
			// what reaches it
			return openSite("whose site cannot be found")
		}
		s.hosts.Store(&hosts)
	}
	return nil
}

// openSite is the refusal of a pop_auth that any Host may reach.
func openSite(which string) error {
	return fmt.Errorf(`a pop_auth %s takes requests for any host, so a proof that was made for another server would pass here; give its site a name, or say how clients reach it:

	pop_auth {
		public_url https://api.example.com
	}`, which)
}

// walk goes through the routes of a server.
type walk struct {
	server  *caddyhttp.Server
	invoked []string // named routes on the way
	found   map[*Auth]caddyhttp.MatchHost
	open    *Auth // one that is reachable without a host matcher
}

// routes visits routes that are reached by way of a host matcher for hosts, or
// of none at all if there are none.
func (w *walk) routes(routes []caddyhttp.Route, hosts caddyhttp.MatchHost) {
	for _, route := range routes {
		// an inner matcher can only narrow what the outer one lets in
		inner := hosts
		if len(inner) == 0 {
			inner = guards(route.MatcherSets)
		}
		for _, handler := range route.Handlers {
			w.handler(handler, inner)
		}
	}
}

func (w *walk) handler(handler caddyhttp.MiddlewareHandler, hosts caddyhttp.MatchHost) {
	switch h := handler.(type) {
	case *Auth:
		if h.site == nil {
			return
		}
		if len(hosts) == 0 {
			w.open = h
			return
		}
		for _, host := range hosts {
			if !slices.Contains(w.found[h], host) {
				w.found[h] = append(w.found[h], host)
			}
		}
	case *caddyhttp.Subroute:
		w.routes(h.Routes, hosts)
		if h.Errors != nil {
			w.routes(h.Errors.Routes, hosts)
		}
	case *caddyhttp.Invoke:
		route, ok := w.server.NamedRoutes[h.Name]
		if !ok || slices.Contains(w.invoked, h.Name) {
			return
		}
		w.invoked = append(w.invoked, h.Name)
		w.routes([]caddyhttp.Route{*route}, hosts)
		w.invoked = w.invoked[:len(w.invoked)-1]
	}
}

// guards are the hosts that matcher sets let in, none if one of the sets lets in
// any: sets are alternatives.
func guards(sets caddyhttp.MatcherSets) caddyhttp.MatchHost {
	var hosts caddyhttp.MatchHost
	for _, set := range sets {
		i := slices.IndexFunc(set, func(matcher any) bool {
			hosts, ok := matcher.(*caddyhttp.MatchHost)
			return ok && len(*hosts) > 0 && !slices.ContainsFunc(*hosts, anyHost)
		})
		if i < 0 {
			return nil
		}
		hosts = append(hosts, *set[i].(*caddyhttp.MatchHost)...)
	}
	return hosts
}

// anyHost says whether a client can choose what a pattern lets in: it has no
// label of its own, or it is filled in from the request.
func anyHost(pattern string) bool {
	if strings.Trim(pattern, "*.") == "" {
		return true
	}
	for _, rest := range strings.Split(pattern, "{")[1:] {
		if !strings.HasPrefix(rest, "env.") && !strings.HasPrefix(rest, "file.") && !strings.HasPrefix(rest, "system.") {
			return true
		}
	}
	return false
}
