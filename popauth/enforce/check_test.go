// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"net/http"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

func TestCheckAnswers(t *testing.T) {
	t.Parallel()
	unbound := func(p *Policy) { p.AllowUnbound = true }
	off := func(p *Policy) { p.Freshness.Mode = replay.Off }
	tests := []struct {
		name      string
		attempt   attempt
		policy    func(*Policy)
		want      oauth.Reason
		status    int
		challenge string // the error of the challenge
	}{
		{"no Authorization", attempt{header: without("Authorization")}, nil, oauth.TokenMissing, 401, ""},
		{"no Authorization and no proof", attempt{header: func(h http.Header) { clear(h) }}, nil, oauth.TokenMissing, 401, ""},
		{"another scheme", attempt{scheme: "Basic"}, nil, oauth.TokenMissing, 401, ""},

		{"a malformed token", attempt{token: "malformed"}, nil, oauth.TokenMalformed, 401, "invalid_token"},
		{"a malformed token as Bearer", attempt{scheme: "Bearer", token: "malformed"}, nil, oauth.TokenMalformed, 401, "invalid_token"},
		{"a forged token", attempt{token: "forged"}, nil, oauth.TokenForged, 401, "invalid_token"},
		{"an expired token", attempt{token: "expired"}, nil, oauth.TokenExpired, 401, "invalid_token"},
		{"a token from the future", attempt{token: "early"}, nil, oauth.TokenNotYetValid, 401, "invalid_token"},
		{"a token that nobody knows", attempt{token: "unheard-of"}, nil, oauth.TokenUnknown, 401, "invalid_token"},
		{"a token that was revoked", attempt{token: "revoked"}, nil, oauth.TokenRevoked, 401, "invalid_token"},
		{"a token older than the store", attempt{token: "ancient"}, nil, oauth.IssuedBeforeStore, 401, "invalid_token"},
		{"a token of another type", attempt{token: "proof"}, nil, oauth.TokenTypeWrong, 401, "invalid_token"},
		{"a token of another issuer", attempt{token: "foreign"}, nil, oauth.TokenIssuerWrong, 401, "invalid_token"},
		{"a token of a client that is gone", attempt{token: "orphan"}, nil, oauth.TokenClientUnknown, 401, "invalid_token"},
		{"a token for another audience", attempt{token: "elsewhere"}, nil, oauth.TokenAudienceWrong, 401, "invalid_token"},
		{"a token for no audience", attempt{token: "nowhere"}, nil, oauth.TokenAudienceWrong, 401, "invalid_token"},
		{"a policy without audience", attempt{}, func(p *Policy) { p.Audience = nil }, oauth.TokenAudienceWrong, 401, "invalid_token"},
		{"a policy without issuers", attempt{}, func(p *Policy) { p.Issuers = nil }, oauth.TokenIssuerWrong, 401, "invalid_token"},
		{"a policy that is the zero value", attempt{}, func(p *Policy) { *p = Policy{} }, oauth.TokenIssuerWrong, 401, "invalid_token"},

		{"an unbound token", attempt{token: "unbound"}, nil, oauth.TokenUnbound, 401, "invalid_token"},
		{"an unbound token as Bearer", attempt{scheme: "Bearer", token: "unbound"}, nil, oauth.TokenUnbound, 401, "invalid_token"},
		{"an unbound token, allowed, with DPoP", attempt{token: "unbound"}, unbound, oauth.TokenUnbound, 401, "invalid_token"},
		{"an unbound token, allowed, as Bearer", attempt{scheme: "Bearer", token: "unbound", header: without("DPoP")}, unbound, "", 0, ""},
		{"an unbound token, allowed, with a proof that is nonsense", attempt{scheme: "Bearer", token: "unbound", header: with("DPoP", "x")}, unbound, "", 0, ""},
		{"an unbound token, allowed, lacking a scope", attempt{scheme: "Bearer", token: "read-only-unbound"}, unbound, oauth.ScopeInsufficient, 403, "insufficient_scope"},

		{"a cnf that could not be read", attempt{token: "empty-cnf"}, nil, oauth.ConfirmationUnsupported, 401, "invalid_token"},
		{"a cnf with an unknown member", attempt{token: "unknown"}, nil, oauth.ConfirmationUnsupported, 401, "invalid_token"},
		{"a cnf with an unknown member, as Bearer where unbound ones pass", attempt{scheme: "Bearer", token: "unknown"}, unbound, oauth.ConfirmationUnsupported, 401, "invalid_token"},
		{"a cnf with jkt and an unproven member", attempt{token: "half-proven"}, nil, oauth.ConfirmationUnsupported, 401, "invalid_token"},
		{"a cnf whose jwk and jkt disagree", attempt{token: "disagreeing"}, nil, oauth.ConfirmationUnsupported, 401, "invalid_token"},
		{"a cnf whose jwk and jkt agree", attempt{token: "both"}, nil, "", 0, ""},

		{"jkt as Bearer without a proof", attempt{scheme: "Bearer", header: without("DPoP")}, nil, oauth.BearerDowngrade, 401, "invalid_token"},
		{"jkt as Bearer with a proof", attempt{scheme: "Bearer"}, nil, oauth.BearerDowngrade, 401, "invalid_token"},
		{"jkt as Bearer where unbound ones pass", attempt{scheme: "bearer", header: without("DPoP")}, unbound, oauth.BearerDowngrade, 401, "invalid_token"},
		{"jwk and jkt as Bearer", attempt{scheme: "BEARER", token: "both"}, nil, oauth.BearerDowngrade, 401, "invalid_token"},

		{"jkt without a proof", attempt{header: without("DPoP")}, nil, oauth.ProofMissing, 401, "use_dpop_nonce"},
		{"jwk as Bearer without a proof", attempt{scheme: "Bearer", token: "jwk", header: without("DPoP")}, nil, oauth.ProofMissing, 401, "use_dpop_nonce"},
		{"jwk as Bearer without a proof where unbound ones pass", attempt{scheme: "Bearer", token: "jwk", header: without("DPoP")}, unbound, oauth.ProofMissing, 401, "use_dpop_nonce"},
		{"no proof where nonces are off", attempt{header: without("DPoP")}, off, oauth.ProofMissing, 401, "invalid_dpop_proof"},

		{"a proof without a nonce", attempt{noNonce: true}, nil, oauth.NonceMissing, 401, "use_dpop_nonce"},
		{"a proof with an empty nonce", attempt{proof: fixture.Proof{Claims: map[string]any{"nonce": ""}}}, off, oauth.NonceInvalid, 401, "use_dpop_nonce"},
		{"a proof with a nonce of our own making", attempt{proof: fixture.Proof{Nonce: "AAAA"}}, nil, oauth.NonceInvalid, 401, "use_dpop_nonce"},

		{"a proof by another key", attempt{}, nil, oauth.ProofKeyMismatch, 401, "invalid_token"}, // the key is set below
		{"a proof that is no JWT", attempt{header: with("DPoP", "x")}, nil, oauth.ProofMalformed, 401, "invalid_dpop_proof"},
		{"an empty DPoP field", attempt{header: with("DPoP", "")}, nil, oauth.ProofMalformed, 401, "invalid_dpop_proof"},
		{"a proof of another type", attempt{proof: fixture.Proof{Header: map[string]any{"typ": "JWT"}}}, nil, oauth.ProofTypeWrong, 401, "invalid_dpop_proof"},
		{"a proof with alg none", attempt{proof: fixture.Proof{Header: map[string]any{"alg": "none"}}}, nil, oauth.ProofAlgorithmWrong, 401, "invalid_dpop_proof"},
		{"a proof with a private key", attempt{proof: fixture.Proof{Header: map[string]any{"jwk": map[string]any{"kty": "oct", "k": "AAAA"}}}}, nil, oauth.ProofKeyInvalid, 401, "invalid_dpop_proof"},
		{"a proof for HEAD", attempt{proof: fixture.Proof{Method: "HEAD"}}, nil, oauth.ProofMethodMismatch, 401, "invalid_dpop_proof"},
		{"a proof for another host", attempt{proof: fixture.Proof{URL: "https://evil.example.com/reports"}}, nil, oauth.ProofURLMismatch, 401, "invalid_dpop_proof"},
		{"a proof for another path", attempt{proof: fixture.Proof{URL: place + "/accounts"}}, nil, oauth.ProofURLMismatch, 401, "invalid_dpop_proof"},
		{"a proof for a trailing slash", attempt{proof: fixture.Proof{URL: place + "/reports/"}}, nil, oauth.ProofURLMismatch, 401, "invalid_dpop_proof"},
		{"a proof without ath", attempt{proof: fixture.Proof{Claims: map[string]any{"ath": nil}}}, nil, oauth.ProofTokenMismatch, 401, "invalid_dpop_proof"},
		{"a proof for another token", attempt{proof: fixture.Proof{Token: "other"}}, nil, oauth.ProofTokenMismatch, 401, "invalid_dpop_proof"},
		{"a proof with a broken signature", attempt{change: flip}, nil, oauth.ProofSignatureInvalid, 401, "invalid_dpop_proof"},

		{"a right proof, scope too small", attempt{token: "read-only"}, nil, oauth.ScopeInsufficient, 403, "insufficient_scope"},
		{"the store is down", attempt{token: "unlucky"}, nil, oauth.StoreUnavailable, 503, ""},
		{"the keys can't be had", attempt{token: "keyless"}, nil, oauth.KeysUnavailable, 503, ""},

		{"jkt with DPoP", attempt{}, nil, "", 0, ""},
		{"jkt with DPOP in capitals", attempt{scheme: "DPOP"}, nil, "", 0, ""},
		{"jwk with DPoP", attempt{token: "jwk"}, nil, "", 0, ""},
		{"jwk as bearer", attempt{scheme: "bearer", token: "jwk"}, nil, "", 0, ""},
		{"htu equal after normalisation", attempt{target: "/%7Ereports", proof: fixture.Proof{URL: "HTTPS://API.example.com:443/~reports?page=2#top"}}, nil, "", 0, ""},
		{"absolute-form, of which the host is not believed", attempt{target: "http://evil.example.com/reports", proof: fixture.Proof{URL: place + "/reports"}}, nil, "", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			if tt.want == oauth.ProofKeyMismatch {
				tt.attempt.key = &b.thief
			}
			r, p := b.request(tt.attempt), b.policy
			if tt.policy != nil {
				tt.policy(&p)
			}
			v := Check(t.Context(), r, p)
			b.refused(v, tt.want)
			if v.Refusal != nil {
				if got := v.Refusal.Reason.Rule().API; got != tt.status {
					t.Errorf("got status %d, want %d", got, tt.status)
				}
				if got := challengeError(t, Challenge(v.Refusal, p)); got != tt.challenge {
					t.Errorf("got error %q in the challenge, want %q", got, tt.challenge)
				}
				if v.Token != "" || v.Unbound || v.RenewNonce {
					t.Errorf("a refusal carries more than it should: %+v", v)
				}
			}
			b.honest()
		})
	}
}

