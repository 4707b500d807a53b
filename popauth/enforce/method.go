// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"net/http"
	"slices"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// method is one way to prove possession of a confirmation key.
type method struct {
	// members are those of cnf that it proves.
	members []string

	// field is the header field that carries its proof.
	field string

	// judgeField refuses a field that can be read in two ways, before
	// anything is parsed and whether or not the method is needed.
	judgeField func(values []string) *oauth.Refusal

	// verify judges everything about a proof but whether it is new. It
	// traces its own steps.
	verify func(proof string, f evidenceFor, r Request, p Policy) (evidence, *oauth.Refusal)

	// params are what the challenge says about the method.
	params []oauth.Param
}

// methods is the table of all proof methods.
var methods = []*method{dpopMethod}

// evidenceFor is what a proof has to be about, beside the request itself.
type evidenceFor struct {
	token        string
	path         string // of the target, as sent
	confirmation cnf.Confirmation
}

// evidence is what a valid proof leaves behind.
type evidence struct {
	proof replay.Proof
	renew bool // the nonce is half used up
}

// mode is the strictest mode that a proof satisfies which was accepted under
// the given one. Under replay.Off a proof with a nonce was judged by it, as
// under replay.Required, but the nonce was not used up.
func (e evidence) mode(under replay.Mode) replay.Mode {
	if under == replay.Off && e.proof.HasNonce {
		return replay.Required
	}
	return under
}

// methodFor returns the method that proves all the given members of a
// confirmation, nil if there is none.
func methodFor(members []string) *method {
	for _, m := range methods {
		if !slices.ContainsFunc(members, func(name string) bool { return !slices.Contains(m.members, name) }) {
			return m
		}
	}
	return nil
}

// proofFields judges the fields of all methods.
func proofFields(h http.Header) *oauth.Refusal {
	for _, m := range methods {
		if refusal := m.judgeField(h.Values(m.field)); refusal != nil {
			return refusal
		}
	}
	return nil
}

// proof is the content of the method's field, which proofFields has judged.
func (m *method) proof(h http.Header) (string, *oauth.Refusal) {
	values := h.Values(m.field)
	if len(values) != 1 {
		return "", oauth.Refuse(oauth.ProofMissing, "")
	}
	return values[0], nil
}
