// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"slices"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

func TestRecheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		first  func(*Policy)
		send   attempt
		second func(*bench, *Policy)
		want   oauth.Reason
	}{
		{name: "the same demands"},
		{name: "another issuer", second: func(_ *bench, p *Policy) { p.Issuers = []TokenVerifier{&fakeIssuer{name: issuerB}} }, want: oauth.TokenIssuerWrong},
		{name: "one issuer more", second: func(b *bench, p *Policy) { p.Issuers = []TokenVerifier{&fakeIssuer{name: issuerB}, b.issuer} }},
		{name: "no issuer", second: func(_ *bench, p *Policy) { p.Issuers = nil }, want: oauth.TokenIssuerWrong},
		{name: "another audience of the token", second: func(_ *bench, p *Policy) { p.Audience = []string{"https://other.example.com"} }},
		{name: "an audience that is not in the token", second: func(_ *bench, p *Policy) { p.Audience = []string{"https://third.example.com"} }, want: oauth.TokenAudienceWrong},
		{name: "no audience", second: func(_ *bench, p *Policy) { p.Audience = nil }, want: oauth.TokenAudienceWrong},
		{name: "one scope more", second: func(_ *bench, p *Policy) { p.Scopes = []string{"read", "delete"} }, want: oauth.ScopeInsufficient},
		{
			name: "an unbound token where it is not allowed", first: func(p *Policy) { p.AllowUnbound = true },
			send:   attempt{scheme: "Bearer", token: "unbound"},
			second: func(_ *bench, p *Policy) { p.AllowUnbound = false }, want: oauth.TokenUnbound,
		},
		{
			name: "an unbound token where it is allowed", first: func(p *Policy) { p.AllowUnbound = true },
			send: attempt{scheme: "Bearer", token: "unbound"},
		},
		{
			name: "an unbound token where it is allowed and a nonce required of others", first: func(p *Policy) { p.AllowUnbound, p.Freshness.Mode = true, replay.Off },
			send:   attempt{scheme: "Bearer", token: "unbound"},
			second: func(_ *bench, p *Policy) { p.Freshness.Mode = replay.SingleUse },
		},
		{name: "a proven token where unbound ones are allowed", second: func(_ *bench, p *Policy) { p.AllowUnbound = true }},
		{name: "off after required", second: mode2(replay.Off)},
		{name: "single use after required", second: mode2(replay.SingleUse), want: oauth.NonceMissing},
		{name: "single use after single use", first: mode1(replay.SingleUse), second: mode2(replay.SingleUse)},
		{name: "required after single use", first: mode1(replay.SingleUse), second: mode2(replay.Required)},
		{name: "required after off, without a nonce", first: mode1(replay.Off), send: attempt{noNonce: true}, second: mode2(replay.Required), want: oauth.NonceMissing},
		{name: "required after off, with a nonce", first: mode1(replay.Off), second: mode2(replay.Required)},
		{name: "single use after off, with a nonce", first: mode1(replay.Off), second: mode2(replay.SingleUse), want: oauth.NonceMissing},
		{name: "off after off", first: mode1(replay.Off), send: attempt{noNonce: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			if tt.first != nil {
				tt.first(&b.policy)
			}
			r := b.request(tt.send)
			earlier := b.check(r)
			b.refused(earlier, "")
			earlier.RenewNonce = true
			second := b.policy
			second.Memory = nil // it must not be touched
			if tt.second != nil {
				tt.second(b, &second)
			}
			asked := b.issuer.asked.Load()
			v := Recheck(earlier, second)
			b.refused(v, tt.want)
			if tt.want == oauth.NonceMissing && (v.Refusal.Expected != second.Freshness.Mode.String() || v.Refusal.Hint == "") {
				t.Errorf("got %+v, want the mode that is missing and where to set it", v.Refusal)
			}
			if tt.want == oauth.TokenIssuerWrong && (v.Refusal.Got != issuerA || len(second.Issuers) > 0 && v.Refusal.Expected != issuerB) {
				t.Errorf("got %+v, want the two issuers", v.Refusal)
			}
			if v.Claims != earlier.Claims || v.Thumbprint != earlier.Thumbprint || v.Unbound != earlier.Unbound {
				t.Errorf("got %+v, want the identity of %+v", v, earlier)
			}
			if v.RenewNonce || v.Token != "" {
				t.Error("a second nonce is asked for, or the token handed out again")
			}
			if b.issuer.asked.Load() != asked {
				t.Error("the issuer was asked again")
			}
		})
	}
}

func mode1(m replay.Mode) func(*Policy) { return func(p *Policy) { p.Freshness.Mode = m } }

func mode2(m replay.Mode) func(*bench, *Policy) {
	return func(_ *bench, p *Policy) { p.Freshness.Mode = m }
}

// A verdict that let nothing through lets nothing through later.
func TestRecheckOfWhatDidNotPass(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.refused(Recheck(Verdict{}, b.policy), oauth.TokenMissing)
	b.refused(Recheck(b.check(b.request(attempt{key: &b.thief})), b.policy), oauth.ProofKeyMismatch)
}

func TestRecheckOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	earlier := b.check(b.request(attempt{}))
	var trace []string
	b.policy.Trace = func(step string, err error) {
		if err != nil {
			t.Errorf("step %q: %v", step, err)
		}
		trace = append(trace, step)
	}
	b.refused(Recheck(earlier, b.policy), "")
	if want := []string{"issuer", "audience", "confirmation", "scope", "mode"}; !slices.Equal(trace, want) {
		t.Errorf("got steps %q, want %q", trace, want)
	}
}
