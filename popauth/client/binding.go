// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The ways in which a client may bind its tokens to a key.
const (
	// ByKey is the parameter cnf_key with the key.
	ByKey = "cnf_key"

	// ByProof is a DPoP proof (RFC 9449 §5) without that parameter. A proof
	// beside a cnf_key shows that the client holds the key, and binds nothing.
	ByProof = "dpop"
)

var bindingMethods = []string{ByKey, ByProof}

// BindingRequired says that the client gets no token that is not bound to a
// key.
func (c *Client) BindingRequired() bool { return !c.unbound }

// MayBind says whether the client may bind its tokens in this way.
func (c *Client) MayBind(method string) bool { return slices.Contains(c.binding, method) }

// KeyProofRequired says that a cnf_key of the client counts only beside a proof
// by the same key.
func (c *Client) KeyProofRequired() bool { return c.keyProof }

func (c Config) validateBinding() error {
	for i, method := range c.BindingMethods {
		if !slices.Contains(bindingMethods, method) {
			return fmt.Errorf("unknown binding method %q: expected %s", method, strings.Join(bindingMethods, " or "))
		}
		if slices.Contains(c.BindingMethods[:i], method) {
			return fmt.Errorf("binding method %q is repeated", method)
		}
	}
	if c.KeyProofRequired && len(c.BindingMethods) > 0 && !slices.Contains(c.BindingMethods, ByKey) {
		return errors.New("cnf_key_proof is required, but cnf_key is not among the binding methods")
	}
	return nil
}
