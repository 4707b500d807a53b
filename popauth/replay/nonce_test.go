// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func TestNonceLivesTwoMinutes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		age   time.Duration
		want  oauth.Reason
		renew bool
	}{
		{"minted too far ahead", -2*time.Second - time.Millisecond, oauth.NonceInvalid, false},
		{"minted a little ahead", -2 * time.Second, "", false},
		{"new", 0, "", false},
		{"half used up", time.Minute, "", false},
		{"more than half used up", time.Minute + time.Millisecond, "", true},
		{"in its last moment", 2 * time.Minute, "", true},
		{"stale", 2*time.Minute + time.Millisecond, oauth.NonceStale, false},
		{"a day old", 24 * time.Hour, oauth.NonceStale, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, c := newMemory(t, 10)
			nonce := m.seal.Load().mint(c.Now().Add(-test.age))
			for _, p := range []Policy{required, off} {
				renew, refusal := m.Fresh(p, Proof{Nonce: nonce, HasNonce: true})
				want(t, "Fresh", reason(refusal), test.want)
				if renew != test.renew {
					t.Errorf("renew = %v, want %v", renew, test.renew)
				}
				if refusal != nil && refusal.Reason == oauth.NonceStale && refusal.Limit != "2m0s" {
					t.Errorf("limit = %q, want 2m0s", refusal.Limit)
				}
			}
		})
	}
}

func TestNonceIs43UnpaddedCharacters(t *testing.T) {
	t.Parallel()
	m, _ := newMemory(t, 10)
	a, b := m.Nonce(), m.Nonce()
	if len(a) != 43 || strings.ContainsAny(a, "+/=") {
		t.Errorf("Nonce() = %q, want 43 characters of base64url", a)
	}
	if a == b {
		t.Error("two nonces of the same moment are equal")
	}
}

func TestAlteredNonceIsInvalid(t *testing.T) {
	t.Parallel()
	m, c := newMemory(t, 10)
	nonce := m.Nonce()
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"empty":               "",
		"one character less":  nonce[:42],
		"one character more":  nonce + "A",
		"padded":              nonce + "=",
		"in lower case":       strings.ToLower(nonce),
		"line end inside":     nonce[:20] + "\n" + nonce[21:],
		"line end added":      nonce + "\n",
		"other trailing bits": nonce[:42] + next(nonce[42]),
		"of another memory":   New(c, 10).Nonce(),
		"not base64":          strings.Repeat("!", 43),
	}
	for name, n := range tests {
		for _, p := range []Policy{required, singleUse, off} {
			// the good iat must not save it
			_, refusal := m.Fresh(p, Proof{Nonce: n, HasNonce: true, IssuedAt: iat(c)})
			want(t, name, reason(refusal), oauth.NonceInvalid)
			want(t, name+", Use", reason(m.Use(p, Proof{Method: "dpop", Key: "k", ID: name, Nonce: n, HasNonce: true})), oauth.NonceInvalid)
		}
	}
	for bit := range len(raw) * 8 {
		flipped := append([]byte(nil), raw...)
		flipped[bit/8] ^= 1 << (bit % 8)
		_, refusal := m.Fresh(required, Proof{Nonce: base64.RawURLEncoding.EncodeToString(flipped), HasNonce: true})
		if reason(refusal) != oauth.NonceInvalid {
			t.Errorf("bit %d flipped: got %q, want %q", bit, reason(refusal), oauth.NonceInvalid)
		}
	}
}

// next is the next character of the base64url alphabet: in the last place of a
// nonce it decodes to the same bytes for a decoder that is not strict.
func next(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)+1])
}

// A key for something else that came to be the same one must not make nonces.
func TestNonceIsSealedUnderItsLabel(t *testing.T) {
	t.Parallel()
	s := newSealer()
	raw, err := base64.RawURLEncoding.DecodeString(s.mint(start))
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, s.key[:])
	h.Write([]byte("popauth nonce v1"))
	h.Write(raw[:16])
	if want := h.Sum(nil)[:16]; !bytes.Equal(raw[16:], want) {
		t.Errorf("a nonce ends in %x, want %x", raw[16:], want)
	}
}

func TestAllOfANonceButItsTimeIsRandom(t *testing.T) {
	t.Parallel()
	s := newSealer()
	var one, zero [nonceSize]byte // bits that were ever 1, and ever 0
	for range 64 {
		raw, err := base64.RawURLEncoding.DecodeString(s.mint(start))
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range raw {
			one[i], zero[i] = one[i]|b, zero[i]|^b
		}
	}
	for i := 8; i < nonceSize; i++ {
		if one[i]&zero[i] != 0xff {
			t.Errorf("byte %d has bits that are the same in all nonces: ever 1 %08b, ever 0 %08b", i, one[i], zero[i])
		}
	}
}

func FuzzNonceOpen(f *testing.F) {
	s := newSealer()
	minted := s.mint(start)
	for _, seed := range []string{"", minted, minted[:42], minted + "=", minted[:42] + next(minted[42]), newSealer().mint(start), strings.Repeat("A", 43)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, nonce string) {
		mint, ok := s.open(nonce)
		if ok != (nonce == minted) {
			t.Fatalf("open(%q) = %v", nonce, ok)
		}
		if ok && !mint.Equal(start) {
			t.Fatalf("open(%q) = %v, want %v", nonce, mint, start)
		}
	})
}

func TestNonceTellsMillisecondsOfMinting(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(start.Add(123 * time.Millisecond))
	raw, err := base64.RawURLEncoding.DecodeString(New(c, 1).Nonce())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := int64(binary.BigEndian.Uint64(raw)), c.Now().UnixMilli(); got != want {
		t.Errorf("minted at %d, want %d", got, want)
	}
}
