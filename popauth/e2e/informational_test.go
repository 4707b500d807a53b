// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"testing"
)

// TestInformationalAnswersAndTrailersComeThrough has an upstream that answers
// with a 103 first and trailers last. The new nonce belongs to the answer alone.
func TestInformationalAnswersAndTrailersComeThrough(t *testing.T) {
	t.Parallel()
	p := startFronted(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "the reports")
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "43")
	})
	for _, protocol := range protocols {
		for _, path := range []string{"/hints", renewed + "/hints"} {
			t.Run(protocol+path, func(t *testing.T) {
				h := p.deal(t, p.client(t, protocol))
				proof := h.prove(http.MethodGet, path)
				var early []string
				r := h.request(http.MethodGet, path, proof, nil)
				r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
						early = append(early, fmt.Sprint(code, header["Link"], header["Dpop-Nonce"]))
						return nil
					},
				}))
				resp := h.open(r, http.StatusCreated)
				body, err := io.ReadAll(resp.Body)
				if err != nil || string(body) != "the reports" {
					t.Errorf("got %q, %v, want the reports", body, err)
				}
				if want := []string{"103 [</style.css>; rel=preload] []"}; !slices.Equal(early, want) {
					t.Errorf("got the informational answers %q, want %q", early, want)
				}
				if sum, other := resp.Trailer.Get("X-Sum"), resp.Trailer.Get("X-Unannounced"); sum != "42" || other != "43" {
					t.Errorf("got the trailers %v, want 42 and 43", resp.Trailer)
				}
				renews(t, path, resp.Header)
				cache := map[string]string{"/hints": "public, max-age=60"}[path]
				if cache == "" {
					cache = "no-store"
				}
				if got := resp.Header.Values("Cache-Control"); !slices.Equal(got, []string{cache}) {
					t.Errorf("got Cache-Control %q, want %q", got, cache)
				}
				p.needsProof(h, http.MethodGet, path, proof)
				p.honest(t, h.c, h.key)
			})
		}
	}
}
