// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"runtime"
	"time"

	bolt "go.etcd.io/bbolt"
)

// queueSize is how many writes may wait, and how many share a transaction.
const queueSize = 2048

// write is a call that changes something, on its way to the file.
type write struct {
	key     []byte // of the record
	consume bool
	value   []byte
	expires time.Time

	done chan struct{} // closed when the answer is there
	yes  bool
	err  error
}

// ask puts a write into the queue and waits for its answer. Who gives up
// waiting gets an unknown, and the write takes its course.
func (f *File) ask(ctx context.Context, w *write) (yes bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, unavailable(err)
	}
	stalled, err := f.stall.enter()
	if err != nil {
		return false, unavailable(err)
	}
	w.done = make(chan struct{})
	if err := f.enqueue(ctx, w, stalled); err != nil {
		f.stall.leave()
		return false, unavailable(err)
	}
	select {
	case <-w.done:
		return w.yes, w.err
	case <-stalled:
		return false, unavailable(errStalled)
	case <-f.broken:
		// the writer may be the one that waits for the locks of bbolt
		return false, unavailable(errBroken)
	case <-ctx.Done():
		return false, unavailable(ctx.Err())
	}
}

func (f *File) enqueue(ctx context.Context, w *write, stalled <-chan struct{}) error {
	f.entering.RLock()
	defer f.entering.RUnlock()
	if f.closed {
		return errClosed
	}
	if f.isBroken() {
		return errBroken
	}
	select {
	case f.queue <- w:
		return nil
	case <-stalled:
		return errStalled
	case <-f.broken:
		return errBroken
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is the one goroutine that writes. All writes that came while it was busy
// share the next transaction, and with it the waiting for the disk. Nobody
// waits for others to come.
func (f *File) run() {
	defer close(f.done)
	batch := make([]*write, 0, queueSize)
	for w := range f.queue {
		batch = append(batch, w)
		// those who were just answered may be about to come again, and one turn
		// for them makes the batches larger
		runtime.Gosched()
		for waiting := true; waiting && len(batch) < queueSize; {
			select {
			case w, waiting = <-f.queue:
				if waiting {
					batch = append(batch, w)
				}
			default:
				waiting = false
			}
		}
		for rest := batch; len(rest) > 0; {
			rest = rest[f.commit(rest):]
		}
		clear(batch)
		batch = batch[:0]
	}
	f.closeErr = f.finish()
}

// commit does the first of the writes in one transaction, as many as there is
// room for, and answers when that is on the disk. It returns how many it has
// answered. If the transaction fails these are unknown: it may be on the disk
// or not.
//
// Also a transaction that changes nothing is committed. An earlier one may
// have failed after its pages became visible; then a no, because the record is
// there, is true only once the record is on the disk too.
func (f *File) commit(batch []*write) (done int) {
	f.relieve()
	if err := f.rest.over(f.clock.Mono()); err != nil {
		f.stall.leave()
		answer(batch, err)
		return len(batch)
	}
	raised := false
	err := f.transact(func(tx *bolt.Tx) (err error) {
		f.measure(tx, min(len(batch), f.rest.most))
		c := f.change(tx)
		if done, err = c.applySome(batch); err != nil {
			return err
		}
		if c.revoked && f.raiseDue() {
			raised = true
			return f.raise(tx)
		}
		return nil
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	// one at least, or this would go on without end
	done = max(done, 1)
	answer(batch[:done], err)
	if err == nil && raised {
		f.publish(f.mark())
	}
	return done
}

// errNothing ends a transaction that has nothing to do. Nobody gets a no.
var errNothing = errors.New("nothing to do")

// answer lets those go who wait. With an error it is unknown to all of them.
func answer(batch []*write, err error) {
	for _, w := range batch {
		if err != nil {
			w.yes, w.err = false, unavailable(err)
		}
		close(w.done)
	}
}

// change is what a transaction works with.
type change struct {
	file                  *File
	now                   time.Time
	records, expiry, feed *bolt.Bucket
	revoked               bool // whether there was a revocation
}

func (f *File) change(tx *bolt.Tx) *change {
	c := &change{
		file:    f,
		now:     f.clock.Now(),
		records: tx.Bucket(recordsBucket),
		expiry:  tx.Bucket(expiryBucket),
		feed:    tx.Bucket(feedBucket),
	}
	// what only grows at its end needs no room in between
	c.expiry.FillPercent, c.feed.FillPercent = 0.9, 0.9
	return c
}

// applySome applies the first of the writes, as many as there is room for, and
// removes what has expired. A write that has no room at all is refused.
func (c *change) applySome(batch []*write) (done int, err error) {
	s, most := &c.file.space, c.file.rest.most
	applied, written := 0, int64(0)
	for ; done < len(batch) && applied < most; done++ {
		w := batch[done]
		now, refusal := s.admit(w, written)
		if refusal != nil {
			w.err = unavailable(refusal)
			continue
		}
		if !now {
			break
		}
		if err := c.apply(w); err != nil {
			return done + 1, err
		}
		applied++
		written += s.pagesFor(w)
	}
	if applied == 0 {
		return done, errNothing
	}
	if s.full {
		// a transaction of its own does that
		return done, nil
	}
	room := int((s.spare-written)/changePages) + 2*applied
	return done, c.sweep(min(max(sweepSize, 2*applied), 2*most, room))
}

func (c *change) apply(w *write) (err error) {
	if w.consume {
		w.yes, err = c.consume(w.key)
	} else {
		w.yes, err = c.put(w)
	}
	return err
}

// put is PutIfAbsent. A damaged record counts as one that is there: whatever
// it was, it must not be used a second time.
func (c *change) put(w *write) (won bool, err error) {
	if sealed := c.records.Get(w.key); sealed != nil {
		there, ok := unsealRecord(w.key, sealed)
		if !ok {
			c.file.alarm()
			return false, nil
		}
		if !expired(there.expires, c.now) || !w.expires.After(c.now) {
			return false, nil
		}
		if err := c.forget(w.key, there); err != nil {
			return false, err
		}
	}
	if !w.expires.After(c.now) {
		return false, nil
	}
	// also when the transaction fails, since it may still have happened
	c.file.number++
	s := stored{expires: milliseconds(w.expires), number: c.file.number, value: w.value}
	if kindOf(w.key) == KindRevocation {
		c.revoked = true
		key := feedKey(w.key, s.number)
		entry := listed{[idSize]byte(w.key[recordKeySize-idSize:]), s.expires}
		if err := c.feed.Put(key, entry.seal(key)); err != nil {
			return false, err
		}
	}
	if err := c.index(w.key, s); err != nil {
		return false, err
	}
	return true, c.records.Put(w.key, s.seal(w.key))
}

// consume is Consume. A damaged record can't be first.
func (c *change) consume(key []byte) (first bool, err error) {
	sealed := c.records.Get(key)
	if sealed == nil {
		return false, nil
	}
	s, ok := unsealRecord(key, sealed)
	if !ok {
		c.file.alarm()
		return false, nil
	}
	if s.used || expired(s.expires, c.now) {
		return false, nil
	}
	s.used = true
	return true, c.records.Put(key, s.seal(key))
}

// index gives a record its place in the expiry index.
func (c *change) index(key []byte, s stored) error {
	place := s.place()
	return c.expiry.Put(place, sealPlace(place, key))
}
