// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// open verifies a token by go-jose with the public key of the fixture, and
// returns its header and its claims as they were written.
func open(t *testing.T, k fixture.Key, token string) (header jose.Header, payload string) {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(k.Alg)})
	if err != nil {
		t.Fatalf("go-jose parsing the token: %v", err)
	}
	raw, err := parsed.Verify(k.Public())
	if err != nil {
		t.Fatalf("go-jose verifying the token: %v", err)
	}
	return parsed.Signatures[0].Protected, string(raw)
}

func TestMintWritesRFC9068(t *testing.T) {
	t.Parallel()
	s, _, key := service(t)
	bound := confirmationOf(t, "ed25519")
	member, err := json.Marshal(bound)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		grant Grant
		want  string // %s is the jti
	}{
		"bound by key": {
			Grant{ClientID: "reports", Subject: "somebody", Audience: []string{"https://a", "https://b"}, Scope: "x y", Confirmation: bound},
			`{"iss":"https://auth.example.com","sub":"somebody","aud":["https://a","https://b"],"exp":1700000300,"iat":1700000000,"jti":%q,"client_id":"reports","scope":"x y","cnf":` + string(member) + `}`,
		},
		"bound by thumbprint, one audience": {
			Grant{ClientID: "reports", Subject: "reports", Audience: []string{"https://a"}, Scope: "x", Confirmation: cnf.Confirmation{JKT: bound.Thumbprint()}},
			`{"iss":"https://auth.example.com","sub":"reports","aud":"https://a","exp":1700000300,"iat":1700000000,"jti":%q,"client_id":"reports","scope":"x","cnf":{"jkt":"` + bound.Thumbprint() + `"}}`,
		},
		"not bound, no scope": {
			Grant{ClientID: "reports", Subject: "reports", Audience: []string{"https://a"}},
			`{"iss":"https://auth.example.com","sub":"reports","aud":"https://a","exp":1700000300,"iat":1700000000,"jti":%q,"client_id":"reports"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, claims, refusal := s.Mint(t.Context(), test.grant)
			if refusal != nil {
				t.Fatalf("Mint: %v", refusal)
			}
			head, got := open(t, key, token)
			if want := fmt.Sprintf(test.want, claims.ID); got != want {
				t.Errorf("claims\n got %s\nwant %s", got, want)
			}
			if typ := head.ExtraHeaders[jose.HeaderType]; typ != "at+jwt" || head.Algorithm != "ES256" || head.KeyID != key.Thumbprint(t) {
				t.Errorf("header typ %v, alg %s, kid %s, want at+jwt, ES256, %s", typ, head.Algorithm, head.KeyID, key.Thumbprint(t))
			}
			verified, refusal := s.Verify(t.Context(), token)
			if refusal != nil {
				t.Fatalf("Verify: %v", refusal)
			}
			if verified.ID != claims.ID || !verified.Expires.Equal(claims.Expires) || !verified.IssuedAt.Equal(claims.IssuedAt) ||
				!reflect.DeepEqual(verified.Audience, claims.Audience) || verified.Scope != claims.Scope ||
				verified.Subject != claims.Subject || verified.ClientID != claims.ClientID || verified.Issuer != claims.Issuer ||
				verified.Confirmation.Thumbprint() != claims.Confirmation.Thumbprint() ||
				!reflect.DeepEqual(verified.Confirmation.Members(), claims.Confirmation.Members()) {
				t.Errorf("Verify = %+v, want what Mint said: %+v", verified, claims)
			}
		})
	}
}

func TestMintSignsWithEveryKindOfKey(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"p256", "p384", "ed25519", "rsa2048"} {
		s, _, _ := service(t, name)
		token, minted, refusal := s.Mint(t.Context(), Grant{ClientID: "reports", Subject: "reports"})
		if refusal != nil {
			t.Errorf("%s: Mint: %v", name, refusal)
			continue
		}
		if got, refusal := s.Verify(t.Context(), token); refusal != nil || got.ID != minted.ID {
			t.Errorf("%s: Verify = %v, %v, want the minted token", name, got, refusal)
		}
	}
}

func TestMintNeverRepeatsAnID(t *testing.T) {
	t.Parallel()
	s, _, _ := service(t)
	seen := map[string]bool{}
	for range 100 {
		_, claims, refusal := s.Mint(t.Context(), Grant{ClientID: "reports", Subject: "reports"})
		if refusal != nil {
			t.Fatal(refusal)
		}
		// 26 characters of base32 are 130 bits
		if len(claims.ID) < 26 || seen[claims.ID] {
			t.Fatalf("jti %q is short or was seen before", claims.ID)
		}
		seen[claims.ID] = true
	}
}

func TestMintKeepsTheLifetime(t *testing.T) {
	t.Parallel()
	for configured, want := range map[time.Duration]time.Duration{
		0:                       5 * time.Minute,
		time.Hour:               time.Hour,
		2500 * time.Millisecond: 2 * time.Second,
	} {
		s, c, _ := service(t)
		s = New(Config{Issuer: issuerURL, Lifetime: configured, Keys: s.keys, Store: s.store, Clock: c, Known: s.known})
		_, claims, refusal := s.Mint(t.Context(), Grant{ClientID: "reports", Subject: "reports"})
		if refusal != nil {
			t.Fatal(refusal)
		}
		if got := claims.Expires.Sub(claims.IssuedAt); got != want {
			t.Errorf("lifetime %v: exp - iat = %v, want %v", configured, got, want)
		}
	}
}

func TestMintNeverDropsABindingThatItCannotWrite(t *testing.T) {
	t.Parallel()
	s, _, _ := service(t)
	both := confirmationOf(t, "p256")
	both.JKT = both.Thumbprint()
	defer func() {
		if recover() == nil {
			t.Error("Mint with two members in cnf returned")
		}
	}()
	_, _, _ = s.Mint(t.Context(), Grant{ClientID: "reports", Subject: "reports", Confirmation: both})
}

func BenchmarkMint(b *testing.B) {
	s, _, _ := service(b)
	grant := Grant{
		ClientID: "reports", Subject: "reports", Audience: []string{"https://api.example.com"},
		Scope: "reports:read", Confirmation: confirmationOf(b, "p256-thief"),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, refusal := s.Mint(b.Context(), grant); refusal != nil {
			b.Fatal(refusal)
		}
	}
}

// BenchmarkRawSign is the floor beneath BenchmarkMint.
func BenchmarkRawSign(b *testing.B) {
	key := fixture.Load(b, "p256").Private.(*ecdsa.PrivateKey)
	sum := sha256.Sum256([]byte("message"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ecdsa.SignASN1(rand.Reader, key, sum[:]); err != nil {
			b.Fatal(err)
		}
	}
}
