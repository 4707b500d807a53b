// SPDX-License-Identifier: Apache-2.0

package introspect

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

const inactive = `{"active":false}`

// verdict is a verifier that always says the same.
type verdict struct {
	claims  *accesstoken.Claims
	refusal *oauth.Refusal
}

func (v verdict) Verify(context.Context, string) (*accesstoken.Claims, *oauth.Refusal) {
	return v.claims, v.refusal
}

// callers are a client that sees its own tokens, one that sees all, and one
// that sees those for the billing API.
func callers(t *testing.T) *client.Registry {
	t.Helper()
	secret := []string{"a long enough secret"}
	registry, err := client.NewRegistry([]client.Config{
		{ID: "reports", Secrets: secret},
		{ID: "other", Secrets: secret},
		{ID: "gateway", Secrets: secret, Introspect: &client.Introspect{}},
		{ID: "billing", Secrets: secret, Introspect: &client.Introspect{Audience: []string{"urn:billing"}}},
	}, client.Assertions{})
	if err != nil {
		t.Fatalf("NewRegistry: %v", err)
	}
	return registry
}

// answer asks as the named client and returns the response as JSON.
func answer(t *testing.T, tokens TokenVerifier, caller string, form map[string][]string) (string, *oauth.Refusal) {
	t.Helper()
	c, ok := callers(t).Lookup(caller)
	if !ok {
		t.Fatalf("no client %q", caller)
	}
	response, refusal := (&Answerer{Tokens: tokens}).Answer(t.Context(), c, oauth.NewForm(form))
	if refusal != nil {
		if response != nil {
			t.Errorf("Answer = %+v beside a refusal", response)
		}
		return "", refusal
	}
	data, err := json.Marshal(response)
	if err != nil {
		t.Fatalf("marshalling the response: %v", err)
	}
	return string(data), nil
}

var token = map[string][]string{"token": {"t"}}

func claims() *accesstoken.Claims {
	return &accesstoken.Claims{
		Issuer: "https://auth.example.com", Subject: "somebody", ClientID: "reports", ID: "one",
		Audience: []string{"https://api.example.com"}, Scope: "read write",
		IssuedAt: time.Unix(1_700_000_000, 0), Expires: time.Unix(1_700_000_300, 0),
	}
}

func TestAnswerOfAnActiveToken(t *testing.T) {
	t.Parallel()
	key, err := jwk.Parse(fixture.Load(t, "ed25519").JSON(t))
	if err != nil {
		t.Fatal(err)
	}
	member, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	byKey, byThumbprint, bare := claims(), claims(), claims()
	byKey.Confirmation = cnf.Confirmation{JWK: key}
	byThumbprint.Confirmation = cnf.Confirmation{JKT: key.Thumbprint()}
	byThumbprint.Audience = []string{"https://api.example.com", "urn:billing"}
	bare.Scope = ""
	const common = `"client_id":"reports","sub":"somebody"`
	const dates = `"iss":"https://auth.example.com","exp":1700000300,"iat":1700000000,"jti":"one"`
	for name, test := range map[string]struct {
		claims *accesstoken.Claims
		want   string
	}{
		"bound by key": {
			byKey, `{"active":true,"scope":"read write",` + common + `,"aud":"https://api.example.com",` + dates +
				`,"token_type":"Bearer","cnf":{"jwk":` + string(member) + `}}`,
		},
		"bound by thumbprint, two audiences": {
			byThumbprint, `{"active":true,"scope":"read write",` + common + `,"aud":["https://api.example.com","urn:billing"],` + dates +
				`,"token_type":"DPoP","cnf":{"jkt":"` + key.Thumbprint() + `"}}`,
		},
		"not bound, no scope": {
			bare, `{"active":true,` + common + `,"aud":"https://api.example.com",` + dates + `,"token_type":"Bearer"}`,
		},
	} {
		for _, caller := range []string{"reports", "gateway"} {
			got, refusal := answer(t, verdict{claims: test.claims}, caller, token)
			if refusal != nil || got != test.want {
				t.Errorf("%s, asked by %s:\n got %s, %v\nwant %s", name, caller, got, refusal, test.want)
			}
		}
	}
}

