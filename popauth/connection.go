// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"net/http"
	"slices"
	"strings"
)

// ofTheConnection are the options that a Connection field may keep: those that
// say something of the connection itself.
var ofTheConnection = []string{"close", "keep-alive", "upgrade", "te"}

// carryRequests are protocols in which requests are sent: cleartext HTTP/2 (RFC
// 7540 §3.2, dropped by RFC 9113), other versions of HTTP, and TLS (RFC 2817).
var carryRequests = []string{"h2c", "h2", "http", "tls"}

// settleConnection takes the fields out that the client's Connection field names,
// as every intermediary must (RFC 9110 §7.6.1), and their names out of the
// Connection field. reverse_proxy would do that later, and then delete a field
// that a handler behind us has set: who sends "Connection: X-User" would reach
// an upstream that is not told whose request it is.
//
// That it names none of our own fields has been judged before.
func settleConnection(h http.Header) {
	settleUpgrade(h)
	fields := h.Values("Connection")
	if len(fields) == 0 {
		return
	}
	var kept []string
	for _, field := range fields {
		for name := range strings.SplitSeq(field, ",") {
			switch name = strings.Trim(name, " \t"); {
			case name == "":
			case slices.Contains(ofTheConnection, strings.ToLower(name)):
				kept = append(kept, name)
			default:
				h.Del(name)
			}
		}
	}
	h.Del("Connection")
	if len(kept) > 0 {
		h.Set("Connection", strings.Join(kept, ", "))
	}
}

// settleUpgrade ignores the wish to go on in a protocol that carries requests, as
// a server may (RFC 9110 §7.8). An API that grants it takes any number of them
// through the connection, also with tokens that somebody has stolen, and nobody
// asks for a proof.
func settleUpgrade(h http.Header) {
	fields := h.Values("Upgrade")
	h.Del("HTTP2-Settings")
	if len(fields) == 0 {
		return
	}
	var kept []string
	for _, field := range fields {
		for protocol := range strings.SplitSeq(field, ",") {
			protocol = strings.Trim(protocol, " \t")
			name, _, _ := strings.Cut(protocol, "/")
			if protocol != "" && !slices.Contains(carryRequests, strings.ToLower(name)) {
				kept = append(kept, protocol)
			}
		}
	}
	h.Del("Upgrade")
	if len(kept) > 0 {
		h.Set("Upgrade", strings.Join(kept, ", "))
	}
}
