// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/popauth/caddy-popauth/popauth"
)

// parseServer sets up the endpoints of an issuer. Syntax:
//
//	pop_server [<matcher>] {
//	    issuer <id>
//	    only   <token|introspect|revoke|jwks|metadata...>
//	    cors   <origin...> {
//	        headers <name...>
//	        max_age <duration>
//	    }
//	}
//
// Without an issuer it is the only one there is, or else "default". Without
// only, all endpoints are served.
func parseServer(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	s := new(popauth.Server)
	err := readDirective(h,
		value("issuer <id>", &s.Issuer),
		choices("only <token|introspect|revoke|jwks|metadata...>", &s.Only),
		corsOption("cors <origin...>", &s.CORS),
	)
	return s, err
}

// parseToken sets up the token endpoint of an issuer, as pop_server with
// "only token" does. Syntax:
//
//	pop_token [<matcher>] {
//	    issuer <id>
//	    cors   <origin...> { ... }
//	}
func parseToken(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	return parseEndpoint(h, "token")
}

// parseIntrospect sets up the introspection endpoint of an issuer, as
// pop_server with "only introspect" does. Syntax:
//
//	pop_introspect [<matcher>] {
//	    issuer <id>
//	    cors   <origin...> { ... }
//	}
func parseIntrospect(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	return parseEndpoint(h, "introspect")
}

// parseEndpoint sets up a single endpoint.
func parseEndpoint(h httpcaddyfile.Helper, name string) (caddyhttp.MiddlewareHandler, error) {
	s := &popauth.Server{Only: []string{name}}
	err := readDirective(h,
		value("issuer <id>", &s.Issuer),
		corsOption("cors <origin...>", &s.CORS),
	)
	return s, err
}

// readDirective reads a directive that has no arguments but its matcher, which
// was read before, and may have a block.
func readDirective(h httpcaddyfile.Helper, options ...option) error {
	h.Next() // consume directive name
	name := h.Val()
	if _, err := arguments(h.Dispenser, name+" [<matcher>] { ... }", 0, 0); err != nil {
		return err
	}
	return readBlock(h.Dispenser, name, options...)
}
