// SPDX-License-Identifier: Apache-2.0

// Package enforce is the resource server: one request in, a verdict out.
//
// Check asks whose token a request carries (a TokenVerifier, which the package
// declares and others satisfy), whether the token may be used here, which key
// it is bound to, whether the request proves possession of that key (a proof
// method, of which DPoP, RFC 9449, is the only one), and, as the very last
// step, whether the proof is new. Challenge says what the client is told.
//
// It neither reads bodies nor writes answers, does not log or count, knows no
// configuration format, and does not judge the transport: TLS, early data and
// what clients may call this place are settled by the caller.
package enforce

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// TokenVerifier judges a token apart from where it is used: its shape, its
// signature or lookup, issuer, expiry, revocation and client. It does not
// judge audience, scope or possession. It must be safe for concurrent use.
type TokenVerifier interface {
	// Issuer is the URL that the claims of its tokens carry as their issuer.
	Issuer() string

	// Verify returns the claims, or why there are none: exactly one of the
	// two is nil. A token of another issuer is refused with
	// oauth.TokenIssuerWrong, and one that doesn't say whose it is and is not
	// found with oauth.TokenUnknown, so that the next verifier can be asked.
	// An undecided reason says that this one can't tell.
	Verify(ctx context.Context, token string) (*accesstoken.Claims, *oauth.Refusal)
}

// Request is all that a verdict depends on.
type Request struct {
	// Method is the original one, before rewrites.
	Method string

	// Target is the original request target as on the request line, with
	// its query. In absolute-form only its path is used.
	Target string

	// Origins are what clients may have called this place, such as
	// https://api.example.com or https://api.example.com/prefix. The target's
	// path is appended to each. Without any, no proof passes.
	Origins []string

	// Header is the header as the client sent it. It is not changed.
	Header http.Header
}

// Policy is what one pop_auth demands, all values resolved. The zero value
// lets nothing through.
type Policy struct {
	// Issuers are asked in turn.
	Issuers []TokenVerifier

	// Audience lists names of this place; one must be in the token's aud.
	Audience []string

	// Scopes must all be in the token.
	Scopes []string

	// Freshness says how the time of a proof is judged.
	Freshness replay.Policy

	// AllowUnbound lets tokens without cnf pass as bearer tokens. Bound ones
	// must still be proven.
	AllowUnbound bool

	// AllowEncodedSlashes lets paths with %2F pass.
	AllowEncodedSlashes bool

	// Memory keeps proofs from passing twice. It must not be nil.
	Memory *replay.Memory

	// Trace, when not nil, is told of every step in order, with the refusal
	// of the one that failed.
	Trace func(step string, err error)
}

// Verdict is the outcome.
type Verdict struct {
	// Refusal is why the request must not pass; nil lets it through.
	Refusal *oauth.Refusal

	// Claims are those of a valid token, also beside a later refusal.
	Claims *accesstoken.Claims

	// Token is the access token as sent, when Check let the request through.
	// It is for whoever sends the request on, and for no log.
	Token string

	// Thumbprint is that of the confirmation key of a valid token, whether
	// or not it was proven. Empty for an unbound one.
	Thumbprint string

	// Unbound says that the token passed as a bearer token, by AllowUnbound.
	Unbound bool

	// Mode is the strictest mode of nonces that the proof satisfies. It means
	// nothing beside a refusal or Unbound.
	Mode replay.Mode

	// RenewNonce asks for a new nonce on the answer of a request that passed.
	RenewNonce bool
}

// fails records the outcome of one step and says whether it was the last.
func (v *Verdict) fails(p Policy, step string, refusal *oauth.Refusal) bool {
	v.Refusal = refusal
	if p.Trace != nil {
		// a nil *Refusal in an error interface would not be a nil error
		var err error
		if refusal != nil {
			err = refusal
		}
		p.Trace(step, err)
	}
	return refusal != nil
}

