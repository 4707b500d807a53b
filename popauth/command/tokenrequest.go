// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// metadata is what we need of an authorization server's metadata.
type metadata struct{ token, introspection string }

// discover reads the metadata of an issuer (RFC 8414 §3).
func discover(ctx context.Context, client *http.Client, issuer string) (metadata, error) {
	u, err := target(issuer)
	if err != nil {
		return metadata{}, err
	}
	// RFC 8414 §3.1: the well-known part goes before the issuer's own path
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	u, err = u.Parse("/.well-known/oauth-authorization-server" + path)
	if err != nil {
		return metadata{}, fmt.Errorf("not an issuer: %q", issuer)
	}
	r, err := request(ctx, http.MethodGet, u, http.Header{"Accept": {"application/json"}}, nil)
	if err != nil {
		return metadata{}, err
	}
	e, err := trade(client, r, nil)
	if err != nil {
		return metadata{}, err
	}
	if e.response.StatusCode != http.StatusOK {
		err := answerError(e.response.StatusCode, "", "")
		return metadata{}, misdirected(fmt.Errorf("reading the issuer's metadata from %s: %w", u, err), issuer, "the issuer's URL", e.response)
	}
	document, err := strict.ParseObject(e.got, answerLimits)
	if err != nil {
		return metadata{}, misdirected(fmt.Errorf("reading the issuer's metadata from %s: %w", u, err), issuer, "the issuer's URL", e.response)
	}
	// RFC 8414 §3.3: or one issuer could send us, with a secret, to another
	if name, _ := document.Text("issuer"); name != issuer {
		return metadata{}, hint(fmt.Errorf("the metadata is that of the issuer %q, not of %q", name, issuer),
			"write the issuer exactly as the server does")
	}
	var m metadata
	var ok bool
	if m.token, ok = document.Text("token_endpoint"); !ok {
		return metadata{}, errors.New("the issuer's metadata names no token endpoint")
	}
	m.introspection, _ = document.Text("introspection_endpoint")
	return m, nil
}

// tokenRequest is a request for a token by the client_credentials grant
// (RFC 6749 §4.4).
type tokenRequest struct {
	endpoint          string
	client, secret    string
	post              bool // id and secret go into the body
	scopes, resources []string
	key               *jwk.Key  // sent as cnf_key; nil: none is
	prover            *prover   // makes a DPoP proof; nil: none is sent
	asserter          *asserter // authenticates by a key; nil: by the secret
}

func (q tokenRequest) send(ctx context.Context, client *http.Client) (*exchange, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if q.key != nil {
		key, err := cnfKey(q.key, false)
		if err != nil {
			return nil, err
		}
		form.Set("cnf_key", key)
	}
	if len(q.scopes) > 0 {
		form.Set("scope", strings.Join(q.scopes, " "))
	}
	if len(q.resources) > 0 {
		form["resource"] = q.resources
	}
	basic := []string{q.client, q.secret}
	if q.post {
		form.Set("client_id", q.client)
		form.Set("client_secret", q.secret)
		basic = nil
	}
	if q.asserter != nil {
		basic = nil
		if err := q.asserter.authenticate(form); err != nil {
			return nil, err
		}
	}
	if q.prover != nil {
		return q.sendProven(ctx, client, basic, form)
	}
	return postForm(ctx, client, q.endpoint, basic, form)
}

// sendProven sends the form with a DPoP proof (RFC 9449 §5) and, if the server
// asks for a nonce, once more with that (§8). A second demand is the caller's
// to see.
func (q tokenRequest) sendProven(ctx context.Context, client *http.Client, basic []string, form url.Values) (*exchange, error) {
	e, err := q.attempt(ctx, client, basic, form, "")
	if err != nil {
		return nil, err
	}
	nonces := e.response.Header.Values("DPoP-Nonce")
	if e.response.StatusCode != http.StatusBadRequest || len(nonces) != 1 || nonces[0] == "" {
		return e, nil
	}
	answer, err := strict.ParseObject(e.got, answerLimits)
	if err != nil {
		return e, nil // it is told where the answer is read
	}
	if code, _ := answer.Text("error"); code != "use_dpop_nonce" {
		return e, nil
	}
	if q.asserter != nil {
		if err := q.asserter.authenticate(form); err != nil {
			return nil, err
		}
	}
	return q.attempt(ctx, client, basic, form, nonces[0])
}

