// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/popauth/caddy-popauth/popauth/enforce"
	"github.com/popauth/caddy-popauth/popauth/issue"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// CORS lets scripts of web pages on other origins send requests and read the
// answers (https://fetch.spec.whatwg.org/#http-cors-protocol). Without it a
// browser shows them neither a challenge nor its nonce.
//
// The preflights of these pages are answered, those of others are refused. A
// preflight is an OPTIONS request with one Origin and one
// Access-Control-Request-Method field; it carries no token, so it is not asked
// for one. Answers, also refusals, to requests of these pages may be read by
// them, with the fields DPoP-Nonce and WWW-Authenticate. What a handler behind
// says in Access-Control-Allow-Origin and -Credentials is removed.
//
// Cookies are not allowed, and private networks are not opened. CORS is a rule
// for browsers: it keeps nobody else from sending requests.
type CORS struct {
	// The origins of the pages, as browsers write them: a scheme and a host in
	// lower case, and a port if it is not the default one, such as
	// `https://app.example.com`. They are compared byte for byte. Accepts
	// placeholders.
	Origins []string `json:"origins,omitempty"`

	// Names of header fields that the pages may send, besides Authorization,
	// Content-Type and DPoP and those that browsers always allow. Accepts
	// placeholders.
	Headers []string `json:"headers,omitempty"`

	// How long a browser may remember the answer to a preflight. Browsers have
	// limits of their own, of two hours or more. Default: 10m.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// Leave it to the API behind a pop_auth instead: preflights are passed on
	// without a proof, and without credentials, a body, an upgrade and fields
	// that change the method. Refusals of pop_auth then don't reach the pages, since it
	// does not know which ones may read them. Excludes the other options.
	Upstream bool `json:"upstream,omitempty"`

	origins, headers []string // resolved
	allow            string   // Access-Control-Allow-Headers
	maxAge           string   // Access-Control-Max-Age
}

const (
	// proofFields are the request fields of a client with a proof. Content-Type
	// is needed for anything but forms and plain text.
	proofFields = "Authorization, Content-Type, DPoP"

	// challengeFields are the fields of an answer that a client must read.
	challengeFields = "DPoP-Nonce, WWW-Authenticate"
)

// A preflight with more than these many bytes is none that a browser sends.
const (
	longestOrigin = 512
	longestMethod = 64
)

// resolve fills in the placeholders and the defaults.
func (c *CORS) resolve() (err error) {
	if c == nil {
		return nil
	}
	if c.origins, err = resolveAll("cors", c.Origins); err != nil {
		return err
	}
	if c.headers, err = resolveAll("cors: headers", c.Headers); err != nil {
		return err
	}
	c.allow = strings.Join(append([]string{proofFields}, c.headers...), ", ")
	if c.MaxAge == 0 {
		c.MaxAge = caddy.Duration(10 * time.Minute)
	}
	c.maxAge = strconv.FormatInt(int64(time.Duration(c.MaxAge)/time.Second), 10)
	return nil
}

// check checks the resolved values.
func (c *CORS) check() error {
	if c == nil {
		return nil
	}
	if c.Upstream {
		if len(c.Origins)+len(c.Headers) > 0 {
			return errors.New("cors: it is either origins or upstream, which leaves origins and headers to the API behind")
		}
		return nil
	}
	if len(c.origins) == 0 {
		return errors.New("cors: there are no origins, expected some such as https://app.example.com")
	}
	for _, origin := range c.origins {
		if err := checkOrigin(origin); err != nil {
			return fmt.Errorf("cors: %w", err)
		}
	}
	for _, name := range c.headers {
		// browsers take the wildcard for no name, and not for Authorization
		if !oauth.ValidToken(name) || name == "*" {
			return fmt.Errorf("cors: headers: %q is not the name of a header field, expected one such as X-Request-Id", name)
		}
	}
	if time.Duration(c.MaxAge) < time.Second {
		return fmt.Errorf("cors: max_age is %v, expected a second or more", time.Duration(c.MaxAge))
	}
	return nil
}

