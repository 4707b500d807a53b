// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// sessions remembers TLS sessions and tells when it was given one.
type sessions struct {
	tls.ClientSessionCache
	given chan struct{}
}

func (s sessions) Put(key string, state *tls.ClientSessionState) {
	s.ClientSessionCache.Put(key, state)
	select {
	case s.given <- struct{}{}:
	default:
	}
}

// deaf is a socket that hears nothing until it may. To the server the handshake
// is not complete before the client has heard from it.
type deaf struct {
	net.PacketConn
	until <-chan struct{}
}

func (d deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	<-d.until
	return d.PacketConn.ReadFrom(b)
}

// session has a session with a site and returns a configuration to resume it.
func (s *server) session(t *testing.T, site string) *tls.Config {
	t.Helper()
	given := make(chan struct{}, 1)
	conf := &tls.Config{
		RootCAs: s.roots(t), ServerName: site + ".localhost", NextProtos: []string{http3.NextProtoH3},
		ClientSessionCache: sessions{tls.NewLRUClientSessionCache(1), given},
	}
	first, err := quic.DialAddr(t.Context(), s.address(), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-given:
	case <-time.After(startup):
		t.Fatal("the server gives no session")
	}
	_ = first.CloseWithError(0, "")
	return conf
}

// resumed resumes a session with a site on a socket that is deaf until hear is
// called.
func (s *server) resumed(t *testing.T, site string) (conn *http3.ClientConn, q *quic.Conn, hear func()) {
	t.Helper()
	conf := s.session(t, site)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, err := net.ResolveUDPAddr("udp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	until, hear := context.WithCancel(t.Context())
	q, err = quic.DialEarly(t.Context(), deaf{socket, until.Done()}, address, conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hear()
		_ = q.CloseWithError(0, "")
		_ = socket.Close()
	})
	return new(http3.Transport).NewClientConn(q), q, hear
}

// hears reads the answer to a request that is sent as early data. The client
// hears nothing before the server has refused it.
func (s *server) hears(t *testing.T, since int, hear func(), ask func() (*http.Response, error)) answer {
	t.Helper()
	go func() {
		defer hear()
		for end := time.Now().Add(startup / 2); len(s.refusals(t, since)) == 0 && time.Now().Before(end); {
			<-time.After(10 * time.Millisecond)
		}
	}()
	resp, err := ask()
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

var tooEarly = want{http.StatusTooEarly, "temporarily_unavailable", oauth.EarlyData, false, ""}

// TestEarlyDataIsRefused resumes a session of HTTP/3 and sends the request
// along with the first flight, which whoever recorded it can send again. The
// proof is not used up: the client sends the request again after the handshake.
func TestEarlyDataIsRefused(t *testing.T) {
	t.Parallel()
	covers(t, "R30")
	s := start(t, stateGlobals, stateSites)
	h := s.deal(t, s.client(t, "HTTP/3.0"))

	r := h.with(h.proof(h.key, nil))
	early := r.Clone(t.Context())
	early.Method = http3.MethodGet0RTT
	conn, q, hear := s.resumed(t, "api")
	since := len(s.log(t))
	got := s.hears(t, since, hear, func() (*http.Response, error) { return conn.RoundTrip(early) })
	if !q.ConnectionState().Used0RTT {
		t.Fatal("there was no early data")
	}
	s.refusedAPI(t, got, since, tooEarly)
	resp, err := conn.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the same request after the handshake: got %d %v, want 200", resp.StatusCode, resp.Header)
	}
	s.honest(t, h.c, h.key)
}

// TestEarlyDataIsRefusedByTheTokenEndpoint does so with a client's secret.
func TestEarlyDataIsRefusedByTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	covers(t, "T36")
	s := start(t, stateGlobals, stateSites)
	h := s.deal(t, s.client(t, "HTTP/3.0"))
	conn, q, hear := s.resumed(t, "auth")
	stream, err := conn.OpenRequestStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body := form("grant_type", "client_credentials", "cnf_key", cnfKey(t, h.key)).Encode()
	r := newRequest(t, http.MethodPost, s.site("auth", "/oauth2/token"), "",
		"Content-Type", "application/x-www-form-urlencoded", "Authorization", basic("reports", "reports-secret"))
	r.Body, r.ContentLength = nil, -1
	since := len(s.log(t))
	if err := stream.SendRequestHeader(r); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(stream, strings.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	_ = stream.Close()
	got := s.hears(t, since, hear, stream.ReadResponse)
	if !q.ConnectionState().Used0RTT {
		t.Fatal("there was no early data")
	}
	s.refusedEndpoint(t, got, since, tooEarly)
	s.honest(t, h.c, h.key)
}

// TestEarlyDataIsNotTakenWhere0RTTIsOff has the server refuse early data as
// such: the client has to wait for the handshake, and its request passes.
func TestEarlyDataIsNotTakenWhere0RTTIsOff(t *testing.T) {
	t.Parallel()
	s := start(t, "	servers {\n		0rtt off\n	}\n"+stateGlobals, stateSites)
	h := s.deal(t, s.client(t, "HTTP/3.0"))
	r := h.with(h.proof(h.key, nil))
	r.Method = http3.MethodGet0RTT
	// not on a deaf socket: without early data nothing is sent before it hears
	conf := s.session(t, "api")
	q, err := quic.DialAddrEarly(t.Context(), s.address(), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.CloseWithError(0, "") }()
	resp, err := new(http3.Transport).NewClientConn(q).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if state := q.ConnectionState(); resp.StatusCode != http.StatusOK || state.Used0RTT || !state.TLS.DidResume {
		t.Errorf("got %d, early data %v, resumed %v; want 200 on a resumed session without", resp.StatusCode, state.Used0RTT, state.TLS.DidResume)
	}
	s.honest(t, h.c, h.key)
}
