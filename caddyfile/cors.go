// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/popauth/caddy-popauth/popauth"
)

// corsOption reads the origins of pages that may send requests, or the word
// upstream where the usage has it. Whether an origin is one is checked when its
// placeholders are filled in.
func corsOption(usage string, target **popauth.CORS) option {
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		args, err := arguments(d, usage, 1, unlimited)
		if err != nil {
			return err
		}
		c := new(popauth.CORS)
		*target = c
		if slices.Contains(args, "upstream") {
			if !strings.Contains(usage, "upstream") {
				return d.Errf("unexpected upstream, expected: %s", usage)
			}
			if len(args) > 1 || opensBlock(d) {
				return d.Errf("cors upstream has neither origins nor a block, expected: %s", usage)
			}
			c.Upstream = true
			return nil
		}
		c.Origins = args
		return readBlock(d, "cors",
			list("headers <name...>", &c.Headers),
			duration("max_age <duration>", &c.MaxAge),
		)
	}}
}
