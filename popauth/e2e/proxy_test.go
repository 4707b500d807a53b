// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// backSites are plain HTTP sites behind a proxy. $WARY listens without and
// $TRUSTING with trusted_proxies. plain and back have no public_url, and in
// back the prefix is stripped by this server and not by the proxy.
const backSites = `
auth.localhost {
	pop_server
}

http://plain.localhost:$WARY, http://plain.localhost:$TRUSTING, http://internal.localhost:$TRUSTING, http://stripped.localhost:$TRUSTING {
	pop_auth
	respond "plain {uri}"
}

http://back.localhost:$TRUSTING {
	handle_path /v1/* {
		pop_auth
		respond "back {uri}"
	}
}

http://public.localhost:$WARY, http://public.localhost:$TRUSTING {
	pop_auth {
		public_url https://other.example.com https://public.localhost:$FRONT/v1 https://public.localhost:$FRONT
	}
	respond "public {uri}"
}
`

// frontSites end TLS. The trusted ones of them do not know whom they serve: any
// host is passed on to a site with a name of its own.
const frontSites = `
plain.localhost {
	handle_path /wary/* {
		reverse_proxy 127.0.0.1:$WARY
	}
	handle {
		reverse_proxy 127.0.0.1:$TRUSTING
	}
}

back.localhost {
	reverse_proxy 127.0.0.1:$TRUSTING
}

stripped.localhost, public.localhost {
	handle_path /v1/* {
		reverse_proxy 127.0.0.1:$TRUSTING
	}
	handle {
		reverse_proxy 127.0.0.1:$WARY
	}
}

renamed.localhost {
	reverse_proxy 127.0.0.1:$TRUSTING {
		header_up Host internal.localhost
	}
}

http:// {
	reverse_proxy 127.0.0.1:$TRUSTING {
		header_up Host internal.localhost
	}
}
`

// proxied are two Caddys, of which the first ends TLS for the second.
type proxied struct {
	front, back    *server
	wary, trusting int // ports of the second
}

func startProxied(t *testing.T) proxied {
	t.Helper()
	ports := freePorts(t, 2)
	p := proxied{wary: ports[0], trusting: ports[1]}
	fill := func(text string) string {
		return strings.NewReplacer("$WARY", fmt.Sprint(p.wary), "$TRUSTING", fmt.Sprint(p.trusting), "$FRONT", fmt.Sprint(p.front.https)).Replace(text)
	}
	p.front = prepare(t, "", "")
	p.front.write(t, "", fill(frontSites))
	p.front.run(t)
	p.back = start(t, fill(stateGlobals+`
	servers :$TRUSTING {
		trusted_proxies static 127.0.0.1
	}
`), fill(backSites))
	return p
}

// A proxy in front is the commonest reason why proofs that work elsewhere fail.
// Where the configuration is right, honest proofs pass; where it is not, the
// log line says what to add.
func TestBehindAProxy(t *testing.T) {
	t.Parallel()
	p := startProxied(t)
	key := fixture.Load(t, "p256")
	token := p.back.token(t, p.back.client(t, "HTTP/2.0"), key)
	site := func(name, path string) string { return p.front.site(name, path) }
	for _, tt := range []struct {
		name, target string
		htu          string // default: the target
		body         string // of the answer; "" if the proof is refused
		hint         string // in the log of a refusal
	}{
		{"trusted", site("plain", "/x"), "", "plain /x", ""},
		{"trusted, and the server behind strips the prefix", site("back", "/v1/x"), "", "back /x", ""},
		{"not trusted, with a public_url", site("public", "/x"), "", "public /x", ""},
		{"it strips a prefix that is in the public_url", site("public", "/v1/x"), "", "public /x", ""},
		{"not trusted", site("plain", "/wary/x"), site("plain", "/x"), "", "servers { trusted_proxies static 127.0.0.1 } in the global options"},
		{"it strips a prefix", site("stripped", "/v1/x"), "", "", "pop_auth { public_url " + site("stripped", "/v1") + " }"},
		{"it names a host that the server behind does not know", site("renamed", "/x"), "", "", "names a host that no host matcher of this site lets in"},
		{"with a public_url, a proof for the URL behind", site("public", "/x"), "http://public.localhost/x", "", "pop_auth { public_url http://public.localhost }"},
	} {
		for _, protocol := range protocols {
			t.Run(protocol+" "+tt.name, func(t *testing.T) {
				h := &hand{T: t, s: p.back, c: p.front.client(t, protocol), key: key, token: token}
				h.nonce = p.back.challenge(t, h.c, tt.target, token)
				htu := tt.htu
				if htu == "" {
					htu = tt.target
				}
				since := len(p.back.log(t))
				got := h.visit(tt.target, "GET", htu)
				if tt.body != "" {
					if got.status != http.StatusOK || got.body != tt.body {
						t.Fatalf("got %d %q, want 200 %q; the log: %v", got.status, got.body, tt.body, p.back.refusals(t, since))
					}
					return
				}
				p.back.refusedAPI(t, got, since, badProof(oauth.ProofURLMismatch))
				line := p.back.refusals(t, since)[0]
				if hint, _ := line["hint"].(string); !strings.Contains(hint, tt.hint) || line["option"] != "public_url" {
					t.Errorf("got the log line %v, want the hint %q", line, tt.hint)
				}
			})
		}
	}
}

