// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

const issuerURL = "https://auth.example.com"

// members are those of a header or a payload. nil deletes.
type members = map[string]any

// keyed is a registry of clients with keys, on a store that began an hour ago.
type keyed struct {
	*Registry
	clock *clock.Fake
	state *lossy
}

// lossy is a store that can be lost or be down.
type lossy struct {
	Store
	clock *clock.Fake
	err   error

	mu    sync.Mutex
	puts  int
	until time.Time // of the last record
}

func (l *lossy) lose() { l.Store = store.NewMemory(l.clock) }

func (l *lossy) PutIfAbsent(ctx context.Context, key store.Key, value []byte, expires time.Time) (bool, error) {
	l.mu.Lock()
	l.puts++
	l.until = expires
	l.mu.Unlock()
	if l.err != nil {
		return false, l.err
	}
	return l.Store.PutIfAbsent(ctx, key, value, expires)
}

func newKeyed(t testing.TB, configs ...Config) *keyed {
	t.Helper()
	c := clock.NewFake(time.Unix(1_700_000_000, 0))
	k := &keyed{clock: c, state: &lossy{clock: c}}
	k.state.lose()
	c.Advance(time.Hour)
	r, err := NewRegistry(configs, Assertions{Issuer: issuerURL, Store: k.state, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	k.Registry = r
	return k
}

// public is the public key of a fixture with members laid over it.
func public(t testing.TB, name string, changes members) *jwk.Key {
	t.Helper()
	key := fixture.Load(t, name)
	for member, v := range changes {
		key.JWK[member] = v
	}
	parsed, err := jwk.Parse(key.JSON(t))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// sign makes the assertion of a client, with changes.
func (k *keyed) sign(t testing.TB, key, id string, header, claims members) string {
	t.Helper()
	signer := fixture.Load(t, key)
	now := k.clock.Now().Unix()
	h := members{"alg": signer.Alg}
	c := members{"iss": id, "sub": id, "aud": issuerURL, "iat": now, "exp": now + 60, "jti": "1"}
	for _, laid := range []struct{ over, changes members }{{h, header}, {c, claims}} {
		maps.Copy(laid.over, laid.changes)
		maps.DeleteFunc(laid.over, func(_ string, v any) bool { return v == nil })
	}
	return signer.JWS(t, h, c)
}

// asserted is a form with an assertion and other parameters.
func asserted(assertion string, pairs ...string) oauth.Form {
	return body(append([]string{"client_assertion_type", assertionType, "client_assertion", assertion}, pairs...)...)
}

// all are clients with a key of each type.
func all(t testing.TB) []Config {
	return []Config{
		{ID: "p256", Keys: []*jwk.Key{public(t, "p256", nil)}},
		{ID: "p384", Keys: []*jwk.Key{public(t, "p384", nil)}},
		{ID: "ed25519", Keys: []*jwk.Key{public(t, "ed25519", nil)}},
		{ID: "eddsa", Keys: []*jwk.Key{public(t, "ed25519", members{"alg": "EdDSA"})}},
		{ID: "rs256", Keys: []*jwk.Key{public(t, "rsa2048", nil)}},
		{ID: "ps384", Keys: []*jwk.Key{public(t, "rsa2048", members{"alg": "PS384"})}},
		{ID: "rolling", Keys: []*jwk.Key{public(t, "p256-thief", members{"kid": "old"}), public(t, "p256", members{"kid": "new"}), public(t, "p384", nil)}},
		{ID: "secret", Secrets: []string{"secret"}},
	}
}

func TestAssertionAuthenticates(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0).Add(time.Hour).Unix()
	kid := fixture.Load(t, "rsa2048").JWK["kid"]
	for name, test := range map[string]struct {
		key, client    string
		header, claims members
		form           []string
	}{
		"ES256":                              {"p256", "p256", nil, nil, nil},
		"ES384":                              {"p384", "p384", nil, nil, nil},
		"Ed25519":                            {"ed25519", "ed25519", nil, nil, nil},
		"Ed25519 by its old name":            {"ed25519", "ed25519", members{"alg": "EdDSA"}, nil, nil},
		"a key for EdDSA, by the new name":   {"ed25519", "eddsa", members{"alg": "Ed25519"}, nil, nil},
		"RS256":                              {"rsa2048", "rs256", nil, nil, nil},
		"RS256 with its kid":                 {"rsa2048", "rs256", members{"kid": kid}, nil, nil},
		"PS384":                              {"rsa2048", "ps384", members{"alg": "PS384"}, nil, nil},
		"the second key, by its kid":         {"p256", "rolling", members{"kid": "new"}, nil, nil},
		"the first key, without a kid":       {"p256-thief", "rolling", nil, nil, nil},
		"the second key, without a kid":      {"p256", "rolling", nil, nil, nil},
		"a key without a kid, by thumbprint": {"p384", "rolling", members{"kid": fixture.Load(t, "p384").Thumbprint(t)}, nil, nil},
		"typ JWT":                            {"p256", "p256", members{"typ": "JWT"}, nil, nil},
		"typ client-authentication+jwt":      {"p256", "p256", members{"typ": "client-authentication+jwt"}, nil, nil},
		"the same client_id":                 {"p256", "p256", nil, nil, []string{"client_id", "p256"}},
		"an empty client_secret":             {"p256", "p256", nil, nil, []string{"client_secret", ""}},
		"the longest life":                   {"p256", "p256", nil, members{"exp": now + 300}, nil},
		"a second of life":                   {"p256", "p256", nil, members{"exp": now + 1}, nil},
		"iat and nbf a minute ahead":         {"p256", "p256", nil, members{"iat": now + 60, "nbf": now + 60, "exp": now + 90}, nil},
		"iat long ago":                       {"p256", "p256", nil, members{"iat": now - 86400}, nil},
		"neither iat nor nbf":                {"p256", "p256", nil, members{"iat": nil}, nil},
		"fractions of a second":              {"p256", "p256", nil, members{"iat": float64(now) + .5, "exp": float64(now) + 59.5}, nil},
		"the longest jti":                    {"p256", "p256", nil, members{"jti": strings.Repeat("j", 128)}, nil},
		"claims of other profiles":           {"p256", "p256", nil, members{"nonce": "n", "azp": "p256"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeyed(t, all(t)...)
			a, refusal := k.Authenticate(nil, asserted(k.sign(t, test.key, test.client, test.header, test.claims), test.form...))
			if refusal != nil {
				t.Fatalf("Authenticate refused: %s (%v)", refusal.Reason, refusal.Cause)
			}
			if a.Client.ID() != test.client || a.ClaimedID != test.client || a.UsedHeader {
				t.Errorf("Authenticate = %q, claimed %q, header %v; want %q", a.Client.ID(), a.ClaimedID, a.UsedHeader, test.client)
			}
			if k.state.puts != 0 {
				t.Errorf("Authenticate wrote %d records, want it left to Consume", k.state.puts)
			}
			if refusal := a.Consume(t.Context()); refusal != nil {
				t.Errorf("Consume = %s, want it to pass", refusal.Reason)
			}
		})
	}
}

func TestAssertionRefuses(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0).Add(time.Hour).Unix()
	thief := members{"kty": "EC", "crv": "P-256", "x": fixture.Load(t, "p256-thief").JWK["x"], "y": fixture.Load(t, "p256-thief").JWK["y"]}
	for name, test := range map[string]struct {
		key, client    string
		header, claims members
		cause          string
	}{
		"a proof's typ":                 {"p256", "p256", members{"typ": "dpop+jwt"}, nil, "typ"},
		"an access token's typ":         {"p256", "p256", members{"typ": "at+jwt"}, nil, "typ"},
		"an empty typ":                  {"p256", "p256", members{"typ": ""}, nil, "typ"},
		"typ in other letter case":      {"p256", "p256", members{"typ": "jwt"}, nil, "typ"},
		"a key of its own":              {"p256-thief", "p256", members{"jwk": thief}, nil, "'jwk'"},
		"a key by reference":            {"p256-thief", "p256", members{"jku": "https://evil.example/"}, nil, "'jku'"},
		"crit":                          {"p256", "p256", members{"crit": []string{"exp"}, "exp": now}, nil, "'crit'"},
		"another key":                   {"p256-thief", "p256", nil, nil, "signature"},
		"the key of another client":     {"p384", "p256", nil, nil, "algorithm"},
		"an unknown kid":                {"p256", "p256", members{"kid": "x"}, nil, "kid"},
		"an empty kid":                  {"p256", "p256", members{"kid": ""}, nil, "kid"},
		"the kid of the other key":      {"p256", "rolling", members{"kid": "old"}, nil, "signature"},
		"the thumbprint of a named key": {"p256", "rolling", members{"kid": fixture.Load(t, "p256").Thumbprint(t)}, nil, "kid"},
		"none":                          {"p256", "p256", members{"alg": "none"}, nil, "algorithm"},
		"HS256":                         {"p256", "p256", members{"alg": "HS256"}, nil, "algorithm"},
		"another alg of the RSA key":    {"rsa2048", "rs256", members{"alg": "PS256"}, nil, "algorithm"},
		"a weaker alg of the RSA key":   {"rsa2048", "ps384", members{"alg": "RS256"}, nil, "algorithm"},
		"no iss":                        {"p256", "p256", nil, members{"iss": nil}, "iss"},
		"no sub":                        {"p256", "p256", nil, members{"sub": nil}, "sub"},
		"another sub":                   {"p256", "p256", nil, members{"sub": "p384"}, "sub"},
		"another iss":                   {"p256", "p256", nil, members{"iss": issuerURL}, "iss"},
		"iss and sub empty":             {"p256", "p256", nil, members{"iss": "", "sub": ""}, "iss"},
		"no aud":                        {"p256", "p256", nil, members{"aud": nil}, "aud"},
		"the endpoint as aud":           {"p256", "p256", nil, members{"aud": issuerURL + "/oauth2/token"}, "aud"},
		"a slash more in aud":           {"p256", "p256", nil, members{"aud": issuerURL + "/"}, "aud"},
		"aud an array of one":           {"p256", "p256", nil, members{"aud": []string{issuerURL}}, "aud"},
		"aud an array of two":           {"p256", "p256", nil, members{"aud": []string{issuerURL, "https://evil.example"}}, "aud"},
		"no exp":                        {"p256", "p256", nil, members{"exp": nil}, "no exp"},
		"exp a string":                  {"p256", "p256", nil, members{"exp": fmt.Sprint(now + 60)}, "exp: time is not a number"},
		"expired":                       {"p256", "p256", nil, members{"exp": now}, "expired"},
		"expired long ago":              {"p256", "p256", nil, members{"exp": now - 3600}, "expired"},
		"over five minutes":             {"p256", "p256", nil, members{"exp": now + 301}, "exp"},
		"exp far ahead":                 {"p256", "p256", nil, members{"exp": 253402300799}, "exp"},
		"exp beyond all time":           {"p256", "p256", nil, members{"exp": 1e300}, "exp: time is out of range"},
		"nbf ahead":                     {"p256", "p256", nil, members{"nbf": now + 61, "exp": now + 90}, "nbf"},
		"iat ahead":                     {"p256", "p256", nil, members{"iat": now + 61, "exp": now + 90}, "iat"},
		"iat a string":                  {"p256", "p256", nil, members{"iat": "now"}, "iat"},
		"no jti":                        {"p256", "p256", nil, members{"jti": nil}, "jti"},
		"an empty jti":                  {"p256", "p256", nil, members{"jti": ""}, "jti"},
		"jti a number":                  {"p256", "p256", nil, members{"jti": 7}, "jti"},
		"a jti that is too long":        {"p256", "p256", nil, members{"jti": strings.Repeat("j", 129)}, "jti"},
		"larger than 8 KiB":             {"p256", "p256", nil, members{"x": strings.Repeat("x", 8<<10)}, "longer than"},
		"an unknown client":             {"p256", "nobody", nil, nil, "no client of this id"},
		"a client with a secret":        {"p256", "secret", nil, nil, "no keys"},
		"an id in other letter case":    {"p256", "P256", nil, nil, "no client of this id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeyed(t, all(t)...)
			sent := k.sign(t, test.key, test.client, test.header, test.claims)
			a, refusal := k.Authenticate(nil, asserted(sent))
			if refusal == nil || a.Client != nil {
				t.Fatalf("Authenticate = %v, %v; want a refusal alone", a.Client, refusal)
			}
			if refusal.Reason != oauth.ClientUnauthenticated || !strings.Contains(refusal.Cause.Error(), test.cause) {
				t.Errorf("refused with %s, %v; want %s, %q", refusal.Reason, refusal.Cause, oauth.ClientUnauthenticated, test.cause)
			}
			for part := range strings.SplitSeq(sent, ".") {
				if strings.Contains(fmt.Sprint(refusal, refusal.Cause), part) {
					t.Errorf("the cause holds the assertion: %v", refusal.Cause)
				}
			}
			if refusal := a.Consume(t.Context()); refusal != nil || k.state.puts != 0 {
				t.Errorf("a refused assertion was written to the store")
			}
			good := k.sign(t, "p256", "p256", nil, nil)
			if _, refusal := k.Authenticate(nil, asserted(good)); refusal != nil {
				t.Errorf("an honest one afterwards: %s (%v)", refusal.Reason, refusal.Cause)
			}
		})
	}
}

