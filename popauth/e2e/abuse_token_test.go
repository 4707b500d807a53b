// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// marker is a value that must never come back, nor appear in a log.
const marker = "c2VjcmV0LW1hcmtlcg"

// echoed is a value that must not come back to the client. An operator may read
// it in the log, say as a scope that was asked for.
const echoed = "ZWNoby1tYXJrZXI"

// tokenAbuse is one hostile token request: an honest one with a change.
type tokenAbuse struct {
	name   string
	method string            // default: POST
	path   string            // default: /oauth2/token
	form   map[string]string // laid over the honest form; "-" deletes
	body   string            // instead of the form
	fields []string          // instead of the honest header fields
	want   want
}

// cnfJWK is a cnf_key parameter around the members of a JWK.
func cnfJWK(t *testing.T, members map[string]any) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"jwk": members})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// with is a copy of a JWK with members laid over it.
func with(jwk map[string]any, pairs ...any) map[string]any {
	out := maps.Clone(jwk)
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i].(string)] = pairs[i+1]
	}
	return out
}

// modulus is a random odd number of so many bits as a base64url member. It is
// no product of primes, but nobody can tell.
func modulus(t *testing.T, bits int) string {
	t.Helper()
	b := make([]byte, bits/8+1)
	_, _ = rand.Read(b)
	n := new(big.Int).SetBytes(b)
	n.And(n, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(bits)), big.NewInt(1)))
	n.SetBit(n, bits-1, 1)
	n.SetBit(n, 0, 1)
	return base64.RawURLEncoding.EncodeToString(n.Bytes())
}

func invalidRequest(reason oauth.Reason) want {
	return want{status: http.StatusBadRequest, code: "invalid_request", reason: reason}
}

