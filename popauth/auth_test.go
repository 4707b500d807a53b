// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func TestAuthLetsTheOwnerOfTheKeyThrough(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	token := s.token(t)

	// the challenge, as a client library sees it
	r := get("/reports")
	r.Header.Set("Authorization", "Bearer "+token)
	x := begin(r).through(auth)
	x.mustBeRefused(t, oauth.ProofMissing)
	nonce := x.Header().Get("DPoP-Nonce")

	x = begin(s.signed(t, token, func(p *fixture.Proof) { p.Nonce = nonce })).through(auth)
	x.mustPass(t)
	if x.Body.String() != "through" || x.Header().Get("DPoP-Nonce") != "" || x.Header().Get("Cache-Control") != "" {
		t.Errorf("got %q with %v, want the answer of the upstream and nothing else", x.Body, x.Header())
	}
	if n := s.logs.FilterMessage("request refused").Len(); n != 1 {
		t.Errorf("got %d lines in the log, want one for the challenge", n)
	}
}

func TestAuthRefusesTheThief(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	token := s.token(t)
	stolen := s.signed(t, token)
	begin(stolen.Clone(t.Context())).through(auth).mustPass(t)

	begin(stolen).through(auth).mustBeRefused(t, oauth.ProofReplayed)
	r := s.signed(t, token)
	r.Header.Set("DPoP", s.thief.Proof(t, fixture.Proof{Method: "GET", URL: place + "/reports", Token: token, Nonce: s.memory.Nonce()}))
	begin(r).through(auth).mustBeRefused(t, oauth.ProofKeyMismatch)
	begin(s.signed(t, token, func(p *fixture.Proof) { p.URL = place + "/salaries" })).through(auth).mustBeRefused(t, oauth.ProofURLMismatch)
	begin(s.signed(t, s.mint(t, map[string]any{"client_id": "gone"}))).through(auth).mustBeRefused(t, oauth.TokenClientUnknown)
	r = s.signed(t, s.mint(t, nil))
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "DPoP", "Bearer", 1))
	begin(r).through(auth).mustBeRefused(t, oauth.BearerDowngrade)
}

var identity = []string{
	"http.auth.user.id", "http.auth.user.client_id", "http.auth.user.scope", "http.auth.user.issuer",
	"http.auth.user.jkt", "http.auth.user.confirmation", "http.pop_auth.reason",
}

