// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	proto  string
}

// send sends a request and reads the answer.
func send(c *http.Client, r *http.Request) (answer, error) {
	resp, err := c.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer of %s %s: %w", r.Method, r.URL, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body), resp.Proto}, nil
}

// do is send for a request that must be answered.
func do(t *testing.T, c *http.Client, r *http.Request) answer {
	t.Helper()
	got, err := send(c, r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// newRequest makes a request with the header fields in pairs.
func newRequest(t *testing.T, method, target, body string, fields ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header[fields[i]] = append(r.Header[fields[i]], fields[i+1])
	}
	return r
}

// basic is a Basic credential as RFC 6749 §2.3.1 wants it.
func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

// cnfKey is the cnf_key parameter for a key.
func cnfKey(t *testing.T, k fixture.Key) string {
	t.Helper()
	return base64.StdEncoding.EncodeToString([]byte(`{"jwk":` + string(k.JSON(t)) + `}`))
}

// object reads a JSON object.
func object(t *testing.T, text string) map[string]any {
	t.Helper()
	o := map[string]any{}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("the answer is not a JSON object: %q: %v", text, err)
	}
	return o
}

// post sends a form to an endpoint of the authorization server.
func (s *server) post(t *testing.T, c *http.Client, path string, form url.Values, fields ...string) answer {
	t.Helper()
	fields = append([]string{"Content-Type", "application/x-www-form-urlencoded"}, fields...)
	return do(t, c, newRequest(t, http.MethodPost, s.site("auth", path), form.Encode(), fields...))
}

// The clients that have tokens of one format or the other. The secret of a
// client is its id and "-secret".
const (
	jwtClient    = "reports"
	opaqueClient = "sealed"
)

// formats are the clients by the format of their tokens.
var formats = map[string]string{"JWT": jwtClient, "opaque": opaqueClient}

// token gets a JWT bound to the key.
func (s *server) token(t *testing.T, c *http.Client, k fixture.Key) string {
	t.Helper()
	return s.tokenOf(t, c, k, jwtClient)
}

// tokenOf gets a token for a client, bound to the key.
func (s *server) tokenOf(t *testing.T, c *http.Client, k fixture.Key, client string) string {
	t.Helper()
	got := s.post(t, c, "/oauth2/token", url.Values{
		"grant_type": {"client_credentials"}, "cnf_key": {cnfKey(t, k)},
	}, "Authorization", basic(client, client+"-secret"))
	if got.status != http.StatusOK {
		t.Fatalf("token request: got %d %s, want 200", got.status, got.body)
	}
	token, _ := object(t, got.body)["access_token"].(string)
	return token
}

// challenge asks the API without a proof and returns the nonce it is given.
func (s *server) challenge(t *testing.T, c *http.Client, target, token string) string {
	t.Helper()
	got := do(t, c, newRequest(t, http.MethodGet, target, "", "Authorization", "Bearer "+token))
	if got.status != http.StatusUnauthorized {
		t.Fatalf("request without a proof: got %d %s, want 401", got.status, got.body)
	}
	nonce := got.header.Get("DPoP-Nonce")
	if nonce == "" {
		t.Fatal("the challenge carries no nonce")
	}
	return nonce
}

// honest is the whole story of a client that does everything right: token,
// challenge, proof, 200. Every other time the token is opaque.
func (s *server) honest(t *testing.T, c *http.Client, k fixture.Key) {
	t.Helper()
	client := jwtClient
	if s.turn.Add(1)%2 == 0 {
		client = opaqueClient
	}
	token := s.tokenOf(t, c, k, client)
	target := s.site("api", "/reports?month=1")
	proof := k.Proof(t, fixture.Proof{
		Method: http.MethodGet, URL: s.site("api", "/reports"), Token: token,
		Nonce: s.challenge(t, c, target, token),
	})
	got := do(t, c, newRequest(t, http.MethodGet, target, "", "Authorization", "DPoP "+token, "Dpop", proof))
	if got.status != http.StatusOK {
		t.Fatalf("honest request: got %d %s %v, want 200", got.status, got.body, got.header["Www-Authenticate"])
	}
}
