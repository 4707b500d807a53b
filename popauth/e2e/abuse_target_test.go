// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// targets are what the path of a proof for /api/reports may be changed into on
// the way. Those that two readers could take for two paths are ambiguous; the
// others name another resource than the proof does.
var targets = map[string]struct {
	target    string
	ambiguous bool
}{
	"dot segments":                  {"/api/../admin", true},
	"dot segments back to the path": {"/api/x/../reports", true},
	"an encoded dot segment":        {"/api/%2e%2e/admin", true},
	"a half encoded dot segment":    {"/api/.%2E/admin", true},
	"one dot":                       {"/api/./reports", true},
	"a dot segment at the end":      {"/api/reports/..", true},
	"a dot segment with a name":     {"/api/..;x/admin", true},
	"an encoded slash":              {"/api%2freports", true},
	"an encoded slash and dots":     {"/api/..%2Fadmin", true},
	"an encoded backslash":          {"/api%5creports", true},
	"a backslash":                   {`/api\reports`, true},
	"a backslash and dots":          {`/api\..\admin`, true},
	"an encoded NUL":                {"/api/reports%00", true},
	"an encoded line end":           {"/api/reports%0d%0aX-Injected:1", true},
	"a NUL":                         {"/api/reports\x00", true},
	"a fragment":                    {"/api/reports#x", true},
	"a broken escape":               {"/api/reports%", true},
	"no path":                       {"api/reports", true},
	"a double slash":                {"/api//reports", false},
	"a double slash in front":       {"//api/reports", false},
	"a parameter":                   {"/api/reports;x", false},
	"a parameter in the middle":     {"/api;x=1/reports", false},
	"another letter case":           {"/API/reports", false},
	"a slash at the end":            {"/api/reports/", false},
	"an escape of an escape":        {"/api/%2572eports", false},
}

// R28: no spelling of a target brings a proof for another to the upstream.
func TestAmbiguousTargetsAreRefused(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(upstream.Close)
	s := start(t, stateGlobals, strings.ReplaceAll(stateSites, `respond "hello {http.auth.user.id}"`, "reverse_proxy "+upstream.URL))
	for _, protocol := range protocols {
		h := s.deal(t, s.client(t, protocol))
		for name, tt := range targets {
			t.Run(protocol+" R28 "+name, func(t *testing.T) {
				proof := h.key.Proof(t, fixture.Proof{Method: http.MethodGet, URL: s.site("api", "/api/reports"), Token: h.token, Nonce: h.nonce})
				ask := func(target string) (answer, error) {
					return s.speaker(protocol)(t, [][2]string{
						{":method", "GET"}, {":scheme", "https"}, {":authority", fmt.Sprintf("api.localhost:%d", s.https)}, {":path", target},
						{"authorization", "DPoP " + h.token}, {"dpop", proof}, {"x-marker", marker},
					})
				}
				before, since := reached.Load(), len(s.log(t))
				got, err := ask(tt.target)
				switch logged := s.refusals(t, since); {
				case !tt.ambiguous:
					s.refusedAPI(t, got, since, badProof(oauth.ProofURLMismatch))
				case len(logged) > 0:
					s.refusedAPI(t, got, since, ambiguous(oauth.AmbiguousTarget))
				case got.status != http.StatusBadRequest && !errors.Is(err, errReset):
					t.Errorf("got %d, %v, want 400 or a reset", got.status, err)
				default:
					checked(t, protocol)
					t.Logf("no target at all to the library of the server: %d %v", got.status, err)
				}
				s.tells(t, got, since)
				if n := reached.Load() - before; n != 0 {
					t.Errorf("%d requests reached the upstream", n)
				}
				// the proof was not used up
				if got, err := ask("/api/reports"); got.status != http.StatusOK || reached.Load() != before+1 {
					t.Errorf("the honest request: got %d, %v, want 200", got.status, err)
				}
			})
		}
	}
}
