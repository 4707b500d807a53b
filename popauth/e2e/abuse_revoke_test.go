// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func TestRevocationRefusesAbuse(t *testing.T) {
	t.Parallel()
	urlencoded := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for _, w := range worlds(t) {
		s := w.server
		for format, client := range formats {
			h := s.dealFor(t, s.client(t, w.protocol), client)
			own := append(urlencoded, "Authorization", basic(client, client+"-secret"))
			as := func(client, secret string) []string {
				return append(urlencoded, "Authorization", basic(client, secret))
			}
			unauthenticated := want{401, "invalid_client", oauth.ClientUnauthenticated, false, "WWW-Authenticate"}
			another := want{400, "unauthorized_client", oauth.TokenOfAnotherClient, false, ""}
			for _, abuse := range []tokenAbuse{
				{name: "V03 another client's token", fields: as("other", "other-secret"), body: "token=" + h.token, want: another},
				{name: "V03 another client that may introspect", fields: as("inspector", "inspector-secret"), body: "token=" + h.token, want: another},
				{name: "another client's token with a hint", fields: as("other", "other-secret"), body: "token_type_hint=access_token&token=" + h.token, want: another},
				{name: "no authentication", fields: urlencoded, body: "token=" + h.token, want: want{400, "invalid_client", oauth.ClientUnauthenticated, false, ""}},
				{name: "wrong secret", fields: as(client, "x"), body: "token=" + h.token, want: unauthenticated},
				{name: "client_id alone", fields: urlencoded, body: "client_id=" + client + "&token=" + h.token, want: want{400, "invalid_client", oauth.ClientUnauthenticated, false, ""}},
				{name: "GET with the token in the query", method: "GET", path: "?token=" + h.token, want: want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
				{name: "token in the query of a POST", path: "?token=" + h.token, fields: own, body: "x=1", want: invalidRequest(oauth.ParameterInQuery)},
				{name: "JSON", fields: []string{"Content-Type", "application/json"}, body: `{"token":"` + h.token + `"}`, want: invalidRequest(oauth.ContentTypeWrong)},
				{name: "no token", fields: own, body: "x=1", want: invalidRequest(oauth.ParameterMissing)},
				{name: "an empty token", fields: own, body: "token=", want: invalidRequest(oauth.ParameterMissing)},
				{name: "two tokens", fields: own, body: "token=x&token=" + h.token, want: invalidRequest(oauth.ParameterRepeated)},
			} {
				t.Run(w.name+" "+format+" "+abuse.name, func(t *testing.T) {
					abuse.path = "/oauth2/revoke" + abuse.path
					since := len(s.log(t))
					got := do(t, h.c, abuse.request(t, s, h.key))
					if got.proto != w.protocol {
						t.Fatalf("spoke %s, want %s", got.proto, w.protocol)
					}
					s.refusedEndpoint(t, got, since, abuse.want)
					if strings.Contains(got.body, h.token) {
						t.Errorf("the answer echoes the token: %s", got.body)
					}
					s.passesAt(t, h.c, h.key, h.token, "/reports")
					s.honest(t, h.c, h.key)
				})
			}
			s.assertSilent(t, h.token)
		}
	}
}

func TestRevokedTokenIsGoodForNothing(t *testing.T) {
	t.Parallel()
	for _, w := range worlds(t) {
		s, c := w.server, w.client(t, w.protocol)
		for format, client := range formats {
			for _, revoking := range []struct{ name, extra string }{
				{"V01 revoked", ""},
				{"V02 with the right hint", "access_token"},
				{"V02 with a wrong hint", "refresh_token"},
				{"V02 with an unknown hint", "x"},
			} {
				t.Run(w.name+" "+format+" "+revoking.name, func(t *testing.T) {
					h := s.dealFor(t, c, client)
					used := h.proof(h.key, nil)
					if got := do(t, c, h.with(used)); got.status != http.StatusOK {
						t.Fatalf("before: got %d %v, want 200", got.status, got.header)
					}
					f := form("token", h.token)
					if revoking.extra != "" {
						f.Set("token_type_hint", revoking.extra)
					}
					for range 2 { // the second time it is not active already
						s.acceptsRevocation(t, s.post(t, c, "/oauth2/revoke", f, "Authorization", basic(client, client+"-secret")))
					}
					since := len(s.log(t))
					s.refusedAPI(t, do(t, c, h.with(h.proof(h.key, nil))), since, badToken(oauth.TokenRevoked))
					since = len(s.log(t))
					s.refusedAPI(t, do(t, c, h.with(used)), since, badToken(oauth.TokenRevoked))
					s.inactive(t, c, h.token)
					s.honest(t, c, h.key)
				})
			}
		}
	}
}

