// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// limited counts a refusal if it is one of wrong credentials, and returns what
// to answer with. It is asked after the credentials were judged: right ones
// pass, however many wrong ones there were.
func (s *Server) limited(r *http.Request, a client.Authentication, refusal *oauth.Refusal) *oauth.Refusal {
	return s.limiter.Judge(refusal, s.issuer.url, a.ClaimedID, clientAddr(r))
}

// clientAddr is where a request comes from, as Caddy has it: behind trusted
// proxies, what they say. It is the zero Addr where that is no IP address, as on
// a Unix socket.
func clientAddr(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := netip.ParseAddr(text)
	return addr
}
