// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"net/http"
	"slices"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// standard lists the methods of RFC 9110 §9 and RFC 5789.
var standard = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

// judgeMethod refuses a standard method in the wrong letter case. Methods are
// case-sensitive (RFC 9110 §9.1), but not every upstream thinks so: get would
// pass a matcher for GET here and be served as GET there.
func judgeMethod(name string) *oauth.Refusal {
	upper := strings.ToUpper(name)
	if upper == name || !slices.Contains(standard, upper) {
		return nil
	}
	return &oauth.Refusal{Reason: oauth.AmbiguousMethod, Expected: upper, Got: name}
}

// targetPath returns the path of a request target in origin-form or
// absolute-form as it was sent, still encoded. It refuses a target in any
// other form, and one that two readers could take for two different paths:
// the htu of a proof says which resource the client meant, and that promise is
// worth nothing if the upstream resolves the same bytes to another one.
//
// The query is judged only for what no target may contain; a \ or %0A in a
// parameter is data.
func targetPath(target string, encodedSlashes bool) (string, *oauth.Refusal) {
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == 0x7f {
			return "", ambiguous("a control character or a blank")
		} else if c == '#' {
			return "", ambiguous("a fragment")
		}
	}
	form, _, _ := strings.Cut(target, "?")
	if strings.Contains(form, `\`) {
		return "", ambiguous("a backslash")
	}
	path, ok := pathOf(form)
	if !ok {
		return "", ambiguous("neither a path nor an http URL")
	}
	decoded, ok := decode(path)
	if !ok {
		return "", ambiguous("a percent sign without two hexadecimal digits")
	}
	if !encodedSlashes && strings.Count(decoded, "/") != strings.Count(path, "/") {
		refusal := ambiguous("an encoded slash")
		refusal.Option = "allow_encoded_slashes"
		return "", refusal
	}
	if strings.Contains(decoded, `\`) {
		return "", ambiguous("an encoded backslash")
	}
	if strings.ContainsFunc(decoded, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", ambiguous("an encoded control character")
	}
	for segment := range strings.SplitSeq(decoded, "/") {
		// servlet containers cut a segment at ; before they resolve dots, so
		// to them /a/..;/b is /b
		name, _, _ := strings.Cut(segment, ";")
		if name == "." || name == ".." {
			return "", ambiguous("a dot segment")
		}
	}
	return path, nil
}

// ambiguous names what makes a target ambiguous, never the target itself.
func ambiguous(rule string) *oauth.Refusal { return oauth.Refuse(oauth.AmbiguousTarget, rule) }

// pathOf returns the path of a target without query. The authority of
// absolute-form (RFC 9112 §3.2.2) is not used: it is the client's word for
// where it believes to be. OPTIONS * and CONNECT name no resource that a
// proof could be made for.
func pathOf(form string) (string, bool) {
	if strings.HasPrefix(form, "/") {
		return form, true
	}
	scheme, rest, ok := strings.Cut(form, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", false
	}
	_, path, _ := strings.Cut(rest, "/")
	return "/" + path, true
}

// tokenInQuery refuses an access_token parameter (RFC 6750 §2.3), which ends
// up in logs and histories, and which an upstream might prefer to the token
// that was proven. Upstreams differ in separators and letter case; every
// reading is refused.
func tokenInQuery(target string) *oauth.Refusal {
	_, query, _ := strings.Cut(target, "?")
	for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		if strings.EqualFold(parameterName(name), "access_token") {
			return oauth.Refuse(oauth.AmbiguousTokenInQuery, "")
		}
	}
	return nil
}

// parameterName is the name as the most generous reader would have it. PHP drops
// blanks in front, turns blanks and dots into underscores, and makes an array of
// a name with a bracket; C programs stop at NUL.
func parameterName(raw string) string {
	name, _ := decode(strings.ReplaceAll(raw, "+", " "))
	name = strings.TrimLeft(name, " \t\r\n")
	if end := strings.IndexAny(name, "[\x00"); end >= 0 {
		name = name[:end]
	}
	return underscores.Replace(name)
}

var underscores = strings.NewReplacer(" ", "_", ".", "_")

// decode resolves percent-encoding once. Where % is not followed by two
// hexadecimal digits it is kept, and the answer is false.
func decode(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	ok := true
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15 {
			ok = false
			out = append(out, '%')
			continue
		}
		out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
		i += 2
	}
	return string(out), ok
}

// unhex is the value of a hexadecimal digit, or more than 15.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}
