// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

const oddSecret = `p%:+ &a~/=secret"<>`

// raw is the Authorization field as curl -u makes it.
func raw(id, secret string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))}}
}

// encoded is the Authorization field of RFC 6749 §2.3.1.
func encoded(id, secret string) http.Header {
	return raw(url.QueryEscape(id), url.QueryEscape(secret))
}

// body is a form; pairs are name, value, name, value.
func body(pairs ...string) oauth.Form {
	values := map[string][]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = append(values[pairs[i]], pairs[i+1])
	}
	return oauth.NewForm(values)
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	r := newRegistry(
		t, Config{ID: "reports", Secrets: []string{"secret"}},
		Config{ID: "rolling", Secrets: []string{"old", "new", "newer"}},
		Config{ID: "cc:odd/1", Secrets: []string{oddSecret}},
		Config{ID: "odd/1", Secrets: []string{oddSecret}},
		Config{ID: "a%2Fb", Secrets: []string{"looks%20encoded"}},
		Config{ID: "a+b c", Secrets: []string{"a b+c"}},
	)
	const long = "and is the longest that may be"
	longest := newRegistry(t, Config{ID: strings.Repeat("%", maxID), Secrets: []string{strings.Repeat(":", maxSecret)}})
	tests := []struct {
		name   string
		header http.Header
		form   oauth.Form
		want   string
	}{
		{"basic", raw("reports", "secret"), body(), "reports"},
		{"post", nil, body("client_id", "reports", "client_secret", "secret"), "reports"},
		{"the first of several secrets", raw("rolling", "old"), body(), "rolling"},
		{"the last of several secrets", nil, body("client_id", "rolling", "client_secret", "newer"), "rolling"},
		{"odd characters, form-encoded", encoded("cc:odd/1", oddSecret), body(), "cc:odd/1"},
		{"odd characters in the body", nil, body("client_id", "cc:odd/1", "client_secret", oddSecret), "cc:odd/1"},
		{"odd characters, raw", raw("odd/1", oddSecret), body(), "odd/1"},
		{"spaces and plus signs, form-encoded", encoded("a+b c", "a b+c"), body(), "a+b c"},
		{"spaces and plus signs, raw", raw("a+b c", "a b+c"), body(), "a+b c"},
		{"an id that looks form-encoded, raw", raw("a%2Fb", "looks%20encoded"), body(), "a%2Fb"},
		{"an id that looks form-encoded, form-encoded", encoded("a%2Fb", "looks%20encoded"), body(), "a%2Fb"},
		{"the same client_id beside basic", raw("reports", "secret"), body("client_id", "reports"), "reports"},
		{"the decoded client_id beside basic", encoded("cc:odd/1", oddSecret), body("client_id", "cc:odd/1"), "cc:odd/1"},
		{"the raw client_id beside basic", raw("a%2Fb", "looks%20encoded"), body("client_id", "a%2Fb"), "a%2Fb"},
		{"an empty client_secret beside basic", raw("reports", "secret"), body("client_id", "", "client_secret", ""), "reports"},
		{"the longest id and secret, form-encoded", encoded(strings.Repeat("%", maxID), strings.Repeat(":", maxSecret)), body(), long},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			registry, want := r, tt.want
			if want == long {
				registry, want = longest, strings.Repeat("%", maxID)
			}
			a, refusal := registry.Authenticate(tt.header, tt.form)
			if refusal != nil {
				t.Fatalf("Authenticate refused: %s (%v)", refusal, refusal.Cause)
			}
			if got := a.Client.ID(); got != want {
				t.Errorf("Authenticate = %q, want %q", got, want)
			}
			if a.UsedHeader != (tt.header != nil) {
				t.Errorf("UsedHeader = %v", a.UsedHeader)
			}
			for range 2 {
				if refusal := a.Consume(t.Context()); refusal != nil {
					t.Errorf("Consume = %v, want a secret to serve again", refusal)
				}
			}
		})
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	t.Parallel()
	r := newRegistry(
		t, Config{ID: "reports", Secrets: []string{"secret"}},
		Config{ID: "other", Secrets: []string{"other secret"}},
		Config{ID: "cc:odd/1", Secrets: []string{oddSecret}},
		Config{ID: "a/b", Secrets: []string{"decoded"}},
		Config{ID: "a%2Fb", Secrets: []string{"raw"}},
	)
	bearer := http.Header{"Authorization": {"Bearer token"}}
	two := http.Header{"Authorization": {raw("reports", "secret").Get("Authorization"), "Bearer token"}}
	tests := []struct {
		name   string
		header http.Header
		form   oauth.Form
		want   oauth.Reason
	}{
		{"nothing", nil, body(), oauth.ClientUnauthenticated},
		{"an unknown client, basic", raw("nobody", "secret"), body(), oauth.ClientUnauthenticated},
		{"an unknown client, post", nil, body("client_id", "nobody", "client_secret", "secret"), oauth.ClientUnauthenticated},
		{"a wrong secret, basic", raw("reports", "Secret"), body(), oauth.ClientUnauthenticated},
		{"a wrong secret, post", nil, body("client_id", "reports", "client_secret", "secret "), oauth.ClientUnauthenticated},
		{"the secret of another client", raw("reports", "other secret"), body(), oauth.ClientUnauthenticated},
		{"an id in other letter case", raw("Reports", "secret"), body(), oauth.ClientUnauthenticated},
		{"an empty secret, basic", raw("reports", ""), body(), oauth.ClientUnauthenticated},
		{"an empty secret, post", nil, body("client_id", "reports", "client_secret", ""), oauth.ClientUnauthenticated},
		{"client_id alone", nil, body("client_id", "reports"), oauth.ClientUnauthenticated},
		{"client_secret alone", nil, body("client_secret", "secret"), oauth.ClientUnauthenticated},
		{"a client_assertion", nil, body("client_id", "reports", "client_assertion", "e30.e30.x"), oauth.ClientUnauthenticated},
		{"an id with a colon, raw", raw("cc:odd/1", oddSecret), body(), oauth.ClientUnauthenticated},
		{"another scheme", bearer, body(), oauth.ClientUnauthenticated},
		{"two Authorization fields", two, body(), oauth.ClientUnauthenticated},
		{"a secret that is far too long", nil, body("client_id", "reports", "client_secret", strings.Repeat("x", 60<<10)), oauth.ClientUnauthenticated},

		{"basic and client_secret", raw("reports", "secret"), body("client_secret", "secret"), oauth.ClientAuthRepeated},
		{"basic and both in the body", raw("reports", "secret"), body("client_id", "reports", "client_secret", "secret"), oauth.ClientAuthRepeated},
		{"another scheme and both in the body", bearer, body("client_id", "reports", "client_secret", "secret"), oauth.ClientAuthRepeated},
		{"basic and another client_id", raw("reports", "secret"), body("client_id", "other"), oauth.ClientAuthRepeated},
		{"basic and an unknown client_id", raw("reports", "secret"), body("client_id", "nobody"), oauth.ClientAuthRepeated},

		// the client that is let in must be the one that the body names
		{"client_id of the decoded reading, secret of the raw one", raw("a%2Fb", "raw"), body("client_id", "a/b"), oauth.ClientUnauthenticated},
		{"client_id of the raw reading, secret of the decoded one", raw("a%2Fb", "decoded"), body("client_id", "a%2Fb"), oauth.ClientUnauthenticated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, refusal := r.Authenticate(tt.header, tt.form)
			if refusal == nil || a.Client != nil {
				t.Fatalf("Authenticate = %v, %v; want a refusal alone", a.Client, refusal)
			}
			if refusal.Reason != tt.want {
				t.Errorf("refused with %s, want %s", refusal.Reason, tt.want)
			}
			if a.UsedHeader != (tt.header != nil) {
				t.Errorf("UsedHeader = %v", a.UsedHeader)
			}
		})
	}
}