// An absolute-form target names a host that the client chose; a proof for it
// must not pass.
func TestCheckDoesNotBelieveTheHostOfTheTarget(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.request(attempt{target: "https://evil.example.com/reports", proof: fixture.Proof{URL: "https://evil.example.com/reports"}})
	r.Header.Set("X-Forwarded-Host", "evil.example.com")
	b.refused(b.check(r), oauth.ProofURLMismatch)
	b.honest()
}

func TestCheckOrigins(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		origins []string
		htu     string
		want    oauth.Reason
	}{
		{"none", nil, place + "/reports", oauth.ProofURLMismatch},
		{"one that is no URL", []string{"api.example.com"}, place + "/reports", oauth.ProofURLMismatch},
		{"another", []string{"https://www.example.com"}, place + "/reports", oauth.ProofURLMismatch},
		{"the second of two", []string{"https://www.example.com", place}, place + "/reports", ""},
		{"with a prefix, in htu", []string{place + "/v1"}, place + "/v1/reports", ""},
		{"with a prefix, not in htu", []string{place + "/v1"}, place + "/reports", oauth.ProofURLMismatch},
		{"with a slash at its end", []string{place + "/"}, place + "/reports", ""},
		{"plain http", []string{"http://localhost:8080"}, "http://localhost:8080/reports", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			r := b.request(attempt{proof: fixture.Proof{URL: tt.htu}})
			r.Origins = tt.origins
			b.refused(b.check(r), tt.want)
			b.honest()
		})
	}
}

