// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// errReset is the answer to a request that the server's library finds malformed.
var errReset = errors.New("the stream was reset")

// TestHostAndAuthorityMayNotDiffer sends what two readers could take for
// requests to two sites, each with a good proof for one of them. HTTP/1.1
// requests with two Host fields are refused by net/http; over HTTP/2 and HTTP/3
// x/net and quic-go reset the stream. Should a version of them let such a
// request through, pop_auth refuses it.
func TestHostAndAuthorityMayNotDiffer(t *testing.T) {
	t.Parallel()
	s := start(t, stateGlobals, stateSites)
	for _, protocol := range protocols {
		speak := map[string]func(*testing.T, [][2]string) (string, error){
			"HTTP/1.1": s.speakLines, "HTTP/2.0": s.speakFrames, "HTTP/3.0": s.speakQUIC,
		}[protocol]
		h := s.deal(t, s.client(t, protocol))
		api := fmt.Sprintf("api.localhost:%d", s.https)
		for name, tt := range map[string]struct {
			hosts []string
			fine  bool
		}{
			"the same":             {[]string{api}, true},
			"none":                 {nil, true},
			"another":              {[]string{"evil.localhost"}, false},
			"another port":         {[]string{"api.localhost:1"}, false},
			"the same and another": {[]string{api, "evil.localhost"}, false},
		} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				proof := h.proof(h.key, nil)
				head := func(hosts []string) [][2]string {
					fields := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", api}, {":path", "/reports"}}
					for _, host := range hosts {
						fields = append(fields, [2]string{"host", host})
					}
					return append(fields, [2]string{"authorization", "DPoP " + h.token}, [2]string{"dpop", proof})
				}
				status, err := speak(t, head(tt.hosts))
				switch {
				case tt.fine && status != "200":
					t.Errorf("got %s, %v, want 200", status, err)
				case !tt.fine && status != "400" && !errors.Is(err, errReset):
					t.Errorf("got %s, %v, want 400 or a reset", status, err)
				}
				if !tt.fine {
					// with the same proof, which was not used up
					if status, err := speak(t, head(nil)); status != "200" {
						t.Errorf("the honest request: got %s, %v, want 200", status, err)
					}
				}
			})
		}
		s.honest(t, h.c, h.key)
	}
}

// speakLines writes :authority as the first Host field.
func (s *server) speakLines(t *testing.T, fields [][2]string) (string, error) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nConnection: close\r\n", fields[3][1])
	if fields[4][0] != "host" || fields[4][1] != fields[2][1] {
		fmt.Fprintf(&b, "host: %s\r\n", fields[2][1])
	}
	for _, f := range fields[4:] {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	return s.speakText(t, b.String()+"\r\n")
}

// speakText sends a request of HTTP/1.1 as it is and returns the status.
func (s *server) speakText(t *testing.T, text string) (string, error) {
	t.Helper()
	conn := s.dial(t)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return fmt.Sprint(resp.StatusCode), nil
}

func (s *server) speakFrames(t *testing.T, fields [][2]string) (string, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address(), &tls.Config{RootCAs: s.roots(t), ServerName: "api.localhost", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(startup))
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return "", err
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status"), nil
		case *http2.RSTStreamFrame:
			return "", fmt.Errorf("%w: %v", errReset, frame.ErrCode)
		}
	}
}

func (s *server) speakQUIC(t *testing.T, fields [][2]string) (string, error) {
	t.Helper()
	conn, err := quic.DialAddr(t.Context(), s.address(), &tls.Config{
		RootCAs: s.roots(t), ServerName: "api.localhost", NextProtos: []string{http3.NextProtoH3},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	control, err := conn.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = control.Write([]byte{0, 4, 0}) // a control stream with empty SETTINGS
	var block bytes.Buffer
	encoder := qpack.NewEncoder(&block)
	for _, f := range fields {
		_ = encoder.WriteField(qpack.HeaderField{Name: f[0], Value: f[1]})
	}
	stream, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.SetDeadline(time.Now().Add(startup))
	_, _ = stream.Write(append(quicvarint.Append([]byte{1}, uint64(block.Len())), block.Bytes()...))
	_ = stream.Close()
	from := quicvarint.NewReader(stream)
	kind, err := quicvarint.Read(from)
	if reset, ok := errors.AsType[*quic.StreamError](err); ok {
		return "", fmt.Errorf("%w: %v", errReset, http3.ErrCode(reset.ErrorCode))
	}
	if err != nil || kind != 1 {
		return "", fmt.Errorf("frame %d: %w", kind, err)
	}
	size, err := quicvarint.Read(from)
	if err != nil {
		return "", err
	}
	answer := make([]byte, size)
	if _, err := io.ReadFull(from, answer); err != nil {
		return "", err
	}
	first, err := qpack.NewDecoder().Decode(answer)()
	return first.Value, err
}

// TestAbsoluteFormNamesTheSite sends the target with scheme and authority, as
// to a proxy. Those count, and a Host field is not looked at (RFC 9112 §3.2.2).
func TestAbsoluteFormNamesTheSite(t *testing.T) {
	t.Parallel()
	covers(t, "R08")
	s := start(t, stateGlobals, stateSites)
	h := s.deal(t, s.client(t, "HTTP/1.1"))
	request := func(target, host string) string {
		return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: DPoP %s\r\nDPoP: %s\r\n\r\n",
			target, host, h.token, h.proof(h.key, nil))
	}
	if status, err := s.speakText(t, request(s.site("api", "/reports"), "evil.localhost")); status != "200" {
		t.Errorf("a foreign Host field: got %s, %v, want 200", status, err)
	}
	// the API would answer with 401
	if status, err := s.speakText(t, request(s.site("auth", "/oauth2/token"), fmt.Sprintf("api.localhost:%d", s.https))); status != "405" {
		t.Errorf("a foreign target: got %s, %v, want the 405 of the token endpoint", status, err)
	}
	s.honest(t, h.c, h.key)
}