// The reason is the same for all of them, and so is the answer's status.
func TestTheAnswerSaysWhatTheCredentialsLack(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, Config{ID: "reports", Secrets: []string{"secret"}})
	bearer := http.Header{"Authorization": {"Bearer token"}}
	for name, test := range map[string]struct {
		header http.Header
		form   oauth.Form
		want   string
	}{
		"nothing":                      {nil, body(), "neither an Authorization field nor both"},
		"client_id alone":              {nil, body("client_id", "reports"), "neither an Authorization field nor both"},
		"client_secret alone":          {nil, body("client_secret", "secret"), "neither an Authorization field nor both"},
		"another scheme":               {bearer, body(), "not Basic"},
		"another scheme and client_id": {bearer, body("client_id", "reports"), "not Basic"},
	} {
		_, refusal := r.Authenticate(test.header, test.form)
		if refusal == nil || refusal.Reason != oauth.ClientUnauthenticated || !strings.Contains(refusal.Detail, test.want) {
			t.Errorf("%s: Authenticate = %v, want %q", name, refusal, test.want)
		}
	}
}

// Failures are counted by it, so it must be the client that was tried.
func TestClaimedID(t *testing.T) {
	t.Parallel()
	r := newRegistry(
		t, Config{ID: "reports", Secrets: []string{"secret"}},
		Config{ID: "a/b", Secrets: []string{"secret"}},
	)
	for name, test := range map[string]struct {
		header http.Header
		form   oauth.Form
		want   string
	}{
		"nothing":                          {nil, body(), ""},
		"client_secret alone":              {nil, body("client_secret", "x"), ""},
		"in the body":                      {nil, body("client_id", "reports", "client_secret", "x"), "reports"},
		"in the body, with another scheme": {http.Header{"Authorization": {"Bearer x"}}, body("client_id", "reports"), "reports"},
		"in the field":                     {raw("reports", "x"), body(), "reports"},
		"in the field, right":              {raw("reports", "secret"), body(), "reports"},
		"in the field, form-encoded":       {encoded("a/b", "x"), body(), "a/b"},
		"in both":                          {raw("reports", "x"), body("client_id", "reports"), "reports"},
		"in both, by the raw reading":      {encoded("a/b", "x"), body("client_id", "a%2Fb"), "a%2Fb"},
		"another one in the body":          {raw("reports", "x"), body("client_id", "nobody"), "nobody"},
	} {
		if a, _ := r.Authenticate(test.header, test.form); a.ClaimedID != test.want {
			t.Errorf("%s: claimed %q, want %q", name, a.ClaimedID, test.want)
		}
	}
}

