// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"slices"
	"time"

	"github.com/popauth/caddy-popauth/popauth/jwk"
)

// keyring is all keys of an issuer, those that become active last in front, or
// in the order in which they were given. It never changes.
type keyring []*key

func (all keyring) sort() {
	slices.SortFunc(all, func(a, b *key) int {
		return cmp.Or(b.activeFrom.Compare(a.activeFrom), cmp.Compare(a.public.ID(), b.public.ID()))
	})
}

// active returns the key that signs: the one that became active last, of those
// of the algorithm if there is one, else of all, so that a key of another
// algorithm goes on until the first one of the new algorithm has been published
// for long enough. Of keys that are all too new, it is the one that becomes
// active first: the clocks of two nodes differ, and the first key signs at
// once. It is nil only if there are no keys.
func (all keyring) active(alg string, now time.Time) *key {
	var other, first *key
	for _, k := range all {
		switch {
		case k.activeFrom.After(now):
			first = k
		case k.replaced(now):
		case k.public.Algorithm() == alg:
			return k
		case other == nil:
			other = k
		}
	}
	return cmp.Or(other, first)
}

func (all keyring) find(kid string) *key {
	for _, k := range all {
		if k.public.ID() == kid {
			return k
		}
	}
	return nil
}

func (all keyring) published(now time.Time) []*jwk.Key {
	var list []*jwk.Key
	for _, k := range all {
		if !k.retired(now) {
			list = append(list, k.public)
		}
	}
	return list
}
