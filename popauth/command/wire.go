// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// wire says how to reach a server.
type wire struct {
	version  string
	cacert   string
	insecure bool
}

func (w *wire) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.version, "http", "", "The version of HTTP: 1.1, 2 or 3 (default: what the server prefers of 1.1 and 2)")
	cmd.Flags().StringVar(&w.cacert, "cacert", "", "The PEM file with the certificates of the authorities to trust")
	cmd.Flags().BoolVarP(&w.insecure, "insecure", "k", false, "Talk to any server, whatever its certificate")
}

// client returns a client that follows no redirects: a proof is for one URL,
// and a token is for those it was meant for. Who is done with it closes its
// idle connections; HTTP/3 servers wait long for those that just fall silent.
func (w wire) client() (*http.Client, error) {
	roots, err := w.roots()
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{RootCAs: roots, InsecureSkipVerify: w.insecure, MinVersion: tls.VersionTLS12}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	protocols := new(http.Protocols)
	switch w.version {
	case "":
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
	case "1.1":
		protocols.SetHTTP1(true)
	case "2":
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
	case "3":
		client.Transport = newOverQUIC(conf)
		return client, nil
	default:
		return nil, fmt.Errorf("unknown HTTP version %q: expected 1.1, 2 or 3", w.version)
	}
	client.Transport = &http.Transport{
		Proxy:                 proxy,
		DialContext:           dial,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		DisableCompression:    true, // what is shown is what was sent
		Protocols:             protocols,
	}
	return client, nil
}

// roots are the authorities of --cacert; nil: those of the system.
func (w wire) roots() (*x509.CertPool, error) {
	if w.cacert == "" {
		return nil, nil
	}
	if w.insecure {
		return nil, hint(errors.New("--cacert and --insecure exclude each other"), "with --insecure no certificate is looked at")
	}
	text, err := os.ReadFile(w.cacert)
	if err != nil {
		return nil, fmt.Errorf("reading --cacert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("there is no PEM certificate in %q", w.cacert)
	}
	return pool, nil
}

// local says whether a host name is one of those that always mean this
// machine (RFC 6761 §6.3).
func local(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// addresses are those to try for an address. It takes *.localhost to loopback
// itself: many resolvers don't know the names beneath localhost, and none that
// does may say anything else.
func addresses(address string) []string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || !local(host) {
		return []string{address}
	}
	return []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}
}

// dial connects to the first of the addresses that answers.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	var failed error
	for _, address := range addresses(address) {
		conn, err := d.DialContext(ctx, network, address)
		if err == nil {
			return conn, nil
		}
		if failed == nil {
			failed = err
		}
	}
	return nil, failed
}

// proxy is that of the environment, but not for this machine's own names, of
// which net/http exempts only localhost itself.
func proxy(r *http.Request) (*url.URL, error) {
	if local(r.URL.Hostname()) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// target parses the URL of a request that will carry a secret, a token or a
// proof.
func target(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return nil, hint(fmt.Errorf("not a URL: %q", raw), "write it with its scheme, as in https://api.example.com/reports")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	u.Fragment, u.RawFragment = "", ""
	switch {
	case u.User != nil:
		return nil, errors.New("the URL has a user name or password in it")
	case u.Scheme == "https":
	case u.Scheme != "http":
		return nil, fmt.Errorf("unknown scheme %q: expected https", u.Scheme)
	case !loopback(u.Hostname()):
		return nil, hint(errors.New("plain HTTP would show the credentials to everybody on the way"),
			"use https; http is for this machine only")
	}
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return local(host) || (err == nil && ip.Unmap().IsLoopback())
}
