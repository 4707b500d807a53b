// SPDX-License-Identifier: Apache-2.0

package client

import (
	"strings"
	"testing"
)

func TestBindingOfAClient(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		optional, keyProof bool
		methods            []string
		key, proof         bool
		wantError          string
	}{
		"by default both ways":           {methods: nil, key: true, proof: true},
		"none is as none said":           {methods: []string{}, key: true, proof: true},
		"optional":                       {optional: true, key: true, proof: true},
		"the key alone":                  {methods: []string{"cnf_key"}, key: true},
		"the proof alone":                {methods: []string{"dpop"}, proof: true},
		"both":                           {methods: []string{"dpop", "cnf_key"}, key: true, proof: true},
		"a proven key":                   {keyProof: true, key: true, proof: true},
		"a proven key alone":             {keyProof: true, methods: []string{"cnf_key"}, key: true},
		"unknown":                        {methods: []string{"mtls"}, wantError: `unknown binding method "mtls": expected cnf_key or dpop`},
		"in another case":                {methods: []string{"DPoP"}, wantError: `unknown binding method "DPoP"`},
		"empty":                          {methods: []string{""}, wantError: `unknown binding method ""`},
		"twice":                          {methods: []string{"dpop", "dpop"}, wantError: `"dpop" is repeated`},
		"a proven key that is not taken": {keyProof: true, methods: []string{"dpop"}, wantError: "cnf_key_proof is required, but cnf_key is not among"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := NewRegistry([]Config{{
				ID: "c", Secrets: []string{"s"},
				BindingOptional: test.optional, BindingMethods: test.methods, KeyProofRequired: test.keyProof,
			}}, Assertions{})
			if test.wantError != "" || err != nil {
				if err == nil || !strings.Contains(err.Error(), test.wantError) || test.wantError == "" {
					t.Fatalf("NewRegistry: got %v, want %q", err, test.wantError)
				}
				return
			}
			c, _ := r.Lookup("c")
			if c.MayBind(ByKey) != test.key || c.MayBind(ByProof) != test.proof || c.MayBind("") {
				t.Errorf("got %v, %v; want %v, %v", c.MayBind(ByKey), c.MayBind(ByProof), test.key, test.proof)
			}
			if c.BindingRequired() == test.optional || c.KeyProofRequired() != test.keyProof {
				t.Errorf("got required %v, to be proven %v", c.BindingRequired(), c.KeyProofRequired())
			}
		})
	}
}
