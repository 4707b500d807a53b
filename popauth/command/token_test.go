// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// authorizationServer answers token requests with whatever answer returns.
func authorizationServer(t *testing.T, answer func(r *http.Request, form url.Values) (int, string)) *httptest.Server {
	t.Helper()
	var s *httptest.Server
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		status, text := answer(r, r.PostForm)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	})
	mux.HandleFunc("GET /.well-known/oauth-authorization-server/tenant", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": s.URL + "/tenant", "token_endpoint": s.URL + "/token"})
	})
	mux.HandleFunc("GET /.well-known/oauth-authorization-server/other", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": "https://evil.example", "token_endpoint": s.URL + "/token"})
	})
	s = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func secretFile(t *testing.T, secret string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTokenSendsTheKeyAndPrintsTheAnswer(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	p, err := terminal{err: t.Output()}.readKey(key)
	if err != nil {
		t.Fatal(err)
	}
	const id, secret = "cc:odd/1", "s%cret & mo+re"
	bound := fixture.Load(t, "p256").JWS(t, map[string]any{"alg": "ES256"}, map[string]any{"cnf": map[string]any{"jkt": p.key.Thumbprint()}})
	for name, c := range map[string]struct {
		args []string
		post bool
		want string
	}{
		"basic":        {nil, false, "{\n  \"access_token\": \"" + bound + "\"\n}\n"},
		"basic, named": {[]string{"--basic"}, false, "{\n  \"access_token\": \"" + bound + "\"\n}\n"},
		"post, raw":    {[]string{"--post", "--raw"}, true, bound + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := authorizationServer(t, func(r *http.Request, form url.Values) (int, string) {
				user, password, basic := r.BasicAuth()
				user, _ = url.QueryUnescape(user)
				password, _ = url.QueryUnescape(password)
				if c.post {
					user, password = form.Get("client_id"), form.Get("client_secret")
				}
				if basic == c.post || user != id || password != secret {
					t.Errorf("authenticated as %q with %q, in the header: %t", user, password, basic)
				}
				sent, refusal := cnf.ParseParameter(form.Get("cnf_key"))
				if refusal != nil || sent.Thumbprint() != p.key.Thumbprint() {
					t.Errorf("cnf_key is not the key: %v", refusal)
				}
				if got, want := form.Get("scope"), "a b c"; got != want {
					t.Errorf("scope = %q, want %q", got, want)
				}
				if got := form["resource"]; len(got) != 2 {
					t.Errorf("resource = %q, want two", got)
				}
				return 200, `{"access_token":"` + bound + `"}`
			})
			for _, where := range [][]string{{"--url", s.URL + "/token"}, {"--issuer", s.URL + "/tenant"}} {
				args := append([]string{"token", "--client", id, "--secret-file", secretFile(t, secret), "--key", key,
					"--scope", "a b", "--scope", "c", "--resource", "https://a", "--resource", "https://b"}, where...)
				stdout, stderr := mustPop(t, append(args, c.args...)...)
				if stdout != c.want || stderr != "" {
					t.Errorf("%v: stdout = %q, stderr = %q; want %q and nothing", where, stdout, stderr, c.want)
				}
			}
		})
	}
}

func TestTokenWarnsOfATokenThatIsNotBoundToTheKey(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	other := fixture.Load(t, "p256-thief")
	for name, c := range map[string]struct {
		claims map[string]any
		want   string
	}{
		"the server ignored cnf_key": {map[string]any{}, "hint: does the server know the cnf_key parameter?"},
		"bound to another key":       {map[string]any{"cnf": map[string]any{"jkt": other.Thumbprint(t)}}, "not to this key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := other.JWS(t, map[string]any{"alg": "ES256"}, c.claims)
			s := authorizationServer(t, func(*http.Request, url.Values) (int, string) { return 200, `{"access_token":"` + token + `"}` })
			stdout, stderr := mustPop(t, "token", "--url", s.URL+"/token", "--client", "x", "--secret-file", secretFile(t, "s"), "--key", key, "--raw")
			if stdout != token+"\n" || !strings.Contains(stderr, "warning: ") || !strings.Contains(stderr, c.want) {
				t.Errorf("stdout = %q, stderr = %q; want the token and a warning with %q", stdout, stderr, c.want)
			}
		})
	}
}

