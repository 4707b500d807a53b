// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// mint mints a token for reports that is not bound.
func mint(t testing.TB, s *Service, opaque bool) (string, *Claims) {
	t.Helper()
	token, c, refusal := s.Mint(t.Context(), Grant{
		ClientID: "reports", Subject: "reports", Audience: []string{"https://api.example.com"}, Opaque: opaque,
	})
	if refusal != nil {
		t.Fatalf("Mint: %v", refusal)
	}
	return token, c
}

// bothFormats runs a test with JWTs and with opaque tokens.
func bothFormats(t *testing.T, test func(t *testing.T, opaque bool)) {
	t.Helper()
	for name, opaque := range map[string]bool{"jwt": false, "opaque": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, opaque)
		})
	}
}

// recordOf is what the store keeps under the hash of a token, as anybody else
// would compute the key.
func recordOf(t *testing.T, s store.Store, token string) (string, bool) {
	t.Helper()
	record, ok, err := s.Get(t.Context(), store.Key{
		Issuer: sha256.Sum256([]byte(issuerURL)), Kind: store.KindToken, ID: sha256.Sum256([]byte(token)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(record), ok
}

func TestOpaqueTokenSaysWhatAJWTSays(t *testing.T) {
	t.Parallel()
	s, c, _ := service(t)
	bound := confirmationOf(t, "ed25519")
	member, err := json.Marshal(bound)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		grant Grant
		want  string // the record; %s is the jti
	}{
		"bound by key": {
			Grant{ClientID: "reports", Subject: "somebody", Audience: []string{"https://a", "https://b"}, Scope: "x y", Confirmation: bound},
			`{"iss":"https://auth.example.com","sub":"somebody","aud":["https://a","https://b"],"exp":1700000300,"iat":1700000000,"jti":%q,"client_id":"reports","scope":"x y","cnf":` + string(member) + `}`,
		},
		"bound by thumbprint, one audience": {
			Grant{ClientID: "reports", Subject: "reports", Audience: []string{"https://a"}, Scope: "x", Confirmation: cnf.Confirmation{JKT: bound.Thumbprint()}},
			`{"iss":"https://auth.example.com","sub":"reports","aud":"https://a","exp":1700000300,"iat":1700000000,"jti":%q,"client_id":"reports","scope":"x","cnf":{"jkt":"` + bound.Thumbprint() + `"}}`,
		},
		"not bound, no scope, letters that JSON escapes": {
			Grant{ClientID: "reports", Subject: "reports", Audience: []string{"https://a/?b&<\"é"}},
			`{"iss":"https://auth.example.com","sub":"reports","aud":"https://a/?b\u0026\u003c\"é","exp":1700000300,"iat":1700000000,"jti":%q,"client_id":"reports"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.grant.Opaque = true
			token, minted, refusal := s.Mint(t.Context(), test.grant)
			if refusal != nil {
				t.Fatalf("Mint: %v", refusal)
			}
			if !regexp.MustCompile(`^pop_at_[A-Za-z0-9_-]{43}$`).MatchString(token) {
				t.Errorf("token %q has another shape", token)
			}
			if got, _ := recordOf(t, s.store, token); got != fmt.Sprintf(test.want, minted.ID) {
				t.Errorf("record\n got %s\nwant %s", got, fmt.Sprintf(test.want, minted.ID))
			}
			got, refusal := s.Verify(t.Context(), token)
			if refusal != nil {
				t.Fatalf("Verify: %v", refusal)
			}
			if !got.Expires.Equal(minted.Expires) || !got.IssuedAt.Equal(minted.IssuedAt) || got.IssuedAt.Unix() != c.Now().Unix() {
				t.Errorf("iat %v and exp %v, want %v and %v", got.IssuedAt, got.Expires, minted.IssuedAt, minted.Expires)
			}
			if got.Confirmation.Thumbprint() != minted.Confirmation.Thumbprint() ||
				!reflect.DeepEqual(got.Confirmation.Members(), minted.Confirmation.Members()) {
				t.Errorf("cnf %v, want %v", got.Confirmation, minted.Confirmation)
			}
			if string(got.payload()) != string(minted.payload()) {
				t.Errorf("claims\n got %s\nwant %s", got.payload(), minted.payload())
			}
		})
	}
}

func TestOpaqueTokensAreNeverTheSame(t *testing.T) {
	t.Parallel()
	s, _, _ := service(t)
	seen := map[string]bool{}
	for range 100 {
		token, c := mint(t, s, true)
		if seen[token] || seen[c.ID] {
			t.Fatal("a token or its jti was seen before")
		}
		seen[token], seen[c.ID] = true, true
	}
}

// Whatever can't be one of our tokens must not cost a read, or a stranger
// could keep the disk busy.
func TestMisshapenOpaqueTokensAreRefusedUnread(t *testing.T) {
	t.Parallel()
	s, _, f := onFaulty(t)
	good, _ := mint(t, s, true)
	body := strings.TrimPrefix(good, "pop_at_")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, good[len(good)-1])
	bad := map[string]string{
		"a character shorter":      good[:len(good)-1],
		"a character longer":       good + "A",
		"the prefix alone":         "pop_at_",
		"the prefix cut":           "pop_at" + body,
		"the prefix in capitals":   "POP_AT_" + body,
		"the prefix of another":    "pop_rt_" + body,
		"no prefix":                body,
		"padded":                   good + "=",
		"padded in its length":     good[:len(good)-1] + "=",
		"a line end behind it":     good + "\r\n",
		"a line end in its length": good[:20] + "\n" + good[21:],
		"a blank before it":        " " + good,
		"a NUL at its end":         good[:len(good)-1] + "\x00",
		"the standard alphabet":    "pop_at_" + strings.Repeat("+/", 21) + "A",
		"no ASCII":                 "pop_at_" + strings.Repeat("é", 21) + "A",
		"a megabyte":               "pop_at_" + strings.Repeat("A", 1<<20),
	}
	for bits := 1; bits < 4; bits++ { // 32 bytes leave 2 unused bits in 43 characters
		bad[fmt.Sprintf("unused bits %02b", bits)] = good[:len(good)-1] + string(alphabet[last|bits])
	}
	for name, token := range bad {
		if got, refusal := s.Verify(t.Context(), token); got != nil || reason(refusal) != oauth.TokenMalformed {
			t.Errorf("%s: Verify = %v, %v, want %s", name, got, refusal, oauth.TokenMalformed)
		}
		if refusal := s.Revoke(t.Context(), token, "reports"); refusal != nil {
			t.Errorf("%s: Revoke = %v, want nothing said", name, refusal)
		}
	}
	if gets, puts := f.counts(); gets != 0 || puts != 1 {
		t.Errorf("the store was read %d times and written %d times, want 0 and the one token", gets, puts)
	}
	if _, refusal := s.Verify(t.Context(), good); refusal != nil {
		t.Errorf("Verify: %v, of the token itself", refusal)
	}
}

// What has the right shape must be looked up, once, and be this very token.
func TestChangedOpaqueTokensAreUnknown(t *testing.T) {
	t.Parallel()
	s, _, f := onFaulty(t)
	good, _ := mint(t, s, true)
	for at := len("pop_at_"); at < len(good)-1; at++ {
		other := byte('A')
		if good[at] == other {
			other = 'B'
		}
		changed := good[:at] + string(other) + good[at+1:]
		if got, refusal := s.Verify(t.Context(), changed); got != nil || reason(refusal) != oauth.TokenUnknown {
			t.Errorf("character %d changed: Verify = %v, %v, want %s", at, got, refusal, oauth.TokenUnknown)
		}
	}
	if gets, _ := f.counts(); gets != 42 {
		t.Errorf("the store was read %d times, want 42", gets)
	}
}

func TestOpaqueTokenIsJudgedLikeAJWT(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		happens func(s *Service, c *clock.Fake)
		want    oauth.Reason
	}{
		"nothing":                      {func(*Service, *clock.Fake) {}, ""},
		"a nanosecond before exp":      {func(_ *Service, c *clock.Fake) { c.Step(5*time.Minute - 600*time.Millisecond - 1) }, ""},
		"exp, when only the wall says": {func(_ *Service, c *clock.Fake) { c.Step(5*time.Minute - 600*time.Millisecond) }, oauth.TokenExpired},
		"exp":                          {func(_ *Service, c *clock.Fake) { c.Advance(5 * time.Minute) }, oauth.TokenUnknown},
		"the client is gone":           {func(s *Service, _ *clock.Fake) { s.known = func(string) bool { return false } }, oauth.TokenClientUnknown},
		"no key can be had":            {func(s *Service, c *clock.Fake) { s.keys = brokenRing(t, c) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c, _ := service(t)
			token, minted := mint(t, s, true)
			test.happens(s, c)
			for range 2 {
				got, refusal := s.Verify(t.Context(), token)
				if reason(refusal) != test.want || (got == nil) != (test.want != "") {
					t.Fatalf("Verify = %v, %v, want %q", got, refusal, test.want)
				}
				if got != nil && got.ID != minted.ID {
					t.Errorf("Verify found the token %q, want %q", got.ID, minted.ID)
				}
			}
		})
	}
}

// A client must never hold a token that the store does not surely have.
func TestMintAnswersOnlyWhenTheTokenIsStored(t *testing.T) {
	t.Parallel()
	for name, writes := range map[string]fault{
		"before the commit": before, "during the commit": during, "after the commit": after, "lost": loses,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, f := onFaulty(t)
			f.breaks(writes, works)
			token, c, refusal := s.Mint(t.Context(), Grant{ClientID: "reports", Subject: "reports", Opaque: true})
			if token != "" || c != nil || reason(refusal) != oauth.StoreUnavailable {
				t.Fatalf("Mint = %q, %v, %v, want %s", token, c, refusal, oauth.StoreUnavailable)
			}
			if writes != loses && !errors.Is(refusal, store.ErrUnavailable) {
				t.Errorf("the cause is %v, want that of the store", refusal.Cause)
			}
			if rule := refusal.Reason.Rule(); rule.Endpoint != 503 || !rule.Retry {
				t.Errorf("the answer is %d with Retry-After %v, want 503 with it", rule.Endpoint, rule.Retry)
			}
			// a JWT needs no write
			if _, refusal := s.Verify(t.Context(), first(mint(t, s, false))); refusal != nil {
				t.Errorf("Verify of a JWT: %v", refusal)
			}
			f.mend()
			if _, refusal := s.Verify(t.Context(), first(mint(t, s, true))); refusal != nil {
				t.Errorf("Verify after the fault: %v", refusal)
			}
		})
	}
}

func first(token string, _ *Claims) string { return token }

// plant puts a record under the key of a token.
func plant(t *testing.T, s *Service, token string, record []byte) {
	t.Helper()
	won, err := s.store.PutIfAbsent(t.Context(), s.opaqueKey(token), record, start.Add(time.Hour))
	if !won || err != nil {
		t.Fatalf("PutIfAbsent = %v, %v", won, err)
	}
}

// A record that we did not write like this says nothing that can be believed,
// neither yes nor no.
func TestDamagedRecordsAreNoVerdict(t *testing.T) {
	t.Parallel()
	const token = "pop_at_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	thumbprint := confirmationOf(t, "p256").Thumbprint()
	jwk := confirmationOf(t, "p256").JWK
	whole := func(changes members) []byte {
		record, err := json.Marshal(claims(changes))
		if err != nil {
			t.Fatal(err)
		}
		return record
	}
	for name, record := range map[string][]byte{
		"empty":                     {},
		"no JSON":                   []byte("x"),
		"an array":                  []byte("[]"),
		"no member":                 []byte("{}"),
		"cut short":                 whole(nil)[:100],
		"something behind it":       append(whole(nil), '{'),
		"a doubled member":          []byte(strings.Replace(string(whole(nil)), `"scope"`, `"sub":"reports","scope"`, 1)),
		"an unknown member":         whole(members{"act": members{}}),
		"a member in another case":  whole(members{"cnf": nil, "Cnf": members{"jkt": thumbprint}}),
		"a damaged name of cnf":     whole(members{"cng": members{"jkt": thumbprint}}),
		"nbf":                       whole(members{"nbf": 1}),
		"iss absent":                whole(members{"iss": nil}),
		"iss of another issuer":     whole(members{"iss": "https://other.example.com"}),
		"exp absent":                whole(members{"exp": nil}),
		"exp beyond all time":       whole(members{"exp": 1 << 62}),
		"iat a string":              whole(members{"iat": "1"}),
		"sub empty":                 whole(members{"sub": ""}),
		"jti absent":                whole(members{"jti": nil}),
		"client_id a number":        whole(members{"client_id": 1}),
		"aud absent":                whole(members{"aud": nil}),
		"aud with a null":           whole(members{"aud": []any{nil}}),
		"scope null":                whole(members{"scope": json.RawMessage("null")}),
		"cnf null":                  whole(members{"cnf": json.RawMessage("null")}),
		"cnf empty":                 whole(members{"cnf": members{}}),
		"cnf of two members":        whole(members{"cnf": members{"jkt": thumbprint, "jwk": jwk}}),
		"cnf unknown":               whole(members{"cnf": members{"kid": "1"}}),
		"cnf known and unknown":     whole(members{"cnf": members{"jkt": thumbprint, "x5t#S256": "x"}}),
		"cnf.jwk against the rules": whole(members{"cnf": members{"jwk": members{"kty": "oct", "k": "AA"}}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, _ := service(t)
			plant(t, s, token, record)
			got, refusal := s.Verify(t.Context(), token)
			if got != nil || reason(refusal) != oauth.StoreUnavailable || refusal.Cause == nil {
				t.Errorf("Verify = %v, %v, want %s and why", got, refusal, oauth.StoreUnavailable)
			}
			if refusal := s.Revoke(t.Context(), token, "reports"); reason(refusal) != oauth.StoreUnavailable {
				t.Errorf("Revoke = %v, want %s", refusal, oauth.StoreUnavailable)
			}
		})
	}
	s, _, _ := service(t)
	plant(t, s, token, whole(nil))
	if _, refusal := s.Verify(t.Context(), token); refusal != nil {
		t.Errorf("Verify: %v, of a record without a fault", refusal)
	}
}

// What is read is what was written, whatever else could be read too.
func FuzzReadRecord(f *testing.F) {
	s, _, _ := service(f)
	for _, confirmation := range []cnf.Confirmation{{}, confirmationOf(f, "p256"), {JKT: confirmationOf(f, "p256").Thumbprint()}} {
		c := &Claims{
			Issuer: issuerURL, Subject: "s", ClientID: "c", ID: "j", Audience: []string{"a", "b"}, Scope: "x",
			IssuedAt: start.Truncate(time.Second), Expires: start.Truncate(time.Second).Add(time.Minute), Confirmation: confirmation,
		}
		f.Add(c.payload())
	}
	f.Add([]byte(`{"iss":"https://auth.example.com","sub":"s","aud":[],"exp":1.5,"iat":0,"jti":"\u0000","client_id":"c"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		v, err := s.readRecord(record)
		if err != nil {
			return
		}
		written := v.claims.payload()
		again, err := s.readRecord(written)
		if err != nil {
			t.Fatalf("reading what was written, %s: %v", written, err)
		}
		if !bytes.Equal(again.claims.payload(), written) {
			t.Fatalf("%s became %s", written, again.claims.payload())
		}
		o, err := strict.ParseObject(record, strict.Limits{Size: len(record), Depth: 3, Members: len(record)})
		if err != nil || o.Has("cnf") != again.claims.Confirmation.Bound() {
			t.Fatalf("%s (%v) became %s", record, err, written)
		}
	})
}

// Any text is judged, and only what is in the store passes.
func FuzzVerifyOpaque(f *testing.F) {
	s, _, _ := service(f)
	good, _ := mint(f, s, true)
	f.Add(good)
	f.Add(good + "=")
	f.Add(good[:len(good)-1])
	f.Add("pop_at_" + base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
	f.Fuzz(func(t *testing.T, token string) {
		got, refusal := s.Verify(t.Context(), token)
		if (got != nil) != (token == good) || (got == nil) == (refusal == nil) {
			t.Fatalf("Verify(%q) = %v, %v", token, got, refusal)
		}
	})
}
