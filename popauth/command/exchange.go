// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// maxAnswer is the most bytes that are read of an answer that is looked into.
const maxAnswer = 1 << 20

// call is a request that is to be made with a bound access token. Each
// attempt at it has a proof of its own.
type call struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
	token  string
	prover prover
}

// attempt sends the request with a fresh proof. The caller closes the body.
func (c call) attempt(ctx context.Context, client *http.Client, nonce string) (*http.Response, error) {
	proof, err := c.prover.prove(c.method, c.url, c.token, nonce)
	if err != nil {
		return nil, err
	}
	r, err := request(ctx, c.method, c.url, c.header, c.body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "DPoP "+c.token)
	r.Header.Set("DPoP", proof)
	resp, err := client.Do(r)
	if err != nil {
		return nil, explain(err, c.url)
	}
	return resp, nil
}

// do sends the request and, if the answer is a challenge, once more with the
// nonce from it (RFC 9449 §9). A second challenge is the caller's to see: a
// server that never likes its own nonces would otherwise be asked forever.
// challenged sees the first answer in that case.
func (c call) do(ctx context.Context, client *http.Client, challenged func(*http.Response)) (*http.Response, error) {
	resp, err := c.attempt(ctx, client, "")
	if err != nil {
		return nil, err
	}
	nonce, ok := offeredNonce(resp)
	if !ok {
		return resp, nil
	}
	challenged(resp)
	// read to its end so that the connection can be used again
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	return c.attempt(ctx, client, nonce)
}

// offeredNonce is the nonce of an answer that asks for a proof with it.
func offeredNonce(resp *http.Response) (string, bool) {
	challenge, ok := findChallenge(resp)
	if code, _ := challenge.Param("error"); !ok || code != "use_dpop_nonce" {
		return "", false
	}
	nonces := resp.Header.Values("DPoP-Nonce")
	return strings.Join(nonces, ""), len(nonces) == 1 && nonces[0] != ""
}

// findChallenge is the DPoP challenge of a 401, else any challenge.
func findChallenge(resp *http.Response) (oauth.Challenge, bool) {
	challenges, err := oauth.ParseChallenges(resp.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) == 0 {
		return oauth.Challenge{}, false
	}
	for _, c := range challenges {
		if strings.EqualFold(c.Scheme, "DPoP") {
			return c, true
		}
	}
	return challenges[0], true
}

// exchange is a request and its answer with both bodies.
type exchange struct {
	request  *http.Request
	sent     []byte
	response *http.Response
	got      []byte
}

// trade sends a request and reads the answer.
func trade(client *http.Client, r *http.Request, body []byte) (*exchange, error) {
	resp, err := client.Do(r)
	if err != nil {
		return nil, explain(err, r.URL)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(got) > maxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	return &exchange{request: r, sent: body, response: resp, got: got}, nil
}

// request builds a request. header is copied.
func request(ctx context.Context, method string, u *url.URL, header http.Header, body []byte) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), content)
	if err != nil {
		return nil, err
	}
	r.Header = header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "caddy-pop")
	}
	return r, nil
}