// What is not an assertion in one piece, or comes along with something else.
func TestAssertionBesideOtherThings(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	good := k.sign(t, "p256", "p256", nil, nil)
	fake := good[:strings.LastIndexByte(good, '.')+1]
	for name, test := range map[string]struct {
		header http.Header
		form   oauth.Form
		want   oauth.Reason
	}{
		"Basic":                          {raw("secret", "secret"), asserted(good), oauth.ClientAuthRepeated},
		"Basic of the same client":       {raw("p256", "x"), asserted(good), oauth.ClientAuthRepeated},
		"an Authorization field":         {http.Header{"Authorization": {"Bearer x"}}, asserted(good), oauth.ClientAuthRepeated},
		"Basic and no type":              {raw("secret", "secret"), body("client_assertion", good), oauth.ClientAuthRepeated},
		"Basic and the type alone":       {raw("secret", "secret"), body("client_assertion_type", assertionType), oauth.ClientAuthRepeated},
		"a secret":                       {nil, asserted(good, "client_id", "secret", "client_secret", "secret"), oauth.ClientAuthRepeated},
		"another client_id":              {nil, asserted(good, "client_id", "p384"), oauth.ClientUnauthenticated},
		"no type":                        {nil, body("client_assertion", good), oauth.ClientUnauthenticated},
		"another type":                   {nil, body("client_assertion", good, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), oauth.ClientUnauthenticated},
		"the type alone":                 {nil, body("client_assertion_type", assertionType), oauth.ClientUnauthenticated},
		"no signature":                   {nil, asserted(fake), oauth.ClientUnauthenticated},
		"a signature of nothing":         {nil, asserted(fake + strings.Repeat("A", 86)), oauth.ClientUnauthenticated},
		"a space behind":                 {nil, asserted(good + " "), oauth.ClientUnauthenticated},
		"padding":                        {nil, asserted(good + "=="), oauth.ClientUnauthenticated},
		"two":                            {nil, asserted(good + good), oauth.ClientUnauthenticated},
		"NUL":                            {nil, asserted("\x00"), oauth.ClientUnauthenticated},
		"60 KiB of dots":                 {nil, asserted(strings.Repeat(".", 60<<10)), oauth.ClientUnauthenticated},
		"a secret of a client with keys": {nil, body("client_id", "p256", "client_secret", "secret"), oauth.ClientUnauthenticated},
	} {
		a, refusal := k.Authenticate(test.header, test.form)
		if refusal == nil || refusal.Reason != test.want || a.Client != nil || a.UsedHeader != (test.header != nil) {
			t.Errorf("%s: Authenticate = %+v, %v; want %s", name, a, refusal, test.want)
		}
	}
}