func TestTokenExplainsRefusals(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	for name, c := range map[string]struct {
		status int
		answer string
		want   string
	}{
		"a wrong secret":          {401, `{"error":"invalid_client","error_description":"client authentication failed"}`, "--post"},
		"a wrong scope":           {400, `{"error":"invalid_scope"}`, "hint: ask for less with --scope"},
		"a wrong resource":        {400, `{"error":"invalid_target"}`, "hint: --resource must be"},
		"a proof that is lacking": {400, `{"error":"invalid_dpop_proof"}`, "hint: --dpop sends a proof"},
		"a wrong grant":           {400, `{"error":"unauthorized_client"}`, "hint: the client must be allowed"},
		"text for the terminal":   {400, `{"error":"x","error_description":"\u001b[2Jgone"}`, `"\x1b[2Jgone"`},
		"success without token":   {200, `{}`, "no usable access_token"},
		"success without JSON":    {200, `ok`, "reading the token response"},
		"a server in trouble":     {503, `<html>`, "error: the answer is 503 Service Unavailable\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := authorizationServer(t, func(*http.Request, url.Values) (int, string) { return c.status, c.answer })
			stdout, stderr, err := pop(t, "", "token", "--url", s.URL+"/token", "--client", "x", "--secret-file", secretFile(t, "s3cr3t"), "--key", key)
			if err == nil || stdout != "" || !strings.Contains(stderr, c.want) {
				t.Errorf("error = %v, stdout = %q, stderr = %q; want an error with %q", err, stdout, stderr, c.want)
			}
			if strings.Contains(stderr, "s3cr3t") {
				t.Errorf("stderr %q has the secret in it", stderr)
			}
		})
	}
}

func TestTokenDoesNotGoWhereTheIssuerIsNot(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	s := authorizationServer(t, func(*http.Request, url.Values) (int, string) {
		t.Error("the secret was sent")
		return 200, `{}`
	})
	for issuer, want := range map[string]string{
		s.URL + "/other":   "the metadata is that of the issuer \"https://evil.example\"",
		s.URL + "/tenant/": "hint: write the issuer exactly as the server does",
		s.URL + "/nobody":  "hint: is \"" + s.URL + "/nobody\" the issuer's URL?\n",
	} {
		_, stderr, err := pop(t, "", "token", "--issuer", issuer, "--client", "x", "--secret-file", secretFile(t, "s"), "--key", key)
		if err == nil || !strings.Contains(stderr, want) {
			t.Errorf("%s: error = %v, stderr = %q; want %q in it", issuer, err, stderr, want)
		}
	}
}

// TestTokenAsksWhetherTheURLIsRight goes to servers that are something else
// than they were taken for.
func TestTokenAsksWhetherTheURLIsRight(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	for name, c := range map[string]struct {
		status                 int
		location, content, end string
	}{
		"a redirect":               {308, "https://localhost:8443/there", "", " It answered 308 to \"https://localhost:8443/there\""},
		"a redirect to nowhere":    {308, "", "", ""},
		"a site with a password":   {401, "", "", ""},
		"nothing there":            {404, "", "not found", ""},
		"nothing there, in JSON":   {404, "", `{"error":"Not Found"}`, ""},
		"a page":                   {200, "", "<!doctype html>", ""},
		"an empty answer":          {200, "", "", ""},
		"JSON from something else": {404, "", `{"status":404}`, ""},
		"no method":                {405, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.location != "" {
					w.Header().Set("Location", c.location)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.content)
			}))
			t.Cleanup(s.Close)
			for option, what := range map[string]string{"--issuer": "the issuer's URL", "--url": "the token endpoint"} {
				_, stderr, err := pop(t, "", "token", option, s.URL+"/x", "--client", "x", "--secret-file", secretFile(t, "s"), "--key", key)
				want := "\nhint: is \"" + s.URL + "/x\" " + what + "?" + c.end + "\n"
				if err == nil || !strings.HasSuffix(stderr, want) {
					t.Errorf("%s: error = %v, stderr = %q; want %q at its end", option, err, stderr, want)
				}
			}
		})
	}
}

func TestTokenAdvisesTheOtherWayToAuthenticate(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	s := authorizationServer(t, func(*http.Request, url.Values) (int, string) { return 401, `{"error":"invalid_client"}` })
	for used, advised := range map[string]string{"--basic": "--post", "--post": "--basic"} {
		_, stderr, err := pop(t, "", "token", "--url", s.URL+"/token", "--client", "x", "--secret-file", secretFile(t, "s"), "--key", key, used)
		if err == nil || !strings.Contains(stderr, advised) || strings.Contains(stderr, used) {
			t.Errorf("%s: error = %v, stderr = %q; want %s advised", used, err, stderr, advised)
		}
	}
}

func TestSecretThatOthersCanReadIsWarnedOf(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits here")
	}
	key, secret := keyFile(t, "ES256"), secretFile(t, "s")
	if err := os.Chmod(secret, 0o604); err != nil {
		t.Fatal(err)
	}
	s := authorizationServer(t, func(*http.Request, url.Values) (int, string) { return 200, `{"access_token":"x"}` })
	stdout, stderr := mustPop(t, "token", "--url", s.URL+"/token", "--client", "x", "--secret-file", secret, "--key", key, "--raw")
	want := "warning: the client's secret in \"" + secret + "\" can be read by others (mode 0604)\nhint: chmod 600 " + quote(secret) + "\n"
	if stdout != "x\n" || stderr != want {
		t.Errorf("stdout = %q, stderr = %q; want the token and %q", stdout, stderr, want)
	}
}

