// SPDX-License-Identifier: Apache-2.0

package cnf_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// member parses {"cnf":<text>} and returns the value.
func member(t testing.TB, text string) strict.Value {
	t.Helper()
	object, err := strict.ParseObject([]byte(`{"cnf":`+text+`}`), strict.Limits{Size: 16 << 10, Depth: 8, Members: 256})
	if err != nil {
		t.Fatalf("parsing the test's own JSON: %v", err)
	}
	v, _ := object.Get("cnf")
	return v
}

func parseKey(t testing.TB, k fixture.Key) *jwk.Key {
	t.Helper()
	key, err := jwk.Parse(k.JSON(t))
	if err != nil {
		t.Fatalf("parsing the test's own key: %v", err)
	}
	return key
}

func TestParseMember(t *testing.T) {
	t.Parallel()
	ours, other := fixture.Load(t, "p256"), fixture.Load(t, "p384")
	key, jkt := string(ours.JSON(t)), ours.Thumbprint(t)

	tests := []struct {
		name, text string
		members    []string
		thumbprint string
	}{
		{"key by value", `{"jwk":` + key + `}`, []string{"jwk"}, jkt},
		{"key by thumbprint", `{"jkt":"` + jkt + `"}`, []string{"jkt"}, jkt},
		{"both, of one key", `{"jkt":"` + jkt + `","jwk":` + key + `}`, []string{"jwk", "jkt"}, jkt},
		{"both, of two keys", `{"jwk":` + key + `,"jkt":"` + other.Thumbprint(t) + `"}`, []string{"jwk", "jkt"}, ""},
		{"unknown member alone", `{"x5t#S256":"` + jkt + `"}`, []string{"x5t#S256"}, ""},
		{"unknown members beside a known one", `{"kid":"a","jkt":"` + jkt + `","osc":{}}`, []string{"jkt", "kid", "osc"}, jkt},
		{"known member in other letter case", `{"JKT":"` + jkt + `"}`, []string{"JKT"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := cnf.ParseMember(member(t, tt.text))
			if err != nil {
				t.Fatalf("got error %v", err)
			}
			if got := c.Members(); !slices.Equal(got, tt.members) {
				t.Errorf("members: got %q, want %q", got, tt.members)
			}
			if got := c.Thumbprint(); got != tt.thumbprint {
				t.Errorf("thumbprint: got %q, want %q", got, tt.thumbprint)
			}
			if !c.Bound() {
				t.Error("got an unbound confirmation")
			}
			if got, want := len(c.Unsupported), len(tt.members)-len(known(tt.members)); got != want {
				t.Errorf("unsupported members: got %d, want %d", got, want)
			}
		})
	}
}

func known(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name != "jwk" && name != "jkt" })
}

// A confirmation that can't be read must not turn a bound token into an
// unbound one.
func TestParseMemberFailsClosed(t *testing.T) {
	t.Parallel()
	const marker = "MARKERmarkerMARKERmarkerMARKERmarkerMARKERm"
	jkt := fixture.Load(t, "p256").Thumbprint(t)
	tests := []struct{ name, text string }{
		{"null", `null`},
		{"empty object", `{}`},
		{"string", `"` + jkt + `"`},
		{"number", `1`},
		{"boolean", `true`},
		{"array", `[{"jkt":"` + jkt + `"}]`},
		{"jwk null", `{"jwk":null}`},
		{"jwk a string", `{"jwk":"` + marker + `"}`},
		{"jwk empty", `{"jwk":{}}`},
		{"jwk symmetric", `{"jwk":{"kty":"oct","k":"` + marker + `"}}`},
		{"jwk invalid beside a good jkt", `{"jkt":"` + jkt + `","jwk":{"kty":"EC"}}`},
		{"jkt null", `{"jkt":null}`},
		{"jkt empty", `{"jkt":""}`},
		{"jkt a number", `{"jkt":5}`},
		{"jkt one character short", `{"jkt":"` + jkt[:42] + `"}`},
		{"jkt of 31 bytes", `{"jkt":"` + strings.Repeat("A", 42) + `"}`},
		{"jkt of 33 bytes", `{"jkt":"` + strings.Repeat("A", 44) + `"}`},
		{"jkt padded", `{"jkt":"` + jkt + `="}`},
		{"jkt hexadecimal", `{"jkt":"` + strings.Repeat("ab", 32) + `"}`},
		{"jkt with trailing bits", `{"jkt":"` + marker[:42] + `B"}`},
		{"jkt in base64", `{"jkt":"` + marker[:41] + `/A"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := cnf.ParseMember(member(t, tt.text))
			if err == nil {
				t.Fatalf("got members %q, want an error", c.Members())
			}
			if strings.Contains(err.Error(), marker[:20]) {
				t.Errorf("the error shows the input: %v", err)
			}
			if strings.Contains(err.Error(), `"`) {
				t.Errorf("the error has a double quote: %v", err)
			}
		})
	}
}

func TestParseMemberNamesTheRule(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`null`:        "'cnf' is not an object",
		`{}`:          "'cnf' has no member",
		`{"jwk":"a"}`: "'jwk' is not an object",
		`{"jkt":"a"}`: "'jkt' is not a base64url SHA-256 thumbprint",
	} {
		if _, err := cnf.ParseMember(member(t, text)); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestConfirmationMarshalsExactlyOneMember(t *testing.T) {
	t.Parallel()
	fix := fixture.Load(t, "rsa2048-rs512")
	key, jkt := parseKey(t, fix), fix.Thumbprint(t)
	tests := []struct {
		name string
		c    cnf.Confirmation
		want string // the only member; empty: an error
	}{
		{"key by value", cnf.Confirmation{JWK: key}, "jwk"},
		{"key by thumbprint", cnf.Confirmation{JKT: jkt}, "jkt"},
		{"nothing", cnf.Confirmation{}, ""},
		{"both", cnf.Confirmation{JWK: key, JKT: jkt}, ""},
		{"unknown member", cnf.Confirmation{Unsupported: []string{"osc"}}, ""},
		{"unknown member beside a known one", cnf.Confirmation{JKT: jkt, Unsupported: []string{"osc"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, err := json.Marshal(tt.c)
			if tt.want == "" {
				if err == nil {
					t.Fatalf("got %s, want an error", text)
				}
				// encoding/json would refuse no text at all, too
				if text, err := tt.c.MarshalJSON(); err == nil {
					t.Errorf("MarshalJSON = %q, want an error", text)
				}
				return
			}
			if err != nil {
				t.Fatalf("got error %v", err)
			}
			again, err := cnf.ParseMember(member(t, string(text)))
			if err != nil {
				t.Fatalf("reading %s back: %v", text, err)
			}
			if got := again.Members(); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("members: got %q, want only %q", got, tt.want)
			}
			if got := again.Thumbprint(); got != jkt {
				t.Errorf("thumbprint: got %q, want %q", got, jkt)
			}
		})
	}
}

func TestZeroConfirmationIsUnbound(t *testing.T) {
	t.Parallel()
	var c cnf.Confirmation
	if c.Bound() || c.Thumbprint() != "" || len(c.Members()) != 0 {
		t.Errorf("got bound %t, thumbprint %q, members %q; want nothing", c.Bound(), c.Thumbprint(), c.Members())
	}
}
