// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/popauth/caddy-popauth/popauth"
)

// parseAuth sets up the guard of an API. Syntax:
//
//	pop_auth [<matcher>] {
//	    issuer         <id...>
//	    audience       <uri...>
//	    scope          <scope...>
//	    nonce          <required|single_use|off>
//	    proof_max_age  <duration>
//	    clock_skew     <duration>
//	    public_url     <url...>
//	    metadata       <on|off>
//	    upstream_token <bearer|keep|strip>
//	    allow_encoded_slashes
//	    allow_unbound_tokens
//	    cors           upstream | <origin...> {
//	        headers <name...>
//	        max_age <duration>
//	    }
//	}
//
// Without an issuer it is the only one there is, or else "default". Lines with a
// list may be repeated and add to it.
func parseAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	a := new(popauth.Auth)
	err := readDirective(h,
		list("issuer <id...>", &a.Issuers),
		list("audience <uri...>", &a.Audience),
		list("scope <scope...>", &a.Scopes),
		choice("nonce <required|single_use|off>", &a.Nonce),
		duration("proof_max_age <duration>", &a.ProofMaxAge),
		duration("clock_skew <duration>", &a.ClockSkew),
		list("public_url <url...>", &a.PublicURLs),
		choice("metadata <on|off>", &a.Metadata),
		choice("upstream_token <bearer|keep|strip>", &a.UpstreamToken),
		flag("allow_encoded_slashes", &a.AllowEncodedSlashes),
		flag("allow_unbound_tokens", &a.AllowUnboundTokens),
		corsOption("cors <origin...> | cors upstream", &a.CORS),
	)
	return a, err
}

// parseAuthRoutes makes the routes of pop_auth: one, or two if it has a matcher.
// The metadata of the API is for requests that the matcher need not let
// through, and for clients that have no token.
func parseAuthRoutes(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume directive name
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	handler, err := parseAuth(h)
	if err != nil {
		return nil, err
	}
	routes := h.NewRoute(matcher, handler)
	guard := handler.(*popauth.Auth)
	if matcher == nil || guard.Metadata == "off" {
		return routes, nil
	}
	metadata := *guard
	metadata.Metadata = "only"
	path := caddyhttp.MatchPath{popauth.ResourceMetadataPath, popauth.ResourceMetadataPath + "/*"}
	return append(h.NewRoute(caddy.ModuleMap{"path": h.JSON(path)}, &metadata), routes...), nil
}
