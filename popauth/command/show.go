// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// spelled are the field names whose usual spelling Go does not keep.
var spelled = map[string]string{
	"Dpop":             "DPoP",
	"Dpop-Nonce":       "DPoP-Nonce",
	"Www-Authenticate": "WWW-Authenticate",
}

// fields are the lines of a header, sorted; edit is applied to the values.
func fields(h http.Header, edit func(name, value string) string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			shown := name
			if s, ok := spelled[name]; ok {
				shown = s
			}
			lines = append(lines, shown+": "+printable(edit(name, value)))
		}
	}
	return lines
}

func verbatim(_, value string) string { return value }

// withoutSecret shortens what is secret in a field, or hides it where a part
// of it would tell too much: these lines end up in logs and screenshots.
func withoutSecret(name, value string) string {
	switch name {
	case "Authorization":
		scheme, credentials, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP") {
			return scheme + " " + shorten(credentials)
		}
		return scheme + " …"
	case "Dpop":
		return shorten(value)
	case "Cookie", "Set-Cookie", "Proxy-Authorization":
		return "…"
	}
	return value
}

// shorten keeps the beginning of a token, never more than a third of it.
func shorten(s string) string { return s[:min(20, len(s)/3)] + "…" }

// long finds what reads like a token, a proof or an encoded key.
var long = regexp.MustCompile(`[A-Za-z0-9_.+/=%-]{60,}`)

// abridge shortens everything in a text that reads like a token.
func abridge(s string) string { return long.ReplaceAllStringFunc(s, shorten) }

// printable replaces what could move the cursor or hide text in a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}

// heads are the heads of both sides of an exchange, as HTTP/1.1 writes them,
// without secrets.
func heads(resp *http.Response) (sent, got []string) {
	r := resp.Request
	sent = append([]string{
		fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), resp.Proto),
		"Host: " + r.URL.Host,
	}, fields(r.Header, withoutSecret)...)
	return sent, responseHead(resp, withoutSecret)
}

func responseHead(r *http.Response, edit func(name, value string) string) []string {
	return append([]string{r.Proto + " " + printable(r.Status)}, fields(r.Header, edit)...)
}

func printLines(w io.Writer, prefix string, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(w, "%s%s\n", prefix, line)
	}
}

// printed remembers how what was written ends.
type printed struct {
	io.Writer
	some bool
	last byte
}

func (p *printed) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	if n > 0 {
		p.some, p.last = true, b[n-1]
	}
	return n, err
}

// unended says whether there is a line without its end.
func (p *printed) unended() bool { return p.some && p.last != '\n' }
