// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// Every way in which a handler may answer, over a real connection.
func TestHeadWriter(t *testing.T) {
	t.Parallel()
	controller := http.NewResponseController
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter)
		status int
		body   string
	}{
		{"WriteHeader", func(w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot) }, 418, ""},
		{"WriteHeader twice", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusAccepted)
			w.Header().Set("DPoP-Nonce", "late")
			_, _ = io.WriteString(w, "x")
		}, 202, "x"},
		{"Write", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") }, 200, "x"},
		{"ReadFrom", func(w http.ResponseWriter) { _, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("x")) }, 200, "x"},
		{"Flush", func(w http.ResponseWriter) {
			_ = controller(w).Flush()
			_, _ = io.WriteString(w, "x")
		}, 200, "x"},
		{"1xx before", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Cache-Control", "public") // the upstream's own head comes after the 103
			w.WriteHeader(http.StatusCreated)
		}, 201, ""},
		{"nothing at all", func(http.ResponseWriter) {}, 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n := &headWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, nonce: "fresh"}
				n.Header().Set("Cache-Control", "public, max-age=60")
				n.Header().Set("DPoP-Nonce", "of the upstream")
				tt.answer(n)
				n.amend() // as ServeHTTP does
			}))
			defer server.Close()
			response, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != tt.status || string(body) != tt.body {
				t.Errorf("got %d %q, %v, want %d %q", response.StatusCode, body, err, tt.status, tt.body)
			}
			mustRenew(t, response.Header, "fresh")
		})
	}
}

// mustRenew checks that an answer carries a nonce, any one for "", and that
// nobody may keep it.
func mustRenew(t *testing.T, h http.Header, nonce string) {
	t.Helper()
	if got := h.Values("DPoP-Nonce"); len(got) != 1 || got[0] == "" || nonce != "" && got[0] != nonce {
		t.Errorf("got DPoP-Nonce %q, want one %q", got, nonce)
	}
	if got := h.Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
		t.Errorf("got Cache-Control %q, want no-store", got)
	}
}

// An informational answer goes out at once, without the nonce; a change of
// protocols is the last one.
func TestHeadWriterInformational(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{100: false, 102: false, 103: false, 101: true, 200: true, 304: true, 500: true} {
		w := httptest.NewRecorder()
		n := &headWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, nonce: "fresh"}
		n.WriteHeader(status)
		if got := w.Header().Get("DPoP-Nonce") != ""; got != want {
			t.Errorf("%d: nonce set %v, want %v", status, got, want)
		}
	}
}

// Once the head is written, the header is for trailers.
func TestHeadWriterSetsFieldsOnce(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	n := &headWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, nonce: "fresh"}
	n.WriteHeader(http.StatusOK)
	n.Header().Del("DPoP-Nonce")
	_, _ = io.WriteString(n, "x")
	_, _ = n.ReadFrom(strings.NewReader("x"))
	n.WriteHeader(http.StatusOK)
	_ = n.FlushError()
	n.amend()
	if got := n.Header().Get("DPoP-Nonce"); got != "" {
		t.Errorf("the nonce was set again: %q", got)
	}
	mustRenew(t, w.Result().Header, "fresh")
}

func TestHeadWriterUnwraps(t *testing.T) {
	t.Parallel()
	beneath := httptest.NewRecorder()
	n := &headWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: beneath}, nonce: "fresh"}
	if n.Unwrap() != http.ResponseWriter(beneath) {
		t.Error("Unwrap does not lead to the writer beneath")
	}
	if err := http.NewResponseController(n).Flush(); err != nil || !beneath.Flushed {
		t.Errorf("flushing: %v, came through %v", err, beneath.Flushed)
	}
	// what the writer beneath can't do must be said, as io.Copy and WebSockets ask
	if _, _, err := http.NewResponseController(n).Hijack(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("hijacking a recorder: %v", err)
	}
}

// A nonce that serves once is replaced with every answer, one that serves
// longer when it is half used up.
func TestAuthRenewsTheNonce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.mint(t, nil)
	broken := errors.New("the upstream is broken")
	tests := []struct {
		name, config string
		age          time.Duration
		upstream     func(w http.ResponseWriter, r *http.Request) error
		want         bool
	}{
		{"young", `{}`, 59 * time.Second, nil, false},
		{"half used up", `{}`, 61 * time.Second, nil, true},
		{"half used up where nonces are off", `{"nonce":"off"}`, 61 * time.Second, nil, true},
		{"single use", `{"nonce":"single_use"}`, 0, nil, true},
		{"single use, an upstream that answers with an error", `{"nonce":"single_use"}`, 0, func(http.ResponseWriter, *http.Request) error { return broken }, true},
		{"single use, an upstream that writes nothing", `{"nonce":"single_use"}`, 0, func(http.ResponseWriter, *http.Request) error { return nil }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			auth := s.auth(t, tt.config)
			nonce := s.memory.Nonce()
			s.clock.Advance(tt.age)
			r := s.signed(t, token, func(p *fixture.Proof) { p.Nonce = nonce })
			x := begin(r)
			x.upstream = tt.upstream
			if x.through(auth); !x.passed {
				t.Fatal(x.err)
			}
			if !tt.want {
				if got := x.Header().Get("DPoP-Nonce"); got != "" {
					t.Errorf("got DPoP-Nonce %q", got)
				}
				return
			}
			mustRenew(t, x.Header(), "")
			fresh := x.Header().Get("DPoP-Nonce")
			if fresh == nonce {
				t.Error("the nonce is the old one")
			}
			begin(s.signed(t, token, func(p *fixture.Proof) { p.Nonce = fresh })).through(auth).mustPass(t)
		})
	}
}
