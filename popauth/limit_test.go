// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// from is a request on its way from an address.
func from(addr string, r *http.Request) *exchange {
	x := begin(r)
	caddyhttp.SetVar(x.r.Context(), caddyhttp.ClientIPVarKey, addr)
	return x
}

// wrong is a request with a wrong secret.
func wrong(path, id string) *http.Request {
	r := post(path, url.Values{"token": {"x"}, "grant_type": {"client_credentials"}})
	r.SetBasicAuth(id, "guess")
	return r
}

func TestFailuresAreLimitedAtAllEndpoints(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
		s := newSite(t)
		h := s.server(t, `{}`)
		// known and unknown clients alike
		for _, id := range []string{"reports", "nobody"} {
			for n := range 12 {
				x := from("192.0.2.1", wrong(path, id)).through(h)
				want, retry := http.StatusUnauthorized, ""
				if n >= 10 {
					want, retry = http.StatusTooManyRequests, "6"
				}
				if x.Code != want || x.Header().Get("Retry-After") != retry {
					t.Fatalf("%s, %s, failure %d: got %d, Retry-After %q; want %d, %q", path, id, n+1, x.Code, x.Header().Get("Retry-After"), want, retry)
				}
				if (x.Header().Get("WWW-Authenticate") != "") != (want == http.StatusUnauthorized) {
					t.Errorf("%s: got %d with the challenge %q", path, x.Code, x.Header().Get("WWW-Authenticate"))
				}
			}
		}
		logged := s.logs.FilterField(zap.String("reason", string(oauth.TooManyFailures)))
		if logged.Len() != 4 || logged.FilterFieldKey("limit").Len() != 4 || logged.FilterFieldKey("error").Len() != 4 {
			t.Errorf("%s: got %v in the log, want 4 lines with the limit and what was wrong", path, logged.All())
		}
		// who has failed is not locked out, and others are not concerned
		right := post(path, url.Values{"token": {"x"}, "grant_type": {"client_credentials"}})
		right.SetBasicAuth("loose", "loose-secret")
		if x := from("192.0.2.1", right).through(h); x.Code != http.StatusOK {
			t.Errorf("%s: another client gets %d, want 200", path, x.Code)
		}
		if x := from("192.0.2.1", s.tokenRequest(t)).through(h); x.Code != http.StatusOK {
			t.Errorf("%s: the right secret gets %d, want 200", path, x.Code)
		}
		if x := from("192.0.2.2", wrong(path, "reports")).through(h); x.Code != http.StatusUnauthorized {
			t.Errorf("%s: another address gets %d, want 401", path, x.Code)
		}
		s.clock.Advance(6 * time.Second)
		if x := from("192.0.2.1", wrong(path, "reports")).through(h); x.Code != http.StatusUnauthorized {
			t.Errorf("%s: six seconds later: got %d, want 401", path, x.Code)
		}
	}
}

func TestReplayedAssertionsAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t, withKey(t))
	h := s.server(t, `{}`)
	if err := s.app.Start(); err != nil {
		t.Fatal(err)
	}
	send := func(jti string) int {
		return from("192.0.2.1", assert("/oauth2/revoke", assertionOf(t, jti), url.Values{"token": {"x"}})).through(h).Code
	}
	if got := send("1"); got != http.StatusOK {
		t.Fatalf("at first: got %d, want 200", got)
	}
	for n := range 12 {
		want := http.StatusBadRequest
		if n >= 10 {
			want = http.StatusTooManyRequests
		}
		if got := send("1"); got != want {
			t.Errorf("replay %d: got %d, want %d", n+1, got, want)
		}
		if got := send(fmt.Sprint("new ", n)); got != http.StatusOK {
			t.Errorf("a new one after replay %d: got %d, want 200", n+1, got)
		}
	}
}

func TestReloadKeepsTheLimits(t *testing.T) {
	t.Parallel()
	first, second := newSharedSite(t), newSharedSite(t)
	if first.app.runtime.limiter == nil || first.app.runtime.limiter != second.app.runtime.limiter {
		t.Fatal("two configs of a process have different limiters")
	}
	if h := second.server(t, `{}`); h.limiter != first.app.runtime.limiter {
		t.Error("the server uses another limiter than that of the process")
	}
}
