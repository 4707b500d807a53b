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
type guard struct {
	// secret makes the tags unpredictable, so that nobody can look for
	// proofs that collide. A collision refuses a fresh proof, it never admits
	// an old one.
	secret [32]byte

	capacity int
	tags     map[tag]struct{}
	owners   map[uint64]int // entries of each key
	queues   [classes]queue
}

// tag stands for a proof or a used nonce.
type tag [16]byte

// class is a kind of entries that live equally long, or at least in the order
// in which they came; so the oldest entry of a class expires first.
type class uint8

const (
	withoutNonce class = iota
	withNonce
	classes
)

// sweep is how many expired entries of each class a use removes. More than it
// can add, so that the guard shrinks under load.
const sweep = 8

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
	g := &guard{capacity: capacity, tags: map[tag]struct{}{}, owners: map[uint64]int{}}
	rand.Read(g.secret[:])
	return g
}

func (g *guard) grow(capacity int) { g.capacity = max(g.capacity, capacity) }

func (g *guard) live() int { return len(g.tags) }

// entry returns the entry of a proof.
func (g *guard) entry(method, key, id string) entry {
	owner := g.tag("key", method, key)
	return entry{
		proof: g.tag("proof", method, key, id),
		owner: binary.BigEndian.Uint64(owner[:]),
	}
}

func (g *guard) nonceTag(nonce string) tag { return g.tag("nonce", nonce) }

// tag hashes the parts, each with its length, so that no two lists of parts
// are one.
func (g *guard) tag(parts ...string) tag {
	b := make([]byte, 0, 512)
	b = append(b, g.secret[:]...)
	for _, part := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return tag(sum[:len(tag{})])
}

// use takes the entry in until the given time, unless it is there already or
// there is no room.
func (g *guard) use(e entry, now, until time.Duration) *oauth.Refusal {
	for c := range g.queues {
		for range sweep {
			if !g.expire(&g.queues[c], now) {
				break
			}
		}
	}
	if _, used := g.tags[e.proof]; used {
		return oauth.Refuse(oauth.ProofReplayed, "")
	}
	if _, used := g.tags[e.nonce]; used && e.single {
		return oauth.Refuse(oauth.NonceUsed, "")
	}
	if refusal := g.admit(e, now); refusal != nil {
		return refusal
	}
	g.add(e.proof, e, until)
	if e.single {
		g.add(e.nonce, e, until)
	}
	return nil
}

// admit looks whether there is room for the entry, and makes room of what has
// expired. A key may fill more than a quarter of the guard only while that
// takes nothing from others.
func (g *guard) admit(e entry, now time.Duration) *oauth.Refusal {
	share := g.capacity / 4
	for {
		full := g.live()+e.size() > g.capacity
		greedy := g.live() > g.capacity/2 && g.owners[e.owner]+e.size() > share
		switch {
		case !full && !greedy:
			return nil
		case g.expireAny(now):
			continue
		case full:
			return &oauth.Refusal{
				Reason: oauth.ReplayGuardFull,
				Limit:  strconv.Itoa(g.capacity), Option: "replay_capacity",
			}
		}
		return &oauth.Refusal{
			Reason: oauth.ReplayShareExceeded,
			Got:    strconv.Itoa(g.owners[e.owner]),
			Limit:  strconv.Itoa(share), Option: "replay_capacity",
		}
	}
}

func (g *guard) add(t tag, e entry, until time.Duration) {
	g.tags[t] = struct{}{}
	g.owners[e.owner]++
	g.queues[e.class].push(item{tag: t, owner: e.owner, until: until})
}

// expireAny removes one expired entry, and reports whether there was one.
func (g *guard) expireAny(now time.Duration) bool {
	for c := range g.queues {
		if g.expire(&g.queues[c], now) {
			return true
		}
	}
	return false
}

// expire removes the oldest entry of a queue if it has expired.
func (g *guard) expire(q *queue, now time.Duration) bool {
	oldest := q.peek()
	if oldest == nil || now < oldest.until {
		return false
	}
	delete(g.tags, oldest.tag)
	if g.owners[oldest.owner]--; g.owners[oldest.owner] == 0 {
		delete(g.owners, oldest.owner)
	}
	q.pop()
	return true
}
