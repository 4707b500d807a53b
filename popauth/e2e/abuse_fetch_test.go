// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// Where a token, a proof or a cnf_key says that its key is to be had, nobody
// looks. There would be the thief's key, by which they are signed.
func TestNoKeyIsFetched(t *testing.T) {
	t.Parallel()
	thief := fixture.Load(t, "p256-thief")
	var asked atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"keys":[` + string(thief.JSON(t)) + `]}`))
	}))
	t.Cleanup(evil.Close)
	s := startAbused(t)
	h := s.deal(t, s.client(t, "HTTP/2.0"))
	honestIssuer := h.issuer
	for _, member := range []string{"jku", "x5u"} {
		reference := map[string]any{member: evil.URL, "alg": "ES256"}
		for name, tt := range map[string]struct {
			ask  func() answer
			want want
			api  bool
		}{
			"R18 a token": {func() answer {
				h.issuer = thief
				defer func() { h.issuer = honestIssuer }()
				return do(h.T, h.c, h.forge(reference, nil))
			}, badToken(oauth.TokenMalformed), true},
			"R18 a kid that is a URL": {func() answer {
				return do(h.T, h.c, h.forge(map[string]any{"kid": evil.URL}, nil))
			}, badToken(oauth.TokenForged), true},
			"R18 iss": {func() answer {
				return do(h.T, h.c, h.forge(nil, map[string]any{"iss": evil.URL}))
			}, badToken(oauth.TokenIssuerWrong), true},
			"T21 a proof": {func() answer {
				return h.ask("reports", "/oauth2/token", "", h.tokenProof(thief, map[string]any{member: evil.URL, "jwk": nil}, nil))
			}, badTokenProof(oauth.ProofMalformed), false},
			"T10 a cnf_key": {func() answer {
				return h.ask("reports", "/oauth2/token", cnfJWK(h.T, with(thief.JWK, member, evil.URL)))
			}, invalidRequest(oauth.ConfirmationKeyInvalid), false},
		} {
			t.Run(member+" "+name, func(t *testing.T) {
				h.T = t
				since := len(s.log(t))
				got := tt.ask()
				if tt.api {
					s.refusedAPI(t, got, since, tt.want)
				} else {
					s.refusedEndpoint(t, got, since, tt.want)
				}
				s.honest(t, h.c, h.key)
			})
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests were sent to where a stranger said", n)
	}
}
