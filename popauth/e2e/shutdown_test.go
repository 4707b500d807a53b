// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// slowRequest is a token request of which the server waits for the rest.
type slowRequest struct {
	conn  *tls.Conn
	reply *bufio.Reader
	rest  string
}

// slowRequest sends half of a token request. The server asks for the body when
// it begins to read it, and so tells that the request is under way.
func (s *server) slowRequest(t *testing.T, k fixture.Key, client string) *slowRequest {
	t.Helper()
	conn, err := tls.Dial("tcp", s.address(), &tls.Config{ServerName: "auth.localhost", RootCAs: s.roots(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(startup)); err != nil {
		t.Fatal(err)
	}
	body := form("grant_type", "client_credentials", "cnf_key", cnfKey(t, k)).Encode()
	r := &slowRequest{conn: conn, reply: bufio.NewReader(conn), rest: body[len(body)/2:]}
	_, err = fmt.Fprintf(conn, "POST /oauth2/token HTTP/1.1\r\nHost: auth.localhost:%d\r\nAuthorization: %s\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		s.https, basic(client, client+"-secret"), len(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
		if line, err := r.reply.ReadString('\n'); line != want || err != nil {
			t.Fatalf("got %q, %v; want %q", line, err, want)
		}
	}
	if _, err := io.WriteString(conn, body[:len(body)/2]); err != nil {
		t.Fatal(err)
	}
	return r
}

// finish sends the rest, and returns the token.
func (r *slowRequest) finish(t *testing.T) (token string) {
	t.Helper()
	if _, err := io.WriteString(r.conn, r.rest); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(r.reply, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("got %d %s, %v; want 200", response.StatusCode, body, err)
	}
	token, _ = object(t, string(body))["access_token"].(string)
	return token
}

// F25: TestSIGTERMWaitsForRequestsThatAreUnderWay stops the server in the middle of
// requests. One whose rest comes within the grace period gets a token that
// counts. One that never goes on gets none, and keeps nobody.
func TestSIGTERMWaitsForRequestsThatAreUnderWay(t *testing.T) {
	t.Parallel()
	s := start(t, "grace_period 20s\n"+stateGlobals, stateSites)
	k := fixture.Load(t, "p256")
	var going, stuck []*slowRequest
	for range 4 {
		for _, client := range []string{jwtClient, opaqueClient} {
			going = append(going, s.slowRequest(t, k, client))
		}
		stuck = append(stuck, s.slowRequest(t, k, opaqueClient))
	}
	since := len(s.log(t))
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, "the grace period", func() bool { return strings.Contains(string(s.log(t)[since:]), "grace period initiated") })
	var tokens []string
	for _, r := range going {
		tokens = append(tokens, r.finish(t))
	}
	// no new ones are taken
	if conn, err := tls.Dial("tcp", s.address(), &tls.Config{ServerName: "auth.localhost", RootCAs: s.roots(t)}); err == nil {
		_ = conn.Close()
		t.Error("a server that is shutting down takes new connections")
	}
	if code := s.end(syscall.Signal(0)); code != 0 {
		t.Errorf("got exit code %d, want 0 at the end of the grace period", code)
	}
	for _, r := range stuck {
		// it is refused for its slowness, or cut off by the end of the grace period
		if line, err := r.reply.ReadString('\n'); err == nil && !strings.Contains(line, " 408 ") {
			t.Errorf("a request that did not go on got %q", line)
		}
	}
	s.run(t)
	c := s.client(t, "HTTP/2.0")
	for _, token := range tokens {
		if !s.active(t, c, token) {
			t.Errorf("a token that was issued is gone: %s", token)
		}
	}
	s.honest(t, c, k)
}
