// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// fronted is a server with pop_auth and reverse_proxy in front of an upstream.
type fronted struct {
	*server
	requests atomic.Int64 // that have reached the upstream
}

// renewed is where every answer carries a new nonce.
const renewed = "/renewed"

// startFronted starts an upstream, which speaks HTTP/1.1 and, beneath /h2c, is
// spoken to by HTTP/2. At /reports it has what honest asks for.
func startFronted(t *testing.T, upstream http.HandlerFunc) *fronted {
	t.Helper()
	p := &fronted{}
	u := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		if r.Header.Get("Dpop") != "" {
			t.Error("a proof reached the upstream")
		}
		if r.URL.Path == "/reports" {
			_, _ = io.WriteString(w, "hello")
			return
		}
		upstream(w, r)
	}))
	u.Config.Protocols = new(http.Protocols)
	u.Config.Protocols.SetHTTP1(true)
	u.Config.Protocols.SetUnencryptedHTTP2(true)
	u.Start()
	t.Cleanup(u.Close)
	p.server = start(t, stateGlobals, strings.ReplaceAll(`
auth.localhost {
	pop_server
}

api.localhost {
	handle /renewed/* {
		pop_auth {
			nonce single_use
		}
		reverse_proxy $UPSTREAM
	}
	handle /h2c/* {
		pop_auth
		reverse_proxy h2c://$UPSTREAM
	}
	handle {
		pop_auth
		reverse_proxy $UPSTREAM
	}
}
`, "$UPSTREAM", u.Listener.Addr().String()))
	return p
}

// prove signs a proof for a method and a path, with a nonce of its own.
func (h *hand) prove(method, path string) string {
	h.Helper()
	target := h.s.site("api", path)
	return h.key.Proof(h, fixture.Proof{
		Method: method, URL: target, Token: h.token, Nonce: h.s.challenge(h.T, h.c, target, h.token),
	})
}

// request is a request with a body and a proof. Without a proof it has the
// token alone, as a thief would send it.
func (h *hand) request(method, path, proof string, body io.Reader, fields ...string) *http.Request {
	h.Helper()
	r, err := http.NewRequestWithContext(h.Context(), method, h.s.site("api", path), body)
	if err != nil {
		h.Fatal(err)
	}
	r.Header.Set("Authorization", "DPoP "+h.token)
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// open sends a request that must be answered with a status, and leaves its
// body to be read.
func (h *hand) open(r *http.Request, status int) *http.Response {
	h.Helper()
	resp, err := h.c.Do(r)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != status {
		h.Fatalf("%s %s over %s: got %d %v, want %d", r.Method, r.URL, resp.Proto, resp.StatusCode, resp.Header, status)
	}
	return resp
}

// refusedUnseen checks that a request is refused for a reason, and that the
// upstream has not heard of it.
func (p *fronted) refusedUnseen(h *hand, r *http.Request, w want) {
	h.Helper()
	before, since := p.requests.Load(), len(p.log(h.T))
	got := do(h.T, h.c, r)
	p.refusedAPI(h.T, got, since, w)
	if after := p.requests.Load(); after != before {
		h.Errorf("%d refused requests reached the upstream", after-before)
	}
}

// needsProof checks that what a thief can send, the token alone or with a used
// proof, is refused.
func (p *fronted) needsProof(h *hand, method, path, used string, fields ...string) {
	h.Helper()
	p.refusedUnseen(h, h.request(method, path, "", nil, fields...), retry(oauth.ProofMissing))
	p.refusedUnseen(h, h.request(method, path, used, nil, fields...), badProof(oauth.ProofReplayed))
}

// renews checks that an answer has a new nonce where it must.
func renews(t *testing.T, path string, h http.Header) {
	t.Helper()
	if has, want := h.Get("DPoP-Nonce") != "", strings.HasPrefix(path, renewed); has != want {
		t.Errorf("%s: the answer has a new nonce: %v, want %v", path, has, want)
	}
}