// Check judges one request.
//
// The order is part of the contract. What costs nothing comes first; nobody
// without a valid token makes us verify with a key of his choice; and what can
// be used up (the proof's id, a single-use nonce) is used up last, so that a
// request that fails never spends anything of the client's.
func Check(ctx context.Context, r Request, p Policy) Verdict {
	var v Verdict
	if v.fails(p, "sizes", sizes(r.Header)) {
		return v
	}
	if v.fails(p, "method", judgeMethod(r.Method)) {
		return v
	}
	path, refusal := targetPath(r.Target, p.AllowEncodedSlashes)
	if v.fails(p, "target", refusal) {
		return v
	}
	if v.fails(p, "query", tokenInQuery(r.Target)) {
		return v
	}
	if v.fails(p, "connection", connection(r.Header)) {
		return v
	}
	if v.fails(p, "proof fields", proofFields(r.Header)) {
		return v
	}
	auth, refusal := authorization(r.Header)
	if v.fails(p, "authorization", refusal) {
		return v
	}
	claims, refusal := verifyToken(ctx, auth.token, p.Issuers)
	if v.fails(p, "token", refusal) {
		return v
	}
	v.Claims, v.Thumbprint = claims, claims.Confirmation.Thumbprint()
	if v.fails(p, "audience", audience(claims, p)) {
		return v
	}
	m, refusal := confirmation(claims.Confirmation, auth.bearer, p.AllowUnbound)
	if v.fails(p, "confirmation", refusal) {
		return v
	}
	if v.fails(p, "scope", scope(claims, p)) {
		return v
	}
	if m == nil {
		v.Token, v.Unbound = auth.token, true
		return v
	}
	proof, refusal := m.proof(r.Header)
	if v.fails(p, "proof", refusal) {
		return v
	}
	// the method traces its own steps; the last of them is the signature
	e, refusal := m.verify(proof, evidenceFor{token: auth.token, path: path, confirmation: claims.Confirmation}, r, p)
	if refusal != nil {
		v.Refusal = refusal
		return v
	}
	if v.fails(p, "replay", p.Memory.Use(p.Freshness, e.proof)) {
		return v
	}
	v.Token, v.Mode, v.RenewNonce = auth.token, e.mode(p.Freshness.Mode), e.renew
	return v
}

// verifyToken asks the issuers in turn. "Not mine", "not known" and "can't tell"
// pass the question on; a token that its own issuer calls expired must not be
// tried elsewhere. If one could not tell and none accepts the token, nobody
// knows: what the others say of a token that may be his is no verdict, and a
// client that is told no throws a good token away.
func verifyToken(ctx context.Context, token string, issuers []TokenVerifier) (*accesstoken.Claims, *oauth.Refusal) {
	last := oauth.Refuse(oauth.TokenIssuerWrong, "")
	var undecided *oauth.Refusal
	for _, issuer := range issuers {
		claims, refusal := issuer.Verify(ctx, token)
		if refusal == nil {
			return claims, nil
		}
		last = refusal
		if refusal.Reason.Undecided() {
			undecided = cmp.Or(undecided, refusal)
		} else if refusal.Reason != oauth.TokenIssuerWrong && refusal.Reason != oauth.TokenUnknown {
			break
		}
	}
	return nil, cmp.Or(undecided, last)
}

// audience refuses a token that was issued for somebody else (RFC 9068 §4).
// A policy without an audience refuses too: it would take every token of the
// issuer, so that any other resource server could replay those it receives.
func audience(c *accesstoken.Claims, p Policy) *oauth.Refusal {
	for _, name := range p.Audience {
		if slices.Contains(c.Audience, name) {
			return nil
		}
	}
	return &oauth.Refusal{
		Reason:   oauth.TokenAudienceWrong,
		Expected: strings.Join(p.Audience, " "), Got: strings.Join(c.Audience, " "),
		Option: "audience",
	}
}

// confirmation chooses the proof method for a token: one that proves every
// member of its cnf. A nil method without a refusal means that the token is
// unbound and may pass.
func confirmation(c cnf.Confirmation, bearer, allowUnbound bool) (*method, *oauth.Refusal) {
	if !c.Bound() {
		if allowUnbound && bearer {
			return nil, nil
		}
		return nil, &oauth.Refusal{Reason: oauth.TokenUnbound, Option: "allow_unbound_tokens"}
	}
	// RFC 7800 §3.1 leaves unknown members to the application. Ignoring one
	// would turn "both keys" into "the weaker of the two". The thumbprint is
	// empty when jwk and jkt name different keys.
	members := c.Members()
	m := methodFor(members)
	if m == nil || c.Thumbprint() == "" {
		return nil, &oauth.Refusal{Reason: oauth.ConfirmationUnsupported, Got: strings.Join(members, " ")}
	}
	// RFC 9449 §7.2: the client was told token_type DPoP; its token under
	// Bearer comes from somebody who hopes that nobody looks
	if bearer && c.JKT != "" {
		return nil, &oauth.Refusal{Reason: oauth.BearerDowngrade, Expected: "DPoP", Got: "Bearer"}
	}
	return m, nil
}

func scope(c *accesstoken.Claims, p Policy) *oauth.Refusal {
	if len(c.MissingScopes(p.Scopes)) == 0 {
		return nil
	}
	return &oauth.Refusal{
		Reason:   oauth.ScopeInsufficient,
		Expected: strings.Join(p.Scopes, " "), Got: c.Scope,
		Option: "scope",
	}
}
