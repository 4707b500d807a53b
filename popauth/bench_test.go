// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// discard is the writer of a request whose answer nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// What pop_auth adds to a request with a token that it has seen before. The
// requests, each with a proof of its own, are made before the clock runs.
// "prepare" is Caddy's own share, which is in each of the others.
func BenchmarkAuth(b *testing.B) {
	upstream := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	run := func(b *testing.B, serve func(w http.ResponseWriter, r *http.Request), requests []*http.Request) {
		b.ReportAllocs()
		b.ResetTimer()
		for _, r := range requests {
			w := discard{http.Header{}}
			serve(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil))
		}
	}
	pass := func(b *testing.B, auth *Auth) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := auth.ServeHTTP(w, r, upstream); err != nil {
				b.Fatal(err)
			}
		}
	}
	signed := func(b *testing.B, key, config string) (*Auth, []*http.Request) {
		s := newSite(b, func(s *site) { s.config.ReplayCapacity = 1<<12 + 8*b.N })
		s.key = fixture.Load(b, key)
		auth := s.auth(b, config)
		token := s.token(b)
		requests := make([]*http.Request, b.N)
		for i := range requests {
			requests[i] = s.signed(b, token)
		}
		return auth, requests
	}
	b.Run("prepare", func(b *testing.B) {
		requests := make([]*http.Request, b.N)
		for i := range requests {
			requests[i] = httptest.NewRequest("GET", "/reports", nil)
		}
		run(b, func(http.ResponseWriter, *http.Request) {}, requests)
	})
	for _, key := range []string{"p256", "ed25519", "rsa2048"} {
		b.Run(key, func(b *testing.B) {
			auth, requests := signed(b, key, `{}`)
			run(b, pass(b, auth), requests)
		})
	}
	b.Run("p256 and a nonce for each", func(b *testing.B) {
		auth, requests := signed(b, "p256", `{"nonce":"single_use"}`)
		run(b, pass(b, auth), requests)
	})
	b.Run("challenge", func(b *testing.B) {
		s := newSite(b)
		auth := s.auth(b, `{}`)
		auth.logger = zap.NewNop()
		requests := make([]*http.Request, b.N)
		for i := range requests {
			requests[i] = get("/reports")
		}
		run(b, func(w http.ResponseWriter, r *http.Request) {
			if auth.ServeHTTP(w, r, upstream) == nil {
				b.Fatal("it came through")
			}
		}, requests)
	})
}
