// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// hand is what a client or a thief has at hand for one request.
type hand struct {
	*testing.T
	s          *server
	c          *http.Client
	key, thief fixture.Key
	issuer     fixture.Key // the issuer's own key
	token      string      // an honest token, bound to key
	nonce      string      // a fresh nonce
}

// deal makes a new hand, with a JWT.
func (s *server) deal(t *testing.T, c *http.Client) *hand {
	t.Helper()
	return s.dealFor(t, c, jwtClient)
}

// dealFor makes a new hand for a client.
func (s *server) dealFor(t *testing.T, c *http.Client, client string) *hand {
	t.Helper()
	h := &hand{
		T: t, s: s, c: c,
		key: fixture.Load(t, "p256"), thief: fixture.Load(t, "p256-thief"), issuer: fixture.Load(t, "p384"),
	}
	h.token = s.tokenOf(t, c, h.key, client)
	h.nonce = s.challenge(t, c, s.site("api", "/reports"), h.token)
	return h
}

// proof is an honest proof for GET /reports with changes laid over it.
func (h *hand) proof(key fixture.Key, claims map[string]any) string {
	h.Helper()
	return key.Proof(h, fixture.Proof{
		Method: http.MethodGet, URL: h.s.site("api", "/reports"), Token: h.token, Nonce: h.nonce, Claims: claims,
	})
}

// proofFor is an honest proof for another token.
func (h *hand) proofFor(token string) string {
	h.Helper()
	return h.key.Proof(h, fixture.Proof{Method: http.MethodGet, URL: h.s.site("api", "/reports"), Token: token, Nonce: h.nonce})
}

// get is a GET of a path of the API with header fields in pairs.
func (h *hand) get(path string, fields ...string) *http.Request {
	h.Helper()
	return newRequest(h.T, http.MethodGet, h.s.site("api", path), "", fields...)
}

// with is a GET of /reports with a proof.
func (h *hand) with(proof string) *http.Request {
	h.Helper()
	return h.get("/reports", "Authorization", "DPoP "+h.token, "Dpop", proof)
}

// forge makes a token that is right but for the changes, and a request with an
// honest proof for it.
func (h *hand) forge(header, claims map[string]any) *http.Request {
	h.Helper()
	token := h.minted(header, claims)
	return h.get("/reports", "Authorization", "DPoP "+token, "Dpop", h.proofFor(token))
}

// minted signs a token with the issuer's own key. Its iat is the next second,
// so that the store is not younger, which may have been made in this one.
func (h *hand) minted(header, claims map[string]any) string {
	h.Helper()
	now := time.Now().Unix()
	full := map[string]any{"typ": "at+jwt", "alg": "ES384", "kid": h.issuer.Thumbprint(h)}
	body := map[string]any{
		"iss": h.s.site("auth", ""), "sub": "reports", "client_id": "reports", "aud": "https://api.example.com",
		"iat": now + 1, "exp": now + 300, "jti": "0123456789abcdef", "cnf": map[string]any{"jwk": h.key.JWK},
	}
	lay(full, header)
	lay(body, claims)
	return h.issuer.JWS(h, full, body)
}

// lay lays changes over members; nil deletes, and null stays null.
func lay(members, changes map[string]any) {
	for name, value := range changes {
		switch value {
		case nil:
			delete(members, name)
		case null:
			members[name] = nil
		default:
			members[name] = value
		}
	}
}

// null stands for a member that is there and null.
const null = "\x00null"

