// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// visitor is a client that goes on while something happens to the server. Its
// methods return what went wrong, since it may live in a goroutine of its own.
type visitor struct {
	t      *testing.T
	s      *server
	c      *http.Client
	client string // client_id
	key    fixture.Key
	token  string            // the latest
	nonces map[string]string // by URL
	visits int
	resent int
}

// visitor lets a visitor in, with a key of its own.
func (s *server) visitor(t *testing.T, protocol, client string) *visitor {
	t.Helper()
	return &visitor{
		t: t, s: s, c: s.client(t, protocol), client: client, key: fixture.Fresh(t), nonces: map[string]string{},
	}
}

// unexpected is an answer that is not the right one.
type unexpected struct {
	request *http.Request
	answer  answer
}

func (u *unexpected) Error() string {
	return fmt.Sprintf("%s %s over %s: got %d %s %v", u.request.Method, u.request.URL,
		u.answer.proto, u.answer.status, u.answer.body, u.answer.header)
}

// send sends a request, and again if the connection ends unanswered. That
// happens while Caddy replaces its config: the kernel resets connections that
// wait at a socket of the old one, and net/http hangs up on the first request
// of a connection to a server that is shutting down. Neither was heard. Of one
// with a proof it would be noticed if it had been: its proof would be used up.
func (v *visitor) send(r *http.Request) (answer, error) {
	for try := 0; ; try++ {
		got, err := send(v.c, r)
		if err == nil || try == 3 {
			return got, err
		}
		v.resent++
		if r.GetBody != nil {
			r.Body, _ = r.GetBody()
		}
	}
}

// form is a form of the fields in pairs.
func form(fields ...string) url.Values {
	values := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		values.Add(fields[i], fields[i+1])
	}
	return values
}

// ask posts a form to the authorization server, which must answer with 200.
func (v *visitor) ask(path, client string, f url.Values) (answer, error) {
	r := newRequest(v.t, http.MethodPost, v.s.site("auth", path), f.Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "Authorization", basic(client, client+"-secret"))
	got, err := v.send(r)
	if err == nil && got.status != http.StatusOK {
		err = &unexpected{r, got}
	}
	return got, err
}

// issue gets a token.
func (v *visitor) issue() error {
	got, err := v.ask("/oauth2/token", v.client, form("grant_type", "client_credentials", "cnf_key", cnfKey(v.t, v.key)))
	if err == nil {
		v.token, _ = object(v.t, got.body)["access_token"].(string)
	}
	return err
}

// revoke revokes the token.
func (v *visitor) revoke() error {
	_, err := v.ask("/oauth2/revoke", v.client, form("token", v.token))
	return err
}

// proven is a GET with a new proof.
func (v *visitor) proven(target string) *http.Request {
	proof := v.key.Proof(v.t, fixture.Proof{Method: http.MethodGet, URL: target, Token: v.token, Nonce: v.nonces[target]})
	return newRequest(v.t, http.MethodGet, target, "", "Authorization", "DPoP "+v.token, "Dpop", proof)
}

// call is a GET, which must be answered with 200; only before the first one to
// a URL there is a challenge.
func (v *visitor) call(target string) error {
	if v.nonces[target] == "" {
		r := newRequest(v.t, http.MethodGet, target, "", "Authorization", "Bearer "+v.token)
		got, err := v.send(r)
		if err != nil {
			return err
		}
		if got.status != http.StatusUnauthorized || got.header.Get("DPoP-Nonce") == "" {
			return &unexpected{r, got}
		}
		v.nonces[target] = got.header.Get("DPoP-Nonce")
	}
	return v.passes(v.proven(target))
}

// passes sends a request that must be answered with 200.
func (v *visitor) passes(r *http.Request) error {
	got, err := v.send(r)
	if err != nil {
		return err
	}
	if got.status != http.StatusOK {
		return &unexpected{r, got}
	}
	if next := got.header.Get("DPoP-Nonce"); next != "" {
		v.nonces[r.URL.String()] = next
	}
	return nil
}

// challenged sends a request that must be answered with 401 and an error code.
func (v *visitor) challenged(r *http.Request, code string) error {
	got, err := v.send(r)
	if err != nil {
		return err
	}
	if got.status != http.StatusUnauthorized || !strings.Contains(got.header.Get("WWW-Authenticate"), `error="`+code+`"`) {
		return &unexpected{r, got}
	}
	checked(v.t, got.proto)
	return nil
}

// traffic is visitors who repeat a visit until it is over.
type traffic struct {
	t        *testing.T
	visitors []*visitor
	over     atomic.Bool // no new visit begins
	broken   atomic.Bool // connections fail, as the server is being taken away
	all      sync.WaitGroup
}

// traffic lets visitors in, two for each version of HTTP over TCP, of which one
// has JWTs and one has opaque tokens. (Over UDP nobody notices at once that a
// server has gone, and what these tests are about is not the transport.) A visit begins at most once per pace. An error
// ends the visits and fails the test, but for one of the connection to a server
// that is being taken away.
func (s *server) traffic(t *testing.T, pace time.Duration, visit func(v *visitor) error) *traffic {
	t.Helper()
	return s.crowd(t, 1, pace, visit)
}

// crowd is traffic of a number of visitors of each of the four kinds.
func (s *server) crowd(t *testing.T, each int, pace time.Duration, visit func(v *visitor) error) *traffic {
	t.Helper()
	tr := &traffic{t: t}
	for range each {
		for _, protocol := range protocols[:2] {
			for _, client := range []string{jwtClient, opaqueClient} {
				tr.visitors = append(tr.visitors, s.visitor(t, protocol, client))
			}
		}
	}
	for _, v := range tr.visitors {
		tr.all.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for !tr.over.Load() {
				if err := visit(v); err != nil {
					tr.judge(err)
					return
				}
				v.visits++
				<-tick.C
			}
		})
	}
	t.Cleanup(tr.end)
	return tr
}

// judge judges an error that has ended a visit.
func (tr *traffic) judge(err error) {
	if _, answered := errors.AsType[*unexpected](err); answered || !tr.broken.Load() {
		tr.t.Error(err)
		tr.over.Store(true)
	}
}

// end waits until all visitors have gone.
func (tr *traffic) end() {
	tr.over.Store(true)
	tr.all.Wait()
	for _, v := range tr.visitors {
		v.c.CloseIdleConnections()
	}
}

// counts are how many visits there were, and how many requests were sent again.
func (tr *traffic) counts() (visits, resent int) {
	for _, v := range tr.visitors {
		visits += v.visits
		resent += v.resent
	}
	return visits, resent
}
