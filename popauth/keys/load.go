// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"fmt"
	"time"
)

const (
	// loadTimeout bounds a load. The lock of a node that died is free after
	// about ten seconds, as Caddy's file storage has it.
	loadTimeout = 30 * time.Second

	// retryAfter is how long a failed load answers for those who come after
	// it: storage that is in trouble must not get a call for every request.
	retryAfter = time.Second
)

// loading is one load, for all who wait for it.
type loading struct {
	done chan struct{} // closed when keys and err are there
	keys keyring
	err  error
}

// load returns the keys, from storage at first need. Whoever waits gives up
// with its context; the load goes on for the others.
func (r *Ring) load(ctx context.Context) (keyring, error) {
	if all := r.keys.Load(); all != nil {
		return *all, nil
	}
	l, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case <-l.done:
		return l.keys, l.err
	case <-ctx.Done():
		return nil, fmt.Errorf("loading signing keys: %w", ctx.Err())
	}
}

// begin returns the load that is under way, or begins one, unless the last one
// has failed just now.
func (r *Ring) begin(ctx context.Context) (*loading, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loading != nil {
		return r.loading, nil
	}
	l := &loading{done: make(chan struct{})}
	if all := r.keys.Load(); all != nil {
		// another load has ended in between
		l.keys = *all
		close(l.done)
		return l, nil
	}
	if r.failure != nil && r.clock.Mono()-r.failedAt < retryAfter {
		return nil, r.failure
	}
	r.loading = l
	// not canceled with the request that happened to come first
	go r.finish(context.WithoutCancel(ctx), l)
	return l, nil
}

// finish does the load and tells all who wait.
func (r *Ring) finish(ctx context.Context, l *loading) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	l.keys, l.err = tried(func() (keyring, error) { return r.fromStorage(ctx) })
	if l.err != nil {
		l.err = fmt.Errorf("loading signing keys: %w", l.err)
	}
	r.report("signing keys cannot be had from storage", l.err)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.loading, r.failure, r.failedAt = nil, l.err, r.clock.Mono()
	close(l.done)
}

// tried turns a panic of the storage, which may be anybody's plugin, into an
// error: in a goroutine of ours it would be the end of the process.
func tried[T any](do func() (T, error)) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return do()
}