// acceptsRevocation checks the answer to a revocation that was done (RFC 7009
// §2.2).
func (s *server) acceptsRevocation(t *testing.T, got answer) {
	t.Helper()
	checked(t, got.proto)
	if got.status != http.StatusOK || got.body != "" {
		t.Errorf("revoking: got %d %q, want 200 and no body", got.status, got.body)
	}
	if cc := got.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("revoking: got Cache-Control %q, want no-store", cc)
	}
}

// inactive checks that introspection says of a token that it isn't active, and
// nothing else.
func (s *server) inactive(t *testing.T, c *http.Client, token string) {
	t.Helper()
	got := s.post(t, c, "/oauth2/introspect", form("token", token), "Authorization", basic("inspector", "inspector-secret"))
	checked(t, got.proto)
	if got.status != http.StatusOK || strings.TrimSpace(got.body) != `{"active":false}` {
		t.Errorf("introspection: got %d %q, want 200 and {\"active\":false} alone", got.status, got.body)
	}
	if cc := got.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("introspection: got Cache-Control %q, want no-store", cc)
	}
}

// TestRevokingWhatIsNoToken is answered like any revocation: the caller has
// nothing left to do (RFC 7009 §2.2).
func TestRevokingWhatIsNoToken(t *testing.T) {
	t.Parallel()
	for _, w := range worlds(t) {
		s, c := w.server, w.client(t, w.protocol)
		h, sealed := s.deal(t, c), s.dealFor(t, c, opaqueClient)
		for name, token := range map[string]string{
			"V02 unknown":                    "unknown",
			"V02 empty parts":                "..",
			"V02 markup":                     `"><script>{env.HOME}`,
			"V02 a line end":                 h.token + "\r\n",
			"V02 an opaque token nobody has": "pop_at_" + strings.Repeat("A", 43),
			"V02 cut off":                    sealed.token[:len(sealed.token)-1],
			"V02 expired":                    h.minted(nil, map[string]any{"iat": 1, "exp": 2}),
			"V02 forged":                     h.token[:len(h.token)-4] + "AAAA",
			"V02 of another issuer":          h.minted(nil, map[string]any{"iss": "https://elsewhere.example.com"}),
			"V02 a proof":                    h.proof(h.key, nil),
		} {
			t.Run(w.name+" "+name, func(t *testing.T) {
				s.acceptsRevocation(t, s.revoke(t, c, token, jwtClient))
				s.passesAt(t, c, h.key, h.token, "/reports")
				s.passesAt(t, c, sealed.key, sealed.token, "/reports")
			})
		}
	}
}

// spelled are other spellings of a token.
func spelled(h *hand) map[string]string {
	flipped := []rune(h.token)
	for i := len("pop_at_"); i < len(flipped); i++ {
		if unicode.IsLetter(flipped[i]) {
			flipped[i] ^= 0x20
			break
		}
	}
	return map[string]string{
		"with the first letter in the other case": string(flipped),
		"in upper case":            strings.ToUpper(h.token),
		"one character less":       h.token[:len(h.token)-1],
		"one character more":       h.token + "A",
		"padded":                   h.token + "=",
		"with other trailing bits": h.token[:len(h.token)-1] + string(neighbour(h.token[len(h.token)-1])),
		"without its beginning":    strings.TrimPrefix(h.token, "pop_at_")[1:],
	}
}

