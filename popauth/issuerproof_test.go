// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// proven is a token request with a DPoP proof and no cnf_key. The form is laid
// over it.
func (s *site) proven(t testing.TB, form url.Values, changes ...func(*fixture.Proof)) *http.Request {
	t.Helper()
	p := fixture.Proof{Method: "POST", URL: issuerURL + "/oauth2/token", IssuedAt: s.clock.Now()}
	for _, change := range changes {
		change(&p)
	}
	all := url.Values{"grant_type": {"client_credentials"}}
	maps.Copy(all, form)
	r := post("/oauth2/token", all)
	r.Header.Set("DPoP", s.key.Proof(t, p))
	return r
}

// started is a site that runs, past its fence.
func started(t testing.TB, changes ...func(*site)) *site {
	t.Helper()
	s := newSite(t, changes...)
	if err := s.app.Start(); err != nil {
		t.Fatalf("starting: %v", err)
	}
	s.clock.Advance(10 * time.Minute)
	return s
}

func withNonce(mode string) func(*site) {
	return func(s *site) { s.config.Issuers["default"].Nonce = mode }
}

func TestTokenByAProofIsBoundToItsKeyAndServesAtTheAPI(t *testing.T) {
	t.Parallel()
	s := started(t)
	server := s.server(t, `{}`)
	r := s.proven(t, nil)
	r.Host = "whatever.example.net" // htu is compared with the issuer URL
	x := begin(r).through(server)
	var answer struct {
		Type  string `json:"token_type"`
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &answer); err != nil || x.Code != http.StatusOK || answer.Type != "DPoP" {
		t.Fatalf("got %d %s, want 200 and a token of type DPoP", x.Code, x.Body)
	}
	if nonce := x.Header().Get("DPoP-Nonce"); nonce != "" {
		t.Errorf("got the nonce %q where none was used", nonce)
	}
	begin(s.signed(t, answer.Token)).through(s.provisionedAuth(t, `{}`)).mustPass(t)

	inspect := post("/oauth2/introspect", url.Values{"token": {answer.Token}})
	inspect.Header["Dpop"] = []string{"unread", "unread"} // RFC 7662 knows none
	x = begin(inspect).through(server)
	var claims struct {
		Type string            `json:"token_type"`
		CNF  map[string]string `json:"cnf"`
	}
	if err := json.Unmarshal(x.Body.Bytes(), &claims); err != nil || claims.Type != "DPoP" || !maps.Equal(claims.CNF, map[string]string{"jkt": s.key.Thumbprint(t)}) {
		t.Errorf("introspection says %s, want type DPoP and the thumbprint alone", x.Body)
	}
	revoke := post("/oauth2/revoke", url.Values{"token": {answer.Token}})
	revoke.Header["Dpop"] = []string{"unread"}
	if x := begin(revoke).through(server); x.Code != http.StatusOK {
		t.Errorf("revocation: got %d %s, want 200", x.Code, x.Body)
	}
}

// The nonces and the memory are those of pop_auth.
func TestTokenEndpointAndAPIShareNonces(t *testing.T) {
	t.Parallel()
	s := started(t, withNonce("required"))
	server := s.server(t, `{}`)
	x := begin(s.proven(t, nil)).through(server)
	x.mustAnswer(t, http.StatusBadRequest, "use_dpop_nonce")
	nonce := x.Header().Get("DPoP-Nonce")
	if nonce == "" || x.Header().Get("WWW-Authenticate") != "" {
		t.Fatalf("got %v, want a nonce and no challenge", x.Header())
	}
	with := func(p *fixture.Proof) { p.Nonce = nonce }
	token := accessToken(t, begin(s.proven(t, nil, with)).through(server))
	begin(s.signed(t, token, with)).through(s.provisionedAuth(t, `{}`)).mustPass(t)
}

