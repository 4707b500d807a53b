// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net/http"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// T37: a form that does not come to an end is refused while the client is still
// sending, in each version of HTTP, and others are served meanwhile.
func TestFormThatNeverEndsIsRefused(t *testing.T) {
	t.Parallel()
	covers(t, "T37")
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel() // it takes as long as a form may
			s := startAbused(t)
			c := s.client(t, protocol)
			body, more := io.Pipe()
			t.Cleanup(func() { _ = more.Close() })
			go func() { _, _ = io.WriteString(more, "grant_type=client_cred") }()
			r := newRequest(t, http.MethodPost, s.site("auth", "/oauth2/token"), "",
				"Content-Type", "application/x-www-form-urlencoded", "Authorization", basic("reports", "reports-secret"))
			r.Body, r.ContentLength, r.GetBody = body, -1, nil
			since := len(s.log(t))
			waiting := make(chan answer, 1)
			go func() {
				defer close(waiting)
				got, err := send(c, r)
				if err != nil {
					t.Error(err)
					return
				}
				waiting <- got
			}()
			got, ok := <-waiting
			if !ok {
				return
			}
			s.refusedEndpoint(t, got, since, want{408, "invalid_request", oauth.FormTooSlow, false, ""})
			s.honest(t, s.client(t, protocol), fixture.Load(t, "p256"))
		})
	}
}

// A request that is refused for something else is answered at once, though its
// body never comes.
func TestEndpointsDoNotWaitForABodyThatTheyDoNotRead(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	for _, protocol := range protocols {
		c := s.client(t, protocol)
		for name, refused := range map[string]struct {
			path, contentType string
			want              want
		}{
			"a body that is no form": {"/oauth2/token", "application/json", want{400, "invalid_request", oauth.ContentTypeWrong, false, ""}},
			"another method":         {"/oauth2/jwks", "application/x-www-form-urlencoded", want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
		} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				body, pen := io.Pipe()
				t.Cleanup(func() { _ = pen.Close() })
				r := newRequest(t, http.MethodPost, s.site("auth", refused.path), "", "Content-Type", refused.contentType)
				r.Body, r.ContentLength, r.GetBody = body, 1000, nil
				since := len(s.log(t))
				var got answer
				if protocol == "HTTP/1.1" {
					got = s.headOnly(t, r)
				} else {
					got = do(t, c, r)
				}
				s.refusedEndpoint(t, got, since, refused.want)
				s.honest(t, c, fixture.Load(t, "p256"))
			})
		}
	}
}
