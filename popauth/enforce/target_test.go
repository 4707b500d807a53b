// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func TestTargetPath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		target  string
		path    string // "" refused
		slashes string // the path where encoded slashes are allowed, "" refused
	}{
		{"/", "/", "/"},
		{"/reports?page=2", "/reports", "/reports"},
		{"/API/v1", "/API/v1", "/API/v1"},
		{"//api/v1", "//api/v1", "//api/v1"},
		{"/a;v=1/b", "/a;v=1/b", "/a;v=1/b"},
		{"/a%20b/%C3%A9%23", "/a%20b/%C3%A9%23", "/a%20b/%C3%A9%23"},
		{"/.well-known/..x/x../...", "/.well-known/..x/x../...", "/.well-known/..x/x../..."},
		{"/%252e%252e/a", "/%252e%252e/a", "/%252e%252e/a"},
		{"/a?q=../..&r=%0A&s=100%&t=\\", "/a", "/a"},
		{"http://api.example.com/reports?x", "/reports", "/reports"},
		{"HTTPS://api.example.com", "/", "/"},
		{"http://api.example.com?x=/y", "/", "/"},
		{"/~a?x=~\x80", "/~a", "/~a"},
		{"/%fF%Ff%aA%6f%F0", "/%fF%Ff%aA%6f%F0", "/%fF%Ff%aA%6f%F0"},

		{"/a%2Fb", "", "/a%2Fb"},
		{"/a%2fb", "", "/a%2fb"},
		{"/a%2F..%2Fb", "", ""},
		{"/a%2F%2e%2e%2Fb", "", ""},
		{"/api/../admin", "", ""},
		{"/api/%2e%2e/admin", "", ""},
		{"/api/.%2E/admin", "", ""},
		{"/api/..", "", ""},
		{"/api/.", "", ""},
		{"/./api", "", ""},
		{"/api/..;/admin", "", ""},
		{"/api/..%3Bx/admin", "", ""},
		{"http://api.example.com/../admin", "", ""},
		{`/api\..\admin`, "", ""},
		{`http://api.example.com\@evil/`, "", ""},
		{"/api%5cadmin", "", ""},
		{"/api%5Cadmin", "", ""},
		{"/api#top", "", ""},
		{"/api?x#top", "", ""},
		{"/api%00", "", ""},
		{"/api%0d%0a", "", ""},
		{"/api%1F", "", ""},
		{"/api%7f", "", ""},
		{"/api\x00", "", ""},
		{"/api\x1f", "", ""},
		{"/api\x7f", "", ""},
		{"/api?x=\r\n", "", ""},
		{"/api?x=\x7f", "", ""},
		{"/a b", "", ""},
		{"/api%@0", "", ""},
		{"/api%`0", "", ""},
		{"/api%0/", "", ""},
		{"/api%0:", "", ""},
		{"/api%0g", "", ""},
		{"/api%", "", ""},
		{"/api%2", "", ""},
		{"/api%zz", "", ""},
		{"/api%2z", "", ""},
		{"/api%z2", "", ""},
		{"/api%u002e", "", ""},
		{"", "", ""},
		{"?x", "", ""},
		{"*", "", ""},
		{"api.example.com:443", "", ""},
		{"reports", "", ""},
		{"http", "", ""},
		{"ftp://api.example.com/reports", "", ""},
	}
	for _, tt := range tests {
		for allowed, want := range map[bool]string{false: tt.path, true: tt.slashes} {
			got, refusal := targetPath(tt.target, allowed)
			if got != want || (refusal == nil) != (want != "") {
				t.Errorf("target %q, encoded slashes allowed %v: got %q, %v; want %q", tt.target, allowed, got, refusal, want)
			}
			if refusal != nil && refusal.Reason != oauth.AmbiguousTarget {
				t.Errorf("target %q: got reason %q, want %q", tt.target, refusal.Reason, oauth.AmbiguousTarget)
			}
		}
	}
}

func TestCheckAllowsEncodedSlashesWhereTold(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v := b.check(b.request(attempt{target: "/a%2fb"}))
	b.refused(v, oauth.AmbiguousTarget)
	if v.Refusal.Option != "allow_encoded_slashes" {
		t.Errorf("got option %q, want the one that would let it pass", v.Refusal.Option)
	}
	b.policy.AllowEncodedSlashes = true
	b.refused(b.check(b.request(attempt{target: "/a%2fb"})), "")
	plain := attempt{target: "/a%2fb"}
	plain.proof.URL = place + "/a/b"
	b.refused(b.check(b.request(plain)), oauth.ProofURLMismatch)
	b.honest()
}

func TestTokenInQuery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		target string
		want   bool
	}{
		{"/?access_token=x", true},
		{"/?access_token", true},
		{"/?a=b&access_token=", true},
		{"/?a=b;access_token=x", true},
		{"/?%61ccess%5Ftoken=x", true},
		{"/?%61ccess_token%3dx", false}, // a name that ends in =x
		{"/?Access_Token=x", true},
		{"/?q=%zz&access_token=x", true},
		{"/?x?access_token=x", false},
		{"/?q=access_token", false},
		{"/?+access_token=x", true},
		{"/?%20access_token=x", true},
		{"/?access.token=x", true},
		{"/?access+token=x", true},
		{"/?access_token[]=x", true},
		{"/?access_token%5B0%5D=x", true},
		{"/?access_token%00z=x", true},
		{"/?access_tokens=x", false},
		{"/?access%_token=x", false},
		{"/access_token=x", false},
		{"/", false},
	}
	for _, tt := range tests {
		if got := tokenInQuery(tt.target) != nil; got != tt.want {
			t.Errorf("target %q: got refused %v, want %v", tt.target, got, tt.want)
		}
	}
}

func TestJudgeMethod(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"GET": true, "PATCH": true, "PROPFIND": true, "purge": true, "Custom": true,
		"get": false, "Get": false, "head": false, "post": false, "put": false, "patch": false,
		"dELETE": false, "connect": false, "options": false, "trace": false,
	} {
		if got := judgeMethod(name) == nil; got != want {
			t.Errorf("method %q: got accepted %v, want %v", name, got, want)
		}
	}
}

// An accepted path is one that net/url, a second opinion, decodes too, and
// once decoded there is nothing in it that any reader could resolve.
func FuzzTargetPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/../b", "/%2e%2E/", "/a%2Fb", "/a%5cb", "/%", "/%00", "http://h/a?b#c", "*", "h:443", "/..;/", "/é", "http://h",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, target string, slashes bool) {
		path, refusal := targetPath(target, slashes)
		if refusal != nil {
			if refusal.Reason != oauth.AmbiguousTarget || path != "" {
				t.Fatalf("got %q, %v", path, refusal.Reason)
			}
			return
		}
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, `?#\ `) {
			t.Fatalf("accepted path %q", path)
		}
		decoded, err := url.PathUnescape(path)
		if err != nil {
			t.Fatalf("accepted path %q: %v", path, err)
		}
		segments := strings.Split(decoded, "/")
		if slices.Contains(segments, ".") || slices.Contains(segments, "..") {
			t.Fatalf("accepted path %q has a dot segment", path)
		}
		if strings.ContainsAny(decoded, "\\\x00\n\r\x7f") {
			t.Fatalf("accepted path %q decodes to %q", path, decoded)
		}
		if !slashes && len(segments) != strings.Count(path, "/")+1 {
			t.Fatalf("accepted path %q has an encoded slash", path)
		}
	})
}
