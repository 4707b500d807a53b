// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// The request that the proofs of these tests are for.
const (
	method = "GET"
	target = "https://api.example.com/reports/7"
	token  = "pop_at_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
)

// marker stands where a value must never be shown. It is base64url.
const marker = "MARKERmarkerMARKERmarkerMARKERmarkerMARKERm"

func fresh(*dpop.Proof) *oauth.Refusal { return nil }

// want is satisfied by good.
func want(t testing.TB, k fixture.Key) dpop.Want {
	t.Helper()
	return dpop.Want{
		Thumbprint: k.Thumbprint(t), Method: method, URLs: []string{target},
		TokenHash: dpop.TokenHash(token), Fresh: fresh,
	}
}

func good() fixture.Proof { return fixture.Proof{Method: method, URL: target, Token: token} }

// object is short for the members of a header or of claims.
type object = map[string]any

// public is the key as it stands in a header, with changes laid over it.
func public(k fixture.Key, changes object) object {
	members := maps.Clone(k.JWK)
	maps.Copy(members, changes)
	return members
}

func TestVerifyAcceptsEveryAlgorithm(t *testing.T) {
	t.Parallel()
	for name, algs := range map[string][]string{
		"p256":    {"ES256"},
		"p384":    {"ES384"},
		"ed25519": {"Ed25519", "EdDSA"},
		// the header of these proofs has the key without its own alg
		"rsa2048": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
	} {
		key := fixture.Load(t, name)
		for _, alg := range algs {
			t.Run(alg, func(t *testing.T) {
				t.Parallel()
				p := good()
				p.ID, p.Nonce, p.Header = "id-1", "n-1", object{"alg": alg}
				got, refusal := dpop.Verify(key.Proof(t, p), want(t, key))
				if refusal != nil {
					t.Fatalf("refused: %v (%v)", refusal, refusal.Cause)
				}
				if got.ID != "id-1" || got.Nonce != "n-1" || !got.HasNonce || got.Algorithm != alg ||
					got.Method != method || got.URL != target || got.TokenHash != dpop.TokenHash(token) {
					t.Errorf("got %+v", got)
				}
				if got.Key.Thumbprint() != key.Thumbprint(t) {
					t.Errorf("thumbprint: got %s, want %s", got.Key.Thumbprint(), key.Thumbprint(t))
				}
			})
		}
	}
}

func TestVerifyAccepts(t *testing.T) {
	t.Parallel()
	ec, rsa := fixture.Load(t, "p256"), fixture.Load(t, "rsa2048-rs512")
	tests := []struct {
		name  string
		key   fixture.Key
		proof func(*fixture.Proof)
		want  func(*dpop.Want)
	}{
		{"R09 default port in htu", ec, func(p *fixture.Proof) { p.URL = "https://api.example.com:443/reports/7" }, nil},
		{"R09 host and scheme in capitals", ec, func(p *fixture.Proof) { p.URL = "HTTPS://API.Example.COM/reports/7" }, nil},
		{"R09 escaped unreserved character", ec, func(p *fixture.Proof) { p.URL = "https://api.example.com/%72eports/%37" }, nil},
		{"query and fragment in htu", ec, func(p *fixture.Proof) { p.URL = target + "?a=/b#c" }, nil},
		{"one of several URLs", ec, nil, func(w *dpop.Want) { w.URLs = []string{"https://other.example/", target} }},
		{"claims that we do not know", ec, func(p *fixture.Proof) { p.Claims = object{"exp": 1, "nbf": 9e12, "aud": nil, "x": object{}} }, nil},
		{"iat with a fraction", ec, func(p *fixture.Proof) { p.Claims = object{"iat": 1700000000.25} }, nil},
		{"iat far away, since others judge it", ec, func(p *fixture.Proof) { p.Claims = object{"iat": -1e300} }, nil},
		{"jti of 128 bytes", ec, func(p *fixture.Proof) { p.ID = strings.Repeat("a", 128) }, nil},
		{"jti beyond ASCII", ec, func(p *fixture.Proof) { p.ID = "größe" }, nil},
		{"kid, use and key_ops in the jwk", ec, func(p *fixture.Proof) {
			p.Header = object{"jwk": public(ec, object{"kid": "k", "use": "sig", "key_ops": []string{"verify"}, "alg": "ES256"})}
		}, nil},
		{"key of the seed with its alg", rsa, func(p *fixture.Proof) { p.Header = object{"jwk": public(rsa, nil)} }, func(w *dpop.Want) { w.Algorithm = "RS512" }},
		{"any key where none is confirmed", ec, nil, func(w *dpop.Want) { w.Thumbprint, w.AnyKey = "", true }},
		{"no ath where there is no token", ec, func(p *fixture.Proof) { p.Token = "" }, func(w *dpop.Want) { w.TokenHash, w.NoToken = "", true }},
		{"an ath where there is no token", ec, nil, func(w *dpop.Want) { w.TokenHash, w.NoToken = "", true }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, w := good(), want(t, tt.key)
			if tt.proof != nil {
				tt.proof(&p)
			}
			if tt.want != nil {
				tt.want(&w)
			}
			if _, refusal := dpop.Verify(tt.key.Proof(t, p), w); refusal != nil {
				t.Errorf("refused: %v; expected %q, got %q, cause %v", refusal, refusal.Expected, refusal.Got, refusal.Cause)
			}
		})
	}
}

