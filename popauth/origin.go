// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// originalTarget is the method and the request target as the client sent them.
// htm and htu are about those: method, rewrite, uri and handle_path may have
// changed the request on its way here, and the client knows nothing of it.
func originalTarget(r *http.Request) (method, target string) {
	if o, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return o.Method, o.RequestURI
	}
	return r.Method, r.RequestURI
}

// originalPath is the path as the client sent it, still escaped.
func originalPath(r *http.Request) string {
	if o, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return o.URL.EscapedPath()
	}
	return r.URL.EscapedPath()
}

// origins are the URLs at which clients reach this site: those that the
// operator has given, or else the origin of the request. A refusal says that
// there is no telling yet.
func (a *Auth) origins(r *http.Request) ([]string, *oauth.Refusal) {
	if a.site == nil {
		return a.publicURLs, nil
	}
	if !a.site.started() {
		// an error refuses the whole config as soon as the app starts
		if err := a.find(); err != nil || !a.site.started() {
			return nil, &oauth.Refusal{Reason: oauth.Starting, Cause: err}
		}
	}
	origin, host := requestOrigin(r)
	if origin == "" || !a.site.has(r, host) {
		return nil, nil
	}
	return []string{origin}, nil
}

// requestOrigin is the scheme and host under which the client reached this
// server, as reverse_proxy derives them: from the X-Forwarded fields of a
// trusted proxy, else from the connection and the Host field.
// {http.request.scheme} would not do, since it knows only the connection.
//
// The origin is empty if these are not a scheme and a host and nothing more: a
// proxy that passes on what it was sent would let the client choose what its
// proof is compared with.
func requestOrigin(r *http.Request) (origin, host string) {
	scheme, host := scheme(r), r.Host
	if fromTrustedProxy(r) {
		if v := lastValue(r, "X-Forwarded-Host"); v != "" {
			host = v
		}
	}
	return joinOrigin(scheme, host), host
}

// joinOrigin is empty if one of the two is not what it should be.
func joinOrigin(scheme, host string) string {
	if scheme == "" || host == "" || strings.ContainsAny(host, "/\\?#@,; \t") {
		return ""
	}
	return scheme + "://" + host
}

// scheme is http or https, or empty if a trusted proxy says something else.
func scheme(r *http.Request) string {
	if fromTrustedProxy(r) {
		switch v := strings.ToLower(lastValue(r, "X-Forwarded-Proto")); v {
		case "http", "https":
			return v
		case "":
		default:
			return ""
		}
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// transportRefusal refuses a request that came in a way that makes proofs
// worthless. Early data can be sent again by whoever recorded it (RFC 8470 §5);
// an Early-Data field says so whatever its value is (§5.1).
// Over plain HTTP whoever listens gets the token and each proof before we see
// it; a peer on this machine is the operator's own.
func transportRefusal(r *http.Request) *oauth.Refusal {
	if r.TLS != nil && !r.TLS.HandshakeComplete || len(r.Header.Values("Early-Data")) > 0 {
		return oauth.Refuse(oauth.EarlyData, "")
	}
	if refusal := hostRefusal(r); refusal != nil {
		return refusal
	}
	if r.TLS != nil || scheme(r) == "https" || fromLoopback(r) {
		return nil
	}
	hint := "if a proxy in front of this server ends TLS, let it send X-Forwarded-Proto: https"
	if !fromTrustedProxy(r) {
		hint += ", and trust it: " + trustLine(r)
	}
	return &oauth.Refusal{Reason: oauth.InsecureTransport, Expected: "https", Got: "http", Hint: hint}
}

// hostRefusal refuses a request with a Host field beside another authority.
// net/http takes the field of HTTP/1.1 out of the header, but over HTTP/2 and
// HTTP/3 it may stand beside :authority (RFC 9113 §8.3.1, RFC 9114 §4.3.1), and
// versions of the libraries differ on whether they let two different ones
// through. Proof and host matchers go by the authority; an upstream or a
// placeholder that reads the field would be on another site.
func hostRefusal(r *http.Request) *oauth.Refusal {
	for _, host := range r.Header["Host"] {
		if !strings.EqualFold(host, r.Host) {
			return &oauth.Refusal{Reason: oauth.AmbiguousHost, Expected: r.Host, Got: host}
		}
	}
	return nil
}

// fromTrustedProxy says whether Caddy takes the peer for a trusted proxy.
func fromTrustedProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// fromLoopback says whether the peer is on this machine. "@" is how Go names
// the peer of a unix socket.
func fromLoopback(r *http.Request) bool {
	if r.RemoteAddr == "@" {
		return true
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().IsLoopback()
}

// lastValue is the last field of a name, whole, as reverse_proxy takes it.
func lastValue(r *http.Request, name string) string {
	values := r.Header.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
