// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// raiseEvery is how far apart raises are while revocations are made.
	raiseEvery = time.Minute

	// publishTimeout bounds what Caddy's storage may take for a generation.
	publishTimeout = 10 * time.Second
)

// raiseDue says whether a revocation should raise the generation.
func (f *File) raiseDue() bool {
	return f.clock.Mono()-f.raisedAt >= raiseEvery && !f.publishes.Load()
}

// raise raises the generation in the file. That comes before storage: the
// other way round, a crash in between would look like a restored backup.
func (f *File) raise(tx *bolt.Tx) (generation uint64, err error) {
	// also when the transaction fails, since it may still have happened
	f.state.generation++
	f.raisedAt = f.clock.Mono()
	return f.state.generation, tx.Bucket(metaBucket).Put(stateKey, f.state.seal())
}

// publish stores a raised generation. Writes don't wait for that.
func (f *File) publish(generation uint64) {
	f.publishes.Store(true)
	f.publishing.Go(func() {
		defer f.publishes.Store(false)
		f.store(context.Background(), generation)
	})
}

func (f *File) store(ctx context.Context, generation uint64) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := f.generations.Store(ctx, generation); err != nil {
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
	err := f.transact(func(tx *bolt.Tx) error {
		_, err := f.raise(tx)
		return err
	})
	if err == nil {
		f.store(context.Background(), f.state.generation)
	} else {
		f.notify(Event{Message: "the store cannot be closed cleanly", Err: err})
	}
	return f.db.Close()
}