func TestAuthSetsPlaceholders(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{"allow_unbound_tokens":true}`)
	jkt := s.key.Thumbprint(t)
	tests := []struct {
		name    string
		changes map[string]any
		want    []string // in the order of identity
	}{
		{"bound by thumbprint", nil, []string{"reports", "reports", "reports:read", issuerURL, jkt, "jkt", ""}},
		{"bound by key", map[string]any{"cnf": map[string]any{"jwk": s.key.JWK}}, []string{"reports", "reports", "reports:read", issuerURL, jkt, "jwk", ""}},
		{"not bound", map[string]any{"cnf": nil}, []string{"reports", "reports", "reports:read", issuerURL, "", "none", ""}},
		{"a subject of its own and no scope", map[string]any{"sub": "somebody", "scope": nil}, []string{"somebody", "reports", "", issuerURL, jkt, "jkt", ""}},
		{"claims that look like placeholders", map[string]any{"sub": "{env.HOME}"}, []string{"{env.HOME}", "reports", "reports:read", issuerURL, jkt, "jkt", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := s.signed(t, s.mint(t, tt.changes))
			if cnf, ok := tt.changes["cnf"]; ok && cnf == nil {
				r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "DPoP", "Bearer", 1))
			}
			x := begin(r)
			x.upstream = func(http.ResponseWriter, *http.Request) error {
				for i, name := range identity {
					if got := x.placeholder(name); got != tt.want[i] {
						t.Errorf("got {%s} %q, want %q", name, got, tt.want[i])
					}
				}
				return nil
			}
			x.through(auth).mustPass(t)
		})
	}
}

// Whoever an earlier handler has found is not who has proven something here.
func TestAuthEmptiesPlaceholdersOnRefusal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	for _, token := range []string{"", s.mint(t, map[string]any{"aud": "https://other.example.com"}), s.mint(t, nil)} {
		r := get("/reports")
		if token != "" {
			r.Header.Set("Authorization", "DPoP "+token)
		}
		x := begin(r)
		for _, name := range identity {
			x.repl.Set(name, "somebody else")
		}
		x.through(auth)
		if x.reason() == "" || x.passed {
			t.Fatal("the request was not refused")
		}
		for _, name := range identity {
			want := ""
			if name == "http.pop_auth.reason" {
				want = string(x.reason())
			}
			if got, known := x.repl.Get(name); got != want || !known {
				t.Errorf("%s: got {%s} %q, known %v, want %q", x.reason(), name, got, known, want)
			}
		}
	}
}

func TestAuthPreparesTheRequestForTheUpstream(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, unbound := s.mint(t, nil), s.mint(t, map[string]any{"cnf": nil})
	tests := []struct {
		mode, sent, want string
	}{
		{``, "DPoP " + token, "Bearer " + token},
		{`"upstream_token":"bearer",`, "dpop  " + token, "Bearer " + token},
		{`"upstream_token":"keep",`, "dPoP  " + token, "dPoP  " + token},
		{`"upstream_token":"strip",`, "DPoP " + token, ""},
		{``, "bEARER " + unbound, "Bearer " + unbound},
		{`"upstream_token":"keep",`, "bEARER " + unbound, "bEARER " + unbound},
		{`"upstream_token":"strip",`, "Bearer " + unbound, ""},
	}
	for _, tt := range tests {
		auth := s.auth(t, `{`+tt.mode+`"allow_unbound_tokens":true}`)
		r := s.signed(t, token)
		r.Header.Set("Authorization", tt.sent)
		r.Header.Set("X-Other", "stays")
		x := begin(r)
		x.upstream = func(_ http.ResponseWriter, r *http.Request) error {
			if got := r.Header.Get("Authorization"); got != tt.want || (tt.want == "") != (r.Header["Authorization"] == nil) {
				t.Errorf("{%s} and %.10q: got %.10q", tt.mode, tt.sent, got)
			}
			if r.Header["Dpop"] != nil || r.Header.Get("X-Other") != "stays" {
				t.Errorf("{%s} and %.10q: got the header %v", tt.mode, tt.sent, r.Header)
			}
			return nil
		}
		x.through(auth).mustPass(t)
	}
}

// Possession is proven once per request: a second pop_auth judges what is
// different and uses nothing up.
func TestSecondAuth(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, first, second string
		unbound             bool
		want                oauth.Reason
	}{
		{"the same demands", `{"issuers":["default"]}`, `{"issuers":["default"]}`, false, ""},
		{"single use, twice", `{"issuers":["default"],"nonce":"single_use"}`, `{"issuers":["default"],"nonce":"single_use"}`, false, ""},
		{"a scope that the token has", `{"issuers":["default"]}`, `{"issuers":["default"],"scopes":["reports:read"]}`, false, ""},
		{"a scope that it lacks", `{"issuers":["default"]}`, `{"issuers":["default"],"scopes":["reports:write"]}`, false, oauth.ScopeInsufficient},
		{"another audience", `{"issuers":["default"]}`, `{"issuers":["default"],"audience":["https://elsewhere.example.com"]}`, false, oauth.TokenAudienceWrong},
		{"another issuer", `{"issuers":["default"]}`, `{"issuers":["other"],"audience":["` + place + `"]}`, false, oauth.TokenIssuerWrong},
		{"a stricter mode", `{"issuers":["default"]}`, `{"issuers":["default"],"nonce":"single_use"}`, false, oauth.NonceMissing},
		{"unbound, twice allowed", `{"issuers":["default"],"allow_unbound_tokens":true}`, `{"issuers":["default"],"allow_unbound_tokens":true}`, true, ""},
		{"unbound, then strict", `{"issuers":["default"],"allow_unbound_tokens":true}`, `{"issuers":["default"]}`, true, oauth.TokenUnbound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(s *site) { s.config.Issuers["other"] = &Issuer{URL: "https://other.example.com"} })
			first, second := s.auth(t, tt.first), s.auth(t, tt.second)
			r := s.signed(t, s.mint(t, nil))
			if tt.unbound {
				r.Header.Set("Authorization", "Bearer "+s.mint(t, map[string]any{"cnf": nil}))
			}
			x := begin(r).through(first, rewrite("POST", "/elsewhere"), second)
			if tt.want != "" {
				x.mustBeRefused(t, tt.want)
				if got := x.placeholder("http.auth.user.id"); got != "" {
					t.Errorf("the first pop_auth leaves the user %q", got)
				}
			} else {
				x.mustPass(t)
				if got := x.placeholder("http.auth.user.id"); got != "reports" {
					t.Errorf("got user %q", got)
				}
			}
			used := map[bool]int{true: 0, false: 1}[tt.unbound]
			if strings.Contains(tt.first, "single_use") {
				used = 2 // the nonce, too
			}
			if got := s.memory.Stats().Live; got != used {
				t.Errorf("%d entries were remembered, want %d", got, used)
			}
		})
	}
}

// A verdict that anything but pop_auth has left does not count, and the one
// that pop_auth leaves shows no token to who prints it.
func TestVerdictOfTheFirstAuth(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	for _, forged := range []any{"yes", true, map[string]any{"Claims": map[string]any{}}} {
		x := begin(get("/reports"))
		caddyhttp.SetVar(x.r.Context(), verdictVar, forged)
		x.through(auth).mustBeRefused(t, oauth.TokenMissing)
	}
	token := s.token(t)
	x := begin(s.signed(t, token)).through(auth)
	x.mustPass(t)
	if got := x.placeholder("http.vars." + verdictVar); got == "" || strings.Contains(got, token) {
		t.Errorf("the variable shows the token, or is not there: %.40q", got)
	}
}

// The client signs what it sent, and knows nothing of method, rewrite and uri.
func TestAuthLooksAtTheOriginalRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	token := s.token(t)
	begin(s.signed(t, token)).through(rewrite("POST", "/v2/index.php"), auth).mustPass(t)
	x := begin(s.signed(t, token, func(p *fixture.Proof) { p.Method, p.URL = "POST", place+"/v2/index.php" }))
	x.through(rewrite("POST", "/v2/index.php"), auth).mustBeRefused(t, oauth.ProofMethodMismatch)
	x = begin(s.signed(t, token, func(p *fixture.Proof) { p.URL = place + "/v2/index.php" }))
	x.through(rewrite("GET", "/v2/index.php"), auth).mustBeRefused(t, oauth.ProofURLMismatch)
	// the target itself is judged before the rewrite, too
	r := get("/a/%2e%2e/reports")
	begin(r).through(rewrite("GET", "/reports"), auth).mustBeRefused(t, oauth.AmbiguousTarget)
}

func TestAuthTakesOptions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.token(t)
	slashed := func(p *fixture.Proof) { p.URL = place + "/a%2Fb" }
	request := func() *http.Request {
		r := s.signed(t, token, slashed)
		r.URL, r.RequestURI = &url.URL{Path: "/a/b", RawPath: "/a%2Fb"}, "/a%2Fb"
		return r
	}
	auth := s.auth(t, `{}`)
	begin(request()).through(auth).mustBeRefused(t, oauth.AmbiguousTarget)
	auth = s.auth(t, `{"allow_encoded_slashes":true}`)
	begin(request()).through(auth).mustPass(t)
	auth = s.auth(t, `{"scopes":["reports:read","reports:write"],"audience":["https://elsewhere.example.com","`+place+`"]}`)
	begin(s.signed(t, token)).through(auth).mustPass(t)

	timed := func(age time.Duration) func(p *fixture.Proof) {
		return func(p *fixture.Proof) { p.Nonce, p.IssuedAt = "", s.clock.Now().Add(-age) }
	}
	auth = s.auth(t, `{"nonce":"off","proof_max_age":"1m","clock_skew":"10s"}`)
	begin(s.signed(t, token, timed(59*time.Second))).through(auth).mustPass(t)
	begin(s.signed(t, token, timed(62*time.Second))).through(auth).mustBeRefused(t, oauth.ProofExpired)
	begin(s.signed(t, token, timed(-9*time.Second))).through(auth).mustPass(t)
	begin(s.signed(t, token, timed(-12*time.Second))).through(auth).mustBeRefused(t, oauth.ProofFromFuture)
	begin(s.signed(t, token)).through(auth).mustPass(t)
}

// Errors of the handlers behind are theirs, and so is the body.
func TestAuthStaysOutOfTheWay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	auth := s.auth(t, `{}`)
	broken := errors.New("the upstream is broken")
	r := s.signed(t, s.token(t))
	r.Body = io.NopCloser(strings.NewReader("the body"))
	x := begin(r)
	x.upstream = func(_ http.ResponseWriter, r *http.Request) error {
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "the body" {
			t.Errorf("got body %q, %v", body, err)
		}
		return broken
	}
	if x.through(auth); x.err != broken {
		t.Errorf("got error %v, want that of the upstream as it is", x.err)
	}
}
