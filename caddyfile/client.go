// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/popauth/caddy-popauth/popauth"
)

// clientOption registers a client. Syntax:
//
//	client <id> [<secret>] {
//	    secret       <value>
//	    jwk          <jwk>
//	    jwks_file    <path>
//	    grants       <client_credentials...>
//	    scopes       <scope...>
//	    audience     <uri...>
//	    access_token <jwt|opaque>
//	    binding      <required|optional> [<cnf_key|dpop>...]
//	    cnf_key_proof <required|optional>
//	    introspect   [<audience...>]
//	}
//
// At least one secret, on the line or in the block, or one public key is
// required, and not both. Several let one roll them.
func clientOption(iss *popauth.Issuer) option {
	const usage = "client <id> [<secret>]"
	return option{usage: usage, repeatable: true, read: func(d *caddyfile.Dispenser) error {
		word := d.Token()
		args, err := arguments(d, usage, 1, 2)
		if err != nil {
			return err
		}
		c := &popauth.Client{ID: args[0], Secrets: args[1:]}
		if slices.ContainsFunc(iss.Clients, func(other *popauth.Client) bool { return other.ID == c.ID }) {
			return d.Errf("client %q is already specified", c.ID)
		}
		if err := readBlock(d, "client", clientOptions(c)...); err != nil {
			return err
		}
		keys := len(c.JWK) > 0 || c.JWKSFile != ""
		switch {
		case len(c.Secrets) == 0 && !keys:
			return at(word).Errf("client %q has no way to authenticate, expected: client <id> <secret>, or in its block: secret <value>, jwk <jwk> or jwks_file <path>", c.ID)
		case len(c.Secrets) > 0 && keys:
			return at(word).Errf("client %q has both secrets and keys, expected one way to authenticate", c.ID)
		}
		if c.CNFKeyProof == "required" && len(c.BindingMethods) > 0 && !slices.Contains(c.BindingMethods, "cnf_key") {
			return at(word).Errf("client %q has cnf_key_proof required, but cnf_key is not among its ways of binding", c.ID)
		}
		iss.Clients = append(iss.Clients, c)
		return nil
	}}
}

// clientOptions are the lines of a client block.
func clientOptions(c *popauth.Client) []option {
	return []option{
		oneOfSeveral("secret <value>", &c.Secrets),
		oneOfSeveral("jwk <jwk>", &c.JWK),
		value("jwks_file <path>", &c.JWKSFile),
		choices("grants <client_credentials...>", &c.Grants),
		list("scopes <scope...>", &c.Scopes),
		list("audience <uri...>", &c.Audience),
		choice("access_token <jwt|opaque>", &c.AccessToken),
		binding(c),
		choice("cnf_key_proof <required|optional>", &c.CNFKeyProof),
		introspects(c),
	}
}

// binding says whether tokens must be bound, and in which ways they may be.
func binding(c *popauth.Client) option {
	const usage, method = "binding <required|optional> [<cnf_key|dpop>...]", "<cnf_key|dpop>"
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		args, err := line(d, usage, 1, unlimited)
		if err != nil {
			return err
		}
		c.Binding, c.BindingMethods = args[0], args[1:]
		if err := checkChoices(d, usage, c.Binding); err != nil {
			return err
		}
		if err := checkChoices(d, method, c.BindingMethods...); err != nil {
			return err
		}
		for i, m := range c.BindingMethods {
			if slices.Contains(c.BindingMethods[:i], m) {
				return d.Errf("%s is already specified: %s", m, usage)
			}
		}
		return nil
	}}
}

// oneOfSeveral is an option with one value, of which there may be several lines:
// one secret a line, so that a secret with a space in it that lacks its quotes
// does not become two that are easier to guess.
func oneOfSeveral(usage string, target *[]string) option {
	return option{usage: usage, repeatable: true, read: func(d *caddyfile.Dispenser) error {
		args, err := line(d, usage, 1, 1)
		*target = append(*target, args...)
		return err
	}}
}

// introspects is not repeatable: next to a line without audiences, which means
// all tokens, it would be unclear what one with some means.
func introspects(c *popauth.Client) option {
	const usage = "introspect [<audience...>]"
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		args, err := line(d, usage, 0, unlimited)
		c.Introspect = &popauth.Introspect{Audience: args}
		return err
	}}
}
