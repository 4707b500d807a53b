// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// F16: TestManySlowFormsDoNotKeepOthers has many connections send a form to the
// token endpoint byte by byte. The server ends all of them by itself, and serves
// others meanwhile, each at the first attempt.
func TestManySlowFormsDoNotKeepOthers(t *testing.T) {
	t.Parallel()
	slow := fixture.Scale(200, 2000)
	s := start(t, stateGlobals, stateSites)
	before := s.settled(t, steady())
	visits, dripping := 0, make(chan struct{})
	var ended atomic.Int64
	var all, others sync.WaitGroup
	others.Go(func() {
		v := s.visitor(t, "HTTP/2.0", opaqueClient)
		defer v.c.CloseIdleConnections()
		for {
			select {
			case <-dripping:
				return
			default:
			}
			if err := errors.Join(v.issue(), v.call(s.site("api", "/reports"))); err != nil || v.resent > 0 {
				t.Errorf("a visitor beside slow ones: %v, %d requests were sent again", err, v.resent)
				return
			}
			visits++
		}
	})
	for range slow {
		conn := s.slowForm(t)
		all.Go(func() {
			over := make(chan struct{})
			go func() {
				defer close(over)
				drip(conn)
			}()
			if got, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || got.StatusCode != http.StatusRequestTimeout {
				t.Errorf("a form that drips: got %v, %v; want 408", got, err)
			} else {
				ended.Add(1)
			}
			<-over // the server has hung up
			_ = conn.Close()
		})
	}
	all.Wait()
	close(dripping)
	others.Wait()
	if visits == 0 {
		t.Error("nobody was served meanwhile")
	}
	after := s.settled(t, func(u usage) bool { return u.within(before, 5) })
	fixture.Figure(t, "F16", "connections=%d ended=%d visits_meanwhile=%d failed=0 goroutines=%+d files=%+d", slow, ended.Load(), visits,
		after.goroutines-before.goroutines, after.descriptors-before.descriptors)
}

// slowForm begins a token request with a long form on a connection of its own.
func (s *server) slowForm(t *testing.T) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address(), &tls.Config{ServerName: "auth.localhost", RootCAs: s.roots(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(startup))
	_, err = fmt.Fprintf(conn, "POST /oauth2/token HTTP/1.1\r\nHost: auth.localhost:%d\r\nAuthorization: %s\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\ngrant_type=", s.https, basic(jwtClient, jwtClient+"-secret"))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// drip sends a byte a second until the connection has ended.
func drip(conn net.Conn) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for range second.C {
		if _, err := conn.Write([]byte("x")); err != nil {
			return
		}
	}
}