// tokenAbuses is the table for requests that have nothing to do with cnf_key.
func tokenAbuses() []tokenAbuse {
	reports := []string{"Content-Type", "application/x-www-form-urlencoded", "Authorization", basic("reports", "reports-secret")}
	as := func(authorization string) []string {
		return []string{"Content-Type", "application/x-www-form-urlencoded", "Authorization", authorization}
	}
	unauthenticated := want{status: 401, code: "invalid_client", reason: oauth.ClientUnauthenticated, header: "WWW-Authenticate"}
	inBody := want{status: 400, code: "invalid_client", reason: oauth.ClientUnauthenticated}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	table := []tokenAbuse{
		{name: "T01 GET", method: "GET", want: want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
		{name: "T01 OPTIONS", method: "OPTIONS", want: want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
		{name: "T01 PUT", method: "PUT", want: want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
		{name: "T01 post in small letters", method: "post", want: want{405, "invalid_request", oauth.MethodNotAllowed, false, "Allow"}},
		{name: "T02 multipart", fields: append(as(basic("reports", "reports-secret"))[2:], "Content-Type", "multipart/form-data; boundary=x"), body: "--x--", want: invalidRequest(oauth.ContentTypeWrong)},
		{name: "T02 a longer name", fields: append(as(basic("reports", "reports-secret"))[2:], "Content-Type", "application/x-www-form-urlencoded2"), want: invalidRequest(oauth.ContentTypeWrong)},
		{name: "T02 two content types", fields: append(reports, "Content-Type", "application/json"), want: invalidRequest(oauth.ContentTypeWrong)},
		{name: "T02 JSON", fields: []string{"Content-Type", "application/json"}, body: `{"grant_type":"client_credentials"}`, want: invalidRequest(oauth.ContentTypeWrong)},
		{name: "T02 no content type", fields: []string{"Authorization", basic("reports", "reports-secret")}, want: invalidRequest(oauth.ContentTypeWrong)},
		{name: "T03 body over 64 KiB", form: map[string]string{"state": strings.Repeat("x", 64<<10)}, want: want{413, "invalid_request", oauth.FormTooLarge, false, ""}},
		{name: "T03 over 64 parameters", body: "grant_type=client_credentials" + manyParameters(64), fields: reports, want: invalidRequest(oauth.FormMalformed)},
		{name: "T04 parameter twice", body: "grant_type=client_credentials&scope=reports:read&scope=reports:read", fields: reports, want: invalidRequest(oauth.ParameterRepeated)},
		{name: "T04 unknown parameter twice", body: "grant_type=client_credentials&x=1&x=2", fields: reports, want: invalidRequest(oauth.ParameterRepeated)},
		{name: "T04 secret twice", body: "grant_type=client_credentials&client_id=reports&client_secret=x&client_secret=reports-secret", fields: form, want: invalidRequest(oauth.ParameterRepeated)},
		{name: "T04 a name that is escaped, twice", body: "grant_type=client_credentials&scope=reports:read&%73cope=reports:read", fields: reports, want: invalidRequest(oauth.ParameterRepeated)},
		{name: "T04 secret in the query", path: "/oauth2/token?client_secret=reports-secret&x=" + marker, want: invalidRequest(oauth.ParameterInQuery)},
		{name: "T04 parameter in the query", path: "/oauth2/token?scope=reports:read", want: invalidRequest(oauth.ParameterInQuery)},
		{name: "T05 no grant type", form: map[string]string{"grant_type": "-"}, want: invalidRequest(oauth.ParameterMissing)},
		{name: "T05 empty grant type", form: map[string]string{"grant_type": ""}, want: invalidRequest(oauth.ParameterMissing)},
		{name: "T05 authorization code", form: map[string]string{"grant_type": "authorization_code", "code": marker}, want: want{400, "unsupported_grant_type", oauth.GrantUnsupported, false, ""}},
		{name: "T27 refresh token", form: map[string]string{"grant_type": "refresh_token", "refresh_token": marker}, want: want{400, "unsupported_grant_type", oauth.GrantUnsupported, false, ""}},
		{name: "T05 password", form: map[string]string{"grant_type": "password"}, want: want{400, "unsupported_grant_type", oauth.GrantUnsupported, false, ""}},
		{name: "a client without the grant", fields: as(basic("inspector", "inspector-secret")), want: want{400, "unauthorized_client", oauth.GrantUnauthorized, false, ""}},
		{name: "T06 unknown client", fields: as(basic("nobody", "reports-secret")), want: unauthenticated},
		{name: "T06 wrong secret", fields: as(basic("reports", "wrong")), want: unauthenticated},
		{name: "T06 another client's secret", fields: as(basic("reports", "other-secret")), want: unauthenticated},
		{name: "T06 empty secret", fields: as(basic("reports", "")), want: unauthenticated},
		{name: "T06 unknown client in the body", fields: form, form: map[string]string{"client_id": "nobody", "client_secret": "reports-secret"}, want: inBody},
		{name: "T06 wrong secret in the body", fields: form, form: map[string]string{"client_id": "reports", "client_secret": "wrong"}, want: inBody},
		{name: "T06 no authentication", fields: form, want: inBody},
		{name: "T06 client_id alone", fields: form, form: map[string]string{"client_id": "reports"}, want: inBody},
		{name: "Basic that is not base64", fields: as("Basic %%%"), want: unauthenticated},
		{name: "a Bearer token as client authentication", fields: as("Bearer " + marker), want: unauthenticated},
		{name: "two Authorization fields", fields: append(reports, "Authorization", basic("reports", "reports-secret")), want: unauthenticated},
		{name: "T08 Basic and body", form: map[string]string{"client_id": "reports", "client_secret": "reports-secret"}, want: invalidRequest(oauth.ClientAuthRepeated)},
		{name: "T08 other client_id in the body", form: map[string]string{"client_id": "other"}, want: invalidRequest(oauth.ClientAuthRepeated)},
		{name: "T09 scope not allowed", form: map[string]string{"scope": "reports:read admin"}, want: want{400, "invalid_scope", oauth.ScopeInvalid, false, ""}},
		{name: "T09 scope over 4 KiB", form: map[string]string{"scope": strings.Repeat("reports:read ", 400)}, want: want{400, "invalid_scope", oauth.ScopeInvalid, false, ""}},
		{name: "resource of another audience", form: map[string]string{"resource": "https://elsewhere.example.com"}, want: want{400, "invalid_target", oauth.TargetInvalid, false, ""}},
		{name: "T36 early data, by the word of a proxy", fields: append(reports, "Early-Data", "1"), want: tooEarly},
		{name: "no key where one is required", form: map[string]string{"cnf_key": "-"}, want: invalidRequest(oauth.ConfirmationKeyRequired)},
	}
	for name, id := range map[string]string{"NUL": "re\x00ports", "CRLF": "re\r\nports", "10 KB": strings.Repeat("r", 10<<10), "invalid UTF-8": "re\xffports"} {
		table = append(table,
			tokenAbuse{name: "T33 " + name, fields: as(basic(id, "reports-secret")), want: unauthenticated},
			tokenAbuse{name: "T33 in the body " + name, fields: form, form: map[string]string{"client_id": id, "client_secret": "reports-secret"}, want: inBody})
	}
	hostile := map[string]want{
		"grant_type":            {400, "unsupported_grant_type", oauth.GrantUnsupported, false, ""},
		"scope":                 {400, "invalid_scope", oauth.ScopeInvalid, false, ""},
		"resource":              {400, "invalid_target", oauth.TargetInvalid, false, ""},
		"cnf_key":               invalidRequest(oauth.ConfirmationKeyInvalid),
		"client_id":             invalidRequest(oauth.ClientAuthRepeated),
		"client_secret":         invalidRequest(oauth.ClientAuthRepeated),
		"client_assertion":      invalidRequest(oauth.ClientAuthRepeated),
		"client_assertion_type": invalidRequest(oauth.ClientAuthRepeated),
	}
	for parameter, w := range hostile {
		for name, value := range map[string]string{"markup": `"><script>` + echoed, "CRLF": echoed + "\r\nX-Injected: 1", "a placeholder": "{env.HOME}" + echoed} {
			table = append(table, tokenAbuse{name: "T34 " + name + " as " + parameter, form: map[string]string{parameter: value}, want: w})
		}
	}
	return table
}

func manyParameters(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "&p%d=1", i)
	}
	return b.String()
}

// keyAbuses is the table of cnf_key values.
func keyAbuses(t *testing.T) []tokenAbuse {
	ec, ed, rsa2048 := fixture.Load(t, "p256").JWK, fixture.Load(t, "ed25519").JWK, fixture.Load(t, "rsa2048").JWK
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	good := string(fixture.Load(t, "p256").JSON(t))
	values := map[string]string{
		"T10 not base64":                "%%%" + marker,
		"T10 not JSON":                  b64("not JSON " + marker),
		"T10 over 8 KiB":                b64(`{"jwk":` + good + `,"x":"` + strings.Repeat("x", 8<<10) + `"}`),
		"T10 duplicate member":          b64(`{"jwk":{"kty":"RSA",` + good[1:] + `}`),
		"T10 duplicate wrapper":         b64(`{"jwk":` + good + `,"jwk":` + good + `}`),
		"T10 trailing bytes":            b64(`{"jwk":` + good + `}x`),
		"T10 depth over 4":              b64(`{"jwk":{"x":[[[[]]]],` + good[1:] + `}`),
		"T10 the {test:123} of old":     b64(`{ "jwk": { "test": 123 } }`),
		"T10 jwk is a string":           b64(`{"jwk":"x"}`),
		"T10 mixed alphabets":           "-+" + b64(good),
		"T12 oct":                       cnfJWK(t, map[string]any{"kty": "oct", "k": marker}),
		"T12 X25519":                    cnfJWK(t, with(ed, "crv", "X25519")),
		"T12 secp256k1":                 cnfJWK(t, with(ec, "crv", "secp256k1")),
		"T12 P-521":                     cnfJWK(t, fixture.Load(t, "p521").JWK),
		"T13 RSA 1024":                  cnfJWK(t, fixture.Load(t, "rsa1024").JWK),
		"T13 RSA 512":                   cnfJWK(t, with(rsa2048, "n", modulus(t, 512))),
		"T13 RSA 2047":                  cnfJWK(t, with(rsa2048, "n", modulus(t, 2047))),
		"T13 RSA 16384":                 cnfJWK(t, with(rsa2048, "n", modulus(t, 16384))),
		"T13 even modulus":              cnfJWK(t, with(rsa2048, "n", evenModulus(t))),
		"T13 e=1":                       cnfJWK(t, with(rsa2048, "e", "AQ")),
		"T13 e=2":                       cnfJWK(t, with(rsa2048, "e", "Ag")),
		"T13 e=3":                       cnfJWK(t, with(rsa2048, "e", "Aw")),
		"T13 e=2^31-1":                  cnfJWK(t, with(rsa2048, "e", "f____w")),
		"T13 leading zero in n":         cnfJWK(t, with(rsa2048, "n", zeroInFront(t, rsa2048["n"]))),
		"T13 leading zero in e":         cnfJWK(t, with(rsa2048, "e", "AAEAAQ")),
		"T14 31 bytes":                  cnfJWK(t, with(ed, "x", base64.RawURLEncoding.EncodeToString(make([]byte, 31)))),
		"T14 33 bytes":                  cnfJWK(t, with(ed, "x", base64.RawURLEncoding.EncodeToString(make([]byte, 33)))),
		"T15 off the curve":             cnfJWK(t, with(ec, "y", ec["x"])),
		"T15 (0,0)":                     cnfJWK(t, with(ec, "x", strings.Repeat("A", 43), "y", strings.Repeat("A", 43))),
		"T15 short x":                   cnfJWK(t, with(ec, "x", base64.RawURLEncoding.EncodeToString([]byte{1, 2, 3}))),
		"T16 alg of another curve":      cnfJWK(t, with(ec, "alg", "ES384")),
		"T16 alg of another type":       cnfJWK(t, with(ec, "alg", "RS256")),
		"T16 kty of another type":       cnfJWK(t, with(ec, "kty", "RSA")),
		"T16 use enc":                   cnfJWK(t, with(ec, "use", "enc")),
		"T16 key_ops without verify":    cnfJWK(t, with(ec, "key_ops", []string{"sign"})),
		"a key by reference":            cnfJWK(t, with(ec, "x5u", "https://evil.example/"+marker)),
		"a jku confirmation":            b64(`{"jku":"https://evil.example/` + marker + `"}`),
		"another confirmation besides":  b64(`{"jwk":` + good + `,"x5t#S256":"` + marker + `"}`),
		"T10 a thumbprint confirmation": b64(`{"jkt":"` + fixture.Load(t, "p256").Thumbprint(t) + `"}`),
	}
	for i, low := range lowOrder {
		values[fmt.Sprintf("T14 low order point %d", i)] = cnfJWK(t, with(ed, "x", hexToBase64(t, low)))
	}
	for _, private := range []string{"d", "p", "q", "k", "priv", "dp", "dq", "qi"} {
		values["T11 private member "+private] = cnfJWK(t, with(ec, private, marker))
	}
	var table []tokenAbuse
	for name, value := range values {
		table = append(table, tokenAbuse{name: name, form: map[string]string{"cnf_key": value}, want: invalidRequest(oauth.ConfirmationKeyInvalid)})
	}
	return table
}

// lowOrder are the encodings of the points of Ed25519 whose order divides 8,
// canonical and not: with such a key one signature fits every message.
var lowOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

func hexToBase64(t *testing.T, digits string) string {
	t.Helper()
	n, ok := new(big.Int).SetString(digits, 16)
	if !ok {
		t.Fatalf("%q is not hexadecimal", digits)
	}
	return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32)))
}

