// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// server is a Caddy in a child process, with a folder, a log, an admin socket
// and ports of its own.
type server struct {
	dir   string
	https int // port of the HTTPS sites
	http  int // port of plain HTTP sites and redirects
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when the process has ended
	born  int           // length of the log when the process was started
	turn  atomic.Uint64 // of the formats of tokens, see honest
}

// startup is how long a child may take to listen. It is no assertion on time,
// only an end to waiting for one that hangs.
const startup = time.Minute

// start runs a Caddyfile, see prepare.
func start(t *testing.T, globals, sites string) *server {
	t.Helper()
	s := prepare(t, globals, sites)
	s.run(t)
	return s
}

// prepare makes a server that is not running yet. The Caddyfile may use $HTTPS
// and $HTTP for the ports and $DIR for the folder; globals is put into its
// global options block.
func prepare(t *testing.T, globals, sites string) *server {
	t.Helper()
	// not t.TempDir: a unix socket's path is at most 108 bytes long
	dir, err := os.MkdirTemp("", "pop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ports := freePorts(t, 2)
	s := &server{dir: dir, https: ports[0], http: ports[1]}
	s.write(t, globals, sites)
	return s
}

// write puts the Caddyfile together.
func (s *server) write(t *testing.T, globals, sites string) {
	t.Helper()
	text := `{
	admin unix/$DIR/admin.sock
	storage file_system $DIR/storage
	http_port $HTTP
	https_port $HTTPS
	skip_install_trust
	log {
		output file $DIR/log.json
		format filter {
			request>headers>Dpop delete
		}
	}
	` + globals + `
}
` + sites
	if err := os.WriteFile(filepath.Join(s.dir, "Caddyfile"), []byte(s.expand(text)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// expand fills in the ports and the folder.
func (s *server) expand(text string) string {
	return strings.NewReplacer(
		"$HTTPS", strconv.Itoa(s.https), "$HTTP", strconv.Itoa(s.http), "$DIR", s.dir,
	).Replace(text)
}

// program is what runs as Caddy: this test binary, or the file that
// POPAUTH_CADDY names, to test a Caddy as xcaddy-build.sh has built it.
func program() string {
	if caddy := os.Getenv("POPAUTH_CADDY"); caddy != "" {
		return caddy
	}
	return os.Args[0]
}

// command is Caddy in the server's own environment.
func (s *server) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program(), args...)
	cmd.Env = append(os.Environ(), asCaddy+"=1", "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	cmd.Dir = s.dir
	return cmd
}

// run starts the process and waits until it listens.
func (s *server) run(t *testing.T) {
	t.Helper()
	s.born = len(s.log(t))
	cmd := s.command(context.Background(), "run", "--config", "Caddyfile", "--adapter", "caddyfile")
	cmd.Env = append(cmd.Env, asCaddy+"=child")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := os.OpenFile(s.outputFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close() // the child has its own
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if s.cmd == nil {
		t.Cleanup(func() { s.finish(t) })
	}
	done := make(chan struct{})
	s.cmd, s.stdin, s.done = cmd, stdin, done
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	s.awaitCertificates(t)
}

// finish stops the server at the end of the test, and tells what it said.
func (s *server) finish(t *testing.T) {
	s.stop()
	if printed := s.printed(t); strings.Contains(printed, "DATA RACE") {
		t.Errorf("the race detector spoke up in Caddy:\n%s", printed)
	}
	if t.Failed() {
		t.Logf("Caddy printed:\n%s\nand logged:\n%s", s.printed(t), s.log(t))
	}
}

// awaitCertificates returns when the server listens and has a certificate for
// each of its names.
func (s *server) awaitCertificates(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startup)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for !s.ready(t) {
		select {
		case <-s.done:
			t.Fatalf("Caddy ended before it was ready:\n%s\n%s", s.printed(t), s.log(t))
		case <-ctx.Done():
			t.Fatalf("Caddy does not get ready:\n%s", s.log(t))
		case <-retry.C:
		}
	}
}

// ready says whether the server serves all its names, which it reads in the
// log. A certificate may be in use some time after it is logged as obtained.
func (s *server) ready(t *testing.T) bool {
	t.Helper()
	serving := false
	var names []any
	for _, entry := range s.entries(t, s.born) {
		switch entry["msg"] {
		case "enabling automatic TLS certificate management":
			names = append(names, entry["domains"].([]any)...)
		case "serving initial configuration":
			serving = true
		}
	}
	if !serving || len(names) == 0 {
		return false
	}
	for _, name := range names {
		conn, err := tls.Dial("tcp", s.address(), &tls.Config{
			ServerName: name.(string), InsecureSkipVerify: true, // only to see whether there is a certificate
		})
		if err != nil {
			return false
		}
		_ = conn.Close()
	}
	return true
}

// stop ends the process as an operator would, and waits for it.
func (s *server) stop() { s.end(os.Interrupt) }

// kill ends the process without a warning.
func (s *server) kill() { s.end(os.Kill) }

// end sends the process a signal and waits for its end. It returns the exit
// code, which is -1 if the process was killed.
func (s *server) end(signal os.Signal) int {
	_ = s.cmd.Process.Signal(signal)
	select {
	case <-s.done:
	case <-time.After(startup):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	_ = s.stdin.Close()
	return s.cmd.ProcessState.ExitCode()
}

func (s *server) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.https)) }

func (s *server) rootFile() string {
	return filepath.Join(s.dir, "storage", "pki", "authorities", "local", "root.crt")
}

// read is a file of the server's folder.
func (s *server) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (s *server) outputFile() string { return filepath.Join(s.dir, "output.txt") }

// printed is what the process wrote to its standard output and error.
func (s *server) printed(t *testing.T) string {
	t.Helper()
	return s.read(t, filepath.Base(s.outputFile()))
}

// log is the log so far, a line per entry.
func (s *server) log(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "log.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return b
}

// entries are the entries of the log since an offset. A last line that is
// being written is left out.
func (s *server) entries(t *testing.T, since int) []map[string]any {
	t.Helper()
	var entries []map[string]any
	for line := range bytes.Lines(s.log(t)[since:]) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		entry := map[string]any{}
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		entries = append(entries, entry)
	}
	return entries
}