// What was proven stands in the verdict, and what the log wants beside a
// refusal stays there too.
func TestCheckVerdict(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v := b.check(b.request(attempt{}))
	if v.Refusal != nil || v.Token != "jkt" || v.Thumbprint != b.key.Thumbprint(t) || v.Claims.ClientID != "reports" || v.Unbound {
		t.Errorf("got %+v for a bound token", v)
	}
	v = b.check(b.request(attempt{key: &b.thief}))
	if v.Refusal == nil || v.Token != "" || v.Thumbprint != b.key.Thumbprint(t) || v.Claims == nil {
		t.Errorf("got %+v for a thief, want claims and thumbprint of the token", v)
	}
	b.policy.AllowUnbound = true
	v = b.check(b.request(attempt{scheme: "Bearer", token: "unbound"}))
	if v.Refusal != nil || v.Token != "unbound" || v.Thumbprint != "" || !v.Unbound {
		t.Errorf("got %+v for an unbound token", v)
	}
}

func TestCheckAsksIssuersInTurn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := &fakeIssuer{name: issuerB, refused: map[string]oauth.Reason{
		"expired-here": oauth.TokenExpired, "revoked-here": oauth.TokenRevoked, "malformed-here": oauth.TokenMalformed,
		"jwk": oauth.TokenUnknown, "nowhere-known": oauth.TokenUnknown, "unlucky": oauth.TokenUnknown,
		"both": oauth.StoreUnavailable, "foreign": oauth.StoreUnavailable, "opaque": oauth.StoreUnavailable,
		"expired": oauth.StoreUnavailable, "keyless": oauth.StoreUnavailable,
	}}
	b.issuer.refused["nowhere-known"], b.issuer.refused["opaque"] = oauth.TokenUnknown, oauth.TokenUnknown
	b.policy.Issuers = []TokenVerifier{first, b.issuer}
	tests := []struct {
		token      string
		want       oauth.Reason
		askedAgain int64
	}{
		{"jkt", "", 1},
		{"of-nobody", oauth.TokenIssuerWrong, 1},
		{"early", oauth.TokenNotYetValid, 1},
		{"expired-here", oauth.TokenExpired, 0},
		{"revoked-here", oauth.TokenRevoked, 0},
		{"malformed-here", oauth.TokenMalformed, 0},

		// an opaque token doesn't say whose it is
		{"jwk", "", 1},
		{"nowhere-known", oauth.TokenUnknown, 1},
		{"unlucky", oauth.StoreUnavailable, 1},

		// the first can't tell: only a yes of the second is an answer
		{"both", "", 1},
		{"foreign", oauth.StoreUnavailable, 1},
		{"opaque", oauth.StoreUnavailable, 1},
		{"expired", oauth.StoreUnavailable, 1},
		{"keyless", oauth.StoreUnavailable, 1},
	}
	for _, tt := range tests {
		before := b.issuer.asked.Load()
		b.refused(b.check(b.request(attempt{token: tt.token})), tt.want)
		if got := b.issuer.asked.Load() - before; got != tt.askedAgain {
			t.Errorf("token %q: the second issuer was asked %d times, want %d", tt.token, got, tt.askedAgain)
		}
	}
}

// A proof whose token names an algorithm must use it, although the key could
// do others.
func TestCheckAlgorithmOfTheConfirmationKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rsa := fixture.Load(t, "rsa2048-rs512")
	b.issuer.tokens["rsa"] = withKey(t, *b.issuer.tokens["jwk"], rsa)
	tests := []struct {
		alg  string
		want oauth.Reason
	}{{"RS512", ""}, {"RS256", oauth.ProofAlgorithmWrong}, {"PS512", oauth.ProofAlgorithmWrong}}
	for _, tt := range tests {
		v := b.check(b.request(attempt{token: "rsa", key: &rsa, proof: fixture.Proof{Header: map[string]any{"alg": tt.alg}}}))
		if got := reasonOf(v); got != tt.want {
			t.Errorf("%s: got reason %q, want %q", tt.alg, got, tt.want)
		}
		b.honest()
	}
}
