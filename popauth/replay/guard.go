// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// guard is the set of what was accepted and could still pass. It never
// forgets an entry before its time: when it is full, it refuses. It knows the
// monotonic clock only, whose readings must not decrease from call to call,
// and does not lock; entry and nonceTag alone may be called at any time.
//
// One lock for all of it, that of the Memory, is enough: it is held for less
// than half a microsecond, and the signature of a proof takes a core a hundred
// times that.
type guard struct {
	// secret makes the tags unpredictable, so that nobody can look for
	// proofs that collide. A collision refuses a fresh proof, it never admits
	// an old one.
	secret [32]byte

	capacity int
	now      second
	table    table
	ledger   ledger
}

// class is a kind of entries that live equally long, or at least in the order
// in which they came; so the oldest entry of a class expires first.
type class uint8

const (
	withoutNonce class = iota
	withNonce
	classes
)

// sweep is how many partitions are swept when a second has passed: all of
// them within nine minutes, and each takes microseconds.
const sweep = 4

// entry is a proof on its way into the guard.
type entry struct {
	proof  tag
	owner  uint64
	class  class
	nonce  tag // used up with the proof if single
	single bool
}

// size is how many places the entry takes.
func (e entry) size() int {
	if e.single {
		return 2
	}
	return 1
}

func newGuard(capacity int) *guard {
	g := &guard{capacity: capacity, ledger: ledger{held: map[uint64]int{}}}
	rand.Read(g.secret[:])
	return g
}

// grow takes no memory: the table grows with what is in it.
func (g *guard) grow(capacity int) { g.capacity = max(g.capacity, capacity) }

// entry returns the entry of a proof.
func (g *guard) entry(method, key, id string) entry {
	return entry{
		proof: newTag(g.hash("proof", method, key, id)),
		owner: g.hash("key", method, key),
	}
}

func (g *guard) nonceTag(nonce string) tag { return newTag(g.hash("nonce", nonce)) }

// newTag makes a tag of a hash.
func newTag(hash uint64) tag {
	t := tag(hash >> (64 - tagBits))
	if t&(1<<printBits-1) == 0 {
		t++ // a print of 0 can be an empty word
	}
	return t
}

// hash hashes the parts, each with its length, so that no two lists of parts
// are one.
func (g *guard) hash(parts ...string) uint64 {
	b := make([]byte, 0, 512)
	b = append(b, g.secret[:]...)
	for _, part := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// use takes the entry in until the given time, unless it is there already or
// there is no room.
func (g *guard) use(e entry, now, until time.Duration) *oauth.Refusal {
	g.pass(now)
	if g.table.has(e.proof, g.now) {
		return oauth.Refuse(oauth.ProofReplayed, "")
	}
	if e.single && g.table.has(e.nonce, g.now) {
		return oauth.Refuse(oauth.NonceUsed, "")
	}
	if refusal := g.admit(e); refusal != nil {
		return refusal
	}
	at := expiry(g.now, until)
	g.table.add(e.proof, at, g.now)
	if e.single {
		g.table.add(e.nonce, at, g.now)
	}
	g.ledger.add(e.owner, e.size(), e.class, at)
	return nil
}

// pass lets the guard forget what has expired.
func (g *guard) pass(now time.Duration) {
	before := g.now
	// rounded down, and expiry rounds up: never too early
	g.now = second(now / time.Second)
	if g.now == before {
		return
	}
	g.ledger.expire(g.now)
	if g.ledger.live == 0 {
		g.table.clear()
		return
	}
	g.table.sweep(int(min(g.now-before, 1<<partitionBits))*sweep, g.now)
}

// admit looks whether there is room for the entry. A key may fill more than a
// quarter of the guard only while that takes nothing from others. A key that
// might have more than its quarter counts as one that has: see ledger for how
// far that can be from the truth.
func (g *guard) admit(e entry) *oauth.Refusal {
	if g.ledger.live+e.size() > g.capacity {
		return &oauth.Refusal{
			Reason: oauth.ReplayGuardFull,
			Limit:  strconv.Itoa(g.capacity), Option: "replay_capacity",
		}
	}
	if g.ledger.live <= g.capacity/2 {
		return nil
	}
	held, share := g.ledger.atMost(e.owner), g.capacity/4
	if held+e.size() > share {
		return &oauth.Refusal{
			Reason: oauth.ReplayShareExceeded,
			Got:    strconv.Itoa(held),
			Limit:  strconv.Itoa(share), Option: "replay_capacity",
		}
	}
	return nil
}
