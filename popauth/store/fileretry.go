// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"time"
)

// retryAfter is how long the file rests after a commit that failed, at least.
const retryAfter = time.Second

// rest keeps a disk that fails from being worn out by those who ask again.
//
// Bbolt reads all pages of the file after a commit that failed, to find out
// which are free: 0.1 s for a file of 450 MiB, and much more if it is not in
// memory. So the next one is tried no sooner than after retryAfter, and not
// before as much time has passed as the last one took: no more than half of the
// time goes into it. In between all answers are unknown, at once.
//
// Then it begins with one record, which may fit where many don't, and doubles.
type rest struct {
	most    int   // records in the next transaction
	failure error // of the last commit, nil if it went well
	until   time.Duration
}

// over returns an error while it lasts.
func (r *rest) over(now time.Duration) error {
	if r.failure != nil && now < r.until {
		return fmt.Errorf("it could not be written just now: %w", r.failure)
	}
	return nil
}

// committed takes note of how a commit that began at some time went.
func (f *File) committed(began time.Duration, err error) {
	r, before := &f.rest, f.rest.failure
	r.failure = err
	if err == nil {
		r.most = min(2*r.most, queueSize)
		if before != nil {
			f.notify(Event{Message: "the store can be written again", Resolved: true})
		}
		return
	}
	now := f.clock.Mono()
	r.most, r.until = 1, now+max(retryAfter, now-began)
	if before == nil {
		f.notify(Event{Message: "the store cannot be written; writes are refused until it can", Err: err})
	}
}
