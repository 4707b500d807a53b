// SPDX-License-Identifier: Apache-2.0

// Package replay keeps a proof from passing twice on one node.
//
// Three things do that together, and none of them alone. The nonce says that
// a proof was made after we asked for it; it is unforgeable and costs no
// memory. The guard remembers every accepted proof until it could not pass any
// more. The fence refuses proofs without a nonce that may have been accepted
// when there was no guard to remember them.
//
// All of it lives in memory, in one Memory, and dies together: the key of the
// nonces is as random as the memory is new, so that a nonce counts only where,
// and as long as, the memory that covers it exists.
//
// The package does not look at proofs: whoever calls it has checked that the
// values come from one that is valid. It does not share anything with other
// nodes. Without nonces it can't know what an earlier process accepted whose
// clock was ahead, or whose Skew was larger: a proof from then may pass again if
// the clock is behind what it was then, or Skew smaller, when this one starts.
package replay

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// Mode says what nonces are asked for.
type Mode uint8

const (
	// Required refuses proofs without a nonce. Several proofs may share one.
	Required Mode = iota

	// SingleUse is Required, and every nonce serves one proof only.
	SingleUse

	// Off takes proofs without a nonce and judges them by their iat. A proof
	// that carries one is judged by that all the same.
	Off
)

// String is the name of the mode.
func (m Mode) String() string {
	switch m {
	case Required:
		return "required"
	case SingleUse:
		return "single_use"
	case Off:
		return "off"
	}
	return "unknown"
}

// Policy is what one place asks of the age of proofs. The zero Policy wants a
// nonce.
type Policy struct {
	Mode Mode

	// MaxAge and Skew say how far iat may lie in the past and in the future.
	// They count under Off only, and only for proofs without a nonce.
	MaxAge, Skew time.Duration
}

// windows are the largest MaxAge and Skew of all policies that ever were.
type windows struct{ maxAge, skew time.Duration }

// covers says whether the guard keeps long enough what the policy accepts.
func (w windows) covers(p Policy) bool { return p.MaxAge <= w.maxAge && p.Skew <= w.skew }

// life is how long a proof without a nonce must be remembered. One policy may
// accept it Skew before its iat, and another one until MaxAge after it, so both
// are the largest of all. The rest is for steps of the clock that are too small
// for the fence.
func (w windows) life() time.Duration {
	// 36 years, longer than any process runs; the sum of larger ones could
	// be a time in the past, at which the proof would be forgotten
	const most = 1 << 60
	return min(w.maxAge, most) + 2*min(w.skew, most) + 2*time.Second
}

// Proof is what the memory needs to know of a proof.
type Proof struct {
	// Method names the kind of proof, Key the key that made it, and ID is its
	// one-time id among those of the key.
	Method, Key, ID string

	// Nonce is there if HasNonce says so, even when it is empty.
	Nonce    string
	HasNonce bool

	// IssuedAt is when the client says it made the proof, in seconds.
	IssuedAt float64
}

// Memory is what one process remembers: nonces, guard and fence over one
// clock. It is safe for concurrent use.
type Memory struct {
	clock clock.Clock
	seal  atomic.Pointer[sealer] // replaced under mu only

	mu         sync.Mutex
	fence      fence
	guard      *guard
	windows    windows
	configured bool
}

// New returns a memory that holds up to capacity proofs, all of them younger
// than itself. One without capacity accepts no proof.
func New(c clock.Clock, capacity int) *Memory {
	m := &Memory{clock: c, guard: newGuard(capacity)}
	m.seal.Store(newSealer())
	m.fence = newFence(c.Now(), c.Mono())
	return m
}

// Configure applies a configuration: how many proofs to hold, and the largest
// MaxAge and the largest Skew of its policies, not necessarily of one. None of
// them ever shrinks, because requests of an earlier configuration may still be
// on their way. A window that grows later raises the fence: what was forgotten
// under the smaller one must not pass the larger.
func (m *Memory) Configure(capacity int, maxAge, skew time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, _ := m.look()
	m.guard.grow(capacity)
	grown := windows{max(m.windows.maxAge, maxAge), max(m.windows.skew, skew)}
	if grown != m.windows {
		m.windows = grown
		if m.configured {
			m.fence.raise(now)
		}
	}
	m.configured = true
}