// A message with a member twice says one thing to us and another to whoever
// looked at it before.
func TestAssertionWithAClaimTwice(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	now := k.clock.Now().Unix()
	claims := fmt.Sprintf(`{"iss":"p256","sub":"p256","aud":"https://evil.example","aud":%q,"exp":%d,"jti":"1"}`, issuerURL, now+60)
	sent := fixture.Load(t, "p256").JWS(t, members{"alg": "ES256"}, claims)
	if a, refusal := k.Authenticate(nil, asserted(sent)); refusal == nil || !strings.Contains(refusal.Cause.Error(), "duplicate") {
		t.Errorf("Authenticate = %v, %v; want it to refuse the duplicate", a.Client, refusal)
	}
}

// Where there is no issuer, nobody is the audience.
func TestAssertionForNobodyIsRefused(t *testing.T) {
	t.Parallel()
	k := newKeyed(t)
	sent := k.sign(t, "p256", "p256", nil, members{"aud": nil})
	if _, err := readAssertion(sent, "", k.clock.Now()); err == nil || !strings.Contains(err.Error(), "aud") {
		t.Errorf("readAssertion = %v, want it to refuse an assertion without aud", err)
	}
}

func TestAssertionOfTheGreatestSize(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	// filled signs assertions until one is as large as wanted: the length of
	// base64 leaves gaps, of which the header closes some
	filled := func(want int) string {
		for header := range 4 {
			empty := k.sign(t, "p256", "p256", members{"x": strings.Repeat("x", header)}, members{"x": ""})
			for claim := range 4 {
				n := (want-len(empty))*3/4 - claim
				sent := k.sign(t, "p256", "p256", members{"x": strings.Repeat("x", header)}, members{"x": strings.Repeat("x", n)})
				if len(sent) == want {
					return sent
				}
			}
		}
		t.Fatalf("no assertion has %d bytes", want)
		return ""
	}
	// the header but for what fills it; 1536 bytes are 2 KiB of base64
	bare, _, _ := strings.Cut(k.sign(t, "p256", "p256", members{"x": ""}, nil), ".")
	header := strings.Repeat("x", 1536-len(bare)*3/4)
	for name, test := range map[string]struct{ sent, cause string }{
		"8 KiB":                        {filled(8192), ""},
		"a byte more":                  {filled(8193), "JWS is longer than"},
		"a header of 2 KiB":            {k.sign(t, "p256", "p256", members{"x": header}, nil), ""},
		"a header of a byte too much":  {strings.Repeat("A", 2049) + ".e30.AA", "JWS header is longer than"},
		"a header of a few bytes more": {k.sign(t, "p256", "p256", members{"x": header + "x"}, nil), "JWS header is longer than"},
	} {
		_, refusal := k.Authenticate(nil, asserted(test.sent))
		switch {
		case test.cause == "" && refusal != nil:
			t.Errorf("%s: %v", name, refusal.Cause)
		case test.cause != "" && (refusal == nil || !strings.Contains(refusal.Cause.Error(), test.cause)):
			t.Errorf("%s: %v, want %q", name, refusal, test.cause)
		}
	}
	if got, _, _ := strings.Cut(k.sign(t, "p256", "p256", members{"x": header}, nil), "."); len(got) != 2048 {
		t.Errorf("the greatest header of the test has %d bytes, want 2048", len(got))
	}
}

