// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long writes wait for the disk. It takes milliseconds, and a
// busy one tenths of a second; one that takes longer is in trouble, and those
// who wait are better told so, while they are few: at most as many as come in
// this time.
//
// It is measured by a timer, and not by the clock of the store, as is all
// waiting for something that hangs.
const patience = 2 * time.Second

// errStalled is the answer while the disk does not.
var errStalled = errors.New("the disk takes too long to write")

// stall is what comes between a disk that hangs and those who want to write. A
// transaction can't be given up once it has begun; but nobody need wait for it.
//
// When a transaction has taken too long, all who wait get an unknown, and so do
// all who come until it has ended. Then one at a time is let through to try,
// until a transaction has been fast enough.
type stall struct {
	patience time.Duration
	tell     func(Event)

	gate atomic.Int32
	wake atomic.Pointer[chan struct{}] // closed when it is no use to wait

	mu      sync.Mutex
	watched uint64 // number of the transaction that was begun last
	running bool
	hangs   bool // it has taken too long
}

// States of the gate.
const (
	gateOpen   int32 = iota
	gateShut         // a transaction hangs
	gateTrying       // one may try
	gateTried        // it does
)

func (s *stall) init(tell func(Event)) {
	s.patience, s.tell = patience, tell
	s.wake.Store(new(make(chan struct{})))
}

// enter returns a channel that is closed when it is no use to wait any more, or
// an error if it is none to begin. Who has entered and does not write leaves.
func (s *stall) enter() (stalled <-chan struct{}, err error) {
	switch gate := s.gate.Load(); {
	case gate == gateOpen:
	case gate == gateTrying && s.gate.CompareAndSwap(gateTrying, gateTried):
	default:
		return nil, errStalled
	}
	return *s.wake.Load(), nil
}

// leave lets another try, if one did and nothing came of it.
func (s *stall) leave() { s.gate.CompareAndSwap(gateTried, gateTrying) }

// watch watches over a transaction until it is over.
func (s *stall) watch() (over func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched++
	s.running = true
	number := s.watched
	timer := time.AfterFunc(s.patience, func() { s.shut(number) })
	return func() {
		timer.Stop()
		s.end()
	}
}

// shut ends all waiting for a transaction, unless that is over.
func (s *stall) shut(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running || s.watched != number || s.hangs {
		return
	}
	s.hangs = true
	if s.gate.Swap(gateShut) == gateOpen {
		s.tell(Event{
			Message: "the disk takes too long to write the store; writes are refused until it does better",
			Err:     errStalled,
		})
	}
	close(*s.wake.Load())
}

// end notes that the transaction is over.
func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
	if s.hangs {
		s.hangs = false
		// before the gate, or who enters would find the old one
		s.wake.Store(new(make(chan struct{})))
		s.gate.Store(gateTrying)
		return
	}
	if s.gate.Swap(gateOpen) != gateOpen {
		s.tell(Event{Message: "the disk writes the store in time again", Resolved: true})
	}
}
