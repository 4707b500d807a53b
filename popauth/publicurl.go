// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// checkPublicURL wants a URL that a proof can name: https, or http where the
// traffic stays on this machine, with a path that has one reading.
func checkPublicURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case strings.Contains(raw, "@"):
		// first, since the other messages quote all of it, and that may be a
		// password
		return fmt.Errorf("public_url must not contain user information")
	case err != nil, !u.IsAbs(), u.Host == "":
		return fmt.Errorf("public_url %q is not a URL such as https://api.example.com", raw)
	case strings.ContainsAny(raw, "?#"):
		return fmt.Errorf("public_url %q must have neither a query nor a fragment", raw)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLocal(u.Hostname())):
		return fmt.Errorf("public_url %q must use https (http only on loopback and .localhost)", raw)
	}
	if _, err := dpop.Normalize(raw); err != nil {
		return fmt.Errorf("public_url %q can't be compared with a proof: %w", raw, err)
	}
	for segment := range strings.SplitSeq(strings.Trim(u.EscapedPath(), "/"), "/") {
		if name, _ := url.PathUnescape(segment); name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
			return fmt.Errorf("public_url %q must have neither dot segments nor encoded slashes in its path", raw)
		}
	}
	return nil
}

// explainURL adds to the refusal of a proof for another URL what is wrong with
// the configuration, if something is, and the line that mends it. A mismatch
// has nearly always to do with a proxy in front: the client signs the URL that
// it knows, and this server sees another one.
func (a *Auth) explainURL(r *http.Request, refusal *oauth.Refusal) {
	refusal.Option = "public_url"
	origin, path := split(refusal.Got)
	if origin == "" {
		return // htu is not a URL
	}
	if len(a.publicURLs) == 0 && !fromTrustedProxy(r) && origin == claimedOrigin(r) {
		refusal.Hint = "the X-Forwarded fields say that the client used this URL, but the peer is not trusted; if it is your proxy: " + trustLine(r)
		return
	}
	_, target := originalTarget(r)
	_, own := split(claimed("https", "localhost", target))
	prefix, ends := strings.CutSuffix(path, own)
	if own == "" || !ends {
		return // it is for another path
	}
	if checkPublicURL(origin+prefix) != nil {
		return // no client should use it
	}
	line := fmt.Sprintf("pop_auth { public_url %s%s }", origin, prefix)
	if seen, _ := requestOrigin(r); hostOf(origin) != hostOf(seen) {
		// the client alone says so, and it may have been lured to that host: a
		// line to copy would be an invitation to let him in
		line = "name it in pop_auth { public_url ... }"
	} else if refusal.Expected == "" {
		refusal.Hint = "a trusted proxy names a host that no host matcher of this site lets in"
	}
	if refusal.Hint == "" {
		refusal.Hint = "the client used another URL than this server sees"
	}
	refusal.Hint += "; if that is where clients reach this site: " + line
}

// hostOf is the host of an origin, without its port.
func hostOf(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// claimedOrigin is what the X-Forwarded fields say, whoever sent them.
func claimedOrigin(r *http.Request) string {
	host := cmp.Or(lastValue(r, "X-Forwarded-Host"), r.Host)
	origin, _ := split(claimed(lastValue(r, "X-Forwarded-Proto"), host, "/"))
	return origin
}

// claimed is a URL as dpop normalises it, empty if it is none.
func claimed(scheme, host, target string) string {
	path, _, _ := strings.Cut(target, "?")
	normalized, err := dpop.Normalize(joinOrigin(scheme, host) + path)
	if err != nil {
		return ""
	}
	return normalized
}

// trustLine is the line that makes the peer a trusted proxy.
func trustLine(r *http.Request) string {
	if r.RemoteAddr == "@" {
		return "servers { trusted_proxies_unix } in the global options"
	}
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		peer = "<its address>"
	}
	return "servers { trusted_proxies static " + peer + " } in the global options"
}

// split splits a normalised URL into origin and path.
func split(normalized string) (origin, path string) {
	scheme, rest, found := strings.Cut(normalized, "://")
	if !found {
		return "", ""
	}
	host, path, _ := strings.Cut(rest, "/")
	return scheme + "://" + host, "/" + path
}
