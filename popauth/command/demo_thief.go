// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
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
	asAlone       bool         // the client must have got the same answer without a proof
}

// thief is the second half: everything on the wire has been copied.
func (d *demo) thief(l loot) error {
	thefts := []theft{
		{
			title: "The token alone",
			prose: fmt.Sprintf("A thief has copied the token and sends it, as with any bearer token. The client did the same in\n"+
				"step %d; it could go on from there because it has the key:", d.alone.step),
			path: "/reports", authorization: "Bearer " + l.token, reason: oauth.ProofMissing, asAlone: true,
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
		if t.asAlone {
			d.compare(e)
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
	if cause := context.Cause(d.ctx); cause != nil {
		return cause
	}
	challenge, _ := findChallenge(e.response)
	code, _ := challenge.Param("error")
	const format = "%d %s; the server's log says: %s"
	d.check(fmt.Sprintf(format, rule.API, rule.Code, reason), fmt.Sprintf(format, e.response.StatusCode, code, logged))
	return nil
}

// compare holds an answer against what the client got for the token alone.
func (d *demo) compare(e *exchange) {
	want := fmt.Sprintf("the answer that the client got in step %d: the token alone is worth a challenge, no more", d.alone.step)
	got := want
	if gist(e) != d.alone.gist {
		got = fmt.Sprintf("another answer than the client got in step %d", d.alone.step)
	}
	d.check(want, got)
}

// gist is an answer without what differs from one to the next of its kind:
// the status, the challenge and the body.
func gist(e *exchange) string {
	return fmt.Sprintf("%d %q %q", e.response.StatusCode, e.response.Header.Values("WWW-Authenticate"), e.got)
}
