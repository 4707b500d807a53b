// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Endpoint is one endpoint of the authorization server. The metadata document
// and the routing of pop_server are both made from the same list of these, so
// that the document can't name what is not served.
type Endpoint struct {
	// Name is token, introspect, revoke, jwks or metadata.
	Name string

	// Path is the path on the issuer's host, to be compared byte for byte.
	Path string

	// URL is where clients reach it: the issuer's host and Path.
	URL string

	// Methods are the methods that are allowed there.
	Methods []string
}

// wellKnown stands between host and path of the issuer (RFC 8414 §3.1), unlike
// the other endpoints, which stand beneath that path.
const wellKnown = "/.well-known/oauth-authorization-server"

// Endpoints are the endpoints of an issuer. paths are by name; the defaults of
// those that are absent or empty are /oauth2/token, /oauth2/introspect,
// /oauth2/revoke and /oauth2/jwks, and metadata has its place by RFC 8414.
// Whether the URL may be plain HTTP is for the caller to judge.
func Endpoints(issuerURL string, paths map[string]string) ([]Endpoint, error) {
	origin, base, err := split(issuerURL)
	if err != nil {
		return nil, err
	}
	read := []string{http.MethodGet, http.MethodHead}
	endpoints := []Endpoint{
		{Name: "token", Path: cmp.Or(paths["token"], "/oauth2/token"), Methods: []string{http.MethodPost}},
		{Name: "introspect", Path: cmp.Or(paths["introspect"], "/oauth2/introspect"), Methods: []string{http.MethodPost}},
		{Name: "revoke", Path: cmp.Or(paths["revoke"], "/oauth2/revoke"), Methods: []string{http.MethodPost}},
		{Name: "jwks", Path: cmp.Or(paths["jwks"], "/oauth2/jwks"), Methods: read},
	}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if !slices.ContainsFunc(endpoints, func(e Endpoint) bool { return e.Name == name }) {
			return nil, fmt.Errorf("unknown endpoint %q, expected token, introspect, revoke or jwks", name)
		}
	}
	for n, e := range endpoints {
		if !isPath(e.Path) {
			return nil, fmt.Errorf("path %q of the endpoint %s: expected one like /oauth2/token, without query, escapes, dot segments or trailing slash", e.Path, e.Name)
		}
		endpoints[n].Path = base + e.Path
	}
	endpoints = append(endpoints, Endpoint{Name: "metadata", Path: wellKnown + base, Methods: read})

	taken := map[string]string{}
	for n, e := range endpoints {
		endpoints[n].URL = origin + e.Path
		if other, ok := taken[e.Path]; ok {
			return nil, fmt.Errorf("the endpoints %s and %s have the same path %q", other, e.Name, e.Path)
		}
		taken[e.Path] = e.Name
	}
	return endpoints, nil
}

// split splits an issuer URL into scheme and host, and the path without its
// terminating slash.
func split(issuerURL string) (origin, base string, err error) {
	u, err := url.Parse(issuerURL)
	if err != nil {
		// the error of net/url quotes the whole URL once more
		return "", "", fmt.Errorf("issuer %q: not a URL", issuerURL)
	}
	base = strings.TrimSuffix(u.EscapedPath(), "/")
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return "", "", fmt.Errorf("issuer %q: expected a URL such as https://auth.example.com", issuerURL)
	case u.User != nil, strings.ContainsAny(issuerURL, "?#"):
		// RFC 8414 §2
		return "", "", fmt.Errorf("issuer %q: expected no user, query or fragment", issuerURL)
	case base != "" && !isPath(base):
		return "", "", fmt.Errorf("issuer %q: expected a path without escapes and dot segments", issuerURL)
	}
	return u.Scheme + "://" + u.Host, base, nil
}

// isPath says whether p is a path with one spelling only: of characters that
// are never escaped (RFC 3986 §3.3), without dot segments and empty ones.
func isPath(p string) bool {
	for _, c := range []byte(p) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune("-._~!$&'()*+,;=:@/", rune(c)) {
			return false
		}
	}
	return len(p) > 1 && p[0] == '/' && path.Clean(p) == p
}