func TestVerifyTellsAnEmptyNonceFromNone(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	for name, tt := range map[string]struct {
		claims object
		has    bool
	}{"none": {nil, false}, "empty": {object{"nonce": ""}, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := good()
			p.Claims = tt.claims
			got, refusal := dpop.Verify(key.Proof(t, p), want(t, key))
			if refusal != nil {
				t.Fatalf("refused: %v", refusal)
			}
			if got.HasNonce != tt.has || got.Nonce != "" {
				t.Errorf("got nonce %q, has %t; want none, has %t", got.Nonce, got.HasNonce, tt.has)
			}
		})
	}
}

// A proof whose signature (r, s) was replaced by (r, n-s) is valid again. It
// must be the same proof to the replay guard: same key, same jti.
func TestVerifyGivesMalleatedProofsOneIdentity(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	first := key.Proof(t, good())
	second := key.FlipS(t, first)
	if first == second {
		t.Fatal("the two proofs are one string")
	}
	var ids []string
	for _, proof := range []string{first, second} {
		p, refusal := dpop.Verify(proof, want(t, key))
		if refusal != nil {
			t.Fatalf("refused: %v", refusal)
		}
		ids = append(ids, p.Key.Thumbprint()+" "+p.ID)
	}
	if ids[0] != ids[1] {
		t.Errorf("got two identities %q", ids)
	}
}

func TestVerifyTakesTheExamplesOfTheRFC(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(fixture.Vectors(t), "rfc-jose.json"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the RFC vectors are not there")
	}
	var vectors struct {
		RFC9449 struct {
			TokenProof    string    `json:"token_proof"`
			TokenURL      string    `json:"token_url"`
			ResourceProof string    `json:"resource_proof"`
			ResourceURL   string    `json:"resource_url"`
			AccessToken   string    `json:"access_token"`
			Hash          string    `json:"ath"`
			Thumbprint    string    `json:"jkt"`
			IssuedAt      []float64 `json:"iat"`
		} `json:"rfc9449"`
	}
	if err := errors.Join(err, json.Unmarshal(raw, &vectors)); err != nil {
		t.Fatal(err)
	}
	v := vectors.RFC9449
	if got := dpop.TokenHash(v.AccessToken); got != v.Hash {
		t.Errorf("TokenHash: got %s, want %s", got, v.Hash)
	}
	p, refusal := dpop.Verify(v.TokenProof, dpop.Want{AnyKey: true, NoToken: true, Method: "POST", URLs: []string{v.TokenURL}, Fresh: fresh})
	if refusal != nil {
		t.Fatalf("RFC 9449 §4.2: refused: %v", refusal)
	}
	if p.ID != "-BwC3ESc6acc2lTc" || p.IssuedAt != v.IssuedAt[0] {
		t.Errorf("RFC 9449 §4.2: got jti %q, iat %v", p.ID, p.IssuedAt)
	}
	p, refusal = dpop.Verify(v.ResourceProof, dpop.Want{
		Thumbprint: v.Thumbprint, Method: "GET", URLs: []string{v.ResourceURL}, TokenHash: v.Hash, Fresh: fresh,
	})
	if refusal != nil {
		t.Fatalf("RFC 9449 §7.1: refused: %v", refusal)
	}
	if p.IssuedAt != v.IssuedAt[1] {
		t.Errorf("RFC 9449 §7.1: got iat %v, want %v", p.IssuedAt, v.IssuedAt[1])
	}
}

// What the caller forgot to say must not let a proof through.
func TestVerifyRefusesAnIncompleteWant(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	for name, forget := range map[string]func(*dpop.Want){
		"method":    func(w *dpop.Want) { w.Method = "" },
		"URLs":      func(w *dpop.Want) { w.URLs = nil },
		"freshness": func(w *dpop.Want) { w.Fresh = nil },
		"key":       func(w *dpop.Want) { w.Thumbprint = "" },
		"token":     func(w *dpop.Want) { w.TokenHash = "" },
		"all":       func(w *dpop.Want) { *w = dpop.Want{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := want(t, key)
			forget(&w)
			if p, refusal := dpop.Verify(key.Proof(t, good()), w); refusal == nil {
				t.Errorf("accepted %+v", p)
			}
		})
	}
	w := want(t, key)
	w.Method = ""
	p := good()
	p.Claims = object{"htm": ""}
	if _, refusal := dpop.Verify(key.Proof(t, p), w); refusal == nil {
		t.Error("an empty htm passed for an empty method")
	}
	w = want(t, key)
	w.TokenHash = ""
	p = good()
	p.Token = ""
	if _, refusal := dpop.Verify(key.Proof(t, p), w); refusal == nil {
		t.Error("a proof without ath passed for an empty hash")
	}
}

// AnyKey and NoToken stand for what is not known, and never loosen what is.
func TestVerifyComparesWhatItIsToldThoughAnythingWillDo(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	for name, tt := range map[string]struct {
		change func(*dpop.Want)
		want   oauth.Reason // empty: accepted
	}{
		"neither key nor token are known": {func(w *dpop.Want) { w.Thumbprint, w.TokenHash = "", "" }, ""},
		"both are, and are right":         {func(*dpop.Want) {}, ""},
		"another key":                     {func(w *dpop.Want) { w.Thumbprint = fixture.Load(t, "p384").Thumbprint(t) }, oauth.ProofKeyMismatch},
		"another token":                   {func(w *dpop.Want) { w.TokenHash = dpop.TokenHash("other") }, oauth.ProofTokenMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := want(t, key)
			w.AnyKey, w.NoToken = true, true
			tt.change(&w)
			_, refusal := dpop.Verify(key.Proof(t, good()), w)
			if refusal == nil && tt.want != "" || refusal != nil && refusal.Reason != tt.want {
				t.Errorf("got %v, want %q", refusal, tt.want)
			}
		})
	}
}
