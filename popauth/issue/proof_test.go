// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
	"github.com/popauth/caddy-popauth/popauth/store"
)

const tokenURL = issuerURL + "/oauth2/token"

// desk is an issuer that takes proofs, a client that asks it, and a clock.
type desk struct {
	*testing.T
	issuer *Issuer
	client client.Authentication
	clock  *clock.Fake
	key    fixture.Key
}

// newDesk has a memory past its fence. Changes are laid over the client.
func newDesk(t *testing.T, changes ...func(*client.Config)) *desk {
	t.Helper()
	config := reports()
	for _, change := range changes {
		change(&config)
	}
	c := clock.NewFake(time.Unix(1_700_000_000, 0))
	i, registry := issuerOn(t, c, store.NewMirror(store.NewMemory(c), c), config)
	i.TokenURL, i.OfferNonces = tokenURL, true
	i.Freshness = replay.Policy{Mode: replay.Off, MaxAge: 5 * time.Minute, Skew: time.Minute}
	i.Memory = replay.New(c, 1<<10)
	i.Memory.Configure(1<<10, i.Freshness.MaxAge, i.Freshness.Skew)
	c.Advance(10 * time.Minute)
	return &desk{T: t, issuer: i, client: as(t, registry, "reports"), clock: c, key: fixture.Load(t, "p256-thief")}
}

// sign makes a good proof with changes laid over it.
func (d *desk) sign(changes ...func(*fixture.Proof)) string {
	d.Helper()
	p := fixture.Proof{Method: "POST", URL: tokenURL, IssuedAt: d.clock.Now()}
	for _, change := range changes {
		change(&p)
	}
	return d.key.Proof(d, p)
}

// claim lays one claim over a proof; nil deletes.
func claim(name string, value any) func(*fixture.Proof) {
	return func(p *fixture.Proof) {
		if p.Claims == nil {
			p.Claims = map[string]any{}
		}
		p.Claims[name] = value
	}
}

// ask sends the proofs, each in a field of its own, and by default no cnf_key.
func (d *desk) ask(changes map[string][]string, proofs ...string) Outcome {
	d.Helper()
	merged := map[string][]string{"cnf_key": nil}
	for name, values := range changes {
		merged[name] = values
	}
	h := http.Header{}
	for _, proof := range proofs {
		h.Add("DPoP", proof)
	}
	r := by(d.client, form(d.T, merged))
	r.Header = h
	return d.issuer.Token(d.Context(), r)
}

// mustIssue wants a token with one member in its cnf, bound to the key.
func (d *desk) mustIssue(o Outcome, member, kind string) {
	d.Helper()
	if o.Refusal != nil {
		d.Fatalf("refused: %s: %v", o.Refusal.Reason, o.Refusal)
	}
	verified, refusal := d.issuer.Tokens.Verify(d.Context(), o.Response.AccessToken)
	if refusal != nil {
		d.Fatalf("Verify: %v", refusal)
	}
	if got := verified.Confirmation.Members(); !slices.Equal(got, []string{member}) || o.Response.TokenType != kind {
		d.Errorf("cnf has %q, token_type %q; want %q, %q", got, o.Response.TokenType, member, kind)
	}
	if got, want := verified.Confirmation.Thumbprint(), d.key.Thumbprint(d); got != want || o.Thumbprint != want {
		d.Errorf("bound to %q, told to the log %q, want %q", got, o.Thumbprint, want)
	}
}

// mustRefuse wants a reason, and a nonce or none.
func (d *desk) mustRefuse(o Outcome, want oauth.Reason, nonce bool) {
	d.Helper()
	if o.Refusal == nil || o.Response != nil || o.Claims != nil {
		d.Fatalf("got %+v, want the refusal %s alone", o, want)
	}
	if o.Refusal.Reason != want {
		d.Fatalf("got %s (%s; expected %q, got %q), want %s", o.Refusal.Reason, o.Refusal, o.Refusal.Expected, o.Refusal.Got, want)
	}
	if rule := want.Rule(); rule.Endpoint == 0 {
		d.Errorf("%s has no status at the endpoint", want)
	}
	if (o.Nonce != "") != nonce {
		d.Errorf("%s: got a nonce: %v, want %v", want, o.Nonce != "", nonce)
	}
}

func own(t *testing.T) map[string][]string {
	return map[string][]string{"cnf_key": {cnfKey(t, "p256-thief")}}
}

