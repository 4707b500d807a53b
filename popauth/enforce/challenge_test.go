// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"slices"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

const algs = `algs="ES256 ES384 Ed25519 EdDSA PS256 PS384 PS512 RS256 RS384 RS512"`

func TestChallenge(t *testing.T) {
	t.Parallel()
	required := Policy{Scopes: []string{"read", "write"}}
	off := Policy{Freshness: replay.Policy{Mode: replay.Off}}
	tests := []struct {
		name    string
		refusal *oauth.Refusal
		policy  Policy
		want    string
	}{
		{"no token, so no error", oauth.Refuse(oauth.TokenMissing, ""), required, "DPoP " + algs},
		{
			"a token that is no good", oauth.Refuse(oauth.TokenExpired, ""), required,
			`DPoP error="invalid_token", error_description="the access token has expired", ` + algs,
		},
		{
			"a detail", oauth.Refuse(oauth.AmbiguousTarget, "a dot segment"), required,
			`DPoP error="invalid_request", error_description="the request target can be read in several ways: a dot segment", ` + algs,
		},
		{
			"a proof is asked for", oauth.Refuse(oauth.ProofMissing, ""), required,
			`DPoP error="use_dpop_nonce", error_description="` + oauth.ProofMissing.Rule().Text + `", ` + algs,
		},
		{
			"a proof is asked for without nonces", oauth.Refuse(oauth.ProofMissing, ""), off,
			`DPoP error="invalid_dpop_proof", error_description="a proof of possession is needed", ` + algs,
		},
		{
			"a wrong clock heals itself also without nonces", oauth.Refuse(oauth.ProofExpired, ""), off,
			`DPoP error="use_dpop_nonce", error_description="` + oauth.ProofExpired.Rule().Text + `", ` + algs,
		},
		{
			"the scope that is needed", oauth.Refuse(oauth.ScopeInsufficient, ""), required,
			`DPoP error="insufficient_scope", error_description="the access token lacks a scope", scope="read write", ` + algs,
		},
		{"a fault of ours", oauth.Refuse(oauth.StoreUnavailable, ""), required, ""},
		{"a header that is too large", oauth.Refuse(oauth.HeadersTooLarge, ""), required, ""},
		{"a reason that nobody knows", oauth.Refuse("no_such_reason", ""), required, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Challenge(tt.refusal, tt.policy); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestChallengeCarriesFurtherParametersLast(t *testing.T) {
	t.Parallel()
	further := oauth.Param{Name: "resource_metadata", Value: place + "/x"}
	want := "DPoP " + algs + `, resource_metadata="` + place + `/x"`
	if got := Challenge(oauth.Refuse(oauth.TokenMissing, ""), Policy{}, further); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Where nonces are off, only a client that is told to use one gets one.
func TestWantsNonce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reason        oauth.Reason
		required, off bool
	}{
		{oauth.TokenMissing, true, false},
		{oauth.TokenExpired, true, false},
		{oauth.ProofMissing, true, false},
		{oauth.ProofMalformed, true, false},
		{oauth.ProofExpired, true, true},
		{oauth.NonceStale, true, true},
		{oauth.AmbiguousTarget, false, false},
		{oauth.StoreUnavailable, false, false},
		{"no_such_reason", false, false},
	} {
		for mode, want := range map[replay.Mode]bool{replay.Required: tt.required, replay.SingleUse: tt.required, replay.Off: tt.off} {
			if got := WantsNonce(oauth.Refuse(tt.reason, ""), Policy{Freshness: replay.Policy{Mode: mode}}); got != want {
				t.Errorf("%s under %s: got %v, want %v", tt.reason, mode, got, want)
			}
		}
	}
}

// Whatever the reason, there is one challenge of the DPoP scheme that any
// parser reads back, or none.
func TestChallengeOfEveryReason(t *testing.T) {
	t.Parallel()
	for _, reason := range oauth.Reasons() {
		text := Challenge(oauth.Refuse(reason, ""), Policy{Scopes: []string{"read"}})
		if got, want := text != "", reason.Rule().Challenge; got != want {
			t.Errorf("%s: got a challenge %v, want %v", reason, got, want)
		}
		if reason.Rule().API == 401 && text == "" {
			t.Errorf("%s: a 401 without a challenge", reason)
		}
		if got, want := challengeError(t, text), reason.Rule().Code; text != "" && got != want {
			t.Errorf("%s: got error %q, want %q", reason, got, want)
		}
	}
}

// challengeError parses a WWW-Authenticate field and returns its error. It
// fails unless there is exactly one DPoP challenge with algs and no realm.
func challengeError(t *testing.T, field string) string {
	t.Helper()
	if field == "" {
		return ""
	}
	all, err := oauth.ParseChallenges([]string{field})
	if err != nil || len(all) != 1 || all[0].Scheme != "DPoP" {
		t.Fatalf("got %q, %v; want one DPoP challenge", field, err)
	}
	names := make([]string, 0, len(all[0].Params))
	for _, p := range all[0].Params {
		names = append(names, p.Name)
	}
	if !slices.Contains(names, "algs") || slices.Contains(names, "realm") {
		t.Fatalf("got parameters %q, want algs and no realm", names)
	}
	code, _ := all[0].Param("error")
	return code
}