func TestAPIRefusesAbuse(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	for _, w := range worlds(t) {
		s, protocol := w.server, w.protocol
		c := s.client(t, protocol)
		for format, client := range formats {
			tables := slices.Clone(credentialAbuses)
			if w.store == "file" { // no store is asked about a proof
				tables = append(tables, badProofs...)
			}
			if client == jwtClient {
				tables = append(tables, badTokens...)
			}
			for _, abuse := range tables {
				t.Run(w.name+" "+format+" "+abuse.name, func(t *testing.T) {
					if protocol == "HTTP/2.0" && abuse.want.reason == oauth.HeadersTooLarge {
						t.Skip("Caddy announces its own limit of 16 KiB to HTTP/2 clients, which keep to it")
					}
					h := s.dealFor(t, c, client)
					r := abuse.make(h)
					for i := 0; i < len(planted); i += 2 {
						r.Header.Set(planted[i], planted[i+1])
					}
					since := len(s.log(t))
					got := do(t, c, r)
					if got.proto != protocol {
						t.Fatalf("spoke %s, want %s", got.proto, protocol)
					}
					if protocol == "HTTP/3.0" && abuse.want.reason == oauth.HeadersTooLarge {
						// Caddy's own limit of 16 KiB comes first: quic-go answers
						checked(t, got.proto)
						if got.status != abuse.want.status {
							t.Errorf("got status %d, want %d", got.status, abuse.want.status)
						}
					} else {
						s.refusedAPI(t, got, since, abuse.want)
					}
					s.assertSilent(t, h.token, r.Header.Get("Dpop"))
					s.honest(t, c, key)
				})
			}
		}
		s.assertSilent(t, marker)
	}
}

func TestObsoleteLineFoldingIsRefused(t *testing.T) {
	t.Parallel()
	covers(t, "R23")
	s := startAbused(t)
	h := s.deal(t, s.client(t, "HTTP/1.1"))
	conn, err := tls.Dial("tcp", s.address(), &tls.Config{RootCAs: s.roots(t), ServerName: "api.localhost", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// R23: the two lines are one field, "DPoP <token> <token>". HTTP/2 and
	// HTTP/3 have no lines that could be folded: a field is length and bytes,
	// and CR and LF are not allowed in it (RFC 9113 §8.2.1, RFC 9114 §10.3).
	fmt.Fprintf(conn, "GET /reports HTTP/1.1\r\nHost: api.localhost:%d\r\nConnection: close\r\nAuthorization: DPoP %s\r\n %s\r\nDPoP: %s\r\n\r\n",
		s.https, h.token, h.token, h.proof(h.key, nil))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	checked(t, resp.Proto)
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d, want 400", resp.StatusCode)
	}
	s.honest(t, h.c, h.key)
}

func TestEquivalentURLsAreAccepted(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	h := s.deal(t, s.client(t, "HTTP/2.0"))
	for name, htu := range map[string]string{
		"R09 host in upper case":           strings.Replace(s.site("api", "/reports"), "api.localhost", "API.LocalHost", 1),
		"R09 scheme in upper case":         strings.Replace(s.site("api", "/reports"), "https", "HTTPS", 1),
		"R09 an encoded unreserved letter": s.site("api", "/%72eports"),
		"a query":                          s.site("api", "/reports?month=1"),
		"a fragment":                       s.site("api", "/reports#top"),
	} {
		t.Run(name, func(t *testing.T) {
			checked(t, "HTTP/2.0")
			if got := do(t, h.c, h.with(h.proof(h.key, map[string]any{"htu": htu}))); got.status != http.StatusOK {
				t.Errorf("got %d %v, want 200", got.status, got.header["Www-Authenticate"])
			}
		})
	}
}

func TestReplayedProofIsRefused(t *testing.T) {
	t.Parallel()
	for _, w := range worlds(t) {
		s := w.server
		for name, again := range map[string]func(h *hand, proof string) string{
			"the same proof": func(_ *hand, proof string) string { return proof },
			"signed again with the same jti": func(h *hand, _ string) string {
				return h.proof(h.key, map[string]any{"jti": "the-one"})
			},
			"with s replaced by n-s": func(h *hand, proof string) string { return h.key.FlipS(h, proof) },
		} {
			t.Run(w.name+" R10 C03 "+name, func(t *testing.T) {
				h := s.deal(t, s.client(t, w.protocol))
				// the jti is the same in all cases, so each needs a guard that
				// has not seen it: a token of its own does not help, a key does
				h.key = fixture.Fresh(t)
				h.token = s.token(t, h.c, h.key)
				proof := h.proof(h.key, map[string]any{"jti": "the-one"})
				if got := do(t, h.c, h.with(proof)); got.status != http.StatusOK {
					t.Fatalf("first use: got %d %v, want 200", got.status, got.header["Www-Authenticate"])
				}
				since := len(s.log(t))
				s.refusedAPI(t, do(t, h.c, h.with(again(h, proof))), since, badProof(oauth.ProofReplayed))
				s.honest(t, h.c, h.key)
			})
		}
	}
}

func TestOneOfManyConcurrentUsesIsAccepted(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			covers(t, "R10", "C03")
			checked(t, protocol)
			h := s.deal(t, s.client(t, protocol))
			proof := h.proof(h.key, nil)
			const uses = 32
			requests := make([]*http.Request, uses)
			for i := range requests {
				requests[i] = h.with(proof)
			}
			statuses := make([]int, uses)
			var all sync.WaitGroup
			for i, r := range requests {
				all.Go(func() {
					resp, err := h.c.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					_, _ = io.Copy(io.Discard, resp.Body)
					statuses[i] = resp.StatusCode
				})
			}
			all.Wait()
			count := map[int]int{}
			for _, status := range statuses {
				count[status]++
			}
			if count[http.StatusOK] != 1 || count[http.StatusUnauthorized] != uses-1 {
				t.Errorf("got statuses %v, want one 200 and %d times 401", count, uses-1)
			}
			s.honest(t, h.c, h.key)
		})
	}
}

