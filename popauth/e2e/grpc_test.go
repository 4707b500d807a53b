// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// TestRemoteProcedureCall does what gRPC does: a POST with a message and
// `TE: trailers`, whose outcome stands in trailers that nobody has announced.
// gRPC is made for HTTP/2 and carried by HTTP/3; it does not exist over
// HTTP/1.1.
func TestRemoteProcedureCall(t *testing.T) {
	t.Parallel()
	p := startFronted(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" || r.Header.Get("Content-Type") != "application/grpc" {
			t.Errorf("the upstream got %s %v", r.Proto, r.Header)
		}
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
	})
	const path = "/h2c/reports.Reports/List"
	message := append(binary.BigEndian.AppendUint32([]byte{0}, 5), "hello"...)
	fields := []string{"Content-Type", "application/grpc", "Te", "trailers"}
	for _, protocol := range protocols[1:] {
		t.Run(protocol, func(t *testing.T) {
			h := p.deal(t, p.client(t, protocol))
			p.refusedUnseen(h, h.request(http.MethodPost, path, h.prove(http.MethodGet, path), bytes.NewReader(message), fields...),
				badProof(oauth.ProofMethodMismatch))
			proof := h.prove(http.MethodPost, path)
			resp := h.open(h.request(http.MethodPost, path, proof, bytes.NewReader(message), fields...), http.StatusOK)
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, message) {
				t.Errorf("got the message %q, %v, want %q", got, err, message)
			}
			if resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != "fine" {
				t.Errorf("got the trailers %v, want those of the upstream", resp.Trailer)
			}
			p.needsProof(h, http.MethodPost, path, proof, fields...)
			p.honest(t, h.c, h.key)
		})
	}
}
