// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// FuzzCheck: what passes carries a proof that the holder of the key has made for
// it, once, or a token that may be unbound; what does not pass is told why by
// one challenge that shows nothing of what was sent.
func FuzzCheck(f *testing.F) {
	b := newBench(f)
	b.policy.Freshness.Mode = replay.Off // a nonce is another one in each process that fuzzes
	made := map[string]bool{}            // signing inputs, since a signature of ECDSA is another one too
	add := func(a attempt, unbound bool) {
		a.noNonce = true
		r := b.request(a)
		proof := r.Header.Get("DPoP")
		if i := strings.LastIndexByte(proof, '.'); a.key == nil && i > 0 {
			made[proof[:i]] = true
		}
		f.Add(r.Method, r.Target, r.Header.Get("Authorization"), proof, r.Header.Get("Connection"), unbound)
	}
	add(attempt{proof: fixture.Proof{ID: "1"}}, false)
	add(attempt{proof: fixture.Proof{ID: "2"}, scheme: "Bearer", token: "jwk", method: "POST", target: "/a%20b"}, false)
	add(attempt{proof: fixture.Proof{ID: "3"}, scheme: "bearer", token: "unbound"}, true)
	add(attempt{proof: fixture.Proof{ID: "4"}, scheme: "Bearer"}, true)
	add(attempt{proof: fixture.Proof{ID: "5"}, key: &b.thief}, false)
	add(attempt{proof: fixture.Proof{ID: "6"}, token: "both", header: with("Connection", "close, DPoP")}, false)
	add(attempt{proof: fixture.Proof{ID: "7"}, token: "unlucky", target: "https://h/x?access_token=a"}, false)
	passed := map[string]bool{}
	f.Fuzz(func(t *testing.T, method, target, authorization, proof, connection string, unbound bool) {
		h := http.Header{"Authorization": {authorization}, "Connection": {connection}}
		if proof != "" {
			h.Set("DPoP", proof)
		}
		policy := b.policy
		policy.AllowUnbound = unbound
		v := Check(t.Context(), Request{Method: method, Target: target, Origins: []string{place}, Header: h}, policy)
		if v.Refusal != nil {
			assertTold(t, v, policy)
			return
		}
		if _, token, _ := strings.Cut(authorization, " "); v.Token != strings.TrimLeft(token, " ") || v.Claims == nil {
			t.Fatalf("passed with token %q of %q, claims %v", v.Token, authorization, v.Claims)
		}
		if v.Unbound {
			if !unbound || v.Claims.Confirmation.Bound() {
				t.Fatalf("%q passed unbound", authorization)
			}
			return
		}
		input := proof[:max(0, strings.LastIndexByte(proof, '.'))]
		if !made[input] || passed[input] {
			t.Fatalf("passed with a proof that was made %v, seen %v: %q", made[input], passed[input], proof)
		}
		passed[input] = true
	})
}

// assertTold checks the answer to a refusal.
func assertTold(t *testing.T, v Verdict, p Policy) {
	t.Helper()
	rule := v.Refusal.Reason.Rule()
	if rule.API < 400 || rule.API == http.StatusInternalServerError || v.Token != "" {
		t.Fatalf("refused as %q with status %d and token %q", v.Refusal.Reason, rule.API, v.Token)
	}
	challenge := Challenge(v.Refusal, p)
	if !rule.Challenge {
		if challenge != "" {
			t.Fatalf("refused as %q with the challenge %q", v.Refusal.Reason, challenge)
		}
		return
	}
	read, err := oauth.ParseChallenges([]string{challenge})
	if err != nil || len(read) != 1 || read[0].Scheme != "DPoP" {
		t.Fatalf("refused as %q with the challenge %q: %v", v.Refusal.Reason, challenge, err)
	}
	// all of it is ours: the same for everybody who is refused for that reason
	// and rule
	again := Challenge(oauth.Refuse(v.Refusal.Reason, v.Refusal.Detail), p)
	if challenge != again {
		t.Fatalf("refused as %q with the challenge %q, another time %q", v.Refusal.Reason, challenge, again)
	}
}

// FuzzTokenInQuery: whatever net/url finds under a name of the token, however
// it is written, is found here.
func FuzzTokenInQuery(f *testing.F) {
	for _, seed := range []string{
		"/?access_token=x", "/?a=1&Access_Token", "/?access%5Ftoken=x", "/?access.token", "/?a=access_token", "/?a;access_token=1",
		"/?access_token[]=x", "/?%20access_token", "/?access_token%00x", "/?%", "/", "/?access_tokens=1", "/?=access_token",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		refusal := tokenInQuery(target)
		if refusal != nil && refusal.Reason != oauth.AmbiguousTokenInQuery {
			t.Fatalf("refused as %q", refusal.Reason)
		}
		_, query, _ := strings.Cut(target, "?")
		values, _ := url.ParseQuery(query) // it returns what it could read
		for name := range values {
			if strings.EqualFold(name, "access_token") && refusal == nil {
				t.Fatalf("%q passes, net/url reads %q", target, name)
			}
		}
		if refusal != nil && !strings.Contains(target, "?") {
			t.Fatalf("%q has no query and is refused", target)
		}
	})
}