func TestProofBindsTheToken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		byThumbprint, keyToo bool
		client               func(*client.Config)
		proof                []func(*fixture.Proof)
		member, kind         string
	}{
		"alone, by the thumbprint":              {member: "jkt", kind: "DPoP"},
		"beside the key":                        {keyToo: true, member: "jwk", kind: "Bearer"},
		"beside the key, by the thumbprint":     {keyToo: true, byThumbprint: true, member: "jkt", kind: "DPoP"},
		"beside a key that must be proven":      {keyToo: true, client: func(c *client.Config) { c.KeyProofRequired = true }, member: "jwk", kind: "Bearer"},
		"beside a key, the only way":            {keyToo: true, client: func(c *client.Config) { c.BindingMethods = []string{client.ByKey} }, member: "jwk", kind: "Bearer"},
		"alone, the only way":                   {client: func(c *client.Config) { c.BindingMethods = []string{client.ByProof} }, member: "jkt", kind: "DPoP"},
		"alone, where a key must be proven":     {client: func(c *client.Config) { c.KeyProofRequired = true }, member: "jkt", kind: "DPoP"},
		"where none is needed":                  {client: func(c *client.Config) { c.BindingOptional = true }, member: "jkt", kind: "DPoP"},
		"with an htu that is spelled otherwise": {proof: []func(*fixture.Proof){claim("htu", "HTTPS://AUTH.example.com:443/oauth2/%74oken?a#b")}, member: "jkt", kind: "DPoP"},
		"with an ath, which means nothing here": {proof: []func(*fixture.Proof){claim("ath", "AAAA")}, member: "jkt", kind: "DPoP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var changes []func(*client.Config)
			if test.client != nil {
				changes = append(changes, test.client)
			}
			d := newDesk(t, changes...)
			d.issuer.ConfirmByThumbprint = test.byThumbprint
			var f map[string][]string
			if test.keyToo {
				f = own(t)
			}
			o := d.ask(f, d.sign(test.proof...))
			d.mustIssue(o, test.member, test.kind)
			if o.Nonce != "" {
				t.Error("got a nonce where none was used")
			}
		})
	}
}

func TestProofIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		client func(*client.Config)
		form   func(*testing.T) map[string][]string
		proofs func(*desk) []string
		want   oauth.Reason
		nonce  bool
	}{
		"T17 by another key than cnf_key": {form: func(t *testing.T) map[string][]string {
			return map[string][]string{"cnf_key": {cnfKey(t, "p256")}}
		}, want: oauth.ConfirmationKeyMismatch},
		"T18 none where the key must be proven": {client: func(c *client.Config) { c.KeyProofRequired = true }, form: own,
			proofs: func(*desk) []string { return nil }, want: oauth.ProofMissing, nonce: true},
		"T20 two":                                {proofs: func(d *desk) []string { return []string{d.sign(), d.sign()} }, want: oauth.AmbiguousProof, nonce: true},
		"T20 with a comma":                       {proofs: func(d *desk) []string { return []string{d.sign() + ", " + d.sign()} }, want: oauth.AmbiguousProof, nonce: true},
		"an empty one":                           {proofs: func(*desk) []string { return []string{""} }, want: oauth.ProofMalformed, nonce: true},
		"T20 over 8 KiB":                         {proofs: func(*desk) []string { return []string{strings.Repeat("x", 8<<10+1)} }, want: oauth.ProofMalformed, nonce: true},
		"an empty one beside a key, not ignored": {form: own, proofs: func(*desk) []string { return []string{""} }, want: oauth.ProofMalformed, nonce: true},
		"T23 htm GET":                            {proofs: func(d *desk) []string { return []string{d.sign(claim("htm", "GET"))} }, want: oauth.ProofMethodMismatch, nonce: true},
		"T23 htu elsewhere":                      {proofs: func(d *desk) []string { return []string{d.sign(claim("htu", "https://api.example.com/oauth2/token"))} }, want: oauth.ProofURLMismatch, nonce: true},
		"T24 forged nonce":                       {proofs: func(d *desk) []string { return []string{d.sign(claim("nonce", "AAAA"))} }, want: oauth.NonceInvalid, nonce: true},
		"T24 empty nonce":                        {proofs: func(d *desk) []string { return []string{d.sign(claim("nonce", ""))} }, want: oauth.NonceInvalid, nonce: true},
		"T25 iat too old":                        {proofs: func(d *desk) []string { return []string{d.sign(claim("iat", d.clock.Now().Unix()-301))} }, want: oauth.ProofExpired, nonce: true},
		"T25 iat ahead":                          {proofs: func(d *desk) []string { return []string{d.sign(claim("iat", d.clock.Now().Unix()+61))} }, want: oauth.ProofFromFuture, nonce: true},
		"signed by another": {proofs: func(d *desk) []string {
			a, b := d.sign(), d.sign()
			return []string{a[:strings.LastIndexByte(a, '.')] + b[strings.LastIndexByte(b, '.'):]}
		}, want: oauth.ProofSignatureInvalid, nonce: true},
		"a proof that is no way for the client": {client: func(c *client.Config) { c.BindingMethods = []string{client.ByKey} }, want: oauth.BindingUnauthorized},
		"a key that is no way for the client":   {client: func(c *client.Config) { c.BindingMethods = []string{client.ByProof} }, form: own, want: oauth.BindingUnauthorized},
		"no key and no proof":                   {proofs: func(*desk) []string { return nil }, want: oauth.ConfirmationKeyRequired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var changes []func(*client.Config)
			if test.client != nil {
				changes = append(changes, test.client)
			}
			d := newDesk(t, changes...)
			var f map[string][]string
			if test.form != nil {
				f = test.form(t)
			}
			proofs := []string{d.sign()}
			if test.proofs != nil {
				proofs = test.proofs(d)
			}
			d.mustRefuse(d.ask(f, proofs...), test.want, test.nonce)

			// where nonces are off, only those that are asked for are offered
			d.issuer.OfferNonces = false
			asked := test.want.Rule().CodeAtEndpoint() == "use_dpop_nonce"
			d.mustRefuse(d.ask(f, proofs...), test.want, asked)
		})
	}
}

