// SPDX-License-Identifier: Apache-2.0

package client

import (
	"slices"
	"strings"
	"testing"
)

// register makes a registry of one client and returns the client. A config
// without id or secret gets one.
func register(t *testing.T, config Config) *Client {
	t.Helper()
	if config.ID == "" {
		config.ID = "reports"
	}
	if config.Secrets == nil {
		config.Secrets = []string{"secret"}
	}
	c, ok := newRegistry(t, config).Lookup(config.ID)
	if !ok {
		t.Fatalf("client %q is not found", config.ID)
	}
	return c
}

func newRegistry(t testing.TB, configs ...Config) *Registry {
	t.Helper()
	r, err := NewRegistry(configs, Assertions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestClientDefaults(t *testing.T) {
	t.Parallel()
	c := register(t, Config{})
	if got := c.ID(); got != "reports" {
		t.Errorf("ID() = %q, want reports", got)
	}
	if !c.BindingRequired() {
		t.Error("BindingRequired() = false, want true by default")
	}
	if len(c.Scopes()) != 0 || len(c.Audience()) != 0 {
		t.Errorf("Scopes() = %q, Audience() = %q; want none", c.Scopes(), c.Audience())
	}
	if register(t, Config{BindingOptional: true}).BindingRequired() {
		t.Error("BindingRequired() = true of a client whose binding is optional")
	}
}

func TestTokenFormat(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"", "jwt", "opaque"} {
		if got := register(t, Config{TokenFormat: format}).TokenFormat(); got != format {
			t.Errorf("TokenFormat() = %q, want %q", got, format)
		}
	}
}

func TestMayUse(t *testing.T) {
	t.Parallel()
	grants := []string{"client_credentials"}
	tests := []struct {
		name   string
		config Config
		want   bool
	}{
		{"by default", Config{}, true},
		{"by an empty list", Config{Grants: []string{}}, true},
		{"as configured", Config{Grants: grants}, true},
		{"not one that introspects", Config{Introspect: &Introspect{}}, false},
		{"one that introspects and may", Config{Introspect: &Introspect{}, Grants: grants}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := register(t, tt.config)
			if got := c.MayUse("client_credentials"); got != tt.want {
				t.Errorf("MayUse(client_credentials) = %v, want %v", got, tt.want)
			}
			for _, grant := range []string{"", "password", "Client_Credentials"} {
				if c.MayUse(grant) {
					t.Errorf("MayUse(%q) = true", grant)
				}
			}
		})
	}
}

func TestMaySee(t *testing.T) {
	t.Parallel()
	own := register(t, Config{})
	all := register(t, Config{Introspect: &Introspect{}})
	some := register(t, Config{Introspect: &Introspect{Audience: []string{"https://a", "https://b"}}})
	tests := []struct {
		name     string
		caller   *Client
		clientID string
		audience []string
		want     bool
	}{
		{"its own token", own, "reports", []string{"https://x"}, true},
		{"its own token for nobody", own, "reports", nil, true},
		{"another's token", own, "other", []string{"https://x"}, false},
		{"another's token for itself", own, "other", []string{"reports"}, false},
		{"an id in other letter case", own, "Reports", nil, false},
		{"all: another's token", all, "other", []string{"https://x"}, true},
		{"all: another's token for nobody", all, "other", nil, true},
		{"some: one for its audience", some, "other", []string{"https://x", "https://b"}, true},
		{"some: one for another audience", some, "other", []string{"https://x"}, false},
		{"some: one for an audience that begins the same", some, "other", []string{"https://a/"}, false},
		{"some: one for nobody", some, "other", nil, false},
		{"some: its own for another audience", some, "reports", []string{"https://x"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.caller.MaySee(tt.clientID, tt.audience); got != tt.want {
				t.Errorf("MaySee(%q, %q) = %v, want %v", tt.clientID, tt.audience, got, tt.want)
			}
		})
	}
}

func TestClientCanNotBeChanged(t *testing.T) {
	t.Parallel()
	config := Config{
		ID: "reports", Secrets: []string{"secret"}, Scopes: []string{"read"},
		Audience: []string{"https://a"}, Grants: []string{"client_credentials"},
		Introspect: &Introspect{Audience: []string{"https://b"}},
	}
	c := register(t, config)
	config.Scopes[0], config.Audience[0], config.Grants[0] = "write", "https://x", "password"
	config.Introspect.Audience[0] = "https://x"
	c.Scopes()[0] = "admin"
	c.Audience()[0] = "https://y"
	if got, want := c.Scopes(), []string{"read"}; !slices.Equal(got, want) {
		t.Errorf("Scopes() = %q, want %q", got, want)
	}
	if got, want := c.Audience(), []string{"https://a"}; !slices.Equal(got, want) {
		t.Errorf("Audience() = %q, want %q", got, want)
	}
	if c.MayUse("password") || !c.MayUse("client_credentials") {
		t.Error("the grants have changed")
	}
	if c.MaySee("other", []string{"https://x"}) || !c.MaySee("other", []string{"https://b"}) {
		t.Error("what it may introspect has changed")
	}
}

