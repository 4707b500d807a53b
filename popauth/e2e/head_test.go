// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net/http"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// TestHEADNeedsAProofForHEAD holds HEAD apart from GET: servers may treat the
// two alike, proofs don't.
func TestHEADNeedsAProofForHEAD(t *testing.T) {
	t.Parallel()
	p := startFronted(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Method", r.Method)
		_, _ = io.WriteString(w, "the reports")
	})
	for _, protocol := range protocols {
		for _, path := range []string{"/list", renewed + "/list"} {
			t.Run(protocol+path, func(t *testing.T) {
				h := p.deal(t, p.client(t, protocol))
				p.refusedUnseen(h, h.request(http.MethodHead, path, h.prove(http.MethodGet, path), nil), badProof(oauth.ProofMethodMismatch))
				p.refusedUnseen(h, h.request(http.MethodGet, path, h.prove(http.MethodHead, path), nil), badProof(oauth.ProofMethodMismatch))
				proof := h.prove(http.MethodHead, path)
				got := do(t, h.c, h.request(http.MethodHead, path, proof, nil))
				if got.status != http.StatusOK || got.header.Get("X-Method") != http.MethodHead || got.header.Get("Content-Length") != "11" || got.body != "" {
					t.Errorf("got %d %v %q, want the head of the upstream alone", got.status, got.header, got.body)
				}
				renews(t, path, got.header)
				p.needsProof(h, http.MethodHead, path, proof)
				p.honest(t, h.c, h.key)
			})
		}
	}
}
