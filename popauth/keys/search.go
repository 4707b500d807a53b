// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"fmt"
	"time"
)

const (
	// searchEvery is how often unknown kids have storage read again. Anybody
	// can make them up.
	searchEvery = 5 * time.Second

	// searchTimeout bounds how long a token with an unknown kid waits for it.
	searchTimeout = 5 * time.Second
)

// search is one reading of storage, for all who wait for a key that is not
// known here.
type search struct {
	begun time.Duration // on the monotonic clock
	done  chan struct{} // closed when err is there
	err   error
}

func (s *search) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// searched returns the key after another look at storage, as another node may
// just have made it. Nil without an error means that it was not there then, at
// most searchEvery ago; while storage fails, what is not known here is an error.
func (r *Ring) searched(ctx context.Context, kid string) (*key, error) {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	s := r.latestSearch(ctx)
	select {
	case <-s.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("looking for new signing keys: %w", ctx.Err())
	}
	// whatever has failed, what could be read is known now
	if k := (*r.keys.Load()).find(kid); k != nil {
		return k, nil
	}
	return nil, s.err
}

// latestSearch returns the search that is under way or the last one, and begins
// one if that was long ago.
func (r *Ring) latestSearch(ctx context.Context) *search {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.search; s != nil && (!s.over() || r.clock.Mono()-s.begun < searchEvery) {
		return s
	}
	r.search = &search{begun: r.clock.Mono(), done: make(chan struct{})}
	// not canceled with the request that happened to come first
	go r.look(context.WithoutCancel(ctx), r.search)
	return r.search
}

// look does the search and tells all who wait.
func (r *Ring) look(ctx context.Context, s *search) {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	if _, err := tried(func() (keyring, error) { return r.reread(ctx) }); err != nil {
		s.err = fmt.Errorf("looking for new signing keys: %w", err)
		// only a round of Maintain, which does more, says that all is well
		r.report("signing keys cannot be read again", s.err)
	}
	close(s.done)
}
