// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/popauth/caddy-popauth/popauth/enforce"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

func TestRefusalHeader(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.mint(t, nil)
	plain := func(r *http.Request) { r.TLS = nil }
	tests := []struct {
		name, config string
		change       func(r *http.Request)
		reason       oauth.Reason
		challenge    string // the error of the challenge, "-" for none at all
		nonce        bool
	}{
		{"no token", `{}`, func(r *http.Request) { r.Header.Del("Authorization") }, oauth.TokenMissing, "", true},
		{"no token where nonces are off", `{"nonce":"off"}`, func(r *http.Request) { r.Header.Del("Authorization") }, oauth.TokenMissing, "", false},
		{"no proof", `{}`, func(r *http.Request) { r.Header.Del("DPoP") }, oauth.ProofMissing, "use_dpop_nonce", true},
		{"no proof where a nonce serves once", `{"nonce":"single_use"}`, func(r *http.Request) { r.Header.Del("DPoP") }, oauth.ProofMissing, "use_dpop_nonce", true},
		{"no proof where nonces are off", `{"nonce":"off"}`, func(r *http.Request) { r.Header.Del("DPoP") }, oauth.ProofMissing, "invalid_dpop_proof", false},
		{"a proof by a wrong clock where nonces are off", `{"nonce":"off"}`, func(r *http.Request) {
			r.Header.Set("DPoP", s.proof(t, token, func(p *fixture.Proof) { p.Nonce, p.IssuedAt = "", time.Unix(0, 0) }))
		}, oauth.ProofExpired, "use_dpop_nonce", true},
		{"a proof that is none", `{}`, func(r *http.Request) { r.Header.Set("DPoP", "x") }, oauth.ProofMalformed, "invalid_dpop_proof", true},
		{"a proof that is none where nonces are off", `{"nonce":"off"}`, func(r *http.Request) { r.Header.Set("DPoP", "x") }, oauth.ProofMalformed, "invalid_dpop_proof", false},
		{"another audience", `{"audience":["https://elsewhere.example.com"]}`, nil, oauth.TokenAudienceWrong, "invalid_token", true},
		{"a scope", `{"scopes":["reports:admin"]}`, nil, oauth.ScopeInsufficient, "insufficient_scope", false},
		{"two proofs", `{}`, func(r *http.Request) { r.Header.Add("DPoP", "x") }, oauth.AmbiguousProof, "invalid_request", false},
		{"plain HTTP", `{}`, plain, oauth.InsecureTransport, "-", false},
		{"early data", `{}`, func(r *http.Request) { r.Header.Set("Early-Data", "1") }, oauth.EarlyData, "-", false},
		{"headers that are too large", `{}`, func(r *http.Request) { r.Header.Set("X-Large", strings.Repeat("x", 1<<15)) }, oauth.HeadersTooLarge, "-", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			auth := s.auth(t, tt.config)
			r := s.signed(t, token)
			if tt.change != nil {
				tt.change(r)
			}
			x := begin(r)
			x.Header().Set("Cache-Control", "public")
			x.through(auth).mustBeRefused(t, tt.reason)
			h := x.Header()
			if got := h.Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
				t.Errorf("got Cache-Control %q, want no-store", got)
			}
			mustChallenge(t, h, tt.challenge)
			if got := h.Values("DPoP-Nonce"); (len(got) == 1) != tt.nonce {
				t.Errorf("got DPoP-Nonce %q, want one: %v", got, tt.nonce)
			}
			if nonce := h.Get("DPoP-Nonce"); nonce != "" {
				if _, refusal := s.memory.Fresh(replay.Policy{}, replay.Proof{Nonce: nonce, HasNonce: true}); refusal != nil {
					t.Errorf("the nonce would be refused: %v", refusal)
				}
			}
			if got := h.Values("Retry-After"); len(got) != 0 {
				t.Errorf("got Retry-After %q", got)
			}
		})
	}
}

// mustChallenge checks that there is one challenge, with an error or without
// one for "", or none for "-".
func mustChallenge(t *testing.T, h http.Header, want string) {
	t.Helper()
	fields := h.Values("WWW-Authenticate")
	if want == "-" {
		if len(fields) != 0 {
			t.Errorf("got WWW-Authenticate %q, want none", fields)
		}
		return
	}
	challenges, err := oauth.ParseChallenges(fields)
	if err != nil || len(fields) != 1 || len(challenges) != 1 || challenges[0].Scheme != "DPoP" {
		t.Fatalf("got WWW-Authenticate %q, %v, want one challenge", fields, err)
	}
	if got, present := challenges[0].Param("error"); got != want || present != (want != "") {
		t.Errorf("got WWW-Authenticate %q, want the error %q", fields, want)
	}
	if _, present := challenges[0].Param("realm"); present {
		t.Errorf("got a realm: %q", fields)
	}
}

