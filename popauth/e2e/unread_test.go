// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// What a refused request says in its body is never taken for a request: a proxy
// in front that keeps its connections would give the answer to somebody else.
func TestBodyOfARefusedRequestIsNoRequest(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	smuggled := "GET /oauth2/jwks HTTP/1.1\r\nHost: auth.localhost\r\n\r\n"
	large := smuggled + strings.Repeat(" ", 300<<10)
	for _, site := range []struct{ host, path string }{
		{"api.localhost", "/reports"}, {"auth.localhost", "/oauth2/jwks"}, {"auth.localhost", "/oauth2/token"},
	} {
		for name, message := range map[string]string{
			"a large body":          fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(large), large),
			"a large chunk":         fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(large), strings.Repeat(" ", 256<<10)+smuggled+strings.Repeat(" ", 44<<10)),
			"a broken chunk":        "Transfer-Encoding: chunked\r\n\r\nnone\r\n" + smuggled,
			"a broken second chunk": "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\nnone\r\n" + smuggled,
		} {
			t.Run(site.host+site.path+" "+name, func(t *testing.T) {
				t.Parallel()
				conn := s.dial(t)
				go func() {
					_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/x-www-form-urlencoded\r\n%s", site.path, site.host, s.https, message)
				}()
				from := bufio.NewReader(conn)
				first := readAnswer(t, from, newRequest(t, http.MethodPost, s.site("auth", site.path), ""))
				if first.status < 400 {
					t.Fatalf("got %d %s, want a refusal", first.status, first.body)
				}
				if second, err := http.ReadResponse(from, nil); err == nil {
					t.Errorf("after %d there was an answer %d to what is in the body", first.status, second.StatusCode)
				}
			})
		}
	}
}
