// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func authorization(fields ...string) http.Header { return http.Header{"Authorization": fields} }

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestBasicReadsBothWays(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, field string
		want        []Credentials
	}{
		{"one reading when both are equal", "Basic " + base64Of("reports:secret"), []Credentials{{"reports", "secret"}}},
		{
			"the form-decoded reading first", "Basic " + base64Of("a%2Fb:c+d"),
			[]Credentials{{"a/b", "c d"}, {"a%2Fb", "c+d"}},
		},
		{"only raw where it can't be form-decoded", "Basic " + base64Of("a:100%"), []Credentials{{"a", "100%"}}},
		{"only raw where the id can't be form-decoded", "Basic " + base64Of("%:a+b"), []Credentials{{"%", "a+b"}}},
		{"an id with a colon, form-encoded", "Basic " + base64Of("cc%3Aodd:x"), []Credentials{{"cc:odd", "x"}, {"cc%3Aodd", "x"}}},
		{"an id with a colon, raw", "Basic " + base64Of("cc:odd:x"), []Credentials{{"cc", "odd:x"}}},
		{"an encoded colon alone does not split", "Basic " + base64Of("a%3Ab:"), []Credentials{{"a:b", ""}, {"a%3Ab", ""}}},
		{"any letter case", "bAsIc " + base64Of("a:b"), []Credentials{{"a", "b"}}},
		{"several spaces", "Basic   " + base64Of("a:b"), []Credentials{{"a", "b"}}},
		{"empty id and secret", "Basic " + base64Of(":"), []Credentials{{"", ""}}},
		{"bytes that are not UTF-8", "Basic " + base64Of("\xff\x00:\r\n"), []Credentials{{"\xff\x00", "\r\n"}}},
		{"exactly 8 KiB", "Basic   " + base64Of("a:"+strings.Repeat("x", 6136)), []Credentials{{"a", strings.Repeat("x", 6136)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, present, refusal := Basic(authorization(tt.field))
			if refusal != nil {
				t.Fatalf("Basic refused: %s", refusal)
			}
			if !present {
				t.Error("present = false, want true")
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Basic = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBasicWithoutAField(t *testing.T) {
	t.Parallel()
	readings, present, refusal := Basic(http.Header{})
	if readings != nil || present || refusal != nil {
		t.Errorf("Basic = %v, %v, %v; want nothing", readings, present, refusal)
	}
}

func TestBasicRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fields []string
	}{
		{"an empty field", []string{""}},
		{"the scheme alone", []string{"Basic"}},
		{"the scheme and a space", []string{"Basic "}},
		{"another scheme", []string{"Bearer " + base64Of("a:b")}},
		{"a scheme that only folds to ours", []string{"Ba\u017fic " + base64Of("a:b")}},
		{"a tab behind the scheme", []string{"Basic\t" + base64Of("a:b")}},
		{"two fields", []string{"Basic " + base64Of("a:b"), "Basic " + base64Of("a:b")}},
		{"two fields, one empty", []string{"Basic " + base64Of("a:b"), ""}},
		{"two credentials in one field", []string{"Basic " + base64Of("a:b") + ", Basic " + base64Of("a:b")}},
		{"no colon", []string{"Basic " + base64Of("ab")}},
		{"an encoded colon only", []string{"Basic " + base64Of("a%3Ab")}},
		{"base64 without its padding", []string{"Basic YTpiYw"}},
		{"base64 with slack bits", []string{"Basic YTpiYx=="}},
		{"base64 with a line end", []string{"Basic YTpi\n"}},
		{"base64 with a line end inside", []string{"Basic YT\r\npi"}},
		{"base64url", []string{"Basic " + strings.NewReplacer("+", "-", "/", "_").Replace(base64Of("a:\xfb\xff\xfe"))}},
		{"something behind the base64", []string{"Basic YTpi x"}},
		{"8 KiB and a byte", []string{"Basic    " + base64Of("a:"+strings.Repeat("x", 6136))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			readings, present, refusal := Basic(authorization(tt.fields...))
			if refusal == nil {
				t.Fatalf("Basic = %q, want a refusal", readings)
			}
			if refusal.Reason != ClientUnauthenticated || !present || readings != nil {
				t.Errorf("Basic = %q, %v, %s; want none, true, %s", readings, present, refusal.Reason, ClientUnauthenticated)
			}
		})
	}
}

func FuzzBasic(f *testing.F) {
	for _, seed := range []string{"a:b", "a%2Fb:c+d", "%:%", ":", "no colon", "a:b:c", "\x00\xff:\r\n"} {
		f.Add("Basic " + base64Of(seed))
	}
	f.Add("Basic YTpiYx==")
	f.Add("Bearer x")
	f.Fuzz(func(t *testing.T, field string) {
		readings, present, refusal := Basic(authorization(field))
		if !present {
			t.Fatal("present = false for a field that is there")
		}
		if refusal != nil {
			if readings != nil || refusal.Reason != ClientUnauthenticated {
				t.Errorf("Basic = %q beside the refusal %s", readings, refusal.Reason)
			}
			return
		}
		raw := readings[len(readings)-1]
		if strings.Contains(raw.ID, ":") {
			t.Errorf("the raw id %q has a colon", raw.ID)
		}
		// nothing but the letter case of the scheme and the number of spaces
		// may be spelled in two ways
		if want := base64Of(raw.ID + ":" + raw.Secret); !strings.HasSuffix(field, " "+want) {
			t.Errorf("%q was read as %q", field, raw)
		}
		if len(readings) == 1 {
			return
		}
		encoded := readings[0]
		again, _, refusal := Basic(authorization("Basic " + base64Of(url.QueryEscape(encoded.ID)+":"+url.QueryEscape(encoded.Secret))))
		if len(readings) != 2 || encoded == raw || refusal != nil || again[0] != encoded {
			t.Errorf("Basic(%q) = %q, form-encoded again %q", field, readings, again)
		}
	})
}