// Nonce mints a nonce.
func (m *Memory) Nonce() string {
	m.mu.Lock()
	now, _ := m.look()
	seal := m.seal.Load()
	m.mu.Unlock()
	return seal.mint(now)
}

// Fresh judges a proof's time: by its nonce if it has one, else, under Off
// only, by its iat, which is in seconds. A bad nonce is never made good by a
// good iat. It does not know whether the proof or its nonce was used before
// and changes nothing. Renew says that the answer should carry a new nonce.
//
// Refusals: NonceMissing, NonceInvalid, NonceStale, ProofExpired,
// ProofFromFuture, Fenced.
func (m *Memory) Fresh(p Policy, proof Proof) (renew bool, refusal *oauth.Refusal) {
	m.mu.Lock()
	now, _ := m.look()
	seal, horizon, windows := m.seal.Load(), m.fence.horizon, m.windows
	m.mu.Unlock()

	if proof.HasNonce {
		mint, ok := seal.open(proof.Nonce)
		if !ok {
			return false, oauth.Refuse(oauth.NonceInvalid, "")
		}
		if refusal := judgeNonce(mint, now); refusal != nil {
			return false, refusal
		}
		return p.Mode == SingleUse || now.Sub(mint) > HalfLife, nil
	}
	if p.Mode != Off {
		return false, nonceMissing()
	}
	if refusal := judgeIssuedAt(p, proof.IssuedAt, now); refusal != nil {
		return false, refusal
	}
	return false, judgeFence(p, proof.IssuedAt, horizon, windows)
}

// Use is the last check: it accepts a proof once, in one atomic step. The same
// id of two keys is two proofs. Only a proof that Fresh and all other checks
// have passed may come here, or strangers could use up our memory.
//
// The same look at the clock judges the time of the proof again and what the
// guard may forget. Else a proof that was held up on its way here, for as long
// as the guard remembers, would pass a second time.
//
// Refusals: ProofReplayed, NonceUsed (SingleUse only), ReplayGuardFull,
// ReplayShareExceeded; and those of Fresh, where that has become so since.
func (m *Memory) Use(p Policy, proof Proof) *oauth.Refusal {
	e := m.guard.entry(proof.Method, proof.Key, proof.ID)
	if proof.HasNonce {
		return m.useWithNonce(p, proof, e)
	}
	if p.Mode != Off {
		return nonceMissing()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now, mono := m.look()
	if refusal := judgeIssuedAt(p, proof.IssuedAt, now); refusal != nil {
		return refusal
	}
	if refusal := judgeFence(p, proof.IssuedAt, m.fence.horizon, m.windows); refusal != nil {
		return refusal
	}
	return m.guard.use(e, mono, mono+m.windows.life())
}

// useWithNonce is Use for a proof that is judged by its nonce.
func (m *Memory) useWithNonce(p Policy, proof Proof, e entry) *oauth.Refusal {
	seal := m.seal.Load()
	mint, ok := seal.open(proof.Nonce)
	if !ok {
		return oauth.Refuse(oauth.NonceInvalid, "")
	}
	e.class = withNonce
	if p.Mode == SingleUse {
		e.nonce, e.single = m.guard.nonceTag(proof.Nonce), true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now, mono := m.look()
	if m.seal.Load() != seal {
		return oauth.Refuse(oauth.NonceInvalid, "")
	}
	if refusal := judgeNonce(mint, now); refusal != nil {
		return refusal
	}
	return m.guard.use(e, mono, mono+nonceEntryLife)
}

// Stats is how full the memory is.
type Stats struct {
	Live     int // entries
	Capacity int
}

// Stats returns how full the memory is.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, mono := m.look()
	m.guard.pass(mono)
	return Stats{Live: m.guard.ledger.live, Capacity: m.guard.capacity}
}

// look reads the clock, and replaces the key of the nonces if the wall clock
// was set back: by it, used nonces would be young again. m.mu must be held,
// which also keeps two looks in order.
func (m *Memory) look() (now time.Time, mono time.Duration) {
	now, mono = m.clock.Now(), m.clock.Mono()
	if m.fence.observe(now, mono) {
		m.seal.Store(newSealer())
	}
	return now, mono
}
