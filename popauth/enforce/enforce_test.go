// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

const (
	place   = "https://api.example.com"
	issuerA = "https://auth.example.com"
	issuerB = "https://login.example.org"
)

// fakeIssuer knows some tokens and counts how often it is asked.
type fakeIssuer struct {
	name    string
	tokens  map[string]*accesstoken.Claims
	refused map[string]oauth.Reason
	asked   atomic.Int64
}

func (f *fakeIssuer) Issuer() string { return f.name }

func (f *fakeIssuer) Verify(_ context.Context, token string) (*accesstoken.Claims, *oauth.Refusal) {
	f.asked.Add(1)
	if claims, ok := f.tokens[token]; ok {
		return claims, nil
	}
	if reason, ok := f.refused[token]; ok {
		return nil, oauth.Refuse(reason, "")
	}
	return nil, oauth.Refuse(oauth.TokenIssuerWrong, "")
}

// bench is one protected place, with tokens of every kind.
type bench struct {
	t      testing.TB
	clock  *clock.Fake
	key    fixture.Key
	thief  fixture.Key
	issuer *fakeIssuer
	policy Policy
}

func newBench(t testing.TB) *bench {
	t.Helper()
	key := fixture.Load(t, "p256")
	public, err := jwk.Parse(key.JSON(t))
	if err != nil {
		t.Fatal(err)
	}
	jkt := key.Thumbprint(t)
	b := &bench{t: t, clock: clock.NewFake(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)), key: key, thief: fixture.Load(t, "p256-thief")}
	b.issuer = &fakeIssuer{name: issuerA, tokens: map[string]*accesstoken.Claims{}, refused: map[string]oauth.Reason{
		"malformed": oauth.TokenMalformed, "forged": oauth.TokenForged, "expired": oauth.TokenExpired,
		"early": oauth.TokenNotYetValid, "proof": oauth.TokenTypeWrong, "orphan": oauth.TokenClientUnknown,
		"unheard-of": oauth.TokenUnknown, "revoked": oauth.TokenRevoked, "ancient": oauth.IssuedBeforeStore,
		"unlucky": oauth.StoreUnavailable, "keyless": oauth.KeysUnavailable, "empty-cnf": oauth.ConfirmationUnsupported,
	}}
	add := func(token string, c cnf.Confirmation) *accesstoken.Claims {
		claims := &accesstoken.Claims{
			Issuer: issuerA, Subject: "reports", ClientID: "reports", ID: token,
			Audience: []string{"https://other.example.com", place}, Scope: "read write", Confirmation: c,
		}
		b.issuer.tokens[token] = claims
		return claims
	}
	add("jkt", cnf.Confirmation{JKT: jkt})
	add("jwk", cnf.Confirmation{JWK: public})
	add("other", cnf.Confirmation{JKT: jkt})
	add("both", cnf.Confirmation{JWK: public, JKT: jkt})
	add("disagreeing", cnf.Confirmation{JWK: public, JKT: b.thief.Thumbprint(t)})
	add("unbound", cnf.Confirmation{})
	add("unknown", cnf.Confirmation{Unsupported: []string{"kid"}})
	add("half-proven", cnf.Confirmation{JKT: jkt, Unsupported: []string{"x5t#S256"}})
	add("read-only", cnf.Confirmation{JKT: jkt}).Scope = "read"
	add("read-only-unbound", cnf.Confirmation{}).Scope = "read"
	add("elsewhere", cnf.Confirmation{JKT: jkt}).Audience = []string{place + "/"}
	add("nowhere", cnf.Confirmation{JKT: jkt}).Audience = []string{}
	b.policy = Policy{
		Issuers: []TokenVerifier{b.issuer}, Audience: []string{"urn:unused", place}, Scopes: []string{"read", "write"},
		Freshness: replay.Policy{MaxAge: 5 * time.Minute, Skew: time.Minute},
		Memory:    replay.New(b.clock, 1<<12),
	}
	b.policy.Memory.Configure(1<<12, 5*time.Minute, time.Minute)
	b.clock.Advance(time.Hour) // so that the fence of a new memory is past
	return b
}

