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
	"strconv"
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
		speak := s.speaker(protocol)
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
				got, err := speak(t, head(tt.hosts))
				switch {
				case tt.fine && got.status != http.StatusOK:
					t.Errorf("got %d, %v, want 200", got.status, err)
				case !tt.fine && got.status != http.StatusBadRequest && !errors.Is(err, errReset):
					t.Errorf("got %d, %v, want 400 or a reset", got.status, err)
				}
				if !tt.fine {
					// with the same proof, which was not used up
					if got, err := speak(t, head(nil)); got.status != http.StatusOK {
						t.Errorf("the honest request: got %d, %v, want 200", got.status, err)
					}
				}
			})
		}
		s.honest(t, h.c, h.key)
	}
}

// speaker sends the fields of a GET as they are, of which the first four are
// :method, :scheme, :authority and :path. It returns the head of the answer.
func (s *server) speaker(protocol string) func(*testing.T, [][2]string) (answer, error) {
	return map[string]func(*testing.T, [][2]string) (answer, error){
		"HTTP/1.1": s.speakLines, "HTTP/2.0": s.speakFrames, "HTTP/3.0": s.speakQUIC,
	}[protocol]
}

// speakLines writes :authority as the first Host field.
func (s *server) speakLines(t *testing.T, fields [][2]string) (answer, error) {
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

// speakText sends a request of HTTP/1.1 as it is.
func (s *server) speakText(t *testing.T, text string) (answer, error) {
	t.Helper()
	conn := s.dial(t)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	return answer{status: resp.StatusCode, header: resp.Header, proto: resp.Proto}, nil
}

func (s *server) speakFrames(t *testing.T, fields [][2]string) (answer, error) {
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
	const largest = 16 << 10 // that every peer takes
	err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Next(largest), EndStream: true, EndHeaders: block.Len() == 0})
	for err == nil && block.Len() > 0 {
		part := block.Next(largest)
		err = framer.WriteContinuation(1, block.Len() == 0, part)
	}
	if err != nil {
		return answer{}, err
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return answer{}, err
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			got := answer{header: http.Header{}, proto: "HTTP/2.0"}
			for _, f := range frame.RegularFields() {
				got.header.Add(f.Name, f.Value)
			}
			got.status, err = strconv.Atoi(frame.PseudoValue("status"))
			return got, err
		case *http2.RSTStreamFrame:
			return answer{}, fmt.Errorf("%w: %v", errReset, frame.ErrCode)
		case *http2.GoAwayFrame: // with the whole connection
			return answer{}, fmt.Errorf("%w: %v", errReset, frame.ErrCode)
		}
	}
}

func (s *server) speakQUIC(t *testing.T, fields [][2]string) (answer, error) {
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
		return answer{}, fmt.Errorf("%w: %v", errReset, http3.ErrCode(reset.ErrorCode))
	}
	if err != nil || kind != 1 {
		return answer{}, fmt.Errorf("frame %d: %w", kind, err)
	}
	size, err := quicvarint.Read(from)
	if err != nil {
		return answer{}, err
	}
	head := make([]byte, size)
	if _, err := io.ReadFull(from, head); err != nil {
		return answer{}, err
	}
	got := answer{header: http.Header{}, proto: "HTTP/3.0"}
	for next := qpack.NewDecoder().Decode(head); ; {
		f, err := next()
		switch {
		case errors.Is(err, io.EOF):
			return got, nil
		case err != nil:
			return answer{}, err
		case f.Name == ":status":
			if got.status, err = strconv.Atoi(f.Value); err != nil {
				return answer{}, err
			}
		default:
			got.header.Add(f.Name, f.Value)
		}
	}
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
	if got, err := s.speakText(t, request(s.site("api", "/reports"), "evil.localhost")); got.status != http.StatusOK {
		t.Errorf("a foreign Host field: got %d, %v, want 200", got.status, err)
	}
	checked(t, "HTTP/1.1")
	// the API would answer with 401
	if got, err := s.speakText(t, request(s.site("auth", "/oauth2/token"), fmt.Sprintf("api.localhost:%d", s.https))); got.status != http.StatusMethodNotAllowed {
		t.Errorf("a foreign target: got %d, %v, want the 405 of the token endpoint", got.status, err)
	}
	s.honest(t, h.c, h.key)
}
