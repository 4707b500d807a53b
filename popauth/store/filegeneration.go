// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// raiseEvery is how far apart raises are while revocations are made.
	raiseEvery = time.Minute

	// storageTimeout bounds what Caddy's storage may take for a mark.
	storageTimeout = 10 * time.Second
)

// raiseDue says whether a revocation should raise the generation.
func (f *File) raiseDue() bool {
	return f.clock.Mono()-f.raisedAt >= raiseEvery && !f.publishes.Load()
}

// raise raises the generation in the file. That comes before storage: the
// other way round, a crash in between would look like a restored backup.
func (f *File) raise(tx *bolt.Tx) error {
	// also when the transaction fails, since it may still have happened
	f.state.generation++
	f.raisedAt = f.clock.Mono()
	return tx.Bucket(metaBucket).Put(stateKey, f.state.seal())
}

// mark is what storage should have.
func (f *File) mark() Mark { return Mark{ID: f.state.id, Number: f.state.generation} }

// publish stores a raised generation. Writes don't wait for that.
func (f *File) publish(m Mark) {
	f.publishes.Store(true)
	f.publishing.Go(func() { f.store(context.Background(), m) })
}

// inTime calls storage, and gives up when the context ends or storageTimeout
// is over. Storage may go on all the same: that of Caddy in files does not look
// at its context, and may hang as its disk does.
func inTime[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	answers := make(chan answer, 1)
	go func() {
		value, err := call(ctx)
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("waiting for storage: %w", ctx.Err())
	}
}

func (f *File) store(ctx context.Context, m Mark) {
	f.publishes.Store(true)
	_, err := inTime(ctx, func(ctx context.Context) (struct{}, error) {
		// not before it has ended, or those that hang would pile up
		defer f.publishes.Store(false)
		return struct{}{}, f.generations.Store(ctx, m)
	})
	if err != nil {
		f.notify(Event{
			Message: "the generation of the store cannot be stored, a restored backup may go unnoticed",
			Err:     err,
		})
	}
}

// finish is the end of run: a last raise, since whoever puts back a copy of
// this file after it was closed has an old one.
func (f *File) finish() error {
	f.publishing.Wait()
	if err := f.transact(f.raise); err == nil {
		f.store(context.Background(), f.mark())
	} else {
		f.notify(Event{Message: "the store cannot be closed cleanly", Err: err})
	}
	return f.release()
}