func TestNonceOfTheIssuer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mode    string
		changes func(*site, *fixture.Proof)
		status  int
		code    string
		nonce   bool
	}{
		"by default none is needed":              {"", nil, 200, "", false},
		"optional, none":                         {"optional", nil, 200, "", false},
		"off, none":                              {"off", nil, 200, "", false},
		"required, none":                         {"required", nil, 400, "use_dpop_nonce", true},
		"required, and there":                    {"required", func(s *site, p *fixture.Proof) { p.Nonce = s.memory.Nonce() }, 200, "", false},
		"optional, and there, with a bad clock":  {"optional", func(s *site, p *fixture.Proof) { p.Nonce, p.IssuedAt = s.memory.Nonce(), time.Unix(1, 0) }, 200, "", false},
		"off, and there, with a bad clock":       {"off", func(s *site, p *fixture.Proof) { p.Nonce, p.IssuedAt = s.memory.Nonce(), time.Unix(1, 0) }, 200, "", false},
		"optional, forged, with a good clock":    {"optional", func(_ *site, p *fixture.Proof) { p.Nonce = "forged" }, 400, "use_dpop_nonce", true},
		"off, forged, with a good clock":         {"off", func(_ *site, p *fixture.Proof) { p.Nonce = "forged" }, 400, "use_dpop_nonce", true},
		"optional, none, too old":                {"optional", func(s *site, p *fixture.Proof) { p.IssuedAt = s.clock.Now().Add(-5*time.Minute - time.Second) }, 400, "use_dpop_nonce", true},
		"optional, none, just not too old":       {"optional", func(s *site, p *fixture.Proof) { p.IssuedAt = s.clock.Now().Add(-5*time.Minute + time.Second) }, 200, "", false},
		"optional, none, just not too far ahead": {"optional", func(s *site, p *fixture.Proof) { p.IssuedAt = s.clock.Now().Add(time.Minute - time.Second) }, 200, "", false},
		"optional, none, too far ahead":          {"optional", func(s *site, p *fixture.Proof) { p.IssuedAt = s.clock.Now().Add(time.Minute + 2*time.Second) }, 400, "use_dpop_nonce", true},
		"off, another fault":                     {"off", func(_ *site, p *fixture.Proof) { p.Method = "GET" }, 400, "invalid_dpop_proof", false},
		"optional, another fault":                {"optional", func(_ *site, p *fixture.Proof) { p.Method = "GET" }, 400, "invalid_dpop_proof", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := started(t, withNonce(test.mode))
			x := begin(s.proven(t, nil, func(p *fixture.Proof) {
				if test.changes != nil {
					test.changes(s, p)
				}
			})).through(s.server(t, `{}`))
			if test.status != http.StatusOK {
				x.mustAnswer(t, test.status, test.code)
			} else if x.Code != http.StatusOK {
				t.Fatalf("got %d %s, want 200", x.Code, x.Body)
			}
			if got := x.Header().Get("DPoP-Nonce") != ""; got != test.nonce {
				t.Errorf("got a nonce: %v, want %v", got, test.nonce)
			}
		})
	}
}

func TestAnswerRenewsANonceThatIsHalfUsedUp(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]bool{"optional": true, "required": true, "off": false} {
		s := started(t, withNonce(mode))
		nonce := s.memory.Nonce()
		s.clock.Advance(replay.HalfLife + time.Second)
		x := begin(s.proven(t, nil, func(p *fixture.Proof) { p.Nonce = nonce })).through(s.server(t, `{}`))
		if got := x.Header().Get("DPoP-Nonce") != ""; x.Code != http.StatusOK || got != want {
			t.Errorf("%s: got %d and a nonce: %v, want 200 and %v", mode, x.Code, got, want)
		}
	}
}

