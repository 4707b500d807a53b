// SPDX-License-Identifier: Apache-2.0

// Package clock keeps wall time and monotonic time apart.
//
// Wall time answers "is this token expired" and can be set back by an
// operator or by NTP. Monotonic time answers "how long have we remembered
// this proof" and never goes back. A replay guard that judged its own memory
// by wall time would forget too early after a step, so every package of
// popauth that keeps time takes a Clock and says which of the two it uses.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time in both senses. It must be safe for concurrent use.
type Clock interface {
	// Now is the wall time. It carries no monotonic reading, so that
	// differences between two of its values show steps of the wall clock.
	Now() time.Time

	// Mono is the time since some fixed point in the life of the process.
	// It never decreases.
	Mono() time.Duration
}

// System is the clock of the machine.
var System Clock = system{start: time.Now()}

type system struct{ start time.Time }

// Round(0) strips the monotonic reading: time.Time.Sub would otherwise use it
// silently and hide exactly the steps that the fence has to see.
func (system) Now() time.Time        { return time.Now().Round(0) }
func (s system) Mono() time.Duration { return time.Since(s.start) }

// Fake is a clock that moves only when told to.
type Fake struct {
	mu   sync.Mutex
	now  time.Time
	mono time.Duration
}

// NewFake returns a fake clock whose wall time is now.
func NewFake(now time.Time) *Fake { return &Fake{now: now.Round(0)} }

// Now is the wall time.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Mono is the sum of all that the clock was advanced by.
func (f *Fake) Mono() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mono
}

// Advance lets time pass: wall and monotonic time move on together.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now, f.mono = f.now.Add(d), f.mono+d
}

// Step sets the wall clock forward or, with a negative d, back, as an
// operator or NTP would. No time passes.
func (f *Fake) Step(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// Interface guards
var (
	_ Clock = system{}
	_ Clock = (*Fake)(nil)
)
