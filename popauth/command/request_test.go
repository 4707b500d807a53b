// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

const goodNonce = "the-nonce"

// api is an API that challenges every proof without its nonce, as often as
// it is asked, and verifies the others with the server's own code.
type api struct {
	*httptest.Server
	t          *testing.T
	thumbprint string
	token      string
	nonce      string // that it wants; what it offers is goodNonce

	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
	proofs   []string
}

func newAPI(t *testing.T, key, token string) *api {
	t.Helper()
	p, err := terminal{err: t.Output()}.readKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a := &api{t: t, thumbprint: p.key.Thumbprint(), token: token, nonce: goodNonce}
	a.Server = httptest.NewUnstartedServer(a)
	a.EnableHTTP2 = true
	a.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that don't trust us are expected
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

// ca writes the server's certificate into a file for --cacert.
func (a *api) ca() string {
	a.t.Helper()
	name := filepath.Join(a.t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	if err := os.WriteFile(name, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return name
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.requests = append(a.requests, r)
	a.bodies = append(a.bodies, string(body))
	a.proofs = append(a.proofs, r.Header.Get("DPoP"))
	a.mu.Unlock()

	if got, want := r.Header.Get("Authorization"), "DPoP "+a.token; got != want {
		a.t.Errorf("Authorization = %q, want %q", got, want)
	}
	target, err := dpop.Normalize("https://" + r.Host + r.URL.EscapedPath())
	if err != nil {
		a.t.Error(err)
	}
	_, refusal := dpop.Verify(r.Header.Get("DPoP"), dpop.Want{
		Thumbprint: a.thumbprint, Method: r.Method, URLs: []string{target}, TokenHash: dpop.TokenHash(a.token),
		Fresh: func(p *dpop.Proof) *oauth.Refusal {
			if !p.HasNonce {
				return oauth.Refuse(oauth.NonceMissing, "")
			}
			if p.Nonce != a.nonce {
				return oauth.Refuse(oauth.NonceInvalid, "")
			}
			return nil
		},
	})
	if refusal != nil {
		rule := refusal.Reason.Rule()
		w.Header().Set("DPoP-Nonce", goodNonce)
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`DPoP error="%s", error_description="%s"`, rule.Code, refusal.Description()))
		w.WriteHeader(rule.API)
		_, _ = io.WriteString(w, "refused\n")
		return
	}
	_, _ = io.WriteString(w, "the reports\n")
}

func TestRequestAnswersAChallengeOnce(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"", "1.1", "2", "3"} {
		t.Run("HTTP "+version, func(t *testing.T) {
			t.Parallel()
			key := keyFile(t, "ES256")
			a := newAPI(t, key, "token-of-the-client")
			overUDP(t, a.Server)
			stdout, stderr := mustPop(t, "request", "--key", key, "--token", a.token, "--cacert", a.ca(), "--http", version,
				a.URL+"/reports/2026?month=May#top")
			if stdout != "the reports\n" || stderr != "" {
				t.Errorf("stdout = %q, stderr = %q; want the reports and nothing", stdout, stderr)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if got, want := len(a.requests), 2; got != want {
				t.Fatalf("requests = %d, want %d", got, want)
			}
			if a.proofs[0] == a.proofs[1] {
				t.Error("the second attempt has the proof of the first")
			}
			if got, want := a.requests[1].URL.RequestURI(), "/reports/2026?month=May"; got != want {
				t.Errorf("target = %q, want %q", got, want)
			}
			if want := map[string]int{"": 2, "1.1": 1, "2": 2, "3": 3}[version]; a.requests[0].ProtoMajor != want {
				t.Errorf("protocol = %s, want major version %d", a.requests[0].Proto, want)
			}
		})
	}
}

func TestRequestGivesUpAfterASecondChallenge(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	a := newAPI(t, key, "token")
	a.nonce = "another"
	stdout, stderr, err := pop(t, "", "request", "--key", key, "--token", "token", "--cacert", a.ca(), a.URL)
	if err == nil {
		t.Error("a 401 is no error")
	}
	if got, want := len(a.requests), 2; got != want {
		t.Errorf("requests = %d, want %d", got, want)
	}
	if stdout != "refused\n" {
		t.Errorf("stdout = %q, want the body of the last answer", stdout)
	}
	for _, want := range []string{`error: the answer is 401 Unauthorized, "use_dpop_nonce": "the nonce of the proof`, "hint: the server does not take the nonce"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr = %q, want %q in it", stderr, want)
		}
	}
}

