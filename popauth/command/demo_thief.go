// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// theft is one thing that a thief can try.
type theft struct {
	title, prose  string
	path          string
	authorization string
	proof         string
	forge         bool         // sign a proof with another key
	reason        oauth.Reason // that it must be refused for
}

// thief is the second half: everything on the wire has been copied.
func (d *demo) thief(l loot) error {
	thefts := []theft{
		{
			title: "The token alone", prose: "A thief has copied the token and sends it, as with any bearer token:",
			path: "/reports", authorization: "Bearer " + l.token, reason: oauth.ProofMissing,
		}, {
			title: "A key of the thief's own", prose: "The thief makes a key, and signs a perfect proof with it and the nonce just given:",
			path: "/reports", authorization: "DPoP " + l.token, forge: true, reason: oauth.ProofKeyMismatch,
		}, {
			title: "The client's proof once more", prose: "The thief has copied the proof as well and sends both again:",
			path: "/reports", authorization: "DPoP " + l.token, proof: l.proof, reason: oauth.ProofReplayed,
		}, {
			title: "The client's proof elsewhere", prose: "The same proof, for something else:",
			path: "/salaries", authorization: "DPoP " + l.token, proof: l.proof, reason: oauth.ProofURLMismatch,
		}, {
			title: "The right scheme, without a proof", prose: "Now with a token that has the thumbprint of the key in it, not the key:",
			path: "/reports", authorization: "DPoP " + l.thumbprinted, reason: oauth.ProofMissing,
		}, {
			title: "A downgrade", prose: "The same token, passed off as a bearer token:",
			path: "/reports", authorization: "Bearer " + l.thumbprinted, reason: oauth.BearerDowngrade,
		},
	}
	let, nonce := 0, ""
	for _, t := range thefts {
		d.scene("The thief: " + t.title)
		d.prose(t.prose)
		if t.forge {
			var err error
			if t.proof, err = d.forge(t.path, l.token, nonce); err != nil {
				return err
			}
		}
		e, err := d.get(t.path, t.authorization, t.proof)
		if err != nil {
			return err
		}
		if err := d.refused(e, t.reason); err != nil {
			return err
		}
		if e.response.StatusCode < 400 {
			let++
		}
		nonce = e.response.Header.Get("DPoP-Nonce")
	}
	d.prose(fmt.Sprintf("The thief tried %d times and got in %d times. %d of %d checks went as they must.",
		len(thefts), let, d.checks-d.wrong, d.checks))
	return nil
}

// forge makes a proof with nothing wrong with it but the key.
func (d *demo) forge(path, token, nonce string) (string, error) {
	signer, alg, err := generate("ES256")
	if err != nil {
		return "", err
	}
	p, err := newProver(signer, alg)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(d.stage.api + path)
	if err != nil {
		return "", err
	}
	return p.prove(http.MethodGet, u, token, nonce)
}

// refused checks an answer against what the table of reasons says, and the
// reason against the server's log.
func (d *demo) refused(e *exchange, reason oauth.Reason) error {
	rule := reason.Rule()
	logged, err := d.stage.journal.reason(d.ctx)
	if err != nil {
		return err
	}
	challenge, _ := findChallenge(e.response)
	code, _ := challenge.Param("error")
	const format = "%d %s; the server's log says: %s"
	d.check(fmt.Sprintf(format, rule.API, rule.Code, reason), fmt.Sprintf(format, e.response.StatusCode, code, logged))
	return nil
}