// A guard that forgets earlier than a proof expires would let it pass twice.
func TestIssuerTellsTheWindowOfItsProofs(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]time.Duration{"": 5 * time.Minute, "optional": 5 * time.Minute, "off": 5 * time.Minute, "required": 0} {
		s := newSite(t, withNonce(mode))
		if got := s.app.maxAge; got != want || (s.app.skew == time.Minute) != (want != 0) {
			t.Errorf("nonce %q: got a window of %v and %v, want %v", mode, got, s.app.skew, want)
		}
	}
	s := started(t)
	server := s.server(t, `{}`)
	r := s.proven(t, nil, func(p *fixture.Proof) { p.IssuedAt = s.clock.Now().Add(time.Minute - time.Second) })
	proof := r.Header.Get("DPoP")
	if x := begin(r).through(server); x.Code != http.StatusOK {
		t.Fatalf("got %d %s, want 200", x.Code, x.Body)
	}
	for range 6 {
		s.clock.Advance(59 * time.Second)
		begin(withProof(s.proven(t, nil), proof)).through(server).mustAnswer(t, http.StatusBadRequest, "invalid_dpop_proof")
	}
}

func TestRefusedProofIsLogged(t *testing.T) {
	t.Parallel()
	s := started(t)
	x := begin(s.proven(t, nil, func(p *fixture.Proof) { p.URL = "https://inner.example.com/oauth2/token" })).through(s.server(t, `{}`))
	x.mustAnswer(t, http.StatusBadRequest, "invalid_dpop_proof")
	s.mustLog(t, map[string]string{
		"reason": "proof_url_mismatch", "expected": issuerURL + "/oauth2/token", "got": "https://inner.example.com/oauth2/token",
		"option": "issuer", "hint": "issuer URL", "client_id": "reports", "endpoint": "token",
	})
	r := s.proven(t, nil)
	begin(r).through(s.server(t, `{}`))
	x = begin(withProof(s.proven(t, nil), r.Header.Get("DPoP"))).through(s.server(t, `{}`))
	x.mustAnswer(t, http.StatusBadRequest, "invalid_dpop_proof")
	s.mustLog(t, map[string]string{"reason": "proof_replayed", "jkt": s.key.Thumbprint(t), "client_id": "reports"})
	for _, entry := range s.logs.All() {
		if text := entry.Message + strings.Join(fieldTexts(entry.Context), " "); strings.Contains(text, r.Header.Get("DPoP")) {
			t.Errorf("the log holds a proof: %s", text)
		}
	}
}

// mustLog checks the last refusal in the log.
func (s *site) mustLog(t *testing.T, want map[string]string) {
	t.Helper()
	entries := s.logs.FilterMessage("request refused").All()
	if len(entries) == 0 {
		t.Fatal("no refusal in the log")
	}
	got := entries[len(entries)-1].ContextMap()
	for name, value := range want {
		if text, _ := got[name].(string); !strings.Contains(text, value) {
			t.Errorf("the log line has %s %q, want %q", name, text, value)
		}
	}
}

func fieldTexts(fields []zap.Field) []string {
	var texts []string
	for _, f := range fields {
		texts = append(texts, f.String)
	}
	return texts
}

func TestBindingConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Issuer, *Client)
		want   string
	}{
		"an unknown nonce mode":          {func(i *Issuer, _ *Client) { i.Nonce = "single_use" }, `nonce is "single_use", expected required, optional or off`},
		"an unknown way":                 {func(_ *Issuer, c *Client) { c.BindingMethods = []string{"mtls"} }, `unknown binding method "mtls"`},
		"a way twice":                    {func(_ *Issuer, c *Client) { c.BindingMethods = []string{"dpop", "dpop"} }, `"dpop" is repeated`},
		"an unknown cnf_key_proof":       {func(_ *Issuer, c *Client) { c.CNFKeyProof = "yes" }, `cnf_key_proof is "yes", expected required or optional`},
		"a proven key that is not taken": {func(_ *Issuer, c *Client) { c.CNFKeyProof, c.BindingMethods = "required", []string{"dpop"} }, "cnf_key is not among the binding methods"},
		"a host that no proof can name":  {func(i *Issuer, _ *Client) { i.URL = "https://b\u00fccher.example" }, "no proof could name its token endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Client{ID: "c", Secrets: []string{"s"}}
			i := &Issuer{URL: issuerURL, Clients: []*Client{c}, StoreRaw: json.RawMessage(`{"backend":"memory"}`)}
			test.change(i, c)
			raw, err := json.Marshal(&App{Issuers: map[string]*Issuer{"default": i}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = provision(newStorage(t), map[string]json.RawMessage{"popauth": raw})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestClientMustProveItsKey(t *testing.T) {
	t.Parallel()
	s := started(t, func(s *site) {
		s.config.Issuers["default"].Clients[0].CNFKeyProof = "required"
	})
	server := s.server(t, `{}`)
	x := begin(s.tokenRequest(t)).through(server)
	x.mustAnswer(t, http.StatusBadRequest, "invalid_dpop_proof")
	nonce := x.Header().Get("DPoP-Nonce")
	if nonce == "" {
		t.Error("the refusal offers no nonce")
	}
	s.mustLog(t, map[string]string{"reason": "proof_missing", "option": "cnf_key_proof", "jkt": s.key.Thumbprint(t)})
	form := url.Values{"cnf_key": {base64.StdEncoding.EncodeToString(s.key.JSON(t))}}
	x = begin(s.proven(t, form, func(p *fixture.Proof) { p.Nonce = nonce })).through(server)
	if x.Code != http.StatusOK || !strings.Contains(x.Body.String(), `"token_type":"Bearer"`) {
		t.Errorf("with a proof: got %d %s, want 200 and a token with the key itself", x.Code, x.Body)
	}
	own := s.key
	s.key = s.thief
	x = begin(s.proven(t, form, func(p *fixture.Proof) { p.Nonce = nonce })).through(server)
	x.mustAnswer(t, http.StatusBadRequest, "invalid_request")
	s.mustLog(t, map[string]string{"reason": "confirmation_key_mismatch", "expected": own.Thumbprint(t), "got": s.thief.Thumbprint(t)})
}

// A client that is asked for a nonce need not make a new assertion: the proof is
// judged and used up first.
func TestAssertionOutlivesARefusedProof(t *testing.T) {
	t.Parallel()
	s := started(t, withKey(t), withNonce("required"))
	server := s.server(t, `{}`)
	assertion := assertionOf(t, "1")
	send := func(proof string) *exchange {
		r := assert("/oauth2/token", assertion, url.Values{"grant_type": {"client_credentials"}})
		r.Header.Set("DPoP", proof)
		return begin(r).through(server)
	}
	sign := func(nonce string) string {
		return s.proven(t, nil, func(p *fixture.Proof) { p.Nonce = nonce }).Header.Get("DPoP")
	}
	x := send(sign(""))
	x.mustAnswer(t, http.StatusBadRequest, "use_dpop_nonce")
	nonce := x.Header().Get("DPoP-Nonce")
	used := sign(nonce)
	if x := begin(withProof(s.proven(t, nil), used)).through(server); x.Code != http.StatusOK {
		t.Fatalf("another client with that proof: got %d %s, want 200", x.Code, x.Body)
	}
	send(used).mustAnswer(t, http.StatusBadRequest, "invalid_dpop_proof")
	if x := send(sign(nonce)); x.Code != http.StatusOK {
		t.Fatalf("the same assertion with a good proof: got %d %s, want 200", x.Code, x.Body)
	}
	x = send(sign(nonce))
	x.mustAnswer(t, http.StatusBadRequest, "invalid_client")
	s.mustLog(t, map[string]string{"reason": "assertion_replayed", "jkt": s.key.Thumbprint(t)})
}

// withProof is a request with another proof.
func withProof(r *http.Request, proof string) *http.Request {
	r.Header.Set("DPoP", proof)
	return r
}
