// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/popauth/caddy-popauth/popauth/jws"
)

// Registry is the registered clients of one issuer. It is immutable and safe
// for concurrent use. The zero Registry has no clients.
type Registry struct {
	clients map[string]*Client

	// nobody stands in for a client that is not registered, so that asking for
	// one takes the same steps. No secret is his.
	nobody Client

	// spare are keys to be tried in vain, by algorithm, see verify.
	spare map[string][]key

	assertions Assertions
}

// errUnknown is what the log says of an id that is not registered. It does not
// quote the id: people mistake the two and send the secret in its place.
var errUnknown = errors.New("no client of this id is registered")

// NewRegistry makes a registry, which may be empty. The first mistake in a
// configuration is an error that names the client, and never a secret. What
// assertions need may be left out if no client has keys.
func NewRegistry(clients []Config, assertions Assertions) (*Registry, error) {
	slots := 1
	for _, config := range clients {
		slots = max(slots, len(config.Secrets))
	}
	r := &Registry{
		clients:    make(map[string]*Client, len(clients)),
		nobody:     Client{digests: fill(nil, slots)},
		assertions: assertions,
	}
	for i, config := range clients {
		if config.ID == "" {
			return nil, fmt.Errorf("client number %d has no id", i+1)
		}
		switch {
		case len(config.Secrets) == 0 && len(config.Keys) == 0:
			// a client that anybody can be is not a registered one
			return nil, fmt.Errorf("client %q has no way to authenticate", config.ID)
		case len(config.Secrets) > 0 && len(config.Keys) > 0:
			// the weaker one would decide, and nobody would notice
			return nil, fmt.Errorf("client %q has both secrets and keys, expected one way to authenticate", config.ID)
		case len(config.Keys) > 0 && (assertions.Issuer == "" || assertions.Store == nil || assertions.Clock == nil):
			return nil, fmt.Errorf("client %q has keys, but there is no issuer, store or clock for assertions", config.ID)
		}
		if err := config.validate(); err != nil {
			return nil, fmt.Errorf("client %q: %w", config.ID, err)
		}
		if _, ok := r.clients[config.ID]; ok {
			return nil, fmt.Errorf("client %q is configured twice", config.ID)
		}
		keys, err := registeredKeys(config.Keys)
		if err != nil {
			return nil, fmt.Errorf("client %q: %w", config.ID, err)
		}
		c := newClient(config, slots)
		c.keys = keys
		r.clients[config.ID] = c
	}
	r.spare = spares(r.clients)
	return r, nil
}

// Lookup finds a client by its id. It says nothing about who is asking.
func (r *Registry) Lookup(id string) (*Client, bool) {
	c, ok := r.clients[id]
	return c, ok
}

// Methods are the ways in which at least one client authenticates, in the words
// of RFC 8414 §2.
func (r *Registry) Methods() []string {
	secrets, keys := 0, 0
	for _, c := range r.clients {
		if len(c.keys) > 0 {
			keys++
		} else {
			secrets++
		}
	}
	var methods []string
	if secrets > 0 {
		methods = append(methods, "client_secret_basic", "client_secret_post")
	}
	if keys > 0 {
		methods = append(methods, "private_key_jwt")
	}
	return methods
}

// Grants are the grant types that at least one client may use, in alphabetical
// order.
func (r *Registry) Grants() []string {
	var grants []string
	for _, c := range r.clients {
		grants = append(grants, c.grants...)
	}
	slices.Sort(grants)
	return slices.Compact(grants)
}

// Algorithms are those of at least one client's keys, in the order of
// jws.Algorithms. Ed25519 has two names.
func (r *Registry) Algorithms() []string {
	var algorithms []string
	for _, algorithm := range jws.Algorithms {
		if len(r.spare[canonical(algorithm)]) > 0 {
			algorithms = append(algorithms, algorithm)
		}
	}
	return algorithms
}

// newClient makes a client of a valid configuration and copies all of it.
func newClient(config Config, slots int) *Client {
	c := &Client{
		id:       config.ID,
		grants:   slices.Clone(config.Grants),
		scopes:   slices.Clone(config.Scopes),
		audience: slices.Clone(config.Audience),
		format:   config.TokenFormat,
		unbound:  config.BindingOptional,
		binding:  slices.Clone(config.BindingMethods),
		keyProof: config.KeyProofRequired,
		failure:  fmt.Errorf("client %q sent a wrong secret", config.ID),
	}
	if len(config.Secrets) == 0 {
		c.failure = fmt.Errorf("client %q has keys and no secret, but sent one", config.ID)
	}
	if config.Introspect != nil {
		c.introspect = &Introspect{Audience: slices.Clone(config.Introspect.Audience)}
	}
	// a resource server that introspects has no tokens to ask for
	if len(c.grants) == 0 && c.introspect == nil {
		c.grants = []string{clientCredentials}
	}
	if len(c.binding) == 0 {
		c.binding = bindingMethods
	}
	for _, secret := range config.Secrets {
		c.digests = append(c.digests, sha256.Sum256([]byte(secret)))
	}
	c.digests = fill(c.digests, slots)
	return c
}

// fill appends random digests up to n. Nobody knows a secret for one of them,
// and how long a comparison takes does not tell how many are real.
func fill(digests [][sha256.Size]byte, n int) [][sha256.Size]byte {
	for len(digests) < n {
		var digest [sha256.Size]byte
		_, _ = rand.Read(digest[:]) // crashes the process rather than fail
		digests = append(digests, digest)
	}
	return digests
}
