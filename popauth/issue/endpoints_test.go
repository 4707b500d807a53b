// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestEndpointsStandBeneathTheIssuer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		issuer string
		paths  map[string]string
		want   string
	}{
		"defaults": {
			"https://auth.example.com", nil,
			"token=/oauth2/token introspect=/oauth2/introspect revoke=/oauth2/revoke jwks=/oauth2/jwks metadata=/.well-known/oauth-authorization-server",
		},
		"paths of one's own": {
			"https://auth.example.com", map[string]string{"token": "/openam/oauth2/access_token", "revoke": "/openam/oauth2/token/revoke", "jwks": ""},
			"token=/openam/oauth2/access_token introspect=/oauth2/introspect revoke=/openam/oauth2/token/revoke jwks=/oauth2/jwks metadata=/.well-known/oauth-authorization-server",
		},
		"an issuer with a path": {
			"https://auth.example.com/tenant/a", nil,
			"token=/tenant/a/oauth2/token introspect=/tenant/a/oauth2/introspect revoke=/tenant/a/oauth2/revoke jwks=/tenant/a/oauth2/jwks metadata=/.well-known/oauth-authorization-server/tenant/a",
		},
		"an issuer with a terminating slash": {
			"http://localhost:8080/", nil,
			"token=/oauth2/token introspect=/oauth2/introspect revoke=/oauth2/revoke jwks=/oauth2/jwks metadata=/.well-known/oauth-authorization-server",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoints, err := Endpoints(test.issuer, test.paths)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range endpoints {
				got = append(got, e.Name+"="+e.Path)
				want := "POST"
				if e.Name == "jwks" || e.Name == "metadata" {
					want = "GET HEAD"
				}
				if methods := strings.Join(e.Methods, " "); methods != want {
					t.Errorf("methods of %s: %s, want %s", e.Name, methods, want)
				}
			}
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("Endpoints\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestEndpointsRefuse(t *testing.T) {
	t.Parallel()
	const good = "https://auth.example.com"
	for name, test := range map[string]struct {
		issuer string
		paths  map[string]string
		want   string // in the error
	}{
		"no issuer":                      {"", nil, `issuer ""`},
		"an issuer without a scheme":     {"auth.example.com", nil, "expected a URL"},
		"an issuer of another scheme":    {"ftp://auth.example.com", nil, "expected a URL"},
		"an issuer without a host":       {"https:///x", nil, "expected a URL"},
		"an issuer that is no URL":       {"https://a b", nil, "not a URL"},
		"an issuer with a query":         {good + "?a=b", nil, "no user, query"},
		"an issuer with an empty query":  {good + "?", nil, "no user, query"},
		"an issuer with a fragment":      {good + "#", nil, "no user, query"},
		"an issuer with a user":          {"https://u:p@auth.example.com", nil, "no user, query"},
		"an issuer with dot segments":    {good + "/a/../b", nil, "without escapes"},
		"an issuer with an escape":       {good + "/a%2Fb", nil, "without escapes"},
		"an unknown endpoint":            {good, map[string]string{"authorize": "/x"}, `"authorize"`},
		"the metadata moved":             {good, map[string]string{"metadata": "/x"}, `"metadata"`},
		"a path without a slash":         {good, map[string]string{"token": "token"}, "endpoint token"},
		"a path that is the root":        {good, map[string]string{"token": "/"}, "endpoint token"},
		"a path with a trailing slash":   {good, map[string]string{"jwks": "/jwks/"}, "endpoint jwks"},
		"a path with an empty segment":   {good, map[string]string{"token": "//token"}, "endpoint token"},
		"a path with dot segments":       {good, map[string]string{"token": "/a/../token"}, "endpoint token"},
		"a path with a query":            {good, map[string]string{"token": "/token?x"}, "endpoint token"},
		"a path with an escape":          {good, map[string]string{"token": "/%74oken"}, "endpoint token"},
		"a path with a blank":            {good, map[string]string{"token": "/to ken"}, "endpoint token"},
		"a path with another letter":     {good, map[string]string{"token": "/t\u00f6ken"}, "endpoint token"},
		"the same path twice":            {good, map[string]string{"token": "/x", "jwks": "/x"}, "the same path"},
		"the path of the metadata taken": {good, map[string]string{"jwks": wellKnown}, "the same path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoints, err := Endpoints(test.issuer, test.paths)
			if err == nil || endpoints != nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Endpoints = %v, %v, want an error with %q", endpoints, err, test.want)
			}
		})
	}
}

