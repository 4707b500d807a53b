// SPDX-License-Identifier: Apache-2.0

// Package dpop makes and judges DPoP proofs (RFC 9449).
//
// It judges what a proof says and who signed it. It knows neither nonces nor
// clocks, and it remembers nothing: whether a proof is fresh is asked of the
// caller, and that a proof passes only once is the caller's work.
package dpop

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// MaxSize is the most bytes that a proof may have.
const MaxSize = 8 << 10

// maxHeader is the most bytes that the encoded JOSE header may have. One with
// an RSA-4096 key needs about 1,200; parsing 8 KiB of JSON would cost more
// than an ES256 verification.
const maxHeader = 2 << 10

// maxID and maxNonce are the most bytes that jti and nonce may have. Ours
// have fewer than 50.
const (
	maxID    = 128
	maxNonce = 256
)

// proofType is the typ of a proof (RFC 9449 §4.2).
const proofType = "dpop+jwt"

// Proof is the content of a DPoP proof.
type Proof struct {
	// Key is the jwk of the header; it passed the key policy.
	Key *jwk.Key

	// Algorithm is the alg of the header.
	Algorithm string

	// ID is the jti: 1 to 128 bytes without control characters.
	ID string

	// Method is the htm, URL the htu, both as sent.
	Method, URL string

	// IssuedAt is the iat in seconds: any finite number.
	IssuedAt float64

	// Nonce is the nonce. HasNonce tells an empty one from none: an empty
	// nonce is a nonce.
	Nonce    string
	HasNonce bool

	// TokenHash is the ath, empty when there is none.
	TokenHash string
}

// Want is what a proof must show. The zero value is satisfied by no proof.
type Want struct {
	// Thumbprint is that of the confirmation key. Empty: no key will do,
	// unless AnyKey is set.
	Thumbprint string

	// AnyKey lets every key do where Thumbprint is empty, as at the token
	// endpoint, where the proof itself says which key is meant.
	AnyKey bool

	// Algorithm is the alg of a confirmation key that names one. Empty: any.
	Algorithm string

	// Method is the method of the request, compared byte for byte.
	Method string

	// URLs are the values of htu that will do, as Normalize returns them.
	// Empty: none will.
	URLs []string

	// TokenHash is the ath that has to be there, as the function of that name
	// returns it. Empty: none will do, unless NoToken is set.
	TokenHash string

	// NoToken says, where TokenHash is empty, that the request carries no
	// token, as at the token endpoint. An ath is then not looked at.
	NoToken bool

	// Fresh judges nonce and iat. It is asked when all else but the signature
	// has been found right, so what it is shown may be forged: it must not
	// change anything. nil: no proof is fresh.
	Fresh func(*Proof) *oauth.Refusal

	// Trace is told the outcome of every step, in order, up to and including
	// the first that failed. May be nil.
	Trace func(step string, err error)
}

// Ambiguous says whether the values of the DPoP fields of a request are more
// than one proof (RFC 9449 §4.3 check 1). A comma can only come from two fields
// that somebody on the way has joined.
func Ambiguous(values []string) bool {
	return len(values) > 1 || len(values) == 1 && strings.Contains(values[0], ",")
}

// TokenHash is the ath of an access token: the base64url of the SHA-256 of
// its ASCII bytes (RFC 9449 §4.2).
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Claims is what Sign writes.
type Claims struct {
	// ID is the jti; it has to be new for every proof.
	ID string

	// Method is the htm, URL the htu.
	Method, URL string

	// IssuedAt is the iat, cut to seconds.
	IssuedAt time.Time

	// Nonce is the last nonce of the server, TokenHash the ath. Empty ones
	// are left out.
	Nonce, TokenHash string
}