// neighbour is the base64url character that differs in the last bit, which no
// byte takes part in when it ends a token.
func neighbour(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

// TestOtherSpellingsOfATokenAreNotActive changes a token that is good, and one
// that was revoked, in ways that a sloppy reader would not notice.
func TestOtherSpellingsOfATokenAreNotActive(t *testing.T) {
	t.Parallel()
	for _, w := range worlds(t) {
		s, c := w.server, w.client(t, w.protocol)
		for format, client := range formats {
			for _, row := range []string{"I04", "R19"} {
				h := s.dealFor(t, c, client)
				spellings := spelled(h)
				if row == "R19" {
					s.acceptsRevocation(t, s.revoke(t, c, h.token, client))
				}
				for name, token := range spellings {
					t.Run(w.name+" "+row+" "+format+" "+name, func(t *testing.T) {
						s.inactive(t, c, token)
						s.inactive(t, c, token+"\r\n")
						s.refusedAs(t, c, h, token, oauth.TokenMalformed, oauth.TokenUnknown, oauth.TokenForged)
						s.honest(t, c, h.key)
					})
				}
				if row == "I04" {
					s.passesAt(t, c, h.key, h.token, "/reports")
				}
			}
		}
	}
}

// refusedAs sends a token with an honest proof, which must be refused with
// invalid_token, for one of the reasons.
func (s *server) refusedAs(t *testing.T, c *http.Client, h *hand, token string, reasons ...oauth.Reason) {
	t.Helper()
	since := len(s.log(t))
	got := do(t, c, newRequest(t, http.MethodGet, s.site("api", "/reports"), "", "Authorization", "DPoP "+token, "Dpop", h.proofFor(token)))
	logged := s.refusals(t, since)
	if len(logged) != 1 {
		t.Fatalf("got %d refusals in the log, want 1: %v", len(logged), logged)
	}
	reason := oauth.Reason(logged[0]["reason"].(string))
	for _, one := range reasons {
		if reason == one {
			s.refusedAPI(t, got, since, badToken(one))
			return
		}
	}
	t.Errorf("got reason %s, want one of %s", reason, reasons)
}

// TestRevocationCoversEverySignatureOfAToken revokes a token and sends it with
// the other one of the two signatures that an ECDSA signature stands for, and
// the other way round.
func TestRevocationCoversEverySignatureOfAToken(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	for _, w := range worlds(t) {
		s := w.server
		for name, flipFirst := range map[string]bool{"R19 s replaced by n-s": false, "R19 s replaced by n-s in the one that is revoked": true} {
			t.Run(w.name+" "+name, func(t *testing.T) {
				h := s.deal(t, s.client(t, w.protocol))
				first, second := h.token, h.issuer.FlipS(t, h.token)
				if flipFirst {
					first, second = second, first
				}
				for _, token := range []string{first, second} {
					s.passesAt(t, h.c, h.key, token, "/reports")
				}
				s.acceptsRevocation(t, s.revoke(t, h.c, first, jwtClient))
				for _, token := range []string{first, second} {
					s.inactive(t, h.c, token)
					s.refusedAs(t, h.c, h, token, oauth.TokenRevoked)
				}
				s.honest(t, h.c, key)
			})
		}
	}
}

// TestOpaqueTokensSayNothing looks at what a client gets: a prefix and 256 bits.
func TestOpaqueTokensSayNothing(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	c := s.client(t, "HTTP/2.0")
	key := fixture.Load(t, "p256")
	seen := map[string]bool{}
	for range 32 {
		token := s.tokenOf(t, c, key, opaqueClient)
		random, ok := strings.CutPrefix(token, "pop_at_")
		b, err := base64.RawURLEncoding.DecodeString(random)
		if !ok || err != nil || len(b) != 32 || seen[token] {
			t.Fatalf("got the token %q, want pop_at_ and 32 new bytes", token)
		}
		seen[token] = true
		if strings.Contains(s.read(t, "store.db"), token) {
			t.Error("the store holds the token itself")
		}
	}
}
