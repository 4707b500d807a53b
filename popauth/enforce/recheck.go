// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"slices"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// Recheck judges a request that an earlier pop_auth let through by the
// demands of another one. Possession is proven once per request: it looks at
// the earlier verdict only, not at fields, nonce or guard, whose second use
// would be taken for a replay.
//
// It checks issuer, audience, binding, scope and the mode of nonces. It does
// not check the proof's age again; without a nonce, the windows of the
// earlier policy have decided. An earlier refusal stands.
func Recheck(earlier Verdict, p Policy) Verdict {
	v := earlier
	// the earlier pop_auth has seen to the nonce and to the upstream's token
	v.RenewNonce, v.Token = false, ""
	if v.Refusal != nil {
		return v
	}
	if v.Claims == nil {
		v.Refusal = oauth.Refuse(oauth.TokenMissing, "") // nobody has checked anything
		return v
	}
	if v.fails(p, "issuer", issuer(v.Claims.Issuer, p.Issuers)) {
		return v
	}
	if v.fails(p, "audience", audience(v.Claims, p)) {
		return v
	}
	if v.fails(p, "confirmation", stillUnbound(v, p)) {
		return v
	}
	if v.fails(p, "scope", scope(v.Claims, p)) {
		return v
	}
	v.fails(p, "mode", mode(v, p))
	return v
}

// issuer refuses a token of an issuer that is not one of the given.
func issuer(name string, issuers []TokenVerifier) *oauth.Refusal {
	if slices.ContainsFunc(issuers, func(i TokenVerifier) bool { return i.Issuer() == name }) {
		return nil
	}
	var names []string
	for _, i := range issuers {
		names = append(names, i.Issuer())
	}
	return &oauth.Refusal{Reason: oauth.TokenIssuerWrong, Expected: strings.Join(names, " "), Got: name, Option: "issuer"}
}

// stillUnbound refuses a token that passed without a proof where one is
// wanted.
func stillUnbound(v Verdict, p Policy) *oauth.Refusal {
	if v.Unbound && !p.AllowUnbound {
		return &oauth.Refusal{Reason: oauth.TokenUnbound, Option: "allow_unbound_tokens"}
	}
	return nil
}

// mode refuses a proof that was accepted with less than is asked here: with
// no nonce where one is required, or with one that may be used again where it
// may not. A client can only mend the first; the second ends when the outer
// pop_auth is given the stricter mode.
func mode(v Verdict, p Policy) *oauth.Refusal {
	if v.Unbound || p.Freshness.Mode == replay.Off || p.Freshness.Mode == v.Mode || v.Mode == replay.SingleUse {
		return nil
	}
	return &oauth.Refusal{
		Reason:   oauth.NonceMissing,
		Expected: p.Freshness.Mode.String(), Got: v.Mode.String(), Option: "nonce",
		Hint: "an earlier pop_auth on this request has a weaker nonce mode: the first one must have the strictest",
	}
}