func evenModulus(t *testing.T) string {
	t.Helper()
	key := fixture.Load(t, "rsa2048").Public().(*rsa.PublicKey)
	return base64.RawURLEncoding.EncodeToString(new(big.Int).Add(key.N, big.NewInt(1)).Bytes())
}

func zeroInFront(t *testing.T, member any) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(member.(string))
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(append([]byte{0}, b...))
}

func TestTokenEndpointRefusesAbuse(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	for _, w := range worlds(t) {
		s, c := w.server, w.client(t, w.protocol)
		table := tokenAbuses()
		if w.store == "file" { // no store is asked about a cnf_key
			table = append(table, keyAbuses(t)...)
		}
		for _, abuse := range table {
			t.Run(w.name+" "+abuse.name, func(t *testing.T) {
				since := len(s.log(t))
				got := do(t, c, abuse.request(t, s, key))
				if got.proto != w.protocol {
					t.Fatalf("spoke %s, want %s", got.proto, w.protocol)
				}
				s.refusedEndpoint(t, got, since, abuse.want)
				s.honest(t, c, key)
			})
		}
		s.assertSilent(t, marker, "reports-secret", "other-secret")
	}
}

// request makes the hostile request from an honest one.
func (a tokenAbuse) request(t *testing.T, s *server, key fixture.Key) *http.Request {
	t.Helper()
	method, path, body, fields := a.method, a.path, a.body, a.fields
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/oauth2/token"
	}
	if fields == nil {
		fields = []string{"Content-Type", "application/x-www-form-urlencoded", "Authorization", basic("reports", "reports-secret")}
	}
	if body == "" && method == http.MethodPost {
		form := url.Values{"grant_type": {"client_credentials"}, "cnf_key": {cnfKey(t, key)}}
		for name, value := range a.form {
			form.Set(name, value)
			if value == "-" {
				form.Del(name)
			}
		}
		form.Set("unknown", marker)
		body = form.Encode()
	}
	fields = slices.Concat([]string{"X-Forwarded-For", newAddress()}, planted, fields)
	return newRequest(t, method, s.site("auth", path), body, fields...)
}