// Else a heap dump or a log line of a client would be as good as its secret,
// and the number of comparisons would tell who rolls one.
func TestClientKeepsOnlyAsManyDigestsAsAll(t *testing.T) {
	t.Parallel()
	r := newRegistry(
		t, Config{ID: "one", Secrets: []string{"s"}},
		Config{ID: "three", Secrets: []string{"s1", "s2", "s3"}},
	)
	for _, c := range []*Client{r.clients["one"], r.clients["three"], &r.nobody} {
		if got, want := len(c.digests), 3; got != want {
			t.Errorf("client %q has %d digests, want %d", c.id, got, want)
		}
		seen := map[[32]byte]bool{}
		for _, digest := range c.digests {
			if seen[digest] || digest == [32]byte{} {
				t.Errorf("client %q has a digest that is empty or there twice", c.id)
			}
			seen[digest] = true
		}
	}
	if r.clients["one"].digests[1] == r.nobody.digests[1] {
		t.Error("digests that fill up are not random")
	}
	// one at least, so that a secret costs the same where nobody has one
	for name, r := range map[string]*Registry{
		"no clients": newRegistry(t), "clients with one secret": newRegistry(t, Config{ID: "one", Secrets: []string{"s"}}),
	} {
		if got := len(r.nobody.digests); got != 1 {
			t.Errorf("%s: nobody has %d digests, want 1", name, got)
		}
	}
}

func TestNewRegistryRefuses(t *testing.T) {
	t.Parallel()
	secrets := []string{"hunter2"}
	tests := []struct {
		name   string
		config Config
		want   string
	}{
		{"no id", Config{Secrets: secrets}, "client number 2 has no id"},
		{"an id with a line end", Config{ID: "a\r\n", Secrets: secrets}, `client "a\r\n": the id holds something else than printable ASCII`},
		{"an id with a letter beyond ASCII", Config{ID: "ü", Secrets: secrets}, `client "ü": the id holds something else than printable ASCII`},
		{"an id with a control character", Config{ID: "a\x1f", Secrets: secrets}, `client "a\x1f": the id holds something else than printable ASCII`},
		{"an id with DEL", Config{ID: "a\x7f", Secrets: secrets}, `client "a\x7f": the id holds something else than printable ASCII`},
		{"a long id", Config{ID: strings.Repeat("a", 257), Secrets: secrets}, "the id is longer than 256 characters"},
		{"an id twice", Config{ID: "first", Secrets: secrets}, `client "first" is configured twice`},
		{"no secret", Config{ID: "a"}, `client "a" has no way to authenticate`},
		{"an empty secret", Config{ID: "a", Secrets: []string{"hunter2", ""}}, `client "a": a secret is empty`},
		{"a secret with a line end", Config{ID: "a", Secrets: []string{"hunter2\n"}}, `client "a": a secret holds something else than printable ASCII, such as the line end of a file`},
		{"a long secret", Config{ID: "a", Secrets: []string{strings.Repeat("hunter2", 147)}}, `client "a": a secret is longer than 1024 characters`},
		{"an unknown grant", Config{ID: "a", Secrets: secrets, Grants: []string{"password"}}, `client "a": unknown grant "password": expected client_credentials`},
		{"an unknown token format", Config{ID: "a", Secrets: secrets, TokenFormat: "JWT"}, `client "a": unknown token format "JWT": expected jwt or opaque`},
		{"an empty scope", Config{ID: "a", Secrets: secrets, Scopes: []string{""}}, `client "a": scope "" is empty`},
		{"two scopes in one", Config{ID: "a", Secrets: secrets, Scopes: []string{"read write"}}, `client "a": scope "read write" is empty or`},
		{"a scope with a quotation mark", Config{ID: "a", Secrets: secrets, Scopes: []string{`"`}}, `client "a": scope "\"" is empty or`},
		{"a scope with a backslash", Config{ID: "a", Secrets: secrets, Scopes: []string{`\`}}, `client "a": scope "\\" is empty or`},
		{"a scope beyond ASCII", Config{ID: "a", Secrets: secrets, Scopes: []string{"ü"}}, `client "a": scope "ü" is empty or`},
		{"a scope twice", Config{ID: "a", Secrets: secrets, Scopes: []string{"r", "w", "r"}}, `client "a": scope "r" is repeated`},
		{"an empty audience", Config{ID: "a", Secrets: secrets, Audience: []string{""}}, `client "a": an audience is empty`},
		{"an audience with a fragment", Config{ID: "a", Secrets: secrets, Audience: []string{"https://a/#b"}}, `client "a": audience "https://a/#b" has a fragment`},
		{"an audience twice", Config{ID: "a", Secrets: secrets, Audience: []string{"x", "x"}}, `client "a": audience "x" is repeated`},
		{
			"an empty audience to introspect", Config{ID: "a", Secrets: secrets, Introspect: &Introspect{Audience: []string{""}}},
			`client "a": an audience is empty`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := NewRegistry([]Config{{ID: "first", Secrets: []string{"x"}}, tt.config}, Assertions{})
			if err == nil || r != nil {
				t.Fatalf("NewRegistry = %v, %v; want an error alone", r, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q in it", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q holds the secret", err)
			}
		})
	}
}

func TestNewRegistryTakesTheLimits(t *testing.T) {
	t.Parallel()
	id, secret := strings.Repeat("\x7e", maxID), strings.Repeat(" ", maxSecret)
	r := newRegistry(t, Config{ID: id, Secrets: []string{secret}, Scopes: []string{"!#[]~"}})
	if _, ok := r.Lookup(id); !ok {
		t.Error("a client with the longest id is not found")
	}
	for _, id := range []string{"", "~"} {
		if c, ok := r.Lookup(id); ok || c != nil {
			t.Errorf("Lookup(%q) = %v, %v; want nothing", id, c, ok)
		}
	}
}