// hostName is a host as it ends up in an origin. Browsers have an underscore in
// names, and leave a trailing dot.
var hostName = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?$`)

// checkOrigin wants an origin in the one spelling that a browser sends: any
// other would never match. The schemes of apps and browser extensions are fine.
func checkOrigin(raw string) error {
	switch {
	case strings.Contains(raw, "*"):
		return fmt.Errorf("%q has a wildcard, expected each origin in full, such as https://app.example.com", raw)
	case raw == "null":
		return errors.New("the origin null is that of every local file and sandboxed page, expected one such as https://app.example.com")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || u.Hostname() == "" {
		return fmt.Errorf("%q is not an origin, expected a scheme and a host such as https://app.example.com", raw)
	}
	host, ok := browserHost(u.Hostname())
	if !ok {
		return fmt.Errorf("%q has no host as browsers write it, expected ASCII such as app.example.com or xn--bcher-kva.example", raw)
	}
	want := u.Scheme + "://" + host
	if text := u.Port(); text != "" {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return fmt.Errorf("%q has no valid port, expected one from 1 to 65535", raw)
		}
		if u.Scheme+text != "http80" && u.Scheme+text != "https443" {
			want += ":" + strconv.FormatUint(port, 10)
		}
	}
	if raw != want {
		return fmt.Errorf("browsers don't send the origin %q, expected %q", raw, want)
	}
	return nil
}

// browserHost is a host in the spelling of browsers, as far as it has one in
// ASCII. A name whose last label is a number is an IPv4 address to them.
func browserHost(host string) (string, bool) {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Is4() {
			return addr.String(), true
		}
		return "[" + addr.String() + "]", addr.Zone() == "" && !addr.Is4In6()
	}
	host = strings.ToLower(host)
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	last := labels[len(labels)-1]
	return host, hostName.MatchString(host) && strings.Trim(last, "0123456789") != ""
}

// preflight is what a browser asks on behalf of a page.
type preflight struct{ origin, method string }

// preflight says whether a request is a genuine preflight. All others are
// judged as ever.
func (c *CORS) preflight(r *http.Request) (preflight, bool) {
	method, _ := originalTarget(r)
	if c == nil || method != http.MethodOptions {
		return preflight{}, false
	}
	// what is passed on without a proof must still be an OPTIONS request
	if c.Upstream && r.Method != http.MethodOptions {
		return preflight{}, false
	}
	origins, methods := r.Header.Values("Origin"), r.Header.Values("Access-Control-Request-Method")
	if len(origins) != 1 || len(methods) != 1 {
		return preflight{}, false
	}
	asked := preflight{origins[0], methods[0]}
	// the asked method is echoed, and as a token "*" would be a wildcard
	genuine := asked.origin != "" && len(asked.origin) <= longestOrigin &&
		oauth.ValidToken(asked.method) && len(asked.method) <= longestMethod && asked.method != "*"
	return asked, genuine
}

// reader is the origin of the page that may read the answer to a request, empty
// for none.
func (c *CORS) reader(r *http.Request) string {
	if c == nil {
		return ""
	}
	origins := r.Header.Values("Origin")
	if len(origins) != 1 || !slices.Contains(c.origins, origins[0]) {
		return ""
	}
	return origins[0]
}

// amend says in the header of an answer who may read it: the page of this
// origin, or none. A second Access-Control-Allow-Origin would make browsers
// refuse the answer, and Access-Control-Allow-Credentials beside ours would
// allow cookies to a page that the API has not meant.
func (c *CORS) amend(h http.Header, origin string) {
	switch {
	case c == nil:
		return
	case c.Upstream:
		// it has no effect but where the API lets a page read the answer
		addOnce(h, "Access-Control-Expose-Headers", challengeFields)
		return
	}
	h.Del("Access-Control-Allow-Credentials")
	h.Del("Access-Control-Allow-Origin")
	addOnce(h, "Vary", "Origin")
	if origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		addOnce(h, "Access-Control-Expose-Headers", challengeFields)
	}
}

// addOnce adds a field that is not there yet.
func addOnce(h http.Header, name, value string) {
	if !slices.Contains(h.Values(name), value) {
		h.Add(name, value)
	}
}

// answer answers a preflight with the methods that are allowed, or refuses it.
// The header is amended already.
func (c *CORS) answer(w http.ResponseWriter, asked preflight, methods string) *oauth.Refusal {
	if !slices.Contains(c.origins, asked.origin) {
		return &oauth.Refusal{
			Reason: oauth.OriginForbidden, Expected: strings.Join(c.origins, " "), Got: asked.origin, Option: "cors",
		}
	}
	h := w.Header()
	addOnce(h, "Vary", "Access-Control-Request-Method")
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", c.allow)
	h.Set("Access-Control-Max-Age", c.maxAge)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// servePreflight answers a preflight, or passes it on. Which methods there are
// only the API knows, so the one that is asked for is allowed.
func (a *Auth) servePreflight(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, asked preflight) error {
	refusal := transportRefusal(r)
	if refusal == nil && a.CORS.Upstream {
		bare(r)
		return next.ServeHTTP(w, r)
	}
	if refusal == nil {
		a.CORS.amend(w.Header(), a.CORS.reader(r))
		refusal = a.CORS.answer(w, asked, asked.method)
	}
	if refusal != nil {
		return a.refuse(w, r, enforce.Verdict{Refusal: refusal})
	}
	return nil
}

// servePreflight answers a preflight for an endpoint.
func (s *Server) servePreflight(w http.ResponseWriter, asked preflight, endpoint issue.Endpoint) *failure {
	if refusal := s.CORS.answer(w, asked, strings.Join(endpoint.Methods, ", ")); refusal != nil {
		return &failure{refusal: refusal}
	}
	return nil
}

// bare removes from a preflight what none has: credentials, a body, the wish to go
// on in another protocol, whose messages nobody would judge, and the fields that
// make another method of it for some frameworks. A request with them would do
// without a proof what needs one. To CGI and its kin an underscore is a hyphen.
func bare(r *http.Request) {
	settleConnection(r.Header)
	for name := range r.Header {
		switch plain := strings.ReplaceAll(strings.ToLower(name), "_", "-"); {
		case plain == "authorization", plain == "dpop", plain == "cookie", plain == "proxy-authorization",
			plain == "connection", plain == "upgrade", plain == "http2-settings",
			plain == "x-method-override", strings.HasPrefix(plain, "x-http-method"),
			plain == "content-length", plain == "transfer-encoding":
			delete(r.Header, name)
		}
	}
	r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = http.NoBody, 0, nil, nil
}
