// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"testing"
)

// TestEventsComeAsTheyHappen streams server-sent events. The upstream sends the
// next one when the client has seen the last, so that they get stuck if
// anything on the way waits for more. The proof counts once, at the beginning.
func TestEventsComeAsTheyHappen(t *testing.T) {
	t.Parallel()
	const events = 5
	seen := make(chan struct{})
	p := startFronted(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		for i := range events {
			fmt.Fprintf(w, "data: %d\n\n", i)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			select {
			case <-seen:
			case <-r.Context().Done():
				return
			}
		}
	})
	for _, protocol := range protocols {
		for _, path := range []string{"/events", renewed + "/events"} {
			t.Run(protocol+path, func(t *testing.T) {
				h := p.deal(t, p.client(t, protocol))
				proof := h.prove(http.MethodGet, path)
				before := p.requests.Load()
				resp := h.open(h.request(http.MethodGet, path, proof, nil, "Accept", "text/event-stream"), http.StatusOK)
				renews(t, path, resp.Header)
				lines := bufio.NewScanner(resp.Body)
				for i := range events {
					if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) {
						t.Fatalf("event %d: got %q, %v", i, lines.Text(), lines.Err())
					}
					lines.Scan() // the empty line
					if i == 0 {
						// while the stream goes on
						p.needsProof(h, http.MethodGet, path, proof)
					}
					seen <- struct{}{}
				}
				if lines.Scan() || lines.Err() != nil {
					t.Errorf("after the last event: %q, %v", lines.Text(), lines.Err())
				}
				if after := p.requests.Load(); after != before+1 {
					t.Errorf("%d requests reached the upstream, want 1", after-before)
				}
				p.honest(t, h.c, h.key)
			})
		}
	}
}