func TestMetadataDocument(t *testing.T) {
	t.Parallel()
	const issuer = "https://auth.example.com/t"
	endpoints, err := Endpoints(issuer, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Metadata(issuer, endpoints, Features{
		Scopes:         []string{"write", "read", "write"},
		Grants:         []string{"client_credentials"},
		AuthMethods:    []string{"client_secret_basic", "private_key_jwt"},
		AuthAlgorithms: []string{"ES256", "PS256"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"issuer":"https://auth.example.com/t",` +
		`"token_endpoint":"https://auth.example.com/t/oauth2/token",` +
		`"introspection_endpoint":"https://auth.example.com/t/oauth2/introspect",` +
		`"revocation_endpoint":"https://auth.example.com/t/oauth2/revoke",` +
		`"jwks_uri":"https://auth.example.com/t/oauth2/jwks",` +
		`"scopes_supported":["read","write"],` +
		`"response_types_supported":[],"grant_types_supported":["client_credentials"],` +
		`"token_endpoint_auth_methods_supported":["client_secret_basic","private_key_jwt"],` +
		`"token_endpoint_auth_signing_alg_values_supported":["ES256","PS256"],` +
		`"introspection_endpoint_auth_methods_supported":["client_secret_basic","private_key_jwt"],` +
		`"introspection_endpoint_auth_signing_alg_values_supported":["ES256","PS256"],` +
		`"revocation_endpoint_auth_methods_supported":["client_secret_basic","private_key_jwt"],` +
		`"revocation_endpoint_auth_signing_alg_values_supported":["ES256","PS256"],` +
		`"dpop_signing_alg_values_supported":["ES256","ES384","Ed25519","EdDSA","PS256","PS384","PS512","RS256","RS384","RS512"]}`
	if string(got) != want {
		t.Errorf("Metadata\n got %s\nwant %s", got, want)
	}
}

// What the document names is what is served, and what is served is named.
func TestMetadataNamesExactlyTheEndpoints(t *testing.T) {
	t.Parallel()
	all, err := Endpoints(issuerURL, map[string]string{"token": "/x"})
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(e Endpoint) bool { return e.Name == "metadata" })
	for subset := range 1 << len(all) {
		var served []Endpoint
		want := map[string]bool{}
		for n, e := range all {
			if subset&(1<<n) != 0 {
				served = append(served, e)
				want[e.Path] = true
			}
		}
		data, err := Metadata(issuerURL, served, Features{})
		if err != nil {
			t.Fatal(err)
		}
		var document map[string]any
		if err := json.Unmarshal(data, &document); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for name, value := range document {
			if text, ok := value.(string); ok && name != "issuer" {
				u, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				got[u.Path] = true
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("Metadata names %v, want %v", got, want)
		}
		if _, ok := document["scopes_supported"]; ok {
			t.Errorf("Metadata names scopes where there are none: %s", data)
		}
		// left out, it would mean client_secret_basic
		methods, ok := document["token_endpoint_auth_methods_supported"].([]any)
		if served := slices.ContainsFunc(served, func(e Endpoint) bool { return e.Name == "token" }); ok != served || len(methods) > 0 {
			t.Errorf("Metadata names methods %v where there are no clients: %s", methods, data)
		}
		if _, ok := document["token_endpoint_auth_signing_alg_values_supported"]; ok {
			t.Errorf("Metadata names algorithms where there are none: %s", data)
		}
	}
}

func TestMetadataRefusesABadIssuer(t *testing.T) {
	t.Parallel()
	if data, err := Metadata("auth.example.com", nil, Features{}); err == nil {
		t.Errorf("Metadata = %s, want an error", data)
	}
}
