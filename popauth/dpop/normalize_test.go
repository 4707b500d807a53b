// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/dpop"
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, raw, want string }{
		{"nothing to do", "https://a.example/x/y", "https://a.example/x/y"},
		{"capitals in scheme and host", "HTTPS://A.Example/X", "https://a.example/X"},
		{"default port of https", "https://a.example:443/", "https://a.example/"},
		{"default port of http", "http://a.example:80/", "http://a.example/"},
		{"default port of the other scheme", "https://a.example:80/", "https://a.example:80/"},
		{"default port of https with http", "http://a.example:443/", "http://a.example:443/"},
		{"largest port", "https://a.example:65535/", "https://a.example:65535/"},
		{"ends of the alphabet", "https://AZ-az.09/AZaz09", "https://az-az.09/AZaz09"},
		{"ends of the alphabet, escaped", "https://a.example/%41%5A%61%7A%30%39", "https://a.example/AZaz09"},
		{"escapes of all digits", "https://a.example/%00%1F%9a%a9%Bb%cC%dD%Ee%fF%af%FA", "https://a.example/%00%1F%9A%A9%BB%CC%DD%EE%FF%AF%FA"},
		{"empty port", "https://a.example:/", "https://a.example/"},
		{"leading zeros in the port", "https://a.example:008443/", "https://a.example:8443/"},
		{"leading zeros in the default port", "https://a.example:0443/", "https://a.example/"},
		{"no path", "https://a.example", "https://a.example/"},
		{"no path but a query", "https://a.example?x=/y", "https://a.example/"},
		{"no path but a fragment", "https://a.example#/y", "https://a.example/"},
		{"query with a question mark", "https://a.example/x?y?z#?", "https://a.example/x"},
		{"anything in query and fragment", "https://a.example/x?\x00%zz\\@#\xff", "https://a.example/x"},
		{"unreserved, escaped", "https://a.example/%7E%2d%2E%5f%41%7a%30", "https://a.example/~-._Az0"},
		{"reserved, escaped", "https://a.example/%2f%3a%40%3b%3f%23%25", "https://a.example/%2F%3A%40%3B%3F%23%25"},
		{"escaped percent is not decoded twice", "https://a.example/%2541", "https://a.example/%2541"},
		{"UTF-8, escaped", "https://a.example/%c3%a9", "https://a.example/%C3%A9"},
		{"dot segments stay", "https://a.example/a/../b/./c", "https://a.example/a/../b/./c"},
		{"escaped dot segments become plain ones", "https://a.example/a/%2e%2E/b", "https://a.example/a/../b"},
		{"empty segments stay", "https://a.example//a//", "https://a.example//a//"},
		{"parameters and sub-delims stay", "https://a.example/a;b=1,2!$&'()*+:@", "https://a.example/a;b=1,2!$&'()*+:@"},
		{"what browsers leave in a path", `https://a.example/[a]|b^"c"{d}`, `https://a.example/[a]|b^"c"{d}`},
		{"IPv4", "http://127.0.0.1:8080/", "http://127.0.0.1:8080/"},
		{"IPv6", "https://[2001:DB8::A]:443/x", "https://[2001:db8::a]/x"},
		{"IPv6 and port", "https://[::1]:8443", "https://[::1]:8443/"},
		{"dot behind the host stays", "https://a.example./", "https://a.example./"},
		{"punycode", "https://XN--bcher-kva.example/", "https://xn--bcher-kva.example/"},
		{"underscore in the host", "https://a_b.example/", "https://a_b.example/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := dpop.Normalize(tt.raw)
			if err != nil {
				t.Fatalf("got error %v", err)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNormalizeRefuses(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"nothing":                       "",
		"relative URL":                  "/MARKER",
		"no scheme":                     "//a.example/MARKER",
		"only a host":                   "a.example/MARKER",
		"another scheme":                "ftp://a.example/MARKER",
		"longer scheme":                 "httpss://a.example/MARKER",
		"one slash":                     "https:/a.example/MARKER",
		"blank in front":                " https://a.example/MARKER",
		"blank behind":                  "https://a.example/MARKER ",
		"line end behind":               "https://a.example/MARKER\n",
		"no host":                       "https:///MARKER",
		"only a port":                   "https://:443/MARKER",
		"user name":                     "https://MARKER@a.example/",
		"password":                      "https://u:MARKER@a.example/",
		"empty userinfo":                "https://@a.example/MARKER",
		"backslash before the path":     `https://a.example\MARKER`,
		"backslash in the path":         `https://a.example/\MARKER`,
		"host beyond ASCII":             "https://bücher.example/MARKER",
		"escape in the host":            "https://a%2eexample/MARKER",
		"blank in the host":             "https://a .example/MARKER",
		"colon in the host":             "https://a:b:80/MARKER",
		"bare IPv6":                     "https://::1/MARKER",
		"open bracket":                  "https://[::1/MARKER",
		"IPv4 in brackets":              "https://[127.0.0.1]/MARKER",
		"IPv6 with a zone":              "https://[fe80::1%25eth0]/MARKER",
		"name in brackets":              "https://[a]/MARKER",
		"something behind the brackets": "https://[::1]a/MARKER",
		"port with letters":             "https://a.example:8o/MARKER",
		"port with a sign":              "https://a.example:+80/MARKER",
		"port too large":                "https://a.example:65536/MARKER",
		"escape cut short":              "https://a.example/MARKER%4",
		"escape of a bad first digit":   "https://a.example/MARKER%g0",
		"escape of a bad second digit":  "https://a.example/MARKER%0g",
		"escape below the digits":       "https://a.example/MARKER%/0",
		"escape above the digits":       "https://a.example/MARKER%:0",
		"escape below the capitals":     "https://a.example/MARKER%@0",
		"escape above the capitals":     "https://a.example/MARKER%G0",
		"escape below the letters":      "https://a.example/MARKER%`0",
		"escape of no digits":           "https://a.example/MARKER%zz",
		"lone percent":                  "https://a.example/MARKER%",
		"control character":             "https://a.example/MARKER\x00",
		"DEL":                           "https://a.example/MARKER\x7f",
		"path beyond ASCII":             "https://a.example/MARKERé",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := dpop.Normalize(raw)
			if err == nil {
				t.Fatalf("got %q, want an error", got)
			}
			if got != "" {
				t.Errorf("got %q beside the error", got)
			}
			if strings.Contains(err.Error(), "MARKER") || strings.Contains(err.Error(), `"`) {
				t.Errorf("the error shows the input: %v", err)
			}
		})
	}
}

