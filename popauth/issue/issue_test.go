// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/keys"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

const issuerURL = "https://auth.example.com"

// issuer returns an issuer with these clients registered.
func issuer(t *testing.T, clients ...client.Config) (*Issuer, *client.Registry) {
	t.Helper()
	c := clock.NewFake(time.Unix(1_700_000_000, 0))
	return issuerOn(t, c, store.NewMirror(store.NewMemory(c), c), clients...)
}

// issuerOn is issuer on a store.
func issuerOn(t *testing.T, c clock.Clock, s accesstoken.Store, clients ...client.Config) (*Issuer, *client.Registry) {
	t.Helper()
	registry, err := client.NewRegistry(clients, client.Assertions{})
	if err != nil {
		t.Fatalf("NewRegistry: %v", err)
	}
	ring, err := keys.NewRing(keys.Config{Given: given(t), Clock: c})
	if err != nil {
		t.Fatalf("NewRing: %v", err)
	}
	known := func(id string) bool { _, ok := registry.Lookup(id); return ok }
	return &Issuer{
		URL:    issuerURL,
		Tokens: accesstoken.New(accesstoken.Config{Issuer: issuerURL, Keys: ring, Store: s, Clock: c, Known: known}),
	}, registry
}

// given is the signing key.
func given(t *testing.T) []*keys.Given {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", "p256.json"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.ParseGiven(string(text))
	if err != nil {
		t.Fatalf("ParseGiven: %v", err)
	}
	return []*keys.Given{key}
}

// reports is a client with everything; changes are made by the caller.
func reports() client.Config {
	return client.Config{
		ID: "reports", Secrets: []string{"a long enough secret"}, Scopes: []string{"read", "write", "admin"},
		Audience: []string{"https://api.example.com", "urn:billing", "plain"},
	}
}

func lookup(t *testing.T, r *client.Registry, id string) *client.Client {
	t.Helper()
	c, ok := r.Lookup(id)
	if !ok {
		t.Fatalf("no client %q", id)
	}
	return c
}

// as is a client that has authenticated.
func as(t *testing.T, r *client.Registry, id string) client.Authentication {
	t.Helper()
	return client.Authentication{Client: lookup(t, r, id)}
}

// cnfKey is the cnf_key parameter with a fixture's key.
func cnfKey(t *testing.T, name string) string {
	t.Helper()
	object, err := json.Marshal(map[string]any{"jwk": fixture.Load(t, name).JWK})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(object)
}

// by is a request of a client without a proof.
func by(a client.Authentication, f oauth.Form) Request {
	return Request{Client: a.Client, Consume: a.Consume, Form: f}
}

// ask is Token for tests that look at what every answer has.
func ask(t *testing.T, i *Issuer, r Request) (*Response, *accesstoken.Claims, *oauth.Refusal) {
	t.Helper()
	o := i.Token(t.Context(), r)
	return o.Response, o.Claims, o.Refusal
}

// form is a good request; nil deletes.
func form(t *testing.T, changes map[string][]string) oauth.Form {
	t.Helper()
	pairs := map[string][]string{"grant_type": {"client_credentials"}, "cnf_key": {cnfKey(t, "p256-thief")}}
	maps.Copy(pairs, changes)
	return oauth.NewForm(pairs)
}

