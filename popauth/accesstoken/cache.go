// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

// cacheCapacity bounds the tokens that are remembered as verified. Only tokens
// that we signed ourselves get in, so that a stranger can't push others out.
const cacheCapacity = 8192

// digest names a token in the cache: SHA-256 over all its bytes. A token has
// several spellings that verify (an ECDSA signature has two), so this is no
// identity of a token and nothing is ever revoked by it; that is what jti is
// for. Here a second spelling only costs a second verification.
type digest = [sha256.Size]byte

// verified is what the signature of a token covers and nothing else. What may
// change while the token lives (the time, its key, its client) is judged again
// at every use.
type verified struct {
	claims    *Claims
	notBefore time.Time // zero: no nbf

	// which key verified it: its kid, and its thumbprint, because an operator
	// may name another key by the same kid.
	keyID, thumbprint string
}

// cache remembers verified tokens, so that a signature is verified once and
// not for every request.
type cache struct {
	mu      sync.RWMutex
	entries map[digest]verified
}

func newCache() *cache { return &cache{entries: map[digest]verified{}} }

func (c *cache) get(d digest) (verified, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, ok := c.entries[d]
	return v, ok
}

func (c *cache) drop(d digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, d)
}

// put remembers a token. When the cache is full, the expired go first and then
// others at random until a tenth is free: whoever knew the order of eviction
// could aim at the tokens of others.
func (c *cache) put(d digest, v verified, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= cacheCapacity {
		maps.DeleteFunc(c.entries, func(_ digest, old verified) bool {
			return !now.Before(old.claims.Expires)
		})
		// freeing a tenth at once keeps the sweep above from running again
		// for each of the next insertions
		for old := range c.entries {
			if len(c.entries) <= cacheCapacity-cacheCapacity/10 {
				break
			}
			delete(c.entries, old)
		}
	}
	c.entries[d] = v
}
