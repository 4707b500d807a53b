// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// loot is what a thief finds in a log, a crash dump or a proxy: everything
// that was on the wire, but not the key.
type loot struct {
	token, proof string
	thumbprinted string // a token of the issuer that writes thumbprints
}

// owner is the first half: everything as it should be.
func (d *demo) owner() (loot, error) {
	p, err := d.makeKey()
	if err != nil {
		return loot{}, err
	}
	issuer, err := discover(d.ctx, d.stage.client, d.stage.auth)
	if err != nil {
		return loot{}, err
	}
	token, err := d.getToken(p, issuer)
	if err != nil {
		return loot{}, err
	}
	if err := d.introspect(p, issuer, token); err != nil {
		return loot{}, err
	}
	nonce, err := d.challenge(token)
	if err != nil {
		return loot{}, err
	}
	proof, err := d.usePossession(p, token, nonce)
	if err != nil {
		return loot{}, err
	}
	thumbprinted, err := d.getThumbprinted(p)
	return loot{token: token, proof: proof, thumbprinted: thumbprinted}, err
}

func (d *demo) makeKey() (prover, error) {
	d.scene("The client makes a key")
	signer, alg, err := generate("ES256")
	if err != nil {
		return prover{}, err
	}
	p, err := newProver(signer, alg)
	if err != nil {
		return prover{}, err
	}
	public, err := json.Marshal(p.key)
	if err != nil {
		return prover{}, err
	}
	d.prose("The private part never leaves it. The public part is this:")
	d.json(public)
	d.line("thumbprint: " + p.key.Thumbprint())
	return p, nil
}

func (d *demo) tokenFor(p prover, endpoint string) tokenRequest {
	return tokenRequest{
		endpoint: endpoint, client: "reports", secret: d.stage.clientSecret,
		scopes: []string{"reports:read"}, key: p.key,
	}
}

func (d *demo) getToken(p prover, issuer metadata) (string, error) {
	d.scene("It asks for a token for that key")
	d.prose("The public part goes along as cnf_key:")
	e, err := d.tokenFor(p, issuer.token).send(d.ctx, d.stage.client)
	if err != nil {
		return "", err
	}
	d.exchange(e)
	d.check("200, token_type Bearer", fmt.Sprintf("%d, token_type %s", e.response.StatusCode, member(e.got, "token_type")))
	token, err := readToken(e)
	if err != nil {
		return "", err
	}
	d.scene("The key is in the token")
	d.prose("These are its claims. cnf says whose it is:")
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token+"..", ".")[1])
	if err != nil {
		return "", err
	}
	d.json(payload)
	d.check("bound to the key "+p.key.Thumbprint(), "bound to the key "+boundTo(payload))
	return token, nil
}

func (d *demo) introspect(p prover, issuer metadata, token string) error {
	d.scene("The authorization server says the same of it")
	d.prose("An API that can't read tokens asks (introspection, RFC 7662):")
	e, err := postForm(d.ctx, d.stage.client, issuer.introspection, []string{"api", d.stage.apiSecret}, url.Values{"token": {token}})
	if err != nil {
		return err
	}
	d.exchange(e)
	d.check("200, active true, bound to the key "+p.key.Thumbprint(),
		fmt.Sprintf("%d, active %s, bound to the key %s", e.response.StatusCode, member(e.got, "active"), boundTo(e.got)))
	return nil
}

// challenge is the first visit to the API, which returns the nonce.
func (d *demo) challenge(token string) (string, error) {
	d.scene("The API challenges the client")
	d.prose("The token alone does not do:")
	e, err := d.get("/reports", "Bearer "+token, "")
	if err != nil {
		return "", err
	}
	if err := d.refused(e, oauth.ProofMissing); err != nil {
		return "", err
	}
	d.alone.step, d.alone.gist = d.scenes, gist(e)
	nonce, ok := offeredNonce(e.response)
	if !ok {
		return "", errors.New("the challenge has no nonce")
	}
	return nonce, nil
}

func (d *demo) usePossession(p prover, token, nonce string) (string, error) {
	d.scene("The client signs the challenge")
	u, err := url.Parse(d.stage.api + "/reports")
	if err != nil {
		return "", err
	}
	proof, err := p.prove(http.MethodGet, u, token, nonce)
	if err != nil {
		return "", err
	}
	d.prose("The proof is for this method, this URL, this token (ath) and this nonce, and for one use:")
	parts := strings.Split(proof, ".")
	for _, part := range parts[:2] {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			return "", err
		}
		d.json(text)
	}
	d.line("")
	e, err := d.get("/reports", "DPoP "+token, proof)
	if err != nil {
		return "", err
	}
	d.check("200: the reports, for client reports", fmt.Sprintf("%d: %s", e.response.StatusCode, printable(string(e.got))))
	return proof, nil
}

// getThumbprinted gets a token of the other issuer, for the downgrade.
func (d *demo) getThumbprinted(p prover) (string, error) {
	issuer, err := discover(d.ctx, d.stage.client, d.stage.thumbprint)
	if err != nil {
		return "", err
	}
	e, err := d.tokenFor(p, issuer.token).send(d.ctx, d.stage.client)
	if err != nil {
		return "", err
	}
	return readToken(e)
}

// member is a member of a JSON object, as text.
func member(text []byte, name string) string {
	var members map[string]any
	if json.Unmarshal(text, &members) != nil {
		return "unreadable"
	}
	if v, ok := members[name]; ok {
		return fmt.Sprint(v)
	}
	return "missing"
}

// boundTo is the thumbprint in the cnf member of a JSON object.
func boundTo(text []byte) string {
	claims, err := strict.ParseObject(text, answerLimits)
	if err != nil {
		return "unreadable"
	}
	v, ok := claims.Get("cnf")
	if !ok {
		return "missing"
	}
	c, err := cnf.ParseMember(v)
	if err != nil {
		return "unreadable"
	}
	return c.Thumbprint()
}