// attempt is a request in the making: the zero value of a field leaves what
// an honest client does.
type attempt struct {
	method, target string
	scheme, token  string
	key            *fixture.Key
	proof          fixture.Proof
	noNonce        bool
	change         func(proof string) string
	header         func(h http.Header)
}

// request builds it, with a fresh proof for the token "jkt" of the DPoP scheme.
func (b *bench) request(a attempt) Request {
	b.t.Helper()
	r := Request{Method: "GET", Target: "/reports?page=2", Origins: []string{place}, Header: http.Header{}}
	if a.method != "" {
		r.Method = a.method
	}
	if a.target != "" {
		r.Target = a.target
	}
	if a.scheme == "" {
		a.scheme = "DPoP"
	}
	if a.token == "" {
		a.token = "jkt"
	}
	if a.key == nil {
		a.key = &b.key
	}
	p := a.proof
	if p.Method == "" {
		p.Method = r.Method
	}
	if p.URL == "" {
		path, _, _ := strings.Cut(r.Target, "?")
		p.URL = place + path
	}
	if p.Token == "" {
		p.Token = a.token
	}
	if p.Nonce == "" && !a.noNonce {
		p.Nonce = b.policy.Memory.Nonce()
	}
	if p.IssuedAt.IsZero() {
		p.IssuedAt = b.clock.Now()
	}
	proof := a.key.Proof(b.t, p)
	if a.change != nil {
		proof = a.change(proof)
	}
	r.Header.Set("Authorization", a.scheme+" "+a.token)
	r.Header.Set("DPoP", proof)
	if a.header != nil {
		a.header(r.Header)
	}
	return r
}

func (b *bench) check(r Request) Verdict {
	b.t.Helper()
	return Check(b.t.Context(), r, b.policy)
}

// honest sends a right request, which must pass whatever was sent before.
func (b *bench) honest() {
	b.t.Helper()
	if v := b.check(b.request(attempt{})); v.Refusal != nil {
		b.t.Errorf("an honest request afterwards: got %s (%v), want it to pass", v.Refusal.Reason, v.Refusal)
	}
}

// refused asserts a reason, "" for a request that passes.
func (b *bench) refused(v Verdict, want oauth.Reason) {
	b.t.Helper()
	if got := reasonOf(v); got != want {
		b.t.Errorf("got reason %q, want %q", got, want)
	}
	if v.Refusal != nil && (v.Token != "" || v.RenewNonce) {
		b.t.Errorf("refused as %q with the token %q and a nonce %v", v.Refusal.Reason, v.Token, v.RenewNonce)
	}
}

func reasonOf(v Verdict) oauth.Reason {
	if v.Refusal == nil {
		return ""
	}
	return v.Refusal.Reason
}

// without deletes a field, with sets one.
func without(field string) func(http.Header) { return func(h http.Header) { h.Del(field) } }

func with(field string, values ...string) func(http.Header) {
	return func(h http.Header) { h[http.CanonicalHeaderKey(field)] = values }
}

// flip changes one bit in the middle of a proof's signature.
func flip(proof string) string {
	i := strings.LastIndexByte(proof, '.') + 20
	c := byte('A')
	if proof[i] == c {
		c = 'B'
	}
	return proof[:i] + string(c) + proof[i+1:]
}

// nonceHalf is half of a nonce's life and a little more.
const nonceHalf = replay.HalfLife + time.Second

// withKey returns the claims bound to another key by its JWK.
func withKey(t testing.TB, c accesstoken.Claims, k fixture.Key) *accesstoken.Claims {
	t.Helper()
	key, err := jwk.Parse(k.JSON(t))
	if err != nil {
		t.Fatal(err)
	}
	c.Confirmation = cnf.Confirmation{JWK: key}
	return &c
}
