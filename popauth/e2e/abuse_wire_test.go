// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// wireAbuses are fields that clients of Go don't send, beside those of an honest
// request. Over HTTP/2 and HTTP/3 some make a request malformed (RFC 9113 §8.2,
// RFC 9114 §4.2), and the server's library resets the stream.
var wireAbuses = []struct {
	name      string
	protocols []string
	fields    [][2]string
	status    int
	reason    oauth.Reason // unless the library refuses
}{
	{"R24 header fields over 16 KiB", protocols, [][2]string{{"x-filler", strings.Repeat("x", 20<<10)}}, 431, oauth.HeadersTooLarge},
	{"R24 many header fields", protocols, manyFields(1200), 431, oauth.HeadersTooLarge},
	{"R27 Connection names DPoP", protocols, [][2]string{{"connection", "close, dPoP"}}, 400, oauth.AmbiguousConnection},
	{"R27 Connection names Authorization", protocols, [][2]string{{"connection", "authorization"}}, 400, oauth.AmbiguousConnection},
	{"R23 a second Authorization", protocols, [][2]string{{"authorization", "Basic " + marker}}, 400, oauth.AmbiguousAuthorization},
	{"R23 an empty second Authorization", protocols, [][2]string{{"authorization", ""}}, 400, oauth.AmbiguousAuthorization},
	{"R23 an empty second DPoP", protocols, [][2]string{{"dpop", ""}}, 400, oauth.AmbiguousProof},
	{"R23 a line end in a value", protocols[1:], [][2]string{{"x-filler", "x\r\nauthorization: DPoP x"}}, 400, ""},
	{"R23 a name in upper case", protocols[1:], [][2]string{{"Authorization", "DPoP x"}}, 400, ""},
	{"R23 a blank in a name", protocols, [][2]string{{"authorization ", "DPoP x"}}, 400, ""},
}

func manyFields(n int) [][2]string {
	fields := make([][2]string, n)
	for i := range fields {
		fields[i] = [2]string{fmt.Sprintf("x-filler-%d", i), "x"}
	}
	return fields
}

func TestWireAbuseIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, stateGlobals, stateSites)
	for _, abuse := range wireAbuses {
		for _, protocol := range abuse.protocols {
			t.Run(protocol+" "+abuse.name, func(t *testing.T) {
				h := s.deal(t, s.client(t, protocol))
				proof := h.proof(h.key, nil)
				ask := func(fields [][2]string) (answer, error) {
					return s.speaker(protocol)(t, append([][2]string{
						{":method", "GET"}, {":scheme", "https"}, {":authority", fmt.Sprintf("api.localhost:%d", s.https)}, {":path", "/reports"},
						{"authorization", "DPoP " + h.token}, {"dpop", proof}, {"x-marker", marker},
					}, fields...))
				}
				since := len(s.log(t))
				got, err := ask(abuse.fields)
				switch {
				case len(s.refusals(t, since)) > 0:
					s.refused(t, got, since, want{status: abuse.status, reason: abuse.reason})
				case got.status != abuse.status && !errors.Is(err, errReset):
					t.Errorf("got %d, %v, want %d or a reset", got.status, err, abuse.status)
				default:
					checked(t, protocol)
					t.Logf("refused by the library of the server: %d %v", got.status, err)
				}
				s.tells(t, got, since)
				if got, err := ask(nil); got.status != http.StatusOK {
					t.Errorf("the honest request, with the same proof: got %d, %v, want 200", got.status, err)
				}
			})
		}
	}
}

// T03: over HTTP/1.1 the connection ends with a form that nobody reads to its
// end. Over HTTP/2 and HTTP/3 only the stream does.
func TestLargeFormEndsTheConnection(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	filler := strings.Repeat("x", 70<<10)
	for name, form := range map[string]string{
		"T03 a bit too long":         fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(filler), filler),
		"T03 too long, more to come": fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 1<<30, filler),
		"T03 chunks, more to come":   fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(filler), filler),
	} {
		t.Run(name, func(t *testing.T) {
			since := len(s.log(t))
			conn := s.dial(t)
			fmt.Fprintf(conn, "POST /oauth2/token HTTP/1.1\r\nHost: auth.localhost:%d\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: %s\r\n%s",
				s.https, basic("reports", "reports-secret"), form)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			s.refusedEndpoint(t, answer{resp.StatusCode, resp.Header, string(body), resp.Proto}, since, want{413, "invalid_request", oauth.FormTooLarge, false, ""})
			if !resp.Close {
				t.Error("the connection stays open")
			}
			s.honest(t, s.client(t, "HTTP/1.1"), fixture.Load(t, "p256"))
		})
	}
}