// The answer must not tell whether there is a client, and whether it has keys.
func TestAssertionsOfUnknownClientsAreAnsweredAlike(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	write := func(key, id string, header members) *httptest.ResponseRecorder {
		a, refusal := k.Authenticate(nil, asserted(k.sign(t, key, id, header, nil)))
		if refusal == nil {
			t.Fatal("Authenticate refused nothing")
		}
		w := httptest.NewRecorder()
		oauth.WriteError(w, refusal, a.UsedHeader)
		return w
	}
	want := write("p256-thief", "p256", nil)
	if want.Code != http.StatusBadRequest {
		t.Errorf("status %d, want 400", want.Code)
	}
	for name, got := range map[string]*httptest.ResponseRecorder{
		"an unknown client":                   write("p256-thief", "nobody", nil),
		"an unknown client, an unknown kid":   write("p256-thief", "nobody", members{"kid": "x"}),
		"an unknown kid":                      write("p256", "p256", members{"kid": "x"}),
		"a client without keys":               write("p256", "secret", nil),
		"an unknown client and a key of ours": write("p256", "nobody", nil),
		"another algorithm":                   write("p384", "p256", nil),
	} {
		if got.Code != want.Code || !bytes.Equal(got.Body.Bytes(), want.Body.Bytes()) || !maps.EqualFunc(got.Header(), want.Header(), slices.Equal) {
			t.Errorf("%s gets %d %s %v, a wrong signature %d %s %v", name, got.Code, got.Body, got.Header(), want.Code, want.Body, want.Header())
		}
	}
}

