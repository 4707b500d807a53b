// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// walk goes through the routes of servers and finds every pop_auth in them. It
// knows the handlers of Caddy that hold routes for the request itself.
type walk struct {
	server  *caddyhttp.Server
	invoked []string                // named routes on the way
	way     []caddyhttp.MatcherSets // to where it is

	hosts map[*Auth]caddyhttp.MatchHost       // that are let in
	ways  map[*Auth][][]caddyhttp.MatcherSets // all that lead there
	open  *Auth                               // one without a public_url that is reachable without a host matcher
}

func newWalk() *walk {
	return &walk{hosts: map[*Auth]caddyhttp.MatchHost{}, ways: map[*Auth][][]caddyhttp.MatcherSets{}}
}

// visit goes through one server.
func (w *walk) visit(server *caddyhttp.Server) {
	w.server = server
	w.routes(server.Routes, nil)
	if server.Errors != nil {
		w.routes(server.Errors.Routes, nil)
	}
}

// routes visits routes that are reached by way of a host matcher for hosts, or
// of none at all if there are none.
func (w *walk) routes(routes []caddyhttp.Route, hosts caddyhttp.MatchHost) {
	for _, route := range routes {
		inner := both(hosts, guards(route.MatcherSets))
		w.way = append(w.way, route.MatcherSets)
		for _, handler := range route.Handlers {
			w.handler(handler, inner)
		}
		w.way = w.way[:len(w.way)-1]
	}
}

func (w *walk) handler(handler caddyhttp.MiddlewareHandler, hosts caddyhttp.MatchHost) {
	switch h := handler.(type) {
	case *Auth:
		w.found(h, hosts)
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

// found notes one way to a handler.
func (w *walk) found(auth *Auth, hosts caddyhttp.MatchHost) {
	w.ways[auth] = append(w.ways[auth], slices.Clone(w.way))
	if len(hosts) == 0 && auth.site != nil {
		w.open = auth
	}
	for _, host := range hosts {
		if !slices.Contains(w.hosts[auth], host) {
			w.hosts[auth] = append(w.hosts[auth], host)
		}
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

// both are the hosts that an outer and an inner matcher let in together. None is
// no matcher. The site of a wildcard certificate lets in all of a domain, and in
// it a block for one name only that: what a proxy says of the host must be that
// name, and not another one of the domain.
func both(outer, inner caddyhttp.MatchHost) caddyhttp.MatchHost {
	if len(outer) == 0 {
		return inner
	}
	var hosts caddyhttp.MatchHost
	for _, of := range [][2]caddyhttp.MatchHost{{outer, inner}, {inner, outer}} {
		for _, host := range of[1] {
			covered := slices.ContainsFunc(of[0], func(pattern string) bool { return covers(pattern, host) })
			if covered && !slices.Contains(hosts, host) {
				hosts = append(hosts, host)
			}
		}
	}
	if len(hosts) == 0 {
		return outer // there is no inner one, or its patterns can't be compared
	}
	return hosts
}

// anyHost says whether a client can choose what a pattern lets in: it has no
// label of its own, or it is filled in from the request.
func anyHost(pattern string) bool {
	for _, rest := range strings.Split(pattern, "{")[1:] {
		if !strings.HasPrefix(rest, "env.") && !strings.HasPrefix(rest, "file.") && !strings.HasPrefix(rest, "system.") {
			return true
		}
	}
	filled := caddy.NewReplacer().ReplaceAll(pattern, "")
	return pattern == "" || filled != "" && strings.Trim(filled, "*.") == ""
}
