// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/jws"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

const (
	// maxKeySet is the most bytes that a JWK Set may have.
	maxKeySet = 64 << 10

	// maxKeys is how many keys a client may have.
	maxKeys = 16

	// maxTries is how many keys are tried for an assertion that names none:
	// each costs as much as a proof, and a stranger may ask for it.
	maxTries = 4
)

// key is a registered public key with the one algorithm that it verifies.
type key struct {
	*jwk.Key
	algorithm string
}

// ParseKeySet reads a JWK Set (RFC 7517 §5) of public keys. Every one of them
// must pass the key policy: one that is left out silently is one that somebody
// relies on. Members that it does not know are ignored.
func ParseKeySet(data []byte) ([]*jwk.Key, error) {
	o, err := strict.ParseObject(data, strict.Limits{Size: maxKeySet, Depth: 6, Members: 2048})
	if err != nil {
		return nil, err
	}
	member, _ := o.Get("keys")
	list, ok := member.Array()
	if !ok || len(list) == 0 {
		return nil, errors.New("not a JWK Set: there is no array 'keys' with a key in it")
	}
	keys := make([]*jwk.Key, 0, len(list))
	for i, element := range list {
		object, ok := element.Object()
		if !ok {
			return nil, fmt.Errorf("key %d: not an object", i+1)
		}
		k, err := jwk.FromObject(object)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if _, err := algorithmOf(k); err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// algorithmOf is the algorithm of the key's own choice. Were it the assertion's,
// the sender would choose how his signature is checked (RFC 8725 §3.1); so a
// type with several must say which.
func algorithmOf(k *jwk.Key) (string, error) {
	switch public := k.Public().(type) {
	case *ecdsa.PublicKey:
		if public.Curve.Params().BitSize == 384 {
			return "ES384", nil
		}
		return "ES256", nil
	case ed25519.PublicKey:
		return "Ed25519", nil
	}
	if k.Algorithm() == "" {
		return "", errors.New("an RSA key must say by 'alg' what it is for, such as PS256")
	}
	return k.Algorithm(), nil
}

// registeredKeys checks the keys of one client.
func registeredKeys(keys []*jwk.Key) ([]key, error) {
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("there are more than %d keys", maxKeys)
	}
	registered := make([]key, 0, len(keys))
	for i, k := range keys {
		algorithm, err := algorithmOf(k)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		for _, other := range registered {
			switch {
			case other.Thumbprint() == k.Thumbprint():
				return nil, fmt.Errorf("key %d is there twice", i+1)
			case other.isNamed(k.ID()), other.ID() == k.Thumbprint(): // "" names no key
				return nil, fmt.Errorf("key %d has the kid of another one", i+1)
			}
		}
		registered = append(registered, key{k, algorithm})
	}
	return registered, nil
}

// isNamed says whether a kid is that of the key. One without a kid is called
// by its thumbprint, as many clients do on their own.
func (k key) isNamed(id string) bool {
	if k.ID() == "" {
		return id == k.Thumbprint()
	}
	return id == k.ID()
}

// candidates are the keys that may have signed a message: of its alg, and of
// its kid if it names one.
func (c *Client) candidates(m *jws.Message) ([]key, error) {
	if len(c.keys) == 0 {
		return nil, errors.New("it has no keys, but sent an assertion")
	}
	named := c.keys
	if m.Header.Has("kid") {
		named = slices.DeleteFunc(slices.Clone(named), func(k key) bool { return !k.isNamed(m.KeyID()) })
	}
	if len(named) == 0 {
		return nil, errors.New("the assertion is signed by a key that is not one of the client's (kid)")
	}
	fit := slices.DeleteFunc(slices.Clone(named), func(k key) bool { return k.algorithm != canonical(m.Algorithm()) })
	if len(fit) == 0 {
		return nil, errors.New("the assertion is signed with another algorithm than that of the client's key")
	}
	if len(fit) > maxTries {
		return nil, fmt.Errorf("the assertion names no kid, and more than %d keys of the client fit", maxTries)
	}
	return fit, nil
}

// canonical makes the two names of Ed25519 one (RFC 9864).
func canonical(algorithm string) string {
	if algorithm == "EdDSA" {
		return "Ed25519"
	}
	return algorithm
}

// verify says whether one of the client's keys has signed the message. For a
// client that is not registered, or has fewer keys, or none that fits, keys of
// others are tried for nothing: else the time would tell which clients exist
// and have keys. (It tells those with a large RSA key from those with a small
// one.)
func (r *Registry) verify(c *Client, m *jws.Message) error {
	return r.try(c, m, func(k key) error { return m.Verify(k.Key, k.algorithm) })
}

// try is verify with a way to check one signature. How often it is called may
// depend on the header of the message, but not on the client.
func (r *Registry) try(c *Client, m *jws.Message, signed func(key) error) error {
	fit, failure := c.candidates(m)
	spare := r.spare[canonical(m.Algorithm())]
	if m.Header.Has("kid") {
		spare = spare[:min(1, len(spare))]
	}
	if failure == nil {
		failure = errors.New("the signature of the assertion is not valid")
	}
	for i, k := range spare {
		own := i < len(fit)
		if own {
			k = fit[i]
		}
		if signed(k) == nil && own {
			failure = nil
		}
	}
	return failure
}

// spares are, for each algorithm, the keys of the client that has most of it.
func spares(clients map[string]*Client) map[string][]key {
	most := map[string][]key{}
	for _, c := range clients {
		own := map[string][]key{}
		for _, k := range c.keys {
			if len(own[k.algorithm]) < maxTries {
				own[k.algorithm] = append(own[k.algorithm], k)
			}
		}
		for algorithm, keys := range own {
			if len(keys) > len(most[algorithm]) {
				most[algorithm] = keys
			}
		}
	}
	return most
}
