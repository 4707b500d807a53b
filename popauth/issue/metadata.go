// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"encoding/json"
	"slices"
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

	TokenAuthMethods         []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
}

// Metadata is the metadata document of an issuer with these endpoints. scopes
// are those of all its clients, in any order and with repetitions.
func Metadata(issuerURL string, endpoints []Endpoint, scopes []string) ([]byte, error) {
	origin, _, err := split(issuerURL)
	if err != nil {
		return nil, err
	}
	authMethods := []string{"client_secret_basic", "client_secret_post"}
	m := metadata{
		Issuer:          issuerURL,
		ScopesSupported: slices.Compact(slices.Sorted(slices.Values(scopes))),
		ResponseTypes:   []string{},
		// RFC 8414 §2: left out, it would mean authorization_code and implicit
		GrantTypes: []string{clientCredentials},
	}
	for _, e := range endpoints {
		switch e.Name {
		case "token":
			m.TokenEndpoint, m.TokenAuthMethods = origin+e.Path, authMethods
		case "introspect":
			m.IntrospectionEndpoint, m.IntrospectionAuthMethods = origin+e.Path, authMethods
		case "revoke":
			m.RevocationEndpoint, m.RevocationAuthMethods = origin+e.Path, authMethods
		case "jwks":
			m.JWKS = origin + e.Path
		}
	}
	return json.Marshal(m)
}
