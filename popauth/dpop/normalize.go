// SPDX-License-Identifier: Apache-2.0

package dpop

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Normalize brings an http or https URL into the form in which htu values are
// compared (RFC 9449 §4.3 check 9; RFC 3986 §6.2.2 and §6.2.3): scheme and
// host in lower case, the default port dropped, an empty path made "/",
// escaped unreserved characters (RFC 3986 §2.3) decoded, all other escapes in
// upper case, query and fragment dropped.
//
// Everything else in the path is compared as sent, because a server may tell
// it apart: letter case, "//", ";", a trailing slash, %2F. Dot segments stay
// too: a request with them is refused elsewhere, so an htu with them matches
// nothing.
//
// Userinfo, other schemes, a relative URL, a broken escape, a backslash and
// bytes outside printable ASCII are errors, and so is a host that is neither
// an ASCII name nor an IP address: an internationalised name has to be in its
// ASCII form, as browsers send it. The error has none of the URL in it.
//
// It works on the string itself. net/url would decode and encode again, and
// two different URLs could come out the same.
func Normalize(raw string) (string, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	if !ok || (scheme != "https" && scheme != "http") {
		return "", errors.New("it is not an absolute http or https URL")
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	authority, err := normalizeAuthority(scheme, authority)
	if err != nil {
		return "", err
	}
	path, err = normalizePath(path)
	if err != nil {
		return "", err
	}
	return scheme + "://" + authority + path, nil
}

func normalizeAuthority(scheme, authority string) (string, error) {
	if strings.Contains(authority, "@") {
		return "", errors.New("it has a user name")
	}
	host, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		host, port = authority[:i], authority[i+1:]
	}
	if !validHost(host) {
		return "", errors.New("its host is neither an ASCII name nor an IP address")
	}
	host = strings.ToLower(host)
	if port == "" {
		return host, nil
	}
	// ParseUint takes no sign with base 10, and leading zeros mean nothing
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", errors.New("its port is not a port number")
	}
	if (scheme == "https" && number == 443) || (scheme == "http" && number == 80) {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(number, 10), nil
}

// validHost takes less than RFC 3986 §3.2.2 allows: no host that can be
// reached has escapes or sub-delims in it.
func validHost(host string) bool {
	if literal, ok := strings.CutPrefix(host, "["); ok {
		literal, closed := strings.CutSuffix(literal, "]")
		addr, _ := netip.ParseAddr(literal) // the zero one is no Is6
		return closed && addr.Is6() && addr.Zone() == ""
	}
	for i := range len(host) {
		if c := host[i]; !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return host != ""
}

func normalizePath(path string) (string, error) {
	if path == "" {
		return "/", nil
	}
	var b strings.Builder
	b.Grow(len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c <= ' ' || c > '~' || c == '\\' {
			return "", errors.New("its path has a character that must be escaped")
		}
		if c != '%' {
			b.WriteByte(c)
			continue
		}
		if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
			return "", errors.New("its path has a broken escape")
		}
		if decoded := unhex(path[i+1])<<4 | unhex(path[i+2]); isUnreserved(decoded) {
			b.WriteByte(decoded)
		} else {
			b.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	return b.String(), nil
}

// isUnreserved is RFC 3986 §2.3.
func isUnreserved(c byte) bool {
	return isAlphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unhex is the value of a digit that isHex has passed.
func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
