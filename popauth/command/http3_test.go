// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// overUDP lets a server speak HTTP/3 as well, at the same port. It returns
// where the server tells of each connection that has ended, and how.
func overUDP(t *testing.T, s *httptest.Server) <-chan error {
	t.Helper()
	socket, err := net.ListenPacket("udp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 8)
	server := &http3.Server{
		Handler:   s.Config.Handler,
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: s.TLS.Certificates}),
		Logger:    slog.New(slog.DiscardHandler),
		ConnContext: func(ctx context.Context, c *quic.Conn) context.Context {
			context.AfterFunc(c.Context(), func() { ended <- context.Cause(c.Context()) })
			return ctx
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(socket)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
		_ = socket.Close()
	})
	return ended
}

func TestHTTP3GoesToThisMachineForLocalNames(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	a := newAPI(t, key, "token")
	ended := overUDP(t, a.Server)
	_, port, err := net.SplitHostPort(a.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := mustPop(t, "request", "--key", key, "--token", "token", "--http", "3", "-k", "-v", "https://deep.api.localhost:"+port+"/x")
	if stdout != "the reports\n" {
		t.Errorf("stdout = %q, want the reports", stdout)
	}
	for _, want := range []string{"> GET /x HTTP/3.0\n", "> Host: deep.api.localhost:" + port, "< HTTP/3.0 401 Unauthorized\n", "< HTTP/3.0 200 OK\n"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	// both attempts on one connection, which the client has closed
	if err, ok := (<-ended).(*quic.ApplicationError); !ok || !err.Remote {
		t.Errorf("the connection ended with %v, want the client's close", err)
	}
	if len(ended) != 0 {
		t.Error("there was more than one connection")
	}
}

func TestTokenOverHTTP3(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	protos := make(chan string, 1)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protos <- r.Proto
		_, _ = io.WriteString(w, `{"access_token":"pop_at_x","token_type":"Bearer"}`)
	}))
	t.Cleanup(s.Close)
	overUDP(t, s)
	stdout, _ := mustPop(t, "token", "--url", s.URL, "--client", "reports", "--secret-file", secretFile(t, "secret"),
		"--key", key, "--http", "3", "-k", "--raw")
	if proto := <-protos; stdout != "pop_at_x\n" || proto != "HTTP/3.0" {
		t.Errorf("stdout = %q over %s, want the token over HTTP/3.0", stdout, proto)
	}
}

func TestHTTP3ErrorsAreExplained(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	a := newAPI(t, key, "token")
	overUDP(t, a.Server)
	overTCP := newAPI(t, key, "token") // and not over UDP
	_, port, err := net.SplitHostPort(a.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, portTCP, err := net.SplitHostPort(overTCP.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no HTTP/3 there":           {[]string{overTCP.URL}, "hint: HTTP/3 goes over UDP"},
		"no HTTP/3 there, by name":  {[]string{"https://api.localhost:" + portTCP}, "hint: HTTP/3 goes over UDP"},
		"an unknown authority":      {[]string{a.URL}, "root.crt"},
		"a certificate for another": {[]string{"--cacert", a.ca(), "https://api.localhost:" + port}, "hint: the certificate is for other names"},
		"no such host":              {[]string{"https://nowhere.invalid/"}, "hint: there is no such host"},
		"another protocol":          {[]string{"https://" + anotherProtocol(t, a.TLS.Certificates)}, "hint: the server ended the TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, stderr, err := pop(t, "", append([]string{"request", "--http", "3", "--key", key, "--token", "secret-token"}, c.args...)...)
			if err == nil || !strings.Contains(stderr, c.want) {
				t.Errorf("error = %v, stderr = %q; want %q in it", err, stderr, c.want)
			}
			if strings.Contains(stderr, "secret-token") {
				t.Errorf("stderr %q has the token in it", stderr)
			}
		})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.requests) != 0 {
		t.Errorf("%d requests reached the server, want none", len(a.requests))
	}
}

// anotherProtocol listens for QUIC, but not for HTTP.
func anotherProtocol(t *testing.T, certificates []tls.Certificate) string {
	t.Helper()
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: certificates, NextProtos: []string{"doq"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// A socket is closed with its connection: its port is free again.
func TestSocketEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	a := newAPI(t, keyFile(t, "ES256"), "token")
	overUDP(t, a.Server)
	conn, err := dialQUIC(t.Context(), a.Listener.Addr().String(),
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{http3.NextProtoH3}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	listen := func() error {
		l, err := net.ListenPacket("udp", conn.LocalAddr().String())
		if err == nil {
			err = l.Close()
		}
		return err
	}
	if listen() == nil {
		t.Fatal("the port is free while the connection lives")
	}
	if err := conn.CloseWithError(0, ""); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); listen() != nil; {
		if time.Now().After(until) {
			t.Fatal("the port is still taken")
		}
	}
}