func TestRefusedBindingSaysWhichWayToTake(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		methods []string
		proofs  bool
		want    string
	}{
		"a proof where keys are taken":     {[]string{client.ByKey}, true, "send its public key as cnf_key"},
		"nothing where keys are taken":     {[]string{client.ByKey}, false, "send its public key as cnf_key"},
		"nothing where proofs are taken":   {[]string{client.ByProof}, false, "send a DPoP proof"},
		"nothing where everything is fine": {nil, false, "send its public key as cnf_key, or a DPoP proof"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, func(c *client.Config) { c.BindingMethods = test.methods })
			var proofs []string
			if test.proofs {
				proofs = []string{d.sign()}
			}
			o := d.ask(nil, proofs...)
			if o.Refusal == nil || !strings.Contains(o.Refusal.Description(), test.want) || o.Refusal.Option != "binding" {
				t.Errorf("got %v, want %q in it and the option binding", o.Refusal, test.want)
			}
		})
	}
}

func TestURLMismatchNamesTheIssuerURL(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	o := d.ask(nil, d.sign(claim("htu", "https://inner.example.com/oauth2/token")))
	d.mustRefuse(o, oauth.ProofURLMismatch, true)
	if r := o.Refusal; r.Expected != tokenURL || r.Got != "https://inner.example.com/oauth2/token" || r.Option != "issuer" || !strings.Contains(r.Hint, "issuer URL") {
		t.Errorf("got %+v", r)
	}
}

// A cnf_key that names an algorithm is proven by that one, as at an API.
func TestProofHasTheAlgorithmOfTheKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		key, alg string
		ok       bool
	}{
		"the same":                {"rsa2048", "RS256", true},
		"another of its type":     {"rsa2048", "PS256", false},
		"another of its size":     {"rsa2048", "RS512", false},
		"two names of one":        {"ed25519", "EdDSA", true},
		"the other of these two ": {"ed25519", "Ed25519", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.key = fixture.Load(t, test.key)
			proof := d.sign(func(p *fixture.Proof) { p.Header = map[string]any{"alg": test.alg} })
			o := d.ask(map[string][]string{"cnf_key": {cnfKey(t, test.key)}}, proof)
			if test.ok {
				d.mustIssue(o, "jwk", "Bearer")
				return
			}
			d.mustRefuse(o, oauth.ProofAlgorithmWrong, true)
		})
	}
}

func TestProofServesOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	proof := d.sign()
	d.mustIssue(d.ask(nil, proof), "jkt", "DPoP")
	d.mustRefuse(d.ask(nil, proof), oauth.ProofReplayed, true)
	d.mustRefuse(d.ask(nil, d.key.FlipS(t, proof)), oauth.ProofReplayed, true)
	d.mustRefuse(d.ask(own(t), proof), oauth.ProofReplayed, true)
	d.mustIssue(d.ask(nil, d.sign()), "jkt", "DPoP")
}