func TestTokenRefuses(t *testing.T) {
	t.Parallel()
	noGrant := reports()
	noGrant.Grants = []string{}
	noGrant.Introspect = &client.Introspect{}
	for name, test := range map[string]struct {
		client client.Config
		form   map[string][]string
		want   oauth.Reason
	}{
		"no grant_type":                    {reports(), map[string][]string{"grant_type": nil}, oauth.ParameterMissing},
		"grant_type empty":                 {reports(), map[string][]string{"grant_type": {""}}, oauth.ParameterMissing},
		"grant_type password":              {reports(), map[string][]string{"grant_type": {"password"}}, oauth.GrantUnsupported},
		"grant_type in another case":       {reports(), map[string][]string{"grant_type": {"Client_Credentials"}}, oauth.GrantUnsupported},
		"a client without the grant":       {noGrant, nil, oauth.GrantUnauthorized},
		"no cnf_key":                       {reports(), map[string][]string{"cnf_key": nil}, oauth.ConfirmationKeyRequired},
		"cnf_key empty":                    {reports(), map[string][]string{"cnf_key": {""}}, oauth.ConfirmationKeyRequired},
		"cnf_key blank":                    {reports(), map[string][]string{"cnf_key": {"  "}}, oauth.ConfirmationKeyInvalid},
		"cnf_key broken":                   {reports(), map[string][]string{"cnf_key": {"e30="}}, oauth.ConfirmationKeyInvalid},
		"cnf_key against the key policy":   {reports(), map[string][]string{"cnf_key": {cnfKey(t, "rsa1024")}}, oauth.ConfirmationKeyInvalid},
		"a scope too many":                 {reports(), map[string][]string{"scope": {"read delete"}}, oauth.ScopeInvalid},
		"a scope in another case":          {reports(), map[string][]string{"scope": {"Read"}}, oauth.ScopeInvalid},
		"two blanks in scope":              {reports(), map[string][]string{"scope": {"read  write"}}, oauth.ScopeInvalid},
		"a blank before scope":             {reports(), map[string][]string{"scope": {" read"}}, oauth.ScopeInvalid},
		"a tab in scope":                   {reports(), map[string][]string{"scope": {"read\twrite"}}, oauth.ScopeInvalid},
		"a quotation mark in scope":        {reports(), map[string][]string{"scope": {`"read"`}}, oauth.ScopeInvalid},
		"a scope beyond 4 KiB":             {reports(), map[string][]string{"scope": {strings.Repeat("read ", 819) + "read"}}, oauth.ScopeInvalid},
		"a resource of others":             {reports(), map[string][]string{"resource": {"https://other.example.com"}}, oauth.TargetInvalid},
		"one of two resources of others":   {reports(), map[string][]string{"resource": {"urn:billing", "https://other.example.com"}}, oauth.TargetInvalid},
		"a resource with a slash more":     {reports(), map[string][]string{"resource": {"https://api.example.com/"}}, oauth.TargetInvalid},
		"a resource with a fragment":       {reports(), map[string][]string{"resource": {"https://api.example.com#x"}}, oauth.TargetInvalid},
		"a resource with an empty one":     {reports(), map[string][]string{"resource": {"https://api.example.com#"}}, oauth.TargetInvalid},
		"a resource that is no URI":        {reports(), map[string][]string{"resource": {"plain"}}, oauth.TargetInvalid},
		"a resource that is no URL at all": {reports(), map[string][]string{"resource": {"https://%zz"}}, oauth.TargetInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, registry := issuer(t, test.client)
			response, claims, refusal := ask(t, i, by(as(t, registry, "reports"), form(t, test.form)))
			if refusal == nil {
				t.Fatalf("Token = %+v, want %s", response, test.want)
			}
			if refusal.Reason != test.want || response != nil || claims != nil {
				t.Errorf("Token = %v, %v, %s (%v), want %s alone", response, claims, refusal.Reason, refusal, test.want)
			}
			if rule := refusal.Reason.Rule(); rule.Endpoint != http.StatusBadRequest {
				t.Errorf("status %d, want 400", rule.Endpoint)
			}
			for _, values := range test.form {
				for _, value := range values {
					if len(value) > 4 && strings.Contains(refusal.Description(), value) {
						t.Errorf("description %q quotes the request", refusal.Description())
					}
				}
			}
		})
	}
}

