// SPDX-License-Identifier: Apache-2.0

// Package oauth is the wire of OAuth: it reads the forms and the Basic
// credentials that clients send to the endpoints of an issuer, reads and
// writes WWW-Authenticate challenges, and holds the one table that says what
// each [Reason] answers.
//
// Reading is strict: what two readers could understand in two ways is refused.
// The package knows no client, token, key or issuer. It does not judge the
// values it reads, and it neither logs nor counts; a [Refusal] carries what
// the caller may log.
package oauth