func TestRequestSendsWhatCurlWould(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "Ed25519")
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("b=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		args                      []string
		method, body, contentType string
	}{
		"nothing: GET":                 {nil, "GET", "", ""},
		"data: POST of a form":         {[]string{"-d", "a=1", "-d", "@" + file}, "POST", "a=1&b=2\n", "application/x-www-form-urlencoded"},
		"data and a method":            {[]string{"-X", "PUT", "-d", "a=1"}, "PUT", "a=1", "application/x-www-form-urlencoded"},
		"data and a content type":      {[]string{"-d", "{}", "-H", "content-type: application/json"}, "POST", "{}", "application/json"},
		"a method without data":        {[]string{"-X", "DELETE"}, "DELETE", "", ""},
		"a method that nobody knows":   {[]string{"-X", "SEARCH"}, "SEARCH", "", ""},
		"a field with a colon in it":   {[]string{"-H", "X-Time: 12:30"}, "GET", "", ""},
		"data that is empty is a body": {[]string{"-d", ""}, "POST", "", "application/x-www-form-urlencoded"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, key, "token")
			mustPop(t, append([]string{"request", "--key", key, "--token", "token", "-k", a.URL + "/reports"}, c.args...)...)
			for i, r := range a.requests {
				if r.Method != c.method || a.bodies[i] != c.body || r.Header.Get("Content-Type") != c.contentType {
					t.Errorf("attempt %d: %s %q %q, want %s %q %q", i, r.Method, a.bodies[i], r.Header.Get("Content-Type"), c.method, c.body, c.contentType)
				}
				if strings.Contains(name, "colon") && r.Header.Get("X-Time") != "12:30" {
					t.Errorf("attempt %d: X-Time = %q, want 12:30", i, r.Header.Get("X-Time"))
				}
			}
		})
	}
}

func TestRequestWritesHeadAndBodyWhereToldTo(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	a := newAPI(t, key, "token")
	file := filepath.Join(t.TempDir(), "answer")
	stdout, _ := mustPop(t, "request", "--key", key, "--token", "token", "-k", "--http", "1.1", "-i", "-o", file, a.URL)
	if stdout != "" {
		t.Errorf("stdout = %q, want nothing", stdout)
	}
	answer, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(answer), "\n\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200 OK\n") || body != "the reports\n" {
		t.Errorf("answer = %q, want a head and the body", answer)
	}
}

func TestRequestShowsBothAttemptsWithoutSecrets(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	token := "pop_at_abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	a := newAPI(t, key, token)
	_, stderr := mustPop(t, "request", "--key", key, "--token", token, "-k", "-v", "-H", "Cookie: session=1234", a.URL+"/x")
	for _, want := range []string{"> GET /x HTTP/2.0\n", "> Authorization: DPoP pop_at_abcdefghi…\n", "< HTTP/2.0 401", "< DPoP-Nonce: " + goodNonce, "< HTTP/2.0 200", "> Cookie: …"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	for _, secret := range append(a.proofs, token, "1234") {
		if strings.Contains(stderr, secret) {
			t.Errorf("stderr has the secret %q in it", secret)
		}
	}
}

func TestRequestRefusesBeforeSending(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	with := func(args ...string) []string {
		return append([]string{"request", "--key", key, "--token", "token"}, args...)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a URL without a scheme":            {with("api.example.com/reports"), "hint: write it with its scheme"},
		"another scheme":                    {with("ftp://api.example.com/"), `unknown scheme "ftp"`},
		"plain HTTP to another machine":     {with("http://api.example.com/"), "hint: use https"},
		"a password in the URL":             {with("https://me:pw@api.example.com/"), "user name or password"},
		"a field that we make":              {with("-H", "dpop: x", "https://localhost/"), "the field dpop is made by this command"},
		"an Authorization field":            {with("-H", "authorization: Bearer x", "https://localhost/"), "hint: give the token with --token"},
		"a Host field":                      {with("-H", "Host: x", "https://localhost/"), "follows from the URL"},
		"a field without a colon":           {with("-H", "Accept", "https://localhost/"), "no colon"},
		"an HTTP version that isn't there":  {with("--http", "0.9", "https://localhost/"), "expected 1.1, 2 or 3"},
		"HTTP/3 without TLS":                {with("--http", "3", "http://localhost/"), "hint: use https, or another version"},
		"a CA file without a certificate":   {with("--cacert", key, "https://localhost/"), "no PEM certificate"},
		"a token response instead of token": {[]string{"request", "--key", key, "--token", `{"access_token":"x"}`, "https://localhost/"}, "hint: caddy pop token --raw"},
		"a token of two words":              {[]string{"request", "--key", key, "--token", "a b", "https://localhost/"}, "one word"},
		"no token":                          {[]string{"request", "--key", key, "https://localhost/"}, "hint: caddy pop token gets one"},
		"no key":                            {[]string{"request", "--token", "x", "https://localhost/"}, "hint: caddy pop key --out key.json makes one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, stderr, err := pop(t, "", c.args...)
			if err == nil || !strings.Contains(stderr, c.want) {
				t.Errorf("error = %v, stderr = %q; want %q in it", err, stderr, c.want)
			}
		})
	}
}

