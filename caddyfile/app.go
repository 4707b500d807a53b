// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/popauth/caddy-popauth/popauth"
)

// parseApp sets up an issuer. Syntax:
//
//	popauth [<id>] {
//	    issuer            <url>
//	    audience          <uri...>
//	    signing_algorithm <ES256|ES384|EdDSA|PS256|RS256>
//	    signing_key       <jwk-or-pem...>
//	    store             memory | file [<path>] {
//	        max_size <size>
//	    }
//	    replay_capacity   <n>
//	    nonce             <required|optional|off>
//	    access_token [<jwt|opaque>] {
//	        lifetime     <duration>
//	        confirmation <jwk|jkt>
//	    }
//	    endpoints {
//	        token      <path>
//	        introspect <path>
//	        revoke     <path>
//	        jwks       <path>
//	    }
//	    client <id> [<secret>] {
//	        secret       <value>
//	        jwk          <jwk>
//	        jwks_file    <path>
//	        grants       <client_credentials...>
//	        scopes       <scope...>
//	        audience     <uri...>
//	        access_token <jwt|opaque>
//	        binding      <required|optional> [<cnf_key|dpop>...]
//	        cnf_key_proof <required|optional>
//	        introspect   [<audience...>]
//	    }
//	}
//
// The option is given once for each issuer. Without an id, it is "default".
// Only issuer is required. Lines with a list may be repeated and add to it, and
// so may client, its secret and its jwk.
//
// All issuers of a process share one memory of used proofs, so of several
// replay_capacity the largest counts.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(popauth.App)
	if earlier, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(earlier.Value, app); err != nil {
			return nil, d.WrapErr(err)
		}
	}
	if app.Issuers == nil {
		app.Issuers = make(map[string]*popauth.Issuer)
	}

	d.Next() // consume option name
	word := d.Token()
	args, err := arguments(d, "popauth [<id>]", 0, 1)
	if err != nil {
		return nil, err
	}
	id := popauth.DefaultIssuer
	if len(args) == 1 {
		id = args[0]
	}
	if _, taken := app.Issuers[id]; taken {
		return nil, d.Errf("popauth %q is already specified; give each issuer an id of its own: popauth <id>", id)
	}
	iss := new(popauth.Issuer)
	if err := readBlock(d, "popauth", appOptions(app, iss)...); err != nil {
		return nil, err
	}
	if iss.URL == "" {
		return nil, at(word).Err("popauth has no issuer, expected in its block: issuer <url>")
	}
	app.Issuers[id] = iss
	return httpcaddyfile.App{Name: "popauth", Value: caddyconfig.JSON(app, nil)}, nil
}

// at makes errors that point to a word that was read before.
func at(word caddyfile.Token) *caddyfile.Dispenser {
	d := caddyfile.NewDispenser([]caddyfile.Token{word})
	d.Next()
	return d
}

// appOptions are the lines of the popauth block.
func appOptions(app *popauth.App, iss *popauth.Issuer) []option {
	return []option{
		value("issuer <url>", &iss.URL),
		list("audience <uri...>", &iss.Audience),
		signingAlgorithm(iss),
		signingKey(iss),
		storeOption(iss),
		replayCapacity(app),
		choice("nonce <required|optional|off>", &iss.Nonce),
		accessToken(iss),
		endpoints(iss),
		clientOption(iss),
	}
}

// signing is the part of the issuer that two options fill.
func signing(iss *popauth.Issuer) *popauth.Signing {
	if iss.Signing == nil {
		iss.Signing = new(popauth.Signing)
	}
	return iss.Signing
}

func signingAlgorithm(iss *popauth.Issuer) option {
	const usage = "signing_algorithm <ES256|ES384|EdDSA|PS256|RS256>"
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		return choice(usage, &signing(iss).Algorithm).read(d)
	}}
}

func signingKey(iss *popauth.Issuer) option {
	const usage = "signing_key <jwk-or-pem...>"
	return option{usage: usage, repeatable: true, read: func(d *caddyfile.Dispenser) error {
		return list(usage, &signing(iss).Keys).read(d)
	}}
}

// replayCapacity keeps the largest of all blocks.
func replayCapacity(app *popauth.App) option {
	const usage = "replay_capacity <n>"
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		args, err := line(d, usage, 1, 1)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(args[0])
		if err != nil || n <= 0 {
			return d.Errf("invalid number %q, expected a positive integer: %s", args[0], usage)
		}
		app.ReplayCapacity = max(app.ReplayCapacity, n)
		return nil
	}}
}

// storeOption hands the rest of the line and the block to the module that is
// named.
func storeOption(iss *popauth.Issuer) option {
	const usage = "store <backend>"
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		var name string
		if !d.Args(&name) {
			return d.Errf("wrong number of arguments, expected: %s", usage)
		}
		var known []string
		for _, module := range caddy.GetModules("popauth.stores") {
			known = append(known, module.ID.Name())
		}
		if !slices.Contains(known, name) {
			return d.Errf("unrecognized store %q, expected %s", name, oneOf(known))
		}
		id := "popauth.stores." + name
		backend, err := caddyfile.UnmarshalModule(d, id)
		if err != nil {
			return err
		}
		if _, ok := backend.(popauth.Backend); !ok {
			return d.Errf("module %s (%T) is not a store", id, backend)
		}
		iss.StoreRaw = caddyconfig.JSONModuleObject(backend, "backend", name, nil)
		return nil
	}}
}

func accessToken(iss *popauth.Issuer) option {
	const usage = "access_token [<jwt|opaque>] { ... }"
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		args, err := arguments(d, usage, 0, 1)
		if err != nil {
			return err
		}
		t := new(popauth.AccessToken)
		if len(args) == 1 {
			t.Format = args[0]
			if err := checkChoices(d, usage, t.Format); err != nil {
				return err
			}
		} else if !opensBlock(d) {
			return d.Errf("wrong number of arguments, expected: %s", usage)
		}
		iss.AccessToken = t
		return readBlock(d, "access_token",
			duration("lifetime <duration>", &t.Lifetime),
			choice("confirmation <jwk|jkt>", &t.Confirmation),
		)
	}}
}

func endpoints(iss *popauth.Issuer) option {
	const usage = "endpoints { ... }"
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		if _, err := arguments(d, usage, 0, 0); err != nil {
			return err
		}
		if !opensBlock(d) {
			return d.Errf("no block, expected: %s", usage)
		}
		iss.Endpoints = new(popauth.Endpoints)
		return readBlock(d, "endpoints",
			value("token <path>", &iss.Endpoints.Token),
			value("introspect <path>", &iss.Endpoints.Introspect),
			value("revoke <path>", &iss.Endpoints.Revoke),
			value("jwks <path>", &iss.Endpoints.JWKS),
		)
	}}
}