// The rule that is named is the one that is broken.
func TestNormalizeNamesTheRule(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https":            "it is not an absolute http or https URL",
		"ftp://a.example/": "it is not an absolute http or https URL",
		"https://u@a/":     "it has a user name",
		"https://[a]/":     "its host is neither an ASCII name nor an IP address",
		"https://a:b/":     "its port is not a port number",
		"https://a/%":      "its path has a broken escape",
		"https://a/\\":     "its path has a character that must be escaped",
	} {
		if _, err := dpop.Normalize(raw); err == nil || err.Error() != want {
			t.Errorf("Normalize(%q) = %v, want %q", raw, err, want)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{
		"https://a.example:443/%7e?x#y", "HTTP://[2001:DB8::1]:080//a/%2E%2e/;b", "https://a.example", "https://u@h/", "https://h/%",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once, err := dpop.Normalize(raw)
		if err != nil {
			if once != "" {
				t.Fatalf("got %q beside the error %v", once, err)
			}
			return
		}
		twice, err := dpop.Normalize(once)
		if err != nil || twice != once {
			t.Fatalf("%q became %q, then %q (%v)", raw, once, twice, err)
		}
		// a second opinion on what was taken for what
		u, err := url.Parse(once)
		if err != nil {
			t.Fatalf("net/url cannot read %q: %v", once, err)
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path == "" || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("net/url reads %q as %+v", once, u)
		}
	})
}