func TestTokenBindsToTheKey(t *testing.T) {
	t.Parallel()
	thumbprint := fixture.Load(t, "p256-thief").Thumbprint(t)
	optional := reports()
	optional.BindingOptional = true
	for name, test := range map[string]struct {
		client       client.Config
		byThumbprint bool
		form         map[string][]string
		wantMembers  string
		wantType     string
	}{
		"the key itself":              {reports(), false, nil, "jwk", "Bearer"},
		"its thumbprint":              {reports(), true, nil, "jkt", "DPoP"},
		"an optional key":             {optional, false, nil, "jwk", "Bearer"},
		"no key where it is optional": {optional, false, map[string][]string{"cnf_key": nil}, "", "Bearer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, registry := issuer(t, test.client)
			i.ConfirmByThumbprint = test.byThumbprint
			response, claims, refusal := ask(t, i, by(as(t, registry, "reports"), form(t, test.form)))
			if refusal != nil {
				t.Fatalf("Token: %v", refusal)
			}
			if response.TokenType != test.wantType || response.ExpiresIn != 300 {
				t.Errorf("token_type %q, expires_in %d, want %q, 300", response.TokenType, response.ExpiresIn, test.wantType)
			}
			verified, refusal := i.Tokens.Verify(t.Context(), response.AccessToken)
			if refusal != nil {
				t.Fatalf("Verify: %v", refusal)
			}
			if got := strings.Join(verified.Confirmation.Members(), " "); got != test.wantMembers {
				t.Errorf("members of cnf %q, want %q", got, test.wantMembers)
			}
			if got := verified.Confirmation.Thumbprint(); test.wantMembers != "" && got != thumbprint {
				t.Errorf("bound to %q, want %q", got, thumbprint)
			}
			if verified.Subject != "reports" || verified.ClientID != "reports" || verified.ID != claims.ID {
				t.Errorf("sub %q, client_id %q, jti %q, want reports, reports, %q", verified.Subject, verified.ClientID, verified.ID, claims.ID)
			}
		})
	}
}

func TestTokenFormat(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		issuer bool
		client string
		want   bool
	}{
		"by default a JWT":                     {false, "", false},
		"the issuer's":                         {true, "", true},
		"the client's own":                     {false, "opaque", true},
		"the client's own before the issuer's": {true, "jwt", false},
		"both agree":                           {true, "opaque", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := reports()
			config.TokenFormat = test.client
			i, registry := issuer(t, config)
			i.Opaque = test.issuer
			response, claims, refusal := ask(t, i, by(as(t, registry, "reports"), form(t, nil)))
			if refusal != nil {
				t.Fatalf("Token: %v", refusal)
			}
			if got := strings.HasPrefix(response.AccessToken, "pop_at_"); got != test.want {
				t.Errorf("the token is opaque: %v, want %v", got, test.want)
			}
			if response.TokenType != "Bearer" || response.ExpiresIn != 300 || response.Scope != "read write admin" {
				t.Errorf("Token = %+v, want the same answer for both formats", response)
			}
			verified, refusal := i.Tokens.Verify(t.Context(), response.AccessToken)
			if refusal != nil || verified.ID != claims.ID || verified.Confirmation.Thumbprint() != fixture.Load(t, "p256-thief").Thumbprint(t) {
				t.Errorf("Verify = %v, %v, want the token as issued", verified, refusal)
			}
		})
	}
}

func TestTokenScope(t *testing.T) {
	t.Parallel()
	none := reports()
	none.Scopes = nil
	for name, test := range map[string]struct {
		client client.Config
		asked  string
		want   string
	}{
		"none asked":                        {reports(), "", "read write admin"},
		"some asked, in the order as asked": {reports(), "write read", "write read"},
		"repeated":                          {reports(), "read write read", "read write"},
		"none asked, none allowed":          {none, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, registry := issuer(t, test.client)
			response, claims, refusal := ask(t, i, by(as(t, registry, "reports"), form(t, map[string][]string{"scope": {test.asked}})))
			if refusal != nil {
				t.Fatalf("Token: %v", refusal)
			}
			if response.Scope != test.want || claims.Scope != test.want {
				t.Errorf("scope %q and %q, want %q", response.Scope, claims.Scope, test.want)
			}
			data, err := json.Marshal(response)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Contains(string(data), `"scope"`), test.want != ""; got != want {
				t.Errorf("response %s: scope there is %v, want %v", data, got, want)
			}
		})
	}
}

