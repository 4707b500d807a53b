// SPDX-License-Identifier: Apache-2.0

// Package caddyfile is the Caddyfile syntax of popauth: the global option
// popauth and the directives pop_server, pop_token, pop_introspect and
// pop_auth.
//
// It fills the configuration of the modules in package popauth and nothing
// else: it sets no defaults, resolves no placeholders and reads no files. What
// depends on the values of placeholders is checked when the modules are
// provisioned.
package caddyfile

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// directives in the order in which they handle a request. They stand between
// basic_auth and forward_auth: after everything that rewrites, which they are
// unaffected by, and before everything that responds.
var directives = []struct {
	name  string
	parse httpcaddyfile.UnmarshalHandlerFunc
}{
	{"pop_server", parseServer},
	{"pop_token", parseToken},
	{"pop_introspect", parseIntrospect},
	{"pop_auth", parseAuth},
}

func init() {
	httpcaddyfile.RegisterGlobalOption("popauth", parseApp)

	// each is put directly behind the anchor, so the last one registered comes
	// first; and the anchor must be a directive of Caddy's own
	for _, d := range slices.Backward(directives) {
		if d.name == "pop_auth" {
			httpcaddyfile.RegisterDirective(d.name, parseAuthRoutes)
		} else {
			httpcaddyfile.RegisterHandlerDirective(d.name, d.parse)
		}
		httpcaddyfile.RegisterDirectiveOrder(d.name, httpcaddyfile.After, "basic_auth")
	}
}
