// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// overQUIC speaks HTTP/3. It never sends early data, which could be sent again
// by whoever recorded it (RFC 8470 §2): it keeps no sessions to resume.
type overQUIC struct{ *http3.Transport }

func newOverQUIC(conf *tls.Config) overQUIC {
	return overQUIC{&http3.Transport{TLSClientConfig: conf, Dial: dialQUIC, DisableCompression: true}}
}

// RoundTrip adds to what goes wrong what can be done about it.
func (t overQUIC) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, hint(errors.New("there is no HTTP/3 without TLS"), "use https, or another version with --http")
	}
	resp, err := t.Transport.RoundTrip(r)
	if err == nil {
		return resp, nil
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok && e.Remote && e.ErrorCode.IsCryptoError() {
		return nil, hint(err, "the server ended the TLS handshake: does it speak HTTP/3, and does it have a certificate for %s?", r.URL.Hostname())
	}
	timeout, ok := errors.AsType[net.Error](err)
	if errors.Is(err, syscall.ECONNREFUSED) || ok && timeout.Timeout() {
		return nil, hint(err, "HTTP/3 goes over UDP: does the server listen there as well, and does a firewall let you through?")
	}
	return nil, err
}

// dialQUIC connects to the first of the addresses that answers. A socket lives
// as long as its connection.
func dialQUIC(ctx context.Context, address string, conf *tls.Config, settings *quic.Config) (*quic.Conn, error) {
	var failed error
	for _, address := range addresses(address) {
		conn, err := dialUDP(ctx, address, conf, settings)
		if err == nil {
			return conn, nil
		}
		if failed == nil {
			failed = err
		}
	}
	return nil, failed
}

func dialUDP(ctx context.Context, address string, conf *tls.Config, settings *quic.Config) (*quic.Conn, error) {
	socket, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	conn, err := quic.Dial(ctx, connected{socket.(*net.UDPConn)}, socket.RemoteAddr(), conf, settings)
	if err != nil {
		socket.Close()
		return nil, err
	}
	context.AfterFunc(conn.Context(), func() { socket.Close() })
	return conn, nil
}

// connected makes a net.PacketConn of a socket that is connected to the one
// peer there is. Only such a socket is told by the system that nobody listens
// at the other end; any other waits.
type connected struct{ net.Conn }

// ReadFrom reads a datagram, which is from the peer.
func (c connected) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

// WriteTo writes a datagram to the peer, whatever the address.
func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// SetReadBuffer sets the size of the system's buffer.
func (c connected) SetReadBuffer(n int) error { return c.Conn.(*net.UDPConn).SetReadBuffer(n) }

// SetWriteBuffer sets the size of the system's buffer.
func (c connected) SetWriteBuffer(n int) error { return c.Conn.(*net.UDPConn).SetWriteBuffer(n) }

// Interface guards
var (
	_ http.RoundTripper = overQUIC{}
	_ net.PacketConn    = connected{}
)
