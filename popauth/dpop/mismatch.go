// SPDX-License-Identifier: Apache-2.0

package dpop

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// This file words what did not match. The client learns the reason; expected,
// got and the hint are for the log of whoever has to find out why a client
// that works elsewhere does not work here.

func methodMismatch(got, want string) *oauth.Refusal {
	refusal := &oauth.Refusal{Reason: oauth.ProofMethodMismatch, Expected: want, Got: got}
	if strings.EqualFold(got, want) {
		refusal.Hint = "only the letter case differs, and methods are case-sensitive"
	}
	return refusal
}

// compareURL returns nil if htu is one of the URLs. An htu that is no URL at
// all is a mismatch like any other, but Got stays empty then: it may hold a
// password or a query that belongs in no log.
func compareURL(htu string, urls []string) *oauth.Refusal {
	refusal := &oauth.Refusal{Reason: oauth.ProofURLMismatch, Expected: strings.Join(urls, " or ")}
	got, err := Normalize(htu)
	if err != nil {
		refusal.Detail = err.Error()
		return refusal
	}
	if slices.Contains(urls, got) {
		return nil
	}
	refusal.Got = got
	for _, want := range urls {
		if refusal.Hint = urlHint(got, want); refusal.Hint != "" {
			break
		}
	}
	return refusal
}

// urlHint names the usual cause of a difference between two normalised URLs.
func urlHint(got, want string) string {
	gotScheme, gotHost, gotPort, gotPath := split(got)
	wantScheme, wantHost, wantPort, wantPath := split(want)
	scheme, host, port, path := gotScheme != wantScheme, gotHost != wantHost, gotPort != wantPort, gotPath != wantPath
	switch {
	case path && (scheme || host || port), scheme && host:
		return "" // no one cause explains it
	case path:
		return pathHint(gotPath, wantPath)
	case scheme:
		return "the scheme differs, host and path do not: TLS probably ends in front of this server"
	case host:
		return "the host differs, scheme and path do not: a proxy in front probably changes it"
	case port:
		return "only the port differs"
	}
	return ""
}

func pathHint(got, want string) string {
	gotDecoded, _ := url.PathUnescape(got)
	wantDecoded, _ := url.PathUnescape(want)
	switch {
	case got == want+"/" || got+"/" == want:
		return "only a trailing slash differs"
	case strings.EqualFold(got, want):
		return "only the letter case of the path differs"
	case gotDecoded == wantDecoded:
		return "only the escaping of the path differs"
	case want != "/" && strings.HasSuffix(got, want):
		return "htu has a prefix before the path of the request: a proxy in front probably strips it"
	case got != "/" && strings.HasSuffix(want, got):
		return "the request has a prefix before the path of htu: a proxy in front probably adds it"
	}
	return ""
}

// split takes a normalised URL apart.
func split(normalized string) (scheme, host, port, path string) {
	scheme, rest, _ := strings.Cut(normalized, "://")
	host, path, _ = strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
	}
	return scheme, host, port, "/" + path
}

// tokenMismatch does not show what was compared: a client that misreads the
// RFC puts the token itself into ath, and that belongs in no log.
func tokenMismatch(got, want string) *oauth.Refusal {
	refusal := oauth.Refuse(oauth.ProofTokenMismatch, "")
	if got == "" {
		refusal.Detail = "'ath' is missing"
		return refusal
	}
	sum, _ := base64.RawURLEncoding.DecodeString(want)
	digits := hex.EncodeToString(sum)
	switch {
	case got == base64.URLEncoding.EncodeToString(sum):
		refusal.Hint = "ath is padded; base64url in JOSE has no ="
	case got == base64.StdEncoding.EncodeToString(sum), got == base64.RawStdEncoding.EncodeToString(sum):
		refusal.Hint = "ath is base64, not base64url"
	case strings.EqualFold(got, digits):
		refusal.Hint = "ath is hexadecimal, not base64url"
	case got == base64.RawURLEncoding.EncodeToString([]byte(digits)):
		refusal.Hint = "ath is the base64url of the hexadecimal hash, not of its bytes"
	case TokenHash(got) == want:
		refusal.Hint = "ath is the token itself, not its hash"
	}
	return refusal
}

// signatureHint recognises ECDSA signatures in ASN.1, which is what most
// cryptography libraries return.
func signatureHint(proof string) string {
	signature, _ := strict.DecodeBase64(proof[strings.LastIndexByte(proof, '.')+1:])
	if len(signature) > 2 && signature[0] == 0x30 && int(signature[1]) == len(signature)-2 {
		return "the signature is in ASN.1 (DER); JWS has r and s one after the other (RFC 7518 §3.4)"
	}
	return ""
}