// attempt sends the form with a fresh proof.
func (q tokenRequest) attempt(ctx context.Context, client *http.Client, basic []string, form url.Values, nonce string) (*exchange, error) {
	r, body, err := formRequest(ctx, q.endpoint, basic, form)
	if err != nil {
		return nil, err
	}
	proof, err := q.prover.prove(r.Method, r.URL, "", nonce)
	if err != nil {
		return nil, err
	}
	r.Header.Set("DPoP", proof)
	return trade(client, r, body)
}

// postForm posts a form to an endpoint of an authorization server, with the
// id and the secret of a client in the Authorization field if there are any.
func postForm(ctx context.Context, client *http.Client, endpoint string, basic []string, form url.Values) (*exchange, error) {
	r, body, err := formRequest(ctx, endpoint, basic, form)
	if err != nil {
		return nil, err
	}
	return trade(client, r, body)
}

// formRequest is the request of postForm, with its body.
func formRequest(ctx context.Context, endpoint string, basic []string, form url.Values) (*http.Request, []byte, error) {
	u, err := target(endpoint)
	if err != nil {
		return nil, nil, err
	}
	body := []byte(form.Encode())
	r, err := request(ctx, http.MethodPost, u, http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"},
		"Accept":       {"application/json"},
	}, body)
	if err != nil {
		return nil, nil, err
	}
	if len(basic) == 2 {
		// RFC 6749 §2.3.1: both are form-encoded first
		r.SetBasicAuth(url.QueryEscape(basic[0]), url.QueryEscape(basic[1]))
	}
	return r, body, nil
}

// readToken takes the access token out of a token response, or says why there
// is none.
func readToken(e *exchange) (string, error) {
	answer, err := strict.ParseObject(e.got, answerLimits)
	if e.response.StatusCode != http.StatusOK {
		// one that is no JSON object has no members
		return "", tokenRefused(e, answer)
	}
	if err != nil {
		return "", notTheEndpoint(fmt.Errorf("reading the token response: %w", err), e)
	}
	token, ok := answer.Text("access_token")
	if !ok || token == "" || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", notTheEndpoint(errors.New("the token response has no usable access_token"), e)
	}
	return token, nil
}

func notTheEndpoint(err error, e *exchange) error {
	return misdirected(err, e.request.URL.String(), "the token endpoint", e.response)
}

func tokenRefused(e *exchange, answer strict.Object) error {
	code, _ := answer.Text("error")
	text, _ := answer.Text("error_description")
	err := answerError(e.response.StatusCode, code, text)
	// RFC 6749 §5.2: a token endpoint says what is wrong, with a 400 or a 401
	if status := e.response.StatusCode; code == "" || status == http.StatusNotFound || status == http.StatusMethodNotAllowed {
		return notTheEndpoint(err, e)
	}
	switch code {
	case "invalid_client":
		if strings.Contains(string(e.sent), "client_assertion=") {
			return hint(err, "does the server know the public part of this key for this client, and is the clock of this machine right?")
		}
		if e.request.Header.Get("Authorization") == "" {
			return hint(err, "are the id and the secret right? Some servers want them in the Authorization field: --basic")
		}
		return hint(err, "are the id and the secret right? Some servers want them in the body: --post")
	case "temporarily_unavailable":
		if after := e.response.Header.Get("Retry-After"); after != "" {
			return hint(err, "try again in %s seconds", after)
		}
	case "unauthorized_client", "unsupported_grant_type":
		return hint(err, "the client must be allowed the client_credentials grant")
	case "invalid_scope":
		return hint(err, "ask for less with --scope, or let the client have more in the server's configuration")
	case "invalid_dpop_proof":
		if e.request.Header.Get("DPoP") == "" {
			return hint(err, "--dpop sends a proof")
		}
	case "invalid_target":
		return hint(err, "--resource must be one of the client's audiences, letter by letter")
	}
	return err
}
