// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// as sets where a request comes from.
func (x *exchange) as(peer string, trusted bool) *exchange {
	x.r.RemoteAddr = peer
	caddyhttp.SetVar(x.r.Context(), caddyhttp.TrustedProxyVarKey, trusted)
	return x
}

const (
	stranger = "192.0.2.7:50000"
	loopback = "127.0.0.1:50000"
)

func TestOrigin(t *testing.T) {
	t.Parallel()
	fields := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	const proto, host = "X-Forwarded-Proto", "X-Forwarded-Host"
	tests := []struct {
		name    string
		tls     bool
		peer    string
		trusted bool
		header  http.Header
		want    string
		refused bool // as insecure
	}{
		{"TLS", true, stranger, false, nil, "https://api.example.com", false},
		{"plain", false, stranger, false, nil, "http://api.example.com", true},
		{"plain from loopback", false, loopback, false, nil, "http://api.example.com", false},
		{"plain from loopback of IPv6", false, "[::1]:50000", false, nil, "http://api.example.com", false},
		{"plain from loopback, mapped", false, "[::ffff:127.0.0.1]:50000", false, nil, "http://api.example.com", false},
		{"plain from a unix socket", false, "@", false, nil, "http://api.example.com", false},
		{"plain from a private network", false, "10.0.0.1:50000", false, nil, "http://api.example.com", true},
		{"plain from nowhere", false, "", false, nil, "http://api.example.com", true},
		{"plain from what looks like loopback", false, "127.0.0.1.example.com:50000", false, nil, "http://api.example.com", true},

		{"a stranger who claims https", false, stranger, false, fields(proto, "https"), "http://api.example.com", true},
		{"a stranger who claims another host", true, stranger, false, fields(proto, "http", host, "evil.example.com"), "https://api.example.com", false},
		{"Forwarded is read by nobody", true, stranger, true, fields("Forwarded", "host=evil.example.com;proto=http"), "https://api.example.com", false},

		{"a trusted proxy that says https", false, stranger, true, fields(proto, "https"), "https://api.example.com", false},
		{"a trusted proxy that says http", false, stranger, true, fields(proto, "http"), "http://api.example.com", true},
		{"a trusted proxy that says nothing", false, stranger, true, nil, "http://api.example.com", true},
		{"a trusted proxy that says it empty", true, stranger, true, fields(proto, "", host, ""), "https://api.example.com", false},
		{"a trusted proxy with another host", false, stranger, true, fields(proto, "https", host, "shop.example.com"), "https://shop.example.com", false},
		{"the last field of a trusted proxy", false, stranger, true, fields(proto, "http", proto, "https", host, "a.example.com", host, "b.example.com"), "https://b.example.com", false},
		{"a list in one field is not picked apart", false, stranger, true, fields(proto, "https, http"), "", true},
		{"a scheme in upper case", false, stranger, true, fields(proto, "HTTPS"), "https://api.example.com", false},
		{"a scheme with more behind it", false, stranger, true, fields(proto, "https://evil.example/y?"), "", true},
		{"a host with a query", true, stranger, true, fields(host, "evil.example/x?"), "", false},
		{"a host with a fragment", true, stranger, true, fields(host, "evil.example#"), "", false},
		{"a host with user information", true, stranger, true, fields(host, "user@evil.example"), "", false},
		{"a list of hosts", true, stranger, true, fields(host, "a.example, b.example"), "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := get("/reports")
			if !tt.tls {
				r.TLS = nil
			}
			if tt.header != nil {
				r.Header = tt.header
			}
			x := begin(r).as(tt.peer, tt.trusted)
			if got, _ := requestOrigin(x.r); got != tt.want {
				t.Errorf("got origin %q, want %q", got, tt.want)
			}
			refusal := transportRefusal(x.r)
			if (refusal != nil) != tt.refused || refusal != nil && refusal.Reason != oauth.InsecureTransport {
				t.Errorf("got refusal %v, want one: %v", refusal, tt.refused)
			}
		})
	}
}

// The URL that counts is the one of this connection, whatever
// the client claims, unless a trusted proxy says otherwise.
func TestAuthBelievesTrustedProxiesOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	token := s.token(t)
	shop := func(p *fixture.Proof) { p.URL = "https://shop.example.com/reports" }
	forwarded := func(changes ...func(*fixture.Proof)) *exchange {
		r := s.signed(t, token, changes...)
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-Host", "shop.example.com")
		return begin(r)
	}
	forwarded(shop).as(stranger, false).through(auth).mustBeRefused(t, oauth.ProofURLMismatch)
	forwarded().as(stranger, false).through(auth).mustPass(t)
	forwarded(shop).as(stranger, true).through(auth).mustPass(t)
	forwarded().as(stranger, true).through(auth).mustBeRefused(t, oauth.ProofURLMismatch)
}

func TestEarlyDataIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth, server := s.auth(t, `{}`), s.server(t, `{}`)
	form := url.Values{"grant_type": {"client_credentials"}}
	for name, change := range map[string]func(*http.Request){
		"before the end of the handshake": func(r *http.Request) { r.TLS = &tls.ConnectionState{} },
		"by the word of a proxy":          func(r *http.Request) { r.Header.Set("Early-Data", "1") },
		"by a value that is none":         func(r *http.Request) { r.Header.Set("Early-Data", "0") },
		"by two fields": func(r *http.Request) {
			r.Header.Add("Early-Data", "")
			r.Header.Add("Early-Data", "1")
		},
	} {
		r := s.signed(t, s.mint(t, nil))
		change(r)
		before := s.memory.Stats().Live
		begin(r).through(auth).mustBeRefused(t, oauth.EarlyData)
		if got := s.memory.Stats().Live; got != before {
			t.Errorf("%s: the proof was used up", name)
		}
		for _, r := range []*http.Request{post("/oauth2/token", form), post("/oauth2/introspect", form), get("/oauth2/jwks")} {
			change(r)
			begin(r).through(server).mustAnswer(t, http.StatusTooEarly, "temporarily_unavailable")
		}
		// what is not ours is not ours to refuse
		r = get("/index.html")
		change(r)
		if x := begin(r).through(server); !x.passed {
			t.Errorf("%s: pop_server refused another path", name)
		}
	}
}

func TestHostBesideAnotherAuthorityIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth, server := s.auth(t, `{}`), s.server(t, `{}`)
	for name, tt := range map[string]struct {
		hosts   []string
		refused bool
	}{
		"none":                          {nil, false},
		"the authority":                 {[]string{"api.example.com"}, false},
		"the authority in another case": {[]string{"API.example.com"}, false},
		"another host":                  {[]string{"evil.example.com"}, true},
		"another port":                  {[]string{"api.example.com:8443"}, true},
		"an empty one":                  {[]string{""}, true},
		"a second one":                  {[]string{"api.example.com", "evil.example.com"}, true},
	} {
		r := s.signed(t, s.mint(t, nil))
		r.Header["Host"] = tt.hosts
		before := s.memory.Stats().Live
		x := begin(r).through(auth)
		if !tt.refused {
			x.mustPass(t)
			continue
		}
		x.mustBeRefused(t, oauth.AmbiguousHost)
		if got := s.memory.Stats().Live; got != before {
			t.Errorf("%s: the proof was used up", name)
		}
		r.Header.Del("Host")
		begin(r).through(auth).mustPass(t)

		r = s.tokenRequest(t)
		r.Header["Host"] = tt.hosts
		begin(r).through(server).mustAnswer(t, http.StatusBadRequest, "invalid_request")
	}
	if n := s.logs.FilterField(zap.String("reason", string(oauth.AmbiguousHost))).Len(); n != 8 {
		t.Errorf("%d refusals are logged with the reason, want 8", n)
	}
}

func TestInsecureTransportIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth, server := s.auth(t, `{}`), s.server(t, `{}`)
	token := s.token(t)
	overHTTP := func(p *fixture.Proof) { p.URL = "http://api.example.com/reports" }
	plain := func(r *http.Request) *exchange {
		r.TLS = nil
		return begin(r)
	}
	plain(s.signed(t, token, overHTTP)).as(stranger, false).through(auth).mustBeRefused(t, oauth.InsecureTransport)
	plain(s.signed(t, token, overHTTP)).as(loopback, false).through(auth).mustPass(t)
	plain(s.signed(t, token)).as(loopback, false).through(auth).mustBeRefused(t, oauth.ProofURLMismatch)

	form := url.Values{"grant_type": {"client_credentials"}}
	plain(post("/oauth2/token", form)).as(stranger, false).through(server).mustAnswer(t, http.StatusBadRequest, "invalid_request")
	refused := s.logs.FilterField(zap.String("reason", string(oauth.InsecureTransport)))
	if n := refused.FilterFieldKey("hint").Len(); n != 2 {
		t.Errorf("%d refusals say what to do about it, want 2", n)
	}
}
