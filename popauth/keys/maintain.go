// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"fmt"
	"time"
)

// every is how often a Ring looks what other nodes have done, and whether there
// is something to do.
const every = time.Minute

// Maintain keeps the keys up to date until ctx is done: at once and then every
// minute it reads what other nodes have stored, makes the next key when it is
// due, and deletes what has outlived its use. It makes the first key too, so
// that no request waits for it. Without it a Ring neither rotates its keys nor
// changes the algorithm. If keys were given, it returns at once.
//
// While storage fails the known keys go on, however old they are; that is told
// once, not every minute.
func (r *Ring) Maintain(ctx context.Context) {
	if r.given {
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		r.maintain(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// maintain is one round. That it was interrupted is no trouble.
func (r *Ring) maintain(ctx context.Context) {
	_, err := tried(func() (struct{}, error) { return struct{}{}, r.round(ctx) })
	if ctx.Err() == nil {
		r.report("signing keys cannot be kept up to date", err)
	}
}

func (r *Ring) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	look := r.reread
	if r.keys.Load() == nil {
		look = r.load
	}
	all, err := look(ctx)
	if err != nil {
		return err
	}
	now := r.clock.Now()
	if all.due(r.algorithm, now) || len(all.outlived(now)) > 0 {
		if err := r.locked(ctx, r.renew); err != nil {
			return err
		}
	}
	return r.mend(ctx)
}

// renew does what is due. The lock must be held.
func (r *Ring) renew(ctx context.Context) error {
	// another node may have done it while this one waited for the lock
	all, err := r.reread(ctx)
	if err != nil {
		return err
	}
	// and the wait may have been long: a key is published from now on
	now := r.clock.Now()
	if all.due(r.algorithm, now) {
		if all, err = r.make(ctx, now.Add(ahead)); err != nil {
			return err
		}
	}
	for _, k := range all.outlived(now) {
		if err := r.storage.Delete(ctx, r.path(k.public.ID())); err != nil {
			return fmt.Errorf("deleting key %q: %w", k.public.ID(), err)
		}
		r.notify(Event{Message: "deleted a signing key that retired long ago", KeyID: k.public.ID()})
	}
	return nil
}

// report tells that something is wrong once, until it is right again.
func (r *Ring) report(message string, err error) {
	r.mu.Lock()
	before := r.trouble
	r.trouble = err != nil
	r.mu.Unlock()
	switch {
	case err != nil && !before:
		r.notify(Event{Message: message, Err: err})
	case err == nil && before:
		r.notify(Event{Message: "signing keys are all right again"})
	}
}
