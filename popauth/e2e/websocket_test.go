// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// accepts is the Sec-WebSocket-Accept field for a key (RFC 6455 §4.2.2).
func accepts(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// echoFrames is an upstream that takes the handshake of RFC 6455 and sends
// every short frame back, without the mask.
func echoFrames(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.Header.Get("Upgrade") != "websocket" {
		http.Error(w, "no WebSocket", http.StatusBadRequest)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		accepts(r.Header.Get("Sec-WebSocket-Key")))
	for {
		frame := make([]byte, 6) // two bytes of head and four of mask
		if _, err := io.ReadFull(buffered, frame); err != nil {
			return
		}
		text := make([]byte, frame[1]&0x7f)
		if _, err := io.ReadFull(buffered, text); err != nil {
			return
		}
		for i := range text {
			text[i] ^= frame[2+i%4]
		}
		_, _ = conn.Write(append([]byte{frame[0], byte(len(text))}, text...))
	}
}

// echoes sends text frames and reads them back.
func echoes(t *testing.T, to io.Writer, from io.Reader) {
	t.Helper()
	for _, text := range []string{"hello", "again"} {
		frame := append([]byte{0x81, 0x80 | byte(len(text)), 1, 2, 3, 4}, text...)
		for i := range text {
			frame[6+i] ^= byte(1 + i%4)
		}
		if _, err := to.Write(frame); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2+len(text))
		if _, err := io.ReadFull(from, got); err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
		if want := append([]byte{0x81, byte(len(text))}, text...); !bytes.Equal(got, want) {
			t.Fatalf("got the frame %q, want %q", got, want)
		}
	}
}

var upgrade = []string{
	"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
}

// TestWebSocketNeedsAProofOnce upgrades a connection of HTTP/1.1. The proof is
// for the GET; the frames that follow need none.
func TestWebSocketNeedsAProofOnce(t *testing.T) {
	t.Parallel()
	p := startFronted(t, echoFrames)
	for _, path := range []string{"/chat", renewed + "/chat"} {
		t.Run(path, func(t *testing.T) {
			h := p.deal(t, p.client(t, "HTTP/1.1"))
			proof := h.prove(http.MethodGet, path)
			r := h.request(http.MethodGet, path, proof, nil, upgrade...)
			conn := p.dial(t)
			if err := r.Write(conn); err != nil {
				t.Fatal(err)
			}
			from := bufio.NewReader(conn)
			resp, err := http.ReadResponse(from, r)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != accepts("dGhlIHNhbXBsZSBub25jZQ==") {
				t.Fatalf("got %d %v, want 101", resp.StatusCode, resp.Header)
			}
			renews(t, path, resp.Header)
			echoes(t, conn, from)
			p.needsProof(h, http.MethodGet, path, proof, upgrade...)
			p.refusedUnseen(h, h.request(http.MethodGet, path, h.prove(http.MethodPost, path), nil, upgrade...), badProof(oauth.ProofMethodMismatch))
			echoes(t, conn, from)
			p.honest(t, h.c, h.key)
		})
	}
}

// TestUpgradeToHTTP2IsNotPassedOn asks an upstream that grants it, whatever the
// Connection field says. Requests in that connection would need no proof.
func TestUpgradeToHTTP2IsNotPassedOn(t *testing.T) {
	t.Parallel()
	p := startFronted(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n", r.Header.Get("Upgrade"))
	})
	h := p.deal(t, p.client(t, "HTTP/1.1"))
	for _, connection := range []string{"Upgrade", "Upgrade, HTTP2-Settings"} {
		r := h.request(http.MethodGet, "/chat", h.prove(http.MethodGet, "/chat"), nil,
			"Connection", connection, "Upgrade", "h2c", "Http2-Settings", "AAMAAABkAAQAAP__")
		conn := p.dial(t)
		if err := r.Write(conn); err != nil {
			t.Fatal(err)
		}
		if got := readAnswer(t, bufio.NewReader(conn), r); got.status != http.StatusOK {
			t.Errorf("Connection %q: got %d %v, want 200", connection, got.status, got.header)
		}
	}
	p.honest(t, h.c, h.key)
}

// TestWebSocketOverHTTP3NeedsAProofForCONNECT opens a WebSocket by an extended
// CONNECT (RFC 9220). Caddy 2.11 offers that over HTTP/3 and turns it into an
// upgrade for the upstream, behind pop_auth: which sees CONNECT, with the path
// as the target, and so must the proof.
func TestWebSocketOverHTTP3NeedsAProofForCONNECT(t *testing.T) {
	t.Parallel()
	p := startFronted(t, echoFrames)
	for _, path := range []string{"/chat", renewed + "/chat"} {
		t.Run(path, func(t *testing.T) {
			h := p.deal(t, p.client(t, "HTTP/3.0"))
			connect := func(proof string, body io.Reader) *http.Request {
				r := h.request(http.MethodConnect, path, proof, body, "Sec-Websocket-Version", "13")
				r.Proto = "websocket" // as quic-go has it
				return r
			}
			p.refusedUnseen(h, connect("", nil), retry(oauth.ProofMissing))
			p.refusedUnseen(h, connect(h.prove(http.MethodGet, path), nil), badProof(oauth.ProofMethodMismatch))
			proof := h.prove(http.MethodConnect, path)
			body, pen := io.Pipe()
			defer pen.Close()
			resp := h.open(connect(proof, body), http.StatusOK)
			renews(t, path, resp.Header)
			echoes(t, pen, resp.Body)
			p.refusedUnseen(h, connect(proof, nil), badProof(oauth.ProofReplayed))
			p.honest(t, h.c, h.key)
		})
	}
}

// TestWebSocketOverHTTP2IsNotOffered sends the extended CONNECT of RFC 8441.
// Go's servers take it only with GODEBUG=http2xconnect=1, and refuse it before
// any handler has seen it; with that it is treated as over HTTP/3.
func TestWebSocketOverHTTP2IsNotOffered(t *testing.T) {
	t.Parallel()
	p := startFronted(t, echoFrames)
	h := p.deal(t, p.client(t, "HTTP/2.0"))
	before := p.requests.Load()
	got, err := p.speakFrames(t, [][2]string{
		{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":path", "/chat"},
		{":authority", fmt.Sprintf("api.localhost:%d", p.https)}, {"sec-websocket-version", "13"},
		{"authorization", "DPoP " + h.token}, {"dpop", h.prove(http.MethodConnect, "/chat")},
	})
	if !errors.Is(err, errReset) {
		t.Errorf("got %d, %v, want a reset", got.status, err)
	}
	if after := p.requests.Load(); after != before {
		t.Errorf("%d requests reached the upstream, want none", after-before)
	}
	p.honest(t, h.c, h.key)
}