// However many keys a client has, and be it none, as many are tried.
func TestAsManyKeysAreTriedForEveryClient(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	if got := len(k.spare["ES256"]); got != 2 {
		t.Errorf("%d keys are tried for ES256, want the 2 of the client with most", got)
	}
	for _, algorithm := range []string{"ES384", "Ed25519", "RS256", "PS384"} {
		if got := len(k.spare[algorithm]); got != 1 {
			t.Errorf("%d keys are tried for %s, want 1", got, algorithm)
		}
	}
	k = newKeyed(t, append(all(t), Config{ID: "many", Keys: fresh(t, 5)})...)
	if got := len(k.spare["ES256"]); got != 4 {
		t.Errorf("%d keys are tried for ES256, want 4 at most", got)
	}
	// whatever the order, which in a map is another one each time
	clients := map[string]*Client{"few": {}, "most": {}, "fewer": {}}
	for id, n := range map[string]int{"few": 2, "most": 3, "fewer": 1} {
		clients[id].keys = make([]key, n)
	}
	for range 50 {
		if got := len(spares(clients)[""]); got != 3 {
			t.Fatalf("%d keys are tried, want the 3 of the client with most", got)
		}
	}
}

// A stranger may ask for it: what names a key costs one signature, whoever the
// client, and what names none as many as the client with most keys has.
func TestAssertionIsTriedWithOneKeyIfItNamesOne(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, append(all(t), Config{ID: "many", Keys: fresh(t, 4)})...)
	ours := public(t, "p256", nil).Thumbprint()
	for name, test := range map[string]struct {
		id     string
		header members
		want   int
	}{
		"an unknown client and a kid":  {"nobody", members{"kid": ours}, 1},
		"a client without keys":        {"secret", members{"kid": ours}, 1},
		"another kid":                  {"p256", members{"kid": "x"}, 1},
		"the kid of its key":           {"p256", members{"kid": ours}, 1},
		"an unknown client and no kid": {"nobody", nil, 4},
		"one key and no kid":           {"p256", nil, 4},
		"four keys and no kid":         {"many", nil, 4},
	} {
		read, err := readAssertion(k.sign(t, "p256", test.id, test.header, nil), issuerURL, k.clock.Now())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c, known := k.Lookup(test.id)
		if !known {
			c = &k.nobody
		}
		got := 0
		_ = k.try(c, read.message, func(key) error { got++; return nil })
		if got != test.want {
			t.Errorf("%s: %d signatures are verified, want %d", name, got, test.want)
		}
	}
}

