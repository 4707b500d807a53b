// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

//go:embed demo.caddyfile
var demoCaddyfile string

// stage is the Caddy that the demonstration runs on. Caddy is one per
// process, so there can be only one of them.
type stage struct {
	dir                     string
	auth, thumbprint, api   string // URLs of the two issuers and the API
	port, upstream          int
	clientSecret, apiSecret string
	client                  *http.Client
	journal                 *journal
}

func newStage() (*stage, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "popauth-demo-")
	if err != nil {
		return nil, err
	}
	s := &stage{
		dir:  dir,
		port: ports[0], upstream: ports[1],
		auth:         fmt.Sprintf("https://auth.localhost:%d", ports[0]),
		thumbprint:   fmt.Sprintf("https://auth.localhost:%d/thumbprint", ports[0]),
		api:          fmt.Sprintf("https://api.localhost:%d", ports[0]),
		clientSecret: rand.Text(), apiSecret: rand.Text(),
	}
	s.journal = &journal{file: s.logFile()}
	return s, nil
}

// freePorts finds ports on loopback that are free now. Another program could
// take one before Caddy does; starting fails then, and says so.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer l.Close() // at the end: or the same port could be found twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func (s *stage) logFile() string { return filepath.Join(s.dir, "caddy.log") }
func (s *stage) rootCert() string {
	return filepath.Join(s.dir, "storage", "pki", "authorities", "local", "root.crt")
}

// caddyfile is demo.caddyfile with the values of this run.
func (s *stage) caddyfile() string {
	return strings.NewReplacer(
		"{$DIR}", filepath.ToSlash(s.dir),
		"{$PORT}", strconv.Itoa(s.port),
		"{$UPSTREAM_PORT}", strconv.Itoa(s.upstream),
		"{$CLIENT_SECRET}", s.clientSecret,
		"{$API_SECRET}", s.apiSecret,
	).Replace(demoCaddyfile)
}

// start runs Caddy and returns when it serves all names.
func (s *stage) start(ctx context.Context) error {
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return hint(errors.New("this binary does not know Caddyfiles"), "build it with Caddy's standard modules")
	}
	config, warnings, err := adapter.Adapt([]byte(s.caddyfile()), map[string]any{"filename": "demo.caddyfile"})
	if err != nil {
		return fmt.Errorf("adapting the Caddyfile: %w", err)
	}
	if len(warnings) > 0 {
		return fmt.Errorf("adapting the Caddyfile: %s", warnings[0])
	}
	// what Caddy logs before its log file is open goes there too, or to
	// standard error if it can't start
	_, original, _ := caddy.BufferedLog()
	err = caddy.Load(config, true)
	caddy.UnbufferDefaultLogger(original)
	if err != nil {
		return fmt.Errorf("starting the servers: %w", err)
	}
	s.client, err = wire{version: "1.1", cacert: s.rootCert()}.client()
	if err != nil {
		return err
	}
	return s.await(ctx)
}

// await waits for the certificates, which Caddy gets in the background.
func (s *stage) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.reach(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the servers: %w", err)
		case <-tick.C:
		}
	}
}

// reach asks both sites for something. What they answer is for later.
func (s *stage) reach(ctx context.Context) error {
	for _, u := range []string{s.auth, s.api} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
		if err != nil {
			return err
		}
		if _, err := trade(s.client, r, nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) stop() {
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
	// what goes wrong while stopping is in the log
	_ = caddy.Stop()
}

func (s *stage) remove() error { return os.RemoveAll(s.dir) }
