// SPDX-License-Identifier: Apache-2.0

package dpop

import (
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/jws"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

// Verify judges one proof by the list of RFC 9449 §4.3 (whose check 1, one
// field and one value, is up to whoever reads the header). The order is: what
// costs nothing first, and no work on a signature before the key is known to
// be the one that the token is bound to, so that a stranger cannot choose
// what we compute.
//
// It does not remember proofs: an accepted one passes again until the caller
// has put its jti into the replay guard.
func Verify(proof string, w Want) (*Proof, *oauth.Refusal) {
	// check 2: a well-formed JWT. Which members a header may not have
	// (crit, jku, x5c and so on) is judged here too.
	m, err := jws.Parse(proof, jws.Limits{Size: MaxSize, Header: maxHeader})
	if err != nil {
		return w.refuse("shape", oauth.Refuse(oauth.ProofMalformed, err.Error()))
	}
	w.pass("shape")

	// check 4: the typ. RFC 7515 §4.1.9 would allow other spellings, but no
	// client uses one, and typ is what keeps kinds of JWT apart.
	if m.Type() != proofType {
		return w.refuse("typ", &oauth.Refusal{Reason: oauth.ProofTypeWrong, Expected: proofType, Got: m.Type()})
	}
	w.pass("typ")

	// check 5: an asymmetric algorithm, one that we advertise.
	p := &Proof{Algorithm: m.Algorithm()}
	if !slices.Contains(jws.Algorithms, p.Algorithm) {
		return w.refuse("alg", &oauth.Refusal{
			Reason: oauth.ProofAlgorithmWrong, Detail: "it is not one of those advertised",
			Expected: strings.Join(jws.Algorithms, " "), Got: p.Algorithm,
		})
	}
	w.pass("alg")

	// check 7 and more: a public key that passes the key policy. alg must fit
	// it, or one key could be used in ways that its owner did not mean.
	if p.Key, err = headerKey(m.Header); err != nil {
		return w.refuse("jwk", oauth.Refuse(oauth.ProofKeyInvalid, err.Error()))
	}
	if !p.Key.Allows(p.Algorithm) {
		return w.refuse("jwk", &oauth.Refusal{
			Reason: oauth.ProofAlgorithmWrong, Detail: "it does not fit the key", Got: p.Algorithm,
		})
	}
	w.pass("jwk")

	// check 3: all claims of §4.2 are there and of the right type.
	if err := p.readClaims(m); err != nil {
		return w.refuse("claims", oauth.Refuse(oauth.ProofMalformed, err.Error()))
	}
	w.pass("claims")

	// check 12b: the key is the one that the token is bound to. Before the
	// signature, or the thief of a token would choose what we verify with.
	anyKey := w.AnyKey && w.Thumbprint == ""
	if got := p.Key.Thumbprint(); !anyKey && !equal(got, w.Thumbprint) {
		return w.refuse("key", &oauth.Refusal{Reason: oauth.ProofKeyMismatch, Expected: w.Thumbprint, Got: got})
	}
	if w.Algorithm != "" && !sameAlgorithm(p.Algorithm, w.Algorithm) {
		return w.refuse("key", &oauth.Refusal{
			Reason: oauth.ProofAlgorithmWrong, Detail: "it is not that of the confirmation key",
			Expected: w.Algorithm, Got: p.Algorithm,
		})
	}
	w.pass("key")

	// check 8: htm. Methods are case-sensitive (RFC 9110 §9.1).
	if p.Method != w.Method {
		return w.refuse("htm", methodMismatch(p.Method, w.Method))
	}
	w.pass("htm")

	// check 9: htu, without query and fragment, normalised on both sides.
	if refusal := compareURL(p.URL, w.URLs); refusal != nil {
		return w.refuse("htu", refusal)
	}
	w.pass("htu")

	// check 12a: ath. Without it a proof could be put beside another token.
	// An empty hash would equal the missing ath of a proof that has none.
	noToken := w.NoToken && w.TokenHash == ""
	if !noToken && (w.TokenHash == "" || !equal(p.TokenHash, w.TokenHash)) {
		return w.refuse("ath", tokenMismatch(p.TokenHash, w.TokenHash))
	}
	w.pass("ath")

	// checks 10 and 11: nonce and iat, which the caller judges.
	if w.Fresh == nil {
		return w.refuse("fresh", oauth.Unavailable(oauth.ProofExpired, errors.New("nobody judges the freshness of proofs")))
	}
	if refusal := w.Fresh(p); refusal != nil {
		return w.refuse("fresh", refusal)
	}
	w.pass("fresh")

	// check 6: the signature, by the key of the header.
	if err := m.Verify(p.Key, p.Algorithm); err != nil {
		return w.refuse("signature", &oauth.Refusal{Reason: oauth.ProofSignatureInvalid, Hint: signatureHint(proof), Cause: err})
	}
	w.pass("signature")
	return p, nil
}

func (w *Want) pass(step string) {
	if w.Trace != nil {
		w.Trace(step, nil)
	}
}

func (w *Want) refuse(step string, refusal *oauth.Refusal) (*Proof, *oauth.Refusal) {
	if w.Trace != nil {
		w.Trace(step, refusal)
	}
	return nil, refusal
}

// headerKey is the key in the header. A kid beside it would be a second say
// in which key it is.
func headerKey(header strict.Object) (*jwk.Key, error) {
	member, ok := header.Get("jwk")
	if !ok {
		return nil, errors.New("'jwk' is missing")
	}
	object, ok := member.Object()
	if !ok {
		return nil, errors.New("'jwk' is not an object")
	}
	if header.Has("kid") {
		return nil, errors.New("there is a 'kid' beside 'jwk'")
	}
	return jwk.FromObject(object)
}

// readClaims fills p with the claims of RFC 9449 §4.2. Others are ignored, as
// the section wants it; exp and nbf mean nothing in a proof.
func (p *Proof) readClaims(m *jws.Message) error {
	claims, err := m.Claims()
	if err != nil {
		return err
	}
	texts := []struct {
		name     string
		to       *string
		required bool
		size     int
	}{
		{"jti", &p.ID, true, maxID},
		{"htm", &p.Method, true, MaxSize},
		{"htu", &p.URL, true, MaxSize},
		{"nonce", &p.Nonce, false, maxNonce},
		{"ath", &p.TokenHash, false, MaxSize},
	}
	for _, c := range texts {
		v, ok := claims.Get(c.name)
		if !ok && !c.required {
			continue
		}
		if !ok {
			return errors.New("'" + c.name + "' is missing")
		}
		if *c.to, ok = v.Text(); !ok {
			return errors.New("'" + c.name + "' is not a string")
		}
		if c.required && *c.to == "" {
			return errors.New("'" + c.name + "' is empty")
		}
		if len(*c.to) > c.size {
			return errors.New("'" + c.name + "' is too long")
		}
	}
	if strings.ContainsFunc(p.ID, unicode.IsControl) {
		return errors.New("'jti' has control characters")
	}
	p.HasNonce = claims.Has("nonce")

	iat, ok := claims.Get("iat")
	if !ok {
		return errors.New("'iat' is missing")
	}
	if p.IssuedAt, ok = iat.Number(); !ok {
		return errors.New("'iat' is not a number")
	}
	return nil
}

// equal compares in constant time. Only the length of the proof's side is
// told, and the client knows that.
func equal(got, want string) bool {
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// sameAlgorithm compares two alg values. EdDSA with the keys that we take is
// Ed25519 (RFC 9864 §2.2).
func sameAlgorithm(a, b string) bool {
	if a == "EdDSA" {
		a = "Ed25519"
	}
	if b == "EdDSA" {
		b = "Ed25519"
	}
	return a == b
}