// fresh are n new keys.
func fresh(t *testing.T, n int) []*jwk.Key {
	t.Helper()
	keys := make([]*jwk.Key, n)
	for i := range keys {
		var err error
		if keys[i], err = jwk.Parse(fixture.Fresh(t).JSON(t)); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func TestAssertionWithoutKidIsTriedWithFourKeys(t *testing.T) {
	t.Parallel()
	ours := public(t, "p256", nil)
	k := newKeyed(t,
		Config{ID: "four", Keys: append(fresh(t, 3), ours)},
		Config{ID: "five", Keys: append(fresh(t, 4), ours)},
	)
	if _, refusal := k.Authenticate(nil, asserted(k.sign(t, "p256", "four", nil, nil))); refusal != nil {
		t.Errorf("by the last of four keys: %v", refusal.Cause)
	}
	_, refusal := k.Authenticate(nil, asserted(k.sign(t, "p256", "five", nil, nil)))
	if refusal == nil || !strings.Contains(refusal.Cause.Error(), "names no kid, and more than 4 keys") {
		t.Errorf("by the last of five keys: %v, want it to ask for a kid", refusal)
	}
	if _, refusal := k.Authenticate(nil, asserted(k.sign(t, "p256", "five", members{"kid": ours.Thumbprint()}, nil))); refusal != nil {
		t.Errorf("by the last of five keys, with its kid: %v", refusal.Cause)
	}
}

func TestTheOtherSignatureIsNoOtherAssertion(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, all(t)...)
	good := k.sign(t, "p256", "p256", nil, nil)
	flipped := fixture.Load(t, "p256").FlipS(t, good)
	a, refusal := k.Authenticate(nil, asserted(good))
	b, other := k.Authenticate(nil, asserted(flipped))
	if refusal != nil || other != nil {
		t.Fatalf("Authenticate = %v, %v", refusal, other)
	}
	// the other spelling of the signature is no other assertion
	if refusal := a.Consume(t.Context()); refusal != nil {
		t.Errorf("Consume = %v", refusal)
	}
	if refusal := b.Consume(t.Context()); refusal == nil || refusal.Reason != oauth.AssertionReplayed {
		t.Errorf("Consume of the same with another signature = %v, want %s", refusal, oauth.AssertionReplayed)
	}
}
