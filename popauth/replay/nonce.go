// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/strict"
)

const (
	// NonceLife is how long a nonce is valid.
	NonceLife = 120 * time.Second

	// HalfLife is the age from which on an answer brings a new nonce.
	HalfLife = NonceLife / 2

	// nonceAhead is how far ahead of the wall clock a nonce may have been
	// minted: the clock may be set back a little without raising the fence.
	nonceAhead = 2 * time.Second

	// nonceEntryLife is how long the guard remembers a proof with a nonce:
	// longer than the nonce is valid, also if the wall clock falls back by as
	// much as the fence lets pass.
	nonceEntryLife = NonceLife + 5*time.Second
)

// A nonce is base64url of: the wall time of minting in milliseconds since
// 1970, 8 random bytes, and the first 16 bytes of the HMAC-SHA-256 of label
// and both. The random bytes make two nonces of one millisecond different,
// which SingleUse depends on.
const (
	nonceLabel   = "popauth nonce v1"
	nonceContent = 8 + 8
	nonceSize    = nonceContent + 16
)

// sealer mints nonces and knows its own again.
type sealer struct{ key [32]byte }

func newSealer() *sealer {
	s := new(sealer)
	rand.Read(s.key[:])
	return s
}

// mint returns a nonce of that time.
func (s *sealer) mint(now time.Time) string {
	b := make([]byte, nonceContent, nonceContent+sha256.Size)
	binary.BigEndian.PutUint64(b, uint64(now.UnixMilli()))
	rand.Read(b[8:nonceContent])
	b = s.sum(b, b)
	return base64.RawURLEncoding.EncodeToString(b[:nonceSize])
}

// open returns when the nonce was minted; false if not by this sealer. It does
// not say whether the nonce is still valid.
func (s *sealer) open(nonce string) (mint time.Time, ok bool) {
	if len(nonce) != base64.RawURLEncoding.EncodedLen(nonceSize) {
		return time.Time{}, false
	}
	b, err := strict.DecodeBase64(nonce)
	if err != nil || len(b) != nonceSize {
		return time.Time{}, false
	}
	content, mac := b[:nonceContent], b[nonceContent:]
	var sum [sha256.Size]byte
	if !hmac.Equal(s.sum(sum[:0], content)[:len(mac)], mac) {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(content))), true
}

// sum appends the HMAC of a nonce's content to b.
func (s *sealer) sum(b, content []byte) []byte {
	h := hmac.New(sha256.New, s.key[:])
	h.Write([]byte(nonceLabel))
	h.Write(content)
	return h.Sum(b)
}

// judgeNonce says whether one of our nonces is valid now.
func judgeNonce(mint, now time.Time) *oauth.Refusal {
	age := now.Sub(mint)
	switch {
	case age < -nonceAhead:
		return oauth.Refuse(oauth.NonceInvalid, "")
	case age > NonceLife:
		return &oauth.Refusal{
			Reason:   oauth.NonceStale,
			Expected: "a nonce of at most " + NonceLife.String(),
			Got:      "one of " + age.Round(time.Millisecond).String(),
			Limit:    NonceLife.String(),
		}
	}
	return nil
}

func nonceMissing() *oauth.Refusal {
	return &oauth.Refusal{Reason: oauth.NonceMissing, Option: "nonce"}
}