func TestRequestExplainsTransportErrors(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	a := newAPI(t, key, "token")
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	_, port, _ := net.SplitHostPort(nobody)
	_, tlsPort, _ := net.SplitHostPort(a.Listener.Addr().String())
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nobody listens":             {[]string{"https://" + nobody}, "hint: nothing listens there"},
		"nobody listens, by name":    {[]string{"https://api.localhost:" + port}, "hint: nothing listens there"},
		"an unknown authority":       {[]string{a.URL}, "root.crt"},
		"a certificate for another":  {[]string{"--cacert", a.ca(), "https://api.localhost:" + tlsPort}, "hint: the certificate is for other names"},
		"plain HTTP behind an https": {[]string{strings.Replace(plain.URL, "http:", "https:", 1)}, "hint: that port speaks plain HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, stderr, err := pop(t, "", append([]string{"request", "--key", key, "--token", "secret-token"}, c.args...)...)
			if err == nil || !strings.Contains(stderr, c.want) {
				t.Errorf("error = %v, stderr = %q; want %q in it", err, stderr, c.want)
			}
			if strings.Contains(stderr, "secret-token") {
				t.Errorf("stderr %q has the token in it", stderr)
			}
		})
	}
}

func TestRequestExplainsRefusals(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	p, err := terminal{err: t.Output()}.readKey(key)
	if err != nil {
		t.Fatal(err)
	}
	other := fixture.Load(t, "p256-thief")
	now := clock.System.Now().Unix()
	token := func(claims map[string]any) string {
		return other.JWS(t, map[string]any{"alg": "ES256", "typ": "at+jwt"}, claims)
	}
	bound := func(jkt string) map[string]any { return map[string]any{"jkt": jkt} }
	mine := token(map[string]any{"exp": now + 600, "cnf": bound(p.key.Thumbprint())})
	for name, c := range map[string]struct {
		token, code, fields string
		status              int
		want                string
	}{
		"an expired token":           {token(map[string]any{"exp": now - 600}), "invalid_token", "", 401, "hint: the token expired 10m"},
		"an unbound token":           {token(map[string]any{"exp": now + 600}), "invalid_token", "", 401, "hint: the token is not bound"},
		"a token for another key":    {token(map[string]any{"exp": now + 600, "cnf": bound(other.Thumbprint(t))}), "invalid_token", "", 401, "hint: the token is bound to the key with the thumbprint"},
		"a token for another place":  {mine, "invalid_token", "", 401, "is it from an issuer, and for an audience"},
		"an opaque token":            {"pop_at_x", "invalid_token", "", 401, "hint: get a new token"},
		"a clock that is behind":     {mine, "invalid_dpop_proof", "Date: Fri, 01 Jan 2126 00:00:00 GMT", 401, "behind the server's"},
		"a clock that is ahead":      {mine, "invalid_dpop_proof", "Date: Sat, 01 Jan 2000 00:00:00 GMT", 401, "ahead of the server's"},
		"another URL":                {mine, "invalid_dpop_proof", "", 401, "hint: the proof is for GET http://"},
		"too small a scope":          {mine, "insufficient_scope", "", 403, `--scope "a b"`},
		"a client that is gone":      {mine, `invalid_token", error_description="the client of the access token is no longer registered`, "", 401, "hint: tokens end with the registration of their client"},
		"a nonce that isn't there":   {mine, "use_dpop_nonce", "", 401, "hint: the server asks for a nonce but gives none"},
		"a redirect":                 {mine, "", "Location: https://evil.example/", 302, `it leads to "https://evil.example/"`},
		"a gateway without a server": {mine, "", "", 502, "but not the one behind it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if field, value, ok := strings.Cut(c.fields, ": "); ok {
					w.Header().Set(field, value)
				}
				if c.code != "" {
					w.Header().Set("WWW-Authenticate", `DPoP error="`+c.code+`", scope="a b"`)
				}
				w.WriteHeader(c.status)
			}))
			t.Cleanup(server.Close)
			_, stderr, err := pop(t, "", "request", "--key", key, "--token", c.token, server.URL)
			if err == nil || !strings.Contains(stderr, c.want) {
				t.Errorf("error = %v, stderr = %q; want %q in it", err, stderr, c.want)
			}
			if !strings.Contains(stderr, fmt.Sprintf("error: the answer is %d", c.status)) {
				t.Errorf("stderr = %q, want the status in it", stderr)
			}
		})
	}
}

func TestLocalNamesNeedNoResolverAndNoProxy(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host)
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	host := "deep.api.localhost:" + u.Port()
	stdout, _ := mustPop(t, "request", "--key", key, "--token", "token", "http://"+host)
	if stdout != host {
		t.Errorf("Host = %q, want %q", stdout, host)
	}
	r := httptest.NewRequest("GET", "https://api.localhost/", nil)
	if p, err := proxy(r); p != nil || err != nil {
		t.Errorf("proxy for api.localhost = %v, %v; want none", p, err)
	}
	for name, want := range map[string]bool{"localhost": true, "LOCALHOST.": true, "a.localhost": true, "notlocalhost": false, "localhost.example": false} {
		if got := local(name); got != want {
			t.Errorf("local(%q) = %t, want %t", name, got, want)
		}
	}
}
