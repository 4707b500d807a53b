// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParseChallenges(t *testing.T) {
	t.Parallel()
	dpop := Challenge{Scheme: "DPoP", Params: []Param{{"error", "use_dpop_nonce"}, {"algs", "ES256 PS256"}}}
	tests := []struct {
		name   string
		fields []string
		want   []Challenge
	}{
		{"no field", nil, nil},
		{"an empty field", []string{""}, nil},
		{"a scheme alone", []string{"DPoP"}, []Challenge{{Scheme: "DPoP"}}},
		{"a scheme and a space", []string{"DPoP "}, []Challenge{{Scheme: "DPoP"}}},
		{"parameters", []string{`DPoP error="use_dpop_nonce", algs="ES256 PS256"`}, []Challenge{dpop}},
		{"values as tokens and without spaces", []string{`DPoP error=use_dpop_nonce,algs="ES256 PS256"`}, []Challenge{dpop}},
		{"spaces around equals signs", []string{"DPoP error =\tuse_dpop_nonce , algs= \"ES256 PS256\" "}, []Challenge{dpop}},
		{"empty elements", []string{`, ,DPoP ,error="use_dpop_nonce",, algs="ES256 PS256",`}, []Challenge{dpop}},
		{"a quoted pair", []string{`X a="\"\\\b, Y c=d"`}, []Challenge{{Scheme: "X", Params: []Param{{"a", `"\b, Y c=d`}}}}},
		{"an empty quoted string", []string{`X a=""`}, []Challenge{{Scheme: "X", Params: []Param{{"a", ""}}}}},
		{"a token68", []string{"Negotiate YII/+~=="}, []Challenge{{Scheme: "Negotiate", Token68: "YII/+~=="}}},
		{"a token68 that looks like a parameter without a value", []string{"X a="}, []Challenge{{Scheme: "X", Token68: "a="}}},
		{
			"several in one field",
			[]string{`Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple"`},
			[]Challenge{
				{Scheme: "Newauth", Params: []Param{{"realm", "apps"}, {"type", "1"}, {"title", `Login to "apps"`}}},
				{Scheme: "Basic", Params: []Param{{"realm", "simple"}}},
			},
		},
		{
			"several fields", []string{"Negotiate, Basic realm=x", "NTLM abc=, DPoP"},
			[]Challenge{
				{Scheme: "Negotiate"},
				{Scheme: "Basic", Params: []Param{{"realm", "x"}}},
				{Scheme: "NTLM", Token68: "abc="},
				{Scheme: "DPoP"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseChallenges(tt.fields)
			if err != nil {
				t.Fatalf("ParseChallenges: %v", err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseChallenges = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParseChallengesRefuses(t *testing.T) {
	t.Parallel()
	many := make([]string, maxChallengeParams+1)
	for i := range many {
		many[i] = fmt.Sprintf("p%d=1", i)
	}
	tests := []struct{ name, field string }{
		{"a parameter before any scheme", `error="x"`},
		{"a parameter of a scheme that takes none any more", "Negotiate, a=b"},
		{"a parameter behind a token68", "Negotiate abc==, a=b"},
		{"a name twice", "X a=1, a=1"},
		{"a name twice in other letter case", "X realm=1, Realm=2"},
		{"an open quoted string", `X a="b`},
		{"a quoted string that ends in a backslash", `X a="b\`},
		{"a line end in a quoted string", "X a=\"b\r\nSet-Cookie: c\""},
		{"a line end behind a backslash", "X a=\"b\\\r\\\n\""},
		{"two values", "X a=b c"},
		{"two schemes without a comma", `X a="b" Y c="d"`},
		{"a quoted scheme", `"X"`},
		{"a scheme that is no token", "X/Y a=b"},
		{"a tab behind the scheme", "X\ta=b"},
		{"a parameter without a name", "X =b"},
		{"a parameter without a value", "X a=b, c="},
		{"a value that is no token", "X a=(b"},
		{"a control", "X a=b\x00"},
		{"a non-breaking space", "X\u00a0a=b"},
		{"too many parameters", "X " + strings.Join(many, ",")},
		{"more than 16 KiB", "X a=" + strings.Repeat("b", maxChallengeBytes)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, err := ParseChallenges([]string{"DPoP", tt.field}); err == nil || got != nil {
				t.Errorf("ParseChallenges(%q) = %+v, %v; want an error alone", tt.field, got, err)
			}
		})
	}
}

func TestChallengeString(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		c    Challenge
		want string
	}{
		{"a scheme alone", Challenge{Scheme: "DPoP"}, "DPoP"},
		{"parameters", Challenge{Scheme: "DPoP", Params: []Param{{"error", "invalid_token"}, {"algs", "ES256"}}}, `DPoP error="invalid_token", algs="ES256"`},
		{"a value with quotes", Challenge{Scheme: "X", Params: []Param{{"a", `"\`}}}, `X a="\"\\"`},
		{"a token68", Challenge{Scheme: "X", Token68: "abc="}, "X abc="},
		{"controls", Challenge{Scheme: "X", Params: []Param{{"a", "b\r\nSet-Cookie: c\x00\x7f"}}}, `X a="b??Set-Cookie: c??"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.c.String(); got != tt.want {
				t.Errorf("String() = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestChallengeParam(t *testing.T) {
	t.Parallel()
	c := Challenge{Scheme: "X", Params: []Param{{"Realm", "a"}, {"empty", ""}}}
	for name, want := range map[string]struct {
		value string
		ok    bool
	}{"realm": {"a", true}, "EMPTY": {"", true}, "error": {"", false}} {
		if value, ok := c.Param(name); value != want.value || ok != want.ok {
			t.Errorf("Param(%q) = %q, %v; want %q, %v", name, value, ok, want.value, want.ok)
		}
	}
}

// What we read must come out of String as the same challenge, alone and in
// company, or the two would differ over where one ends.
func FuzzParseChallenges(f *testing.F) {
	for _, field := range []string{
		`DPoP error="use_dpop_nonce", error_description="x", algs="ES256"`, `Basic realm="a\"b\\"`, "Negotiate abc==",
		"X a=b, Y c=d, Z", ", ,X ,a = \"\t\x80\"", "X a=", `X a="`, "X, a=b",
	} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		challenges, err := ParseChallenges([]string{field})
		if err != nil {
			if challenges != nil {
				t.Errorf("challenges beside the error %v", err)
			}
			return
		}
		written := make([]string, len(challenges))
		for i, c := range challenges {
			written[i] = c.String()
			if strings.ContainsAny(written[i], "\r\n\x00") {
				t.Errorf("%q holds a control", written[i])
			}
		}
		size := len(strings.Join(written, ", "))
		if size > maxChallengeBytes {
			return // quoting made it too large to be read again
		}
		for _, fields := range [][]string{written, {strings.Join(written, ", ")}} {
			again, err := ParseChallenges(fields)
			if err != nil || !reflect.DeepEqual(again, challenges) {
				t.Errorf("%q was read as %+v, written as %q and read as %+v, %v", field, challenges, fields, again, err)
			}
		}
	})
}

func TestValidToken(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"GET": true, "m-search": true, "X-Request-Id": true, "*": true, "!#$%&'+.^_`|~0": true,
		"": false, "GET ": false, "G T": false, "GET,PUT": false, "a:b": false, "a\x00": false, "\x80": false, "é": false, "(": false,
	} {
		if got := ValidToken(s); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}