// The rules for what no request of a test can bring about.
func TestRefusalByItsRule(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	tests := []struct {
		refusal oauth.Refusal
		after   string // Retry-After
	}{
		{oauth.Refusal{Reason: oauth.StoreUnavailable}, "1"},
		{oauth.Refusal{Reason: oauth.ReplayGuardFull, RetryAfter: 1500 * time.Millisecond}, "2"},
		{oauth.Refusal{Reason: oauth.ReplayShareExceeded, RetryAfter: time.Minute}, "60"},
		{oauth.Refusal{Reason: oauth.KeysUnavailable, RetryAfter: -time.Second}, "1"},
		{oauth.Refusal{Reason: oauth.TokenExpired, RetryAfter: time.Minute}, ""},
		{oauth.Refusal{Reason: "no_such_reason"}, ""},
	}
	for _, tt := range tests {
		x := begin(get("/reports"))
		x.err = auth.refuse(x, x.r, enforce.Verdict{Refusal: &tt.refusal})
		x.mustBeRefused(t, tt.refusal.Reason)
		if got := x.Header().Get("Retry-After"); got != tt.after {
			t.Errorf("%s: got Retry-After %q, want %q", tt.refusal.Reason, got, tt.after)
		}
		if got := x.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: got Cache-Control %q", tt.refusal.Reason, got)
		}
	}
}

// The text of the error is shown by handle_errors, so it is the fixed text.
func TestRefusalShowsNothingOfTheRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	r := s.signed(t, s.mint(t, map[string]any{"aud": "https://marker.example.com"}))
	x := begin(r).through(auth)
	x.mustBeRefused(t, oauth.TokenAudienceWrong)
	if text := x.err.Error() + x.Header().Get("WWW-Authenticate"); strings.Contains(text, "marker") {
		t.Errorf("the client is shown %q", text)
	}
}

// lines takes what was logged since it was last asked, each line as its fields.
func (s *site) lines() []map[string]any {
	var lines []map[string]any
	for _, entry := range s.logs.TakeAll() {
		fields := entry.ContextMap()
		fields["level"] = entry.Level
		lines = append(lines, fields)
	}
	return lines
}

func TestRefusalIsOneLineInTheLog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	jkt := s.key.Thumbprint(t)
	token := s.mint(t, nil)
	tests := []struct {
		name, config string
		change       func(r *http.Request)
		want         map[string]any
	}{
		{"no token", `{}`, func(r *http.Request) { r.Header.Del("Authorization") }, map[string]any{
			"reason": "token_missing", "method": "GET", "host": "api.example.com", "path": "/reports",
			"client_id": nil, "jkt": nil, "expected": nil,
		}},
		{"a proof for another URL", `{}`, func(r *http.Request) {
			r.Header.Set("DPoP", s.proof(t, token, func(p *fixture.Proof) { p.URL = "http://10.0.0.1:8080/reports" }))
		}, map[string]any{
			"reason": "proof_url_mismatch", "expected": place + "/reports", "got": "http://10.0.0.1:8080/reports",
			"client_id": "reports", "jkt": jkt, "issuer": issuerURL,
		}},
		{"an old proof", `{"nonce":"off","proof_max_age":"2m"}`, func(r *http.Request) {
			r.Header.Set("DPoP", s.proof(t, token, func(p *fixture.Proof) { p.Nonce, p.IssuedAt = "", time.Unix(0, 0) }))
		}, map[string]any{"reason": "proof_expired", "limit": "2m0s", "option": "proof_max_age", "jkt": jkt}},
		{"a scope", `{"scopes":["reports:admin"]}`, nil, map[string]any{
			"reason": "scope_insufficient", "expected": "reports:admin", "got": "reports:read", "option": "scope", "client_id": "reports",
		}},
		{"plain HTTP", `{}`, func(r *http.Request) { r.TLS = nil }, map[string]any{
			"reason": "insecure_transport", "expected": "https", "got": "http",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			auth := s.auth(t, tt.config)
			r := s.signed(t, token)
			if tt.change != nil {
				tt.change(r)
			}
			secrets := []string{token, r.Header.Get("DPoP")}
			begin(r).through(rewrite("PUT", "/elsewhere"), auth)
			lines := s.lines()
			if len(lines) != 1 || lines[0]["level"] != zapcore.InfoLevel {
				t.Fatalf("got %v, want one line of level INFO", lines)
			}
			for name, want := range tt.want {
				if got := lines[0][name]; got != want {
					t.Errorf("got %s %v, want %v", name, got, want)
				}
			}
			for name, value := range lines[0] {
				for _, secret := range secrets {
					if text, ok := value.(string); ok && secret != "" && strings.Contains(text, secret) {
						t.Errorf("field %s shows a token or a proof", name)
					}
				}
			}
		})
	}
}

func TestEndpointRefusalIsOneLineInTheLog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.server(t, `{}`)
	r := post("/oauth2/token", map[string][]string{"grant_type": {"client_credentials"}, "scope": {"reports:admin"}, "client_id": {"reports"}})
	begin(r).through(server)
	r = post("/oauth2/introspect", map[string][]string{"token": {"marker-token"}})
	r.SetBasicAuth("reports", "marker-secret")
	begin(r).through(server)
	lines := s.lines()
	if len(lines) != 2 {
		t.Fatalf("got %d lines, want two: %v", len(lines), lines)
	}
	for i, want := range []map[string]any{
		{"reason": "confirmation_key_required", "endpoint": "token", "issuer": issuerURL, "client_id": "reports", "option": "binding", "level": zapcore.InfoLevel},
		{"reason": "client_unauthenticated", "endpoint": "introspect", "issuer": issuerURL, "client_id": nil, "level": zapcore.InfoLevel},
	} {
		for name, value := range want {
			if got := lines[i][name]; got != value {
				t.Errorf("line %d: got %s %v, want %v", i, name, got, value)
			}
		}
		for name, value := range lines[i] {
			if text, ok := value.(string); ok && strings.Contains(text, "marker") {
				t.Errorf("line %d: field %s shows %q", i, name, text)
			}
		}
	}
}