// refusals are the refusals logged since an offset of the log.
func (s *server) refusals(t *testing.T, since int) []map[string]any {
	t.Helper()
	return slices.DeleteFunc(s.entries(t, since), func(entry map[string]any) bool {
		return entry["msg"] != "request refused"
	})
}

// roots is the certificate authority of the server.
func (s *server) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(s.rootFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in the root file")
	}
	return pool
}

// protocols are the versions of HTTP that the tests speak.
var protocols = []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"}

// client speaks one version of HTTP to the server, whatever the host is called.
func (s *server) client(t *testing.T, protocol string) *http.Client {
	t.Helper()
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       startup,
	}
	conf := &tls.Config{RootCAs: s.roots(t), MinVersion: tls.VersionTLS12}
	if protocol == "HTTP/3.0" {
		transport := overQUIC(conf)
		t.Cleanup(func() { _ = transport.Close() })
		client.Transport = transport
		return client
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, here(address))
		},
		TLSClientConfig:     conf,
		Protocols:           new(http.Protocols),
		MaxIdleConnsPerHost: 64,
	}
	transport.Protocols.SetHTTP1(protocol == "HTTP/1.1")
	transport.Protocols.SetHTTP2(protocol == "HTTP/2.0")
	t.Cleanup(transport.CloseIdleConnections)
	client.Transport = transport
	return client
}

// overQUIC speaks HTTP/3 with a server of this machine.
func overQUIC(conf *tls.Config) *http3.Transport {
	return &http3.Transport{
		TLSClientConfig: conf,
		Dial: func(ctx context.Context, address string, conf *tls.Config, settings *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, here(address), conf, settings)
		},
	}
}

// here is an address with another host, which is this machine.
func here(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return net.JoinHostPort("127.0.0.1", port)
}

// lastPort is the port that was found last. Ports are looked for beneath those
// that systems give to outgoing connections: a server that is down for a moment
// must find its own free again. And none is used twice, since Caddy shares its
// ports with whoever else wants them (SO_REUSEPORT).
var lastPort atomic.Uint32

const firstPort, manyPorts = 10000, 20000

func init() { lastPort.Store(rand.Uint32N(manyPorts)) }

// freePorts finds ports that nobody listens on.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range manyPorts {
		port := firstPort + int(lastPort.Add(1)%manyPorts)
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatal("no free ports")
	return nil
}

// site is the URL of a path on one of the server's sites.
func (s *server) site(name, path string) string {
	return fmt.Sprintf("https://%s.localhost:%d%s", name, s.https, path)
}