// Whoever stands in for clients that do not exist is no client, even to one
// who knew a secret of his.
func TestNobodyIsLetInAsNobody(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, Config{ID: "reports", Secrets: []string{"secret"}})
	r.nobody.digests[0] = sha256.Sum256([]byte("guessed"))
	a, refusal := r.Authenticate(nil, body("client_id", "nobody", "client_secret", "guessed"))
	if a.Client != nil || !errors.Is(refusal, errUnknown) {
		t.Errorf("Authenticate = %v, %v; want %v", a.Client, refusal, errUnknown)
	}
}

func TestZeroRegistryAuthenticatesNobody(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*Registry{"zero": {}, "empty": newRegistry(t)} {
		a, refusal := r.Authenticate(nil, body("client_id", "a", "client_secret", "b"))
		if a.Client != nil || refusal == nil || refusal.Reason != oauth.ClientUnauthenticated {
			t.Errorf("%s: Authenticate = %v, %v; want %s", name, a.Client, refusal, oauth.ClientUnauthenticated)
		}
	}
}

// Two clients whose ids are the two readings of one field: RFC 6749 decides.
func TestTheFormDecodedReadingGoesFirst(t *testing.T) {
	t.Parallel()
	r := newRegistry(
		t, Config{ID: "a%2Fb", Secrets: []string{"secret"}},
		Config{ID: "a/b", Secrets: []string{"secret"}},
	)
	for _, tt := range []struct {
		name string
		form oauth.Form
		want string
	}{
		{"no client_id", body(), "a/b"},
		{"the client_id of the raw reading", body("client_id", "a%2Fb"), "a%2Fb"},
	} {
		a, refusal := r.Authenticate(raw("a%2Fb", "secret"), tt.form)
		if refusal != nil {
			t.Fatalf("%s: Authenticate refused: %s", tt.name, refusal)
		}
		if got := a.Client.ID(); got != tt.want {
			t.Errorf("%s: Authenticate = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// answer is all that a client sees of a refusal.
func answer(t *testing.T, r *Registry, h http.Header, form oauth.Form) *httptest.ResponseRecorder {
	t.Helper()
	a, refusal := r.Authenticate(h, form)
	if refusal == nil {
		t.Fatal("Authenticate refused nothing")
	}
	w := httptest.NewRecorder()
	oauth.WriteError(w, refusal, a.UsedHeader)
	return w
}

func TestUnknownClientAndWrongSecretAreAnsweredAlike(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, Config{ID: "reports", Secrets: []string{"secret", "another"}})
	tests := []struct {
		name           string
		unknown, wrong *httptest.ResponseRecorder
		status         int
	}{
		{
			"basic", answer(t, r, raw("nobody", "x"), body()),
			answer(t, r, raw("reports", "x"), body()), http.StatusUnauthorized,
		},
		{
			"basic, two readings", answer(t, r, raw("no%20body", "x"), body()),
			answer(t, r, raw("re%70orts", "x"), body()), http.StatusUnauthorized,
		},
		{
			"post", answer(t, r, nil, body("client_id", "nobody", "client_secret", "x")),
			answer(t, r, nil, body("client_id", "reports", "client_secret", "x")), http.StatusBadRequest,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.unknown.Code != tt.status || tt.wrong.Code != tt.status {
				t.Errorf("status %d for an unknown client, %d for a wrong secret; want %d", tt.unknown.Code, tt.wrong.Code, tt.status)
			}
			if got, want := tt.unknown.Body.String(), tt.wrong.Body.String(); got != want {
				t.Errorf("an unknown client gets %s, a wrong secret %s", got, want)
			}
			if !maps.EqualFunc(tt.unknown.Header(), tt.wrong.Header(), func(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }) {
				t.Errorf("an unknown client gets %v, a wrong secret %v", tt.unknown.Header(), tt.wrong.Header())
			}
			challenge := tt.wrong.Header().Get("WWW-Authenticate")
			if (challenge != "") != (tt.status == http.StatusUnauthorized) {
				t.Errorf("status %d with WWW-Authenticate %q", tt.status, challenge)
			}
		})
	}
}

// The log must tell what the answer must not.
func TestTheCauseTellsAWrongSecretFromAnUnknownClient(t *testing.T) {
	t.Parallel()
	r := newKeyed(t,
		Config{ID: "a/b", Secrets: []string{"secret"}},
		Config{ID: "keys", Keys: []*jwk.Key{public(t, "p256", nil)}},
	)
	tests := []struct {
		name   string
		header http.Header
		want   string
	}{
		{"an unknown client", raw("hunter2", "x"), "no client of this id is registered"},
		{"a wrong secret", raw("a/b", "hunter2"), `client "a/b" sent a wrong secret`},
		{"a wrong secret, form-encoded", encoded("a/b", "hunter2"), `client "a/b" sent a wrong secret`},
		{"a secret of a client that has none", raw("keys", "hunter2"), `client "keys" has keys and no secret, but sent one`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, refusal := r.Authenticate(tt.header, body())
			if refusal == nil || refusal.Cause == nil {
				t.Fatalf("refusal %v, want one with a cause", refusal)
			}
			if got := refusal.Cause.Error(); got != tt.want {
				t.Errorf("cause %q, want %q", got, tt.want)
			}
			if !errors.Is(refusal, refusal.Cause) {
				t.Error("the cause is not in the chain")
			}
		})
	}
}

func TestHostileClientIDsAreUnauthenticatedAndNotEchoed(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, Config{ID: "reports", Secrets: []string{"secret"}})
	tests := []struct{ name, id string }{
		{"NUL", "reports\x00"},
		{"CRLF", "reports\r\nSet-Cookie: a=b"},
		{"10 KB", strings.Repeat("reports", 1500)},
		{"invalid UTF-8", "reports\xff\xfe"},
		{"markup", `"><script>alert(1)</script>`},
		{"a placeholder", "{env.HOME}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for way, w := range map[string]*httptest.ResponseRecorder{
				"basic raw":      answer(t, r, raw(tt.id, "secret"), body()),
				"basic encoded":  answer(t, r, encoded(tt.id, "secret"), body()),
				"basic secret":   answer(t, r, encoded("reports", tt.id), body()),
				"body":           answer(t, r, nil, body("client_id", tt.id, "client_secret", "secret")),
				"body secret":    answer(t, r, nil, body("client_id", "reports", "client_secret", tt.id)),
				"body id beside": answer(t, r, raw("reports", "wrong"), body("client_id", "reports", "scope", tt.id)),
			} {
				if !strings.Contains(w.Body.String(), `"error":"invalid_client"`) {
					t.Errorf("%s: %s, want invalid_client", way, w.Body)
				}
				all := w.Body.String() + w.Header().Get("WWW-Authenticate")
				for _, part := range []string{"Cookie", "alert", "HOME", "reports", "\x00", "\xff"} {
					if strings.Contains(all, part) {
						t.Errorf("%s: %q is echoed: %s", way, part, all)
					}
				}
			}
		})
	}
}

// Both must take the same time; run it after every change of match.
func BenchmarkAuthenticateFails(b *testing.B) {
	r := newRegistry(b, Config{ID: "reports", Secrets: []string{"secret"}}, Config{ID: "rolling", Secrets: []string{"old", "new"}})
	for _, bm := range []struct{ name, id string }{
		{"known client", "reports"}, {"unknown client", "nobody1"},
	} {
		header, form := raw(bm.id, "wrong"), body()
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, refusal := r.Authenticate(header, form); refusal == nil {
					b.Fatal("a wrong secret passed")
				}
			}
		})
	}
}