// What is refused for another reason must not cost the client its proof.
func TestRefusedRequestSpendsNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	proof := d.sign()
	consumed := 0
	ask := func(changes map[string][]string, header string) Outcome {
		changes["cnf_key"] = nil
		return d.issuer.Token(t.Context(), Request{
			Client: d.client.Client, Header: http.Header{"Dpop": {header}}, Form: form(t, changes),
			Consume: func(context.Context) *oauth.Refusal { consumed++; return nil },
		})
	}
	d.mustRefuse(ask(map[string][]string{"scope": {"none"}}, proof), oauth.ScopeInvalid, false)
	d.mustRefuse(ask(map[string][]string{"resource": {"urn:none"}}, proof), oauth.TargetInvalid, false)
	d.mustRefuse(ask(map[string][]string{}, proof+"A"), oauth.ProofSignatureInvalid, true)
	if consumed != 0 {
		t.Fatalf("the client's authentication was used up %d times by refused requests", consumed)
	}
	d.mustIssue(ask(map[string][]string{}, proof), "jkt", "DPoP")
	d.mustRefuse(ask(map[string][]string{}, proof), oauth.ProofReplayed, true)
	if consumed != 1 {
		t.Errorf("the client's authentication was used up %d times, want once", consumed)
	}
}

func TestNoTokenWhereTheClientsAuthenticationIsUsedUp(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	o := d.issuer.Token(t.Context(), Request{
		Client: d.client.Client, Form: form(t, nil),
		Consume: func(context.Context) *oauth.Refusal { return oauth.Refuse(oauth.ClientUnauthenticated, "") },
	})
	d.mustRefuse(o, oauth.ClientUnauthenticated, false)

	o = d.issuer.Token(t.Context(), Request{Client: d.client.Client, Form: form(t, nil)})
	if o.Refusal == nil || o.Response != nil || o.Refusal.Reason.Rule().Endpoint != http.StatusInternalServerError {
		t.Errorf("nobody uses it up: got %+v, want a fault of the server", o)
	}
}

func TestNonceOfAProof(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.issuer.Freshness.Mode = replay.Required
	o := d.ask(nil, d.sign())
	d.mustRefuse(o, oauth.NonceMissing, true)
	with := func(p *fixture.Proof) { p.Nonce = o.Nonce }
	anyClock := claim("iat", 1)

	first := d.ask(nil, d.sign(with, anyClock))
	d.mustIssue(first, "jkt", "DPoP")
	if first.Nonce != "" {
		t.Error("a nonce that is new was renewed")
	}
	d.clock.Advance(replay.HalfLife + time.Second)
	later := d.ask(nil, d.sign(with, anyClock))
	d.mustIssue(later, "jkt", "DPoP")
	if later.Nonce == "" {
		t.Error("a nonce that is half used up was not renewed")
	}
	d.issuer.OfferNonces = false
	if o := d.ask(nil, d.sign(with)); o.Refusal != nil || o.Nonce != "" {
		t.Errorf("nonces off: got %v and nonce %q, want a token and none", o.Refusal, o.Nonce)
	}
	d.clock.Advance(replay.HalfLife)
	d.mustRefuse(d.ask(nil, d.sign(with)), oauth.NonceStale, true)
	if got := later.Nonce; d.ask(nil, d.sign(func(p *fixture.Proof) { p.Nonce = got })).Refusal != nil {
		t.Error("the new nonce does not pass")
	}
}

func TestFullGuardIsUnavailable(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.issuer.Memory = replay.New(d.clock, 0)
	d.issuer.Memory.Configure(0, d.issuer.Freshness.MaxAge, d.issuer.Freshness.Skew)
	nonce := d.issuer.Memory.Nonce()
	o := d.ask(nil, d.sign(func(p *fixture.Proof) { p.Nonce = nonce }))
	d.mustRefuse(o, oauth.ReplayGuardFull, false)
	if o.Thumbprint != d.key.Thumbprint(t) {
		t.Errorf("the log is told of the key %q, want %q", o.Thumbprint, d.key.Thumbprint(t))
	}
	if rule := o.Refusal.Reason.Rule(); rule.Endpoint != http.StatusServiceUnavailable || !rule.Retry {
		t.Errorf("got %+v, want 503 and Retry-After", rule)
	}
}

func TestProofNeedsATokenURL(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.issuer.TokenURL = ""
	for _, htu := range []string{tokenURL, "", "https://"} {
		if o := d.ask(nil, d.sign(claim("htu", htu))); o.Refusal == nil {
			t.Errorf("htu %q passed where the URL of the endpoint is not known", htu)
		}
	}
}