func TestSingleUseNonceServesOnce(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	h := s.deal(t, s.client(t, "HTTP/2.0"))
	use := func(nonce string) answer {
		proof := h.proof(h.key, map[string]any{"htu": s.site("api", "/once"), "nonce": nonce})
		return do(t, h.c, h.get("/once", "Authorization", "DPoP "+h.token, "Dpop", proof))
	}
	first := use(h.nonce)
	if first.status != http.StatusOK {
		t.Fatalf("first use of the nonce: got %d, want 200", first.status)
	}
	since := len(s.log(t))
	s.refusedAPI(t, use(h.nonce), since, retry(oauth.NonceUsed))
	next := first.header.Get("DPoP-Nonce")
	if next == "" || first.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the answer has nonce %q and Cache-Control %q, want a nonce and no-store", next, first.header.Get("Cache-Control"))
	}
	if got := use(next); got.status != http.StatusOK {
		t.Errorf("use of the next nonce: got %d, want 200", got.status)
	}
}

func TestProofsAreJudgedByTheirClockWhereNoncesAreOff(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	h := s.deal(t, s.client(t, "HTTP/1.1"))
	// a proof without a nonce must be younger than the memory that would have
	// to know it, by clock_skew: half a second after the start, one that is
	// dated as far ahead as is allowed will do
	for until := time.Now().Add(startup); ; {
		ahead := float64(time.Now().Add(59500*time.Millisecond).UnixMilli()) / 1000
		got := do(t, h.c, h.clock(map[string]any{"iat": ahead}))
		if got.status == http.StatusOK {
			break
		}
		if !strings.Contains(got.header.Get("WWW-Authenticate"), "use_dpop_nonce") || time.Now().After(until) {
			t.Fatalf("got %d %v, want 200 or use_dpop_nonce", got.status, got.header["Www-Authenticate"])
		}
	}
	// and one with a nonce is judged by that alone
	got := do(t, h.c, h.get("/clock", "Authorization", "DPoP "+h.token, "Dpop",
		h.proof(h.key, map[string]any{"htu": s.site("api", "/clock"), "iat": 0})))
	if got.status != http.StatusOK {
		t.Errorf("with a nonce and a wrong clock: got %d %v, want 200", got.status, got.header["Www-Authenticate"])
	}
}

func TestUnboundTokenPassesOnlyWhereAllowed(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	h := s.deal(t, s.client(t, "HTTP/2.0"))
	got := s.post(t, h.c, "/oauth2/token", url.Values{"grant_type": {"client_credentials"}}, "Authorization", basic("loose", "loose-secret"))
	token, _ := object(t, got.body)["access_token"].(string)
	passed := do(t, h.c, h.get("/unbound", "Authorization", "Bearer "+token, "Dpop", "unread"))
	if passed.status != http.StatusOK || passed.body != "unbound loose " {
		t.Errorf("got %d %q, want 200 and the DPoP field gone", passed.status, passed.body)
	}
	since := len(s.log(t))
	s.refusedAPI(t, do(t, h.c, h.get("/reports", "Authorization", "Bearer "+token)), since, badToken(oauth.TokenUnbound))
}