func TestUnknownClientAndWrongSecretGetTheSameBytes(t *testing.T) {
	t.Parallel()
	covers(t, "T06")
	checked(t, "HTTP/1.1")
	s := startAbused(t)
	c := s.client(t, "HTTP/1.1")
	ask := func(id string, inBody bool) string {
		form := url.Values{"grant_type": {"client_credentials"}}
		var fields []string
		if inBody {
			form.Set("client_id", id)
			form.Set("client_secret", "x")
		} else {
			fields = []string{"Authorization", basic(id, "x")}
		}
		got := s.post(t, c, "/oauth2/token", form, fields...)
		got.header.Del("Date")
		return fmt.Sprint(got)
	}
	for name, inBody := range map[string]bool{"Basic": false, "in the body": true} {
		if unknown, wrong := ask("nobody", inBody), ask("reports", inBody); unknown != wrong {
			t.Errorf("%s: got %s for an unknown client and %s for a wrong secret, want the same", name, unknown, wrong)
		}
	}
}

func TestTokenEndpointTakesEveryPrintableCredential(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	key := fixture.Load(t, "p256")
	const id, secret = "cc:odd/1", `p%:+ &a~/=secret"<>`
	for _, protocol := range protocols {
		c := s.client(t, protocol)
		form := url.Values{"grant_type": {"client_credentials"}, "cnf_key": {cnfKey(t, key)}}
		if got := s.post(t, c, "/oauth2/token", form, "Authorization", basic(id, secret)); got.status != http.StatusOK {
			t.Errorf("%s, Basic: got %d %s, want 200", protocol, got.status, got.body)
		}
		form.Set("client_id", id)
		form.Set("client_secret", secret)
		if got := s.post(t, c, "/oauth2/token", form); got.status != http.StatusOK {
			t.Errorf("%s, body: got %d %s, want 200", protocol, got.status, got.body)
		}
	}
	s.assertSilent(t, secret, url.QueryEscape(secret))
}