func TestTokenAudience(t *testing.T) {
	t.Parallel()
	own, without := reports(), reports()
	without.Audience = nil
	for name, test := range map[string]struct {
		client client.Config
		dflt   []string
		asked  []string
		want   string
	}{
		"none asked":                       {own, []string{"https://d"}, nil, "https://api.example.com urn:billing plain"},
		"asked, in that order, each once":  {own, nil, []string{"urn:billing", "https://api.example.com", "urn:billing"}, "urn:billing https://api.example.com"},
		"a client without: the issuer's":   {without, []string{"https://d", "https://e"}, nil, "https://d https://e"},
		"one of the issuer's":              {without, []string{"https://d", "https://e"}, []string{"https://e"}, "https://e"},
		"nobody has any: the issuer's URL": {without, nil, nil, issuerURL},
		"an empty resource":                {without, nil, []string{""}, issuerURL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, registry := issuer(t, test.client)
			i.DefaultAudience = test.dflt
			_, claims, refusal := ask(t, i, by(as(t, registry, "reports"), form(t, map[string][]string{"resource": test.asked})))
			if refusal != nil {
				t.Fatalf("Token: %v", refusal)
			}
			if got := strings.Join(claims.Audience, " "); got != test.want {
				t.Errorf("audience %q, want %q", got, test.want)
			}
		})
	}
}

func TestTokenIsNeverTooLargeToBeUsed(t *testing.T) {
	t.Parallel()
	c := reports()
	c.Scopes = nil
	for n := range 200 {
		c.Scopes = append(c.Scopes, strings.Repeat("s", 40)+string(rune('a'+n/26))+string(rune('a'+n%26)))
	}
	i, registry := issuer(t, c)
	_, _, refusal := ask(t, i, by(as(t, registry, "reports"), form(t, nil)))
	if refusal == nil || refusal.Reason != oauth.ScopeInvalid {
		t.Errorf("Token with 8 KiB of scopes = %v, want %s", refusal, oauth.ScopeInvalid)
	}
	response, _, refusal := ask(t, i, by(as(t, registry, "reports"), form(t, map[string][]string{"scope": {c.Scopes[0]}})))
	if refusal != nil {
		t.Fatalf("Token with one of them: %v", refusal)
	}
	if _, refusal := i.Tokens.Verify(t.Context(), response.AccessToken); refusal != nil {
		t.Errorf("Verify: %v", refusal)
	}
}

func TestIsResource(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"https://api.example.com":     true,
		"https://api.example.com/a?b": true,
		"urn:billing":                 true,
		"":                            false,
		"plain":                       false,
		"/a":                          false,
		"//api.example.com":           false,
		"https://api.example.com#":    false,
		"https://api.example.com#a":   false,
		"https://%zz":                 false,
	} {
		if got := isResource(s); got != want {
			t.Errorf("isResource(%q) = %v, want %v", s, got, want)
		}
	}
}

func FuzzGrantedScope(f *testing.F) {
	registry, err := client.NewRegistry([]client.Config{reports()}, client.Assertions{})
	if err != nil {
		f.Fatal(err)
	}
	c, _ := registry.Lookup("reports")
	f.Add("read write")
	f.Add("read  write")
	f.Add("")
	f.Add("read\x00")
	f.Fuzz(func(t *testing.T, asked string) {
		got, refusal := grantedScope(c, oauth.NewForm(map[string][]string{"scope": {asked}}))
		if refusal != nil {
			// what goes to the log is a scope, or it is not named
			if refusal.Got != "" && !oauth.ValidScopeToken(refusal.Got) {
				t.Fatalf("refusal names %q", refusal.Got)
			}
			return
		}
		seen := map[string]bool{}
		for s := range strings.SplitSeq(got, " ") {
			if (s != "read" && s != "write" && s != "admin") || seen[s] {
				t.Fatalf("scope %q granted for %q", got, asked)
			}
			seen[s] = true
		}
		if asked != "" && len(got) > len(asked) {
			t.Fatalf("more granted than asked: %q for %q", got, asked)
		}
	})
}
