// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// TestUploadStreamsThrough sends 32 MiB, of which all but the beginning is sent
// only when the upstream has that: nothing on the way may wait for the rest.
func TestUploadStreamsThrough(t *testing.T) {
	t.Parallel()
	const size, beginning = 32 << 20, 1 << 16
	arrived := make(chan struct{}, 1)
	p := startFronted(t, func(w http.ResponseWriter, r *http.Request) {
		hash := sha256.New()
		if _, err := io.CopyN(hash, r.Body, beginning); err != nil {
			t.Errorf("reading the beginning: %v", err)
		}
		arrived <- struct{}{}
		if _, err := io.Copy(hash, r.Body); err != nil {
			t.Errorf("reading the rest: %v", err)
		}
		_, _ = io.WriteString(w, hex.EncodeToString(hash.Sum(nil)))
	})
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	want := sha256.Sum256(content)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			h := p.deal(t, p.client(t, protocol))
			body, pen := io.Pipe()
			go func() {
				_, _ = pen.Write(content[:beginning])
				<-arrived
				_, err := io.Copy(pen, bytes.NewReader(content[beginning:]))
				_ = pen.CloseWithError(err)
			}()
			r := h.request(http.MethodPut, "/archive", h.prove(http.MethodPut, "/archive"), body)
			r.ContentLength = size
			if got := do(t, h.c, r); got.status != http.StatusOK || got.body != hex.EncodeToString(want[:]) {
				t.Errorf("got %d %s, want 200 and the hash of what was sent", got.status, got.body)
			}
			p.honest(t, h.c, h.key)
		})
	}
}

// TestRefusalDoesNotWaitForTheBody sends requests whose body never comes.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	p := startFronted(t, func(http.ResponseWriter, *http.Request) { t.Error("a refused request reached the upstream") })
	for _, protocol := range protocols {
		h := p.deal(t, p.client(t, protocol))
		for name, refused := range map[string]struct {
			proof string
			want  want
		}{
			"without a proof":    {"", retry(oauth.ProofMissing)},
			"with another proof": {h.prove(http.MethodPost, "/archive"), badProof(oauth.ProofMethodMismatch)},
		} {
			for _, expect := range []string{"", "100-continue"} {
				t.Run(protocol+" "+name+" "+expect, func(t *testing.T) {
					body, pen := io.Pipe()
					defer pen.Close()
					r := h.request(http.MethodPut, "/archive", refused.proof, body)
					r.ContentLength = 32 << 20
					if expect != "" {
						r.Header.Set("Expect", expect)
					}
					since := len(p.log(t))
					var got answer
					if protocol == "HTTP/1.1" {
						got = p.headOnly(t, r)
					} else {
						got = do(t, h.c, r)
					}
					p.refusedAPI(t, got, since, refused.want)
					p.honest(t, h.c, h.key)
				})
			}
		}
	}
}

// headOnly sends the head of a request over HTTP/1.1 and reads the answer. The
// client of net/http may wait for its own body when the server hangs up, as it
// does here.
func (s *server) headOnly(t *testing.T, r *http.Request) answer {
	t.Helper()
	conn := s.dial(t)
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", r.Method, r.URL.RequestURI(), r.URL.Host, r.ContentLength)
	if err := r.Header.Write(conn); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "\r\n")
	return readAnswer(t, bufio.NewReader(conn), r)
}

// dial opens a connection to the API that speaks HTTP/1.1.
func (s *server) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address(), &tls.Config{RootCAs: s.roots(t), ServerName: "api.localhost", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(startup)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// readAnswer reads the answer to a request. A 100 would be one, too.
func readAnswer(t *testing.T, from *bufio.Reader, to *http.Request) answer {
	t.Helper()
	resp, err := http.ReadResponse(from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body), resp.Proto}
}