func TestTokenTakesTheSecretFromTheEnvironment(t *testing.T) {
	t.Setenv("POP_TEST_SECRET", "from-the-environment")
	key := keyFile(t, "ES256")
	s := authorizationServer(t, func(r *http.Request, _ url.Values) (int, string) {
		if _, password, _ := r.BasicAuth(); password != "from-the-environment" {
			t.Errorf("secret = %q, want that of the environment", password)
		}
		return 200, `{"access_token":"x"}`
	})
	args := []string{"token", "--url", s.URL + "/token", "--client", "x", "--key", key, "--secret-env"}
	mustPop(t, append(args, "POP_TEST_SECRET")...)
	if _, stderr, err := pop(t, "", append(args, "POP_TEST_NOTHING")...); err == nil || !strings.Contains(stderr, "is not set") {
		t.Errorf("error = %v, stderr = %q; want that the variable is not set", err, stderr)
	}
}

// TestTokenWithAProof goes to a server that wants a nonce, or does not.
func TestTokenWithAProof(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	p, err := terminal{err: t.Output()}.readKey(key)
	if err != nil {
		t.Fatal(err)
	}
	bound := fixture.Load(t, "p256").JWS(t, map[string]any{"alg": "ES256"}, map[string]any{"cnf": map[string]any{"jkt": p.key.Thumbprint()}})
	for name, c := range map[string]struct {
		args     []string
		nonce    string // what the server wants
		keyToo   bool
		requests int
	}{
		"no nonce wanted":  {[]string{"--dpop"}, "", false, 1},
		"a nonce wanted":   {[]string{"--dpop"}, "the-nonce", false, 2},
		"the key besides":  {[]string{"--dpop", "--cnf-key"}, "the-nonce", true, 2},
		"the key alone":    {[]string{"--cnf-key"}, "", true, 1},
		"the key, as ever": {nil, "", true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requests := 0
			var s *httptest.Server
			s = nonceServer(t, func(r *http.Request, form url.Values) (int, string, string) {
				requests++
				if got := form.Get("cnf_key") != ""; got != c.keyToo {
					t.Errorf("cnf_key is there: %v, want %v", got, c.keyToo)
				}
				if want := slices.Contains(c.args, "--dpop"); !want {
					if r.Header.Get("DPoP") != "" {
						t.Error("there is a proof")
					}
					return 200, "", `{"access_token":"` + bound + `"}`
				}
				proof, refusal := dpop.Verify(r.Header.Get("DPoP"), dpop.Want{
					Thumbprint: p.key.Thumbprint(), NoToken: true, Method: "POST", URLs: []string{s.URL + "/token"},
					Fresh: func(*dpop.Proof) *oauth.Refusal { return nil },
				})
				if refusal != nil {
					t.Errorf("the proof is refused: %v", refusal)
					return 500, "", ""
				}
				if proof.TokenHash != "" {
					t.Error("the proof has an ath, but there is no token")
				}
				if proof.Nonce != c.nonce {
					return 400, c.nonce, `{"error":"use_dpop_nonce"}`
				}
				return 200, "", `{"access_token":"` + bound + `"}`
			})
			args := append([]string{"token", "--url", s.URL + "/token", "--client", "x", "--secret-file", secretFile(t, "s"), "--key", key, "--raw"}, c.args...)
			stdout, stderr := mustPop(t, args...)
			if stdout != bound+"\n" || stderr != "" || requests != c.requests {
				t.Errorf("stdout = %q, stderr = %q after %d requests; want the token, nothing, %d", stdout, stderr, requests, c.requests)
			}
		})
	}
}

// A server that never likes its own nonces is asked twice, and then told of.
func TestTokenAnswersADemandForANonceOnce(t *testing.T) {
	t.Parallel()
	requests := 0
	s := nonceServer(t, func(*http.Request, url.Values) (int, string, string) {
		requests++
		return 400, "the-nonce", `{"error":"use_dpop_nonce","error_description":"again"}`
	})
	_, stderr, err := pop(t, "", "token", "--url", s.URL+"/token", "--client", "x", "--secret-file", secretFile(t, "s"), "--key", keyFile(t, "ES256"), "--dpop")
	if err == nil || requests != 2 || !strings.Contains(stderr, "use_dpop_nonce") {
		t.Errorf("got %v and %q after %d requests, want an error after 2", err, stderr, requests)
	}
}

// nonceServer is a token endpoint that may send a nonce along.
func nonceServer(t *testing.T, answer func(r *http.Request, form url.Values) (status int, nonce, text string)) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		status, nonce, text := answer(r, r.PostForm)
		if nonce != "" {
			w.Header().Set("DPoP-Nonce", nonce)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s
}
