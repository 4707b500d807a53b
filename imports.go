// SPDX-License-Identifier: Apache-2.0

// Package caddypopauth adds popauth to Caddy: access tokens that are bound to
// a key of the client, and a middleware that lets a request through only when
// the client proves that it holds the key.
//
// It holds nothing but imports, so that the module can be named as it is:
//
//	xcaddy build --with github.com/popauth/caddy-popauth
package caddypopauth

import (
	_ "github.com/popauth/caddy-popauth/caddyfile"
	_ "github.com/popauth/caddy-popauth/popauth/command"
)
