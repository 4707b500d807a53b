// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// oversizes are header fields that are too large or too many, and what comes of
// them at the API and at the token endpoint where Caddy lets them through. The
// token endpoint reads two fields; how large the others are is Caddy's affair.
var oversizes = []struct {
	name       string
	lay        func(h http.Header)
	api, token want // no status: it passes
}{
	{"a field of 64 KiB", func(h http.Header) { h.Set("X-Filler", strings.Repeat("x", 64<<10)) }, tooLarge, want{}},
	{"1,000 fields", func(h http.Header) {
		for i := range 1000 {
			h.Set(fmt.Sprintf("X-Filler-%d", i), "some value or other")
		}
	}, tooLarge, want{}},
	{"one field 1,000 times", func(h http.Header) {
		for range 1000 {
			h.Add("X-Filler", "some value or other")
		}
	}, tooLarge, want{}},
	{"a proof of 200 KB", func(h http.Header) { h.Set("Dpop", strings.Repeat("x", 200_000)) },
		ambiguous(oauth.CredentialsTooLarge), badTokenProof(oauth.ProofMalformed)},
	{"an Authorization of 64 KiB", func(h http.Header) { h.Set("Authorization", "DPoP "+strings.Repeat("x", 64<<10)) },
		ambiguous(oauth.CredentialsTooLarge), want{401, "invalid_client", oauth.ClientUnauthenticated, false, ""}},
}

var tooLarge = want{431, "", oauth.HeadersTooLarge, false, ""}

// F17: TestOversizeHeadersAreRefused sends what no client needs in each version
// of HTTP, to servers of which one has Caddy's own limit and one a higher limit.
// (What a refusal costs is for enforce.TestOversizeHeadersCostLittle.)
func TestOversizeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	s, open := startAbused(t), startAbused(t)
	open.load(t, strings.NewReplacer("servers {", "servers {\n\t\tmax_header_size 1MB", "$STORE", "file $DIR/store.db").Replace(abuseGlobals), abuseSites)
	for _, protocol := range protocols {
		for _, o := range oversizes {
			t.Run(protocol+" "+o.name, func(t *testing.T) {
				for _, request := range s.plainRequests(t, protocol) {
					o.lay(request.Header)
					if status := s.sendRudely(t, protocol, request); status != "431" && status != "ended" {
						t.Errorf("%s: got %s, want 431 or the end of the connection", request.URL, status)
					}
				}
				c := open.client(t, protocol)
				requests := open.plainRequests(t, protocol)
				for i, w := range []want{o.api, o.token} {
					o.lay(requests[i].Header)
					since := len(open.log(t))
					got := do(t, c, requests[i])
					switch {
					case w.status == 0 && got.status != http.StatusOK:
						t.Errorf("%s: got %d %s, want 200", requests[i].URL, got.status, got.body)
					case w.status == 0:
					case i == 0:
						open.refusedAPI(t, got, since, w)
					default:
						open.refusedEndpoint(t, got, since, w)
					}
				}
				s.honest(t, s.client(t, protocol), fixture.Load(t, "p256"))
				open.honest(t, c, fixture.Load(t, "p256"))
			})
		}
	}
	fixture.Figure(t, "F17", "requests=%d failures_of_the_server=0", len(protocols)*len(oversizes)*4)
}

// plainRequests are an honest one to the API, and one to the token endpoint.
func (s *server) plainRequests(t *testing.T, protocol string) []*http.Request {
	t.Helper()
	h := s.deal(t, s.client(t, protocol))
	f := form("grant_type", "client_credentials", "cnf_key", cnfKey(t, h.key))
	return []*http.Request{
		h.with(h.proof(h.key, nil)),
		newRequest(t, http.MethodPost, s.site("auth", "/oauth2/token"), f.Encode(),
			"Content-Type", "application/x-www-form-urlencoded", "Authorization", basic("reports", "reports-secret")),
	}
}

// sendRudely sends a request whatever the server has said of its limits, which
// clients of HTTP/2 keep to. It returns the status, or "ended" if the connection
// was ended.
func (s *server) sendRudely(t *testing.T, protocol string, r *http.Request) string {
	t.Helper()
	if protocol != "HTTP/2.0" {
		return fmt.Sprint(do(t, s.client(t, protocol), r).status)
	}
	fields := [][2]string{{":method", r.Method}, {":scheme", "https"}, {":authority", r.URL.Host}, {":path", r.URL.Path}}
	for name, values := range r.Header {
		for _, value := range values {
			fields = append(fields, [2]string{strings.ToLower(name), value})
		}
	}
	got, err := s.speakFrames(t, fields)
	if err != nil {
		return "ended"
	}
	return fmt.Sprint(got.status)
}