func TestAnswerShowsATokenOnlyToWhomItMay(t *testing.T) {
	t.Parallel()
	api, billing := claims(), claims()
	billing.Audience = []string{"https://api.example.com", "urn:billing"}
	for name, test := range map[string]struct {
		caller string
		claims *accesstoken.Claims
		sees   bool
	}{
		"its own":                           {"reports", api, true},
		"another client's":                  {"other", api, false},
		"all, as it may introspect":         {"gateway", api, true},
		"those for its audience":            {"billing", billing, true},
		"not those for another's audience":  {"billing", api, false},
		"another client's, also for itself": {"other", billing, false},
	} {
		got, refusal := answer(t, verdict{claims: test.claims}, test.caller, token)
		if refusal != nil || (got != inactive) != test.sees {
			t.Errorf("%s: %s, %v, want it seen: %v", name, got, refusal, test.sees)
		}
	}
}

func TestAnswerNeverMakesATokenLessBoundThanItIs(t *testing.T) {
	t.Parallel()
	key, err := jwk.Parse(fixture.Load(t, "p256").JSON(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, confirmation := range map[string]cnf.Confirmation{
		"an unknown member":          {Unsupported: []string{"x5t#S256"}},
		"an unknown member and jkt":  {JKT: key.Thumbprint(), Unsupported: []string{"x5t#S256"}},
		"jwk and jkt":                {JWK: key, JKT: key.Thumbprint()},
		"jwk and jkt of another key": {JWK: key, JKT: fixture.Load(t, "p384").Thumbprint(t)},
	} {
		c := claims()
		c.Confirmation = confirmation
		if got, refusal := answer(t, verdict{claims: c}, "gateway", token); refusal != nil || got != inactive {
			t.Errorf("%s: %s, %v, want %s", name, got, refusal, inactive)
		}
	}
}

// Whatever a verifier can say of a token, the answer is inactive or nobody
// can tell; no reason at all makes it active.
func TestAnswerToEveryReason(t *testing.T) {
	t.Parallel()
	cannotTell := map[oauth.Reason]bool{
		oauth.KeysUnavailable: true, oauth.StoreUnavailable: true, oauth.ReplayGuardFull: true, oauth.Starting: true, oauth.AssertionBeforeStore: true, "unheard_of": true,
	}
	for _, reason := range append(oauth.Reasons(), "unheard_of") {
		cause := errors.New("the disk is on fire")
		// a verifier that says both is broken, and not believed
		got, refusal := answer(t, verdict{claims: claims(), refusal: oauth.Unavailable(reason, cause)}, "gateway", token)
		if cannotTell[reason] {
			if refusal == nil || refusal.Reason != reason || !errors.Is(refusal, cause) {
				t.Errorf("%s: %s, %v, want the refusal passed on", reason, got, refusal)
			}
			continue
		}
		if refusal != nil || got != inactive {
			t.Errorf("%s: %s, %v, want %s", reason, got, refusal, inactive)
		}
	}
}

func TestAnswerWantsAToken(t *testing.T) {
	t.Parallel()
	for name, form := range map[string]map[string][]string{
		"none":        nil,
		"empty":       {"token": {""}},
		"only a hint": {"token_type_hint": {"access_token"}},
	} {
		got, refusal := answer(t, verdict{claims: claims()}, "gateway", form)
		if refusal == nil || refusal.Reason != oauth.ParameterMissing {
			t.Errorf("%s: %s, %v, want %s", name, got, refusal, oauth.ParameterMissing)
		}
	}
}

func TestAnswerIgnoresTheHint(t *testing.T) {
	t.Parallel()
	want, _ := answer(t, verdict{claims: claims()}, "gateway", token)
	for _, hint := range []string{"access_token", "refresh_token", "nonsense"} {
		got, refusal := answer(t, verdict{claims: claims()}, "gateway", map[string][]string{"token": {"t"}, "token_type_hint": {hint}})
		if refusal != nil || got != want {
			t.Errorf("hint %s: %s, %v, want %s", hint, got, refusal, want)
		}
	}
}

func TestInactiveResponseHoldsNothing(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]Response{
		"zero":                  {},
		"claims left behind":    {Claims: claims()},
		"active without claims": {Active: true},
	} {
		if got, err := json.Marshal(r); err != nil || string(got) != inactive {
			t.Errorf("%s: %s, %v, want %s", name, got, err, inactive)
		}
		if got, err := json.Marshal(&r); err != nil || string(got) != inactive {
			t.Errorf("%s by pointer: %s, %v, want %s", name, got, err, inactive)
		}
	}
}
