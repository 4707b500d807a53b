// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"encoding/json"
	"slices"

	"github.com/popauth/caddy-popauth/popauth/jws"
)

// metadata is the document of RFC 8414 §2.
type metadata struct {
	Issuer                string   `json:"issuer"`
	TokenEndpoint         string   `json:"token_endpoint,omitempty"`
	IntrospectionEndpoint string   `json:"introspection_endpoint,omitempty"`
	RevocationEndpoint    string   `json:"revocation_endpoint,omitempty"`
	JWKS                  string   `json:"jwks_uri,omitempty"`
	ScopesSupported       []string `json:"scopes_supported,omitempty"`

	// required, and empty: there is no authorization endpoint
	ResponseTypes []string `json:"response_types_supported"`
	GrantTypes    []string `json:"grant_types_supported"`

	// left out, the methods would mean client_secret_basic (RFC 8414 §2): that
	// there are none is an empty list, and nil is an endpoint that is not served
	TokenAuthMethods            []string `json:"token_endpoint_auth_methods_supported,omitzero"`
	TokenAuthAlgorithms         []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	IntrospectionAuthMethods    []string `json:"introspection_endpoint_auth_methods_supported,omitzero"`
	IntrospectionAuthAlgorithms []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	RevocationAuthMethods       []string `json:"revocation_endpoint_auth_methods_supported,omitzero"`
	RevocationAuthAlgorithms    []string `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`

	// RFC 9449 §5.1: by it, clients know that the token endpoint takes proofs
	ProofAlgorithms []string `json:"dpop_signing_alg_values_supported,omitempty"`
}

// Features is what the metadata document tells beyond the endpoints.
type Features struct {
	// Scopes are those of all clients, in any order and with repetitions.
	Scopes []string

	// Grants are the grant types that clients may use.
	Grants []string

	// AuthMethods are how clients authenticate, in the words of RFC 8414 §2.
	AuthMethods []string

	// AuthAlgorithms are what client assertions are signed with.
	AuthAlgorithms []string
}

// Metadata is the metadata document of an issuer with these endpoints.
func Metadata(issuerURL string, endpoints []Endpoint, features Features) ([]byte, error) {
	if _, _, err := split(issuerURL); err != nil {
		return nil, err
	}
	methods, algorithms := append([]string{}, features.AuthMethods...), features.AuthAlgorithms
	m := metadata{
		Issuer:          issuerURL,
		ScopesSupported: slices.Compact(slices.Sorted(slices.Values(features.Scopes))),
		ResponseTypes:   []string{},
		// RFC 8414 §2: left out, it would mean authorization_code and implicit
		GrantTypes: append([]string{}, features.Grants...),
	}
	for _, e := range endpoints {
		switch e.Name {
		case "token":
			m.TokenEndpoint, m.TokenAuthMethods, m.TokenAuthAlgorithms = e.URL, methods, algorithms
			m.ProofAlgorithms = jws.Algorithms
		case "introspect":
			m.IntrospectionEndpoint, m.IntrospectionAuthMethods, m.IntrospectionAuthAlgorithms = e.URL, methods, algorithms
		case "revoke":
			m.RevocationEndpoint, m.RevocationAuthMethods, m.RevocationAuthAlgorithms = e.URL, methods, algorithms
		case "jwks":
			m.JWKS = e.URL
		}
	}
	return json.Marshal(m)
}
