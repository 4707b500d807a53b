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