// spoofs are fields by which a client may try to have a say in which URL its
// proof is compared with.
var spoofs = map[string][]string{
	"none":             nil,
	"X-Forwarded-Host": {"X-Forwarded-Host", "evil.example"},
	"all X-Forwarded":  {"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "X-Forwarded-Port", "80", "X-Forwarded-Prefix", "/x", "X-Forwarded-Uri", "/x"},
	"Forwarded":        {"Forwarded", `host=evil.example;proto=http`},
	"X-Original-URL":   {"X-Original-Url", "https://evil.example/x", "X-Rewrite-Url", "/x"},
	"X-Host":           {"X-Host", "evil.example"},
}

func TestSpoofedFieldsChangeNothing(t *testing.T) {
	t.Parallel()
	covers(t, "R08")
	p := startProxied(t)
	key := fixture.Load(t, "p256")
	token := p.back.token(t, p.back.client(t, "HTTP/2.0"), key)
	direct := fmt.Sprintf("http://plain.localhost:%d/x", p.wary)
	for _, way := range [][2]string{
		{"HTTP/1.1", direct},
		{"HTTP/1.1", p.front.site("plain", "/x")}, {"HTTP/1.1", p.front.site("public", "/x")},
		{"HTTP/2.0", p.front.site("plain", "/x")}, {"HTTP/2.0", p.front.site("public", "/x")},
		{"HTTP/3.0", p.front.site("plain", "/x")}, {"HTTP/3.0", p.front.site("public", "/x")},
	} {
		protocol, target := way[0], way[1]
		for name, fields := range spoofs {
			t.Run(protocol+" "+target+" "+name, func(t *testing.T) {
				c := p.front.client(t, protocol)
				nonce := p.back.challenge(t, c, target, token)
				send := func(htu string) answer {
					proof := key.Proof(t, fixture.Proof{Method: "GET", URL: htu, Token: token, Nonce: nonce})
					return do(t, c, newRequest(t, http.MethodGet, target, "", append([]string{"Authorization", "DPoP " + token, "Dpop", proof}, fields...)...))
				}
				for _, htu := range []string{"https://evil.example/x", "http://evil.example/x"} {
					since := len(p.back.log(t))
					p.back.refusedAPI(t, send(htu), since, badProof(oauth.ProofURLMismatch))
				}
				if got := send(target); got.status != http.StatusOK {
					t.Errorf("honest request: got %d %v, want 200", got.status, got.header["Www-Authenticate"])
				}
			})
		}
	}
}

// Whoever receives a client's proof for his own server may pass it on to here
// with his own name as Host. On no kind of site does it pass.
func TestRelayedProofIsRefused(t *testing.T) {
	t.Parallel()
	covers(t, "R08")
	p := startProxied(t)
	key := fixture.Load(t, "p256")
	token := p.back.token(t, p.back.client(t, "HTTP/2.0"), key)
	c := p.front.client(t, "HTTP/1.1")
	nonce := p.back.challenge(t, c, p.front.site("plain", "/x"), token)
	for name, target := range map[string]string{
		"a site with a name":                  fmt.Sprintf("http://plain.localhost:%d/x", p.wary),
		"one that trusts its proxy":           fmt.Sprintf("http://plain.localhost:%d/x", p.trusting),
		"one with a public_url":               fmt.Sprintf("http://public.localhost:%d/x", p.trusting),
		"a proxy with names":                  p.front.site("plain", "/x"),
		"a proxy that passes on any host":     fmt.Sprintf("http://localhost:%d/x", p.front.http),
		"a proxy that has the host rewritten": p.front.site("renamed", "/x"),
	} {
		for _, scheme := range []string{"https", "http"} {
			t.Run(name+", "+scheme, func(t *testing.T) {
				proof := key.Proof(t, fixture.Proof{Method: "GET", URL: scheme + "://evil.example/x", Token: token, Nonce: nonce})
				for _, fields := range spoofs {
					r := newRequest(t, http.MethodGet, target, "", append([]string{"Authorization", "DPoP " + token, "Dpop", proof}, fields...)...)
					for _, host := range []string{"evil.example", r.Host} {
						r := r.Clone(t.Context())
						r.Host = host
						// an unknown host has an empty answer of Caddy's own
						if got := do(t, c, r); strings.Contains(got.body, "/x") || got.status == http.StatusOK && host != "evil.example" {
							t.Errorf("Host %s, %v: got %d %q, want it refused", host, fields, got.status, got.body)
						}
					}
				}
			})
		}
	}
	h := &hand{T: t, s: p.back, c: c, key: key, token: token, nonce: nonce}
	if got := h.visit(p.front.site("plain", "/x"), "GET", p.front.site("plain", "/x")); got.status != http.StatusOK {
		t.Errorf("honest request: got %d, want 200", got.status)
	}
}
