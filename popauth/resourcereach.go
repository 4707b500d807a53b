// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// servedResources are those of a pop_auth whose documents can be reached. A
// pop_auth in a handle block for other paths is never asked for its document,
// and a challenge must not name one that is not there.
type servedResources struct {
	ids atomic.Pointer[[]string] // nil until the app has started
}

func (s *servedResources) has(r *resource) bool {
	ids := s.ids.Load()
	return ids != nil && slices.Contains(*ids, r.id)
}

// serveResources tells each handler which of its documents are served, by itself
// or by another one, and the operator what is missing. The way to a handler is
// known to the walk through the routes.
func (a *App) serveResources(w *walk) {
	reached := make(map[string]bool)
	for _, auth := range a.auths {
		for _, s := range auth.resources {
			if slices.ContainsFunc(w.ways[auth], func(way []caddyhttp.MatcherSets) bool { return leadsTo(way, s.path) }) {
				reached[s.id] = true
			}
		}
	}
	for _, auth := range a.auths {
		served := []string{}
		for _, s := range auth.resources {
			if reached[s.id] {
				served = append(served, s.id)
			}
		}
		auth.served.ids.Store(&served)
		auth.sayWhatIsMissing(served)
	}
}

// leadsTo says whether the matchers on the way to a handler let a path through.
// Other matchers than those for paths are taken to.
func leadsTo(way []caddyhttp.MatcherSets, path string) bool {
	r := (&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}}).
		WithContext(context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
	for _, sets := range way {
		if len(sets) > 0 && !slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool { return mayMatch(set, r) }) {
			return false
		}
	}
	return true
}

func mayMatch(set caddyhttp.MatcherSet, r *http.Request) bool {
	for _, matcher := range set {
		if m, ok := matcher.(*caddyhttp.MatchPath); ok {
			if ok, err := m.MatchWithError(r); !ok || err != nil {
				return false
			}
		}
	}
	return true
}

// sayWhatIsMissing tells the operator how clients can find out where to get a
// token, if they can't.
func (a *Auth) sayWhatIsMissing(served []string) {
	if a.Metadata == metadataOff || a.Metadata == metadataOnly || len(served) > 0 && a.onOwnOrigin(served) {
		return
	}
	hint := `no audience is a URL of this site: beside those there are, add the one that clients use, with its port unless that is 443, such as "audience https://` + a.example() + `"; or add "metadata off"`
	for _, s := range a.resources {
		if a.onOwnOrigin([]string{s.id}) {
			hint = "pop_auth stands in a block that does not get " + s.path + `: put it outside, or add "metadata off"`
		}
	}
	a.logger.Info("clients can't find out where to get a token (RFC 9728)", zap.String("hint", hint), zap.Strings("audience", a.policy.Audience))
}

// example is a host of this site.
func (a *Auth) example() string {
	if len(a.publicURLs) > 0 {
		return hostOf(a.publicURLs[0])
	}
	return (*a.site.hosts.Load())[0]
}

// onOwnOrigin says whether one of the resources may be on an origin of this
// site. Ports are not known here, so that is seen when a request comes.
func (a *Auth) onOwnOrigin(ids []string) bool {
	for _, id := range ids {
		origin, _, _ := resourceParts(id)
		host := hostOf(origin)
		if slices.ContainsFunc(a.publicURLs, func(raw string) bool { return hostOf(raw) == host }) {
			return true
		}
		if a.site != nil && slices.ContainsFunc(*a.site.hosts.Load(), func(pattern string) bool { return covers(pattern, host) }) {
			return true
		}
	}
	return false
}

// covers says whether a pattern of a host matcher lets a host in.
func covers(pattern, host string) bool {
	want, got := strings.Split(strings.ToLower(pattern), "."), strings.Split(strings.ToLower(host), ".")
	if len(want) != len(got) {
		return false
	}
	for i, label := range want {
		if label != "*" && label != got[i] {
			return false
		}
	}
	return true
}
