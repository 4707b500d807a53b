// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

func TestFailingStorageStopsRotationAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"List", "Lock", "Store", "Load", "Delete"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s, c := newMemory(), clock.NewFake(start)
			r, e := newRing(t, s, c, "")
			first := kid(t, r)
			if method == "Delete" {
				c.Advance(30 * day)
				r.maintain(t.Context())
				first = other(t, r, first)
				c.Advance(20 * day)
			} else {
				c.Advance(30 * day)
			}
			before := len(e.messages())
			broken := errors.New("broken " + method)
			s.setFail(method, broken)
			files := s.snapshot()
			for range 100 {
				r.maintain(t.Context())
				if got := kid(t, r); got != first {
					t.Fatalf("%q signs, want the known key", got)
				}
				c.Advance(time.Minute)
			}
			if got := len(s.snapshot()); method != "Load" && got != len(files) {
				t.Errorf("%d files, want %d", got, len(files))
			}
			if got := s.count("Store"); method == "Load" && got != 2 {
				t.Errorf("%d keys were made, want no more than the first one and one that cannot be read", got)
			}
			got := e.all[before:]
			if len(got) != 1 || got[0].Message != "signing keys cannot be kept up to date" || !errors.Is(got[0].Err, broken) {
				t.Errorf("events = %v, want one with %v", got, broken)
			}
			if len(s.locked) != 0 {
				t.Error("the lock is still held")
			}

			s.setFail(method, nil)
			r.maintain(t.Context())
			if got := e.messages(); !slices.Contains(got, "signing keys are all right again") {
				t.Errorf("events = %q, want one that all is well", got)
			}
			if got := published(t, r); method != "Delete" && len(got) != 2 {
				t.Errorf("%q are published, want the first one and its successor", got)
			}
		})
	}
}

// An unreadable file is no key less and no reason for a new one, and what else
// is new can be read all the same.
func TestFileThatCannotBeReadLosesNoKnownKey(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, e := newRing(t, s, c, "")
	first := kid(t, r)
	another, _ := newRing(t, s, c, "")
	kid(t, another)
	c.Advance(30 * day)
	another.maintain(t.Context())
	second := other(t, another, first)
	s.files[prefix+"/half.json"] = []byte(`{"jwk":{"kty":"E`)
	s.files[prefix+"/"+first+".json"] = nil // it has rotted meanwhile

	r.maintain(t.Context())
	if got := published(t, r); !slices.Contains(got, first) || !slices.Contains(got, second) {
		t.Errorf("%q are published, want the known one and the one that could be read", got)
	}
	c.Advance(31 * day)
	r.maintain(t.Context())
	if got := kid(t, r); got != second || s.count("Store") != 2 {
		t.Errorf("%q signs and %d keys were made, want the second one of two", got, s.count("Store"))
	}
	if got := e.messages(); len(got) != 2 || got[1] != "signing keys cannot be kept up to date" {
		t.Errorf("events = %q, want one about the file", got)
	}
	delete(s.files, prefix+"/half.json")
	r.maintain(t.Context())
	if s.count("Store") != 3 {
		t.Errorf("%d keys were made, want the overdue one as well", s.count("Store"))
	}
}

// Such as a network disk that is not mounted.
func TestStorageThatIsSuddenlyEmptyLosesNoKnownKey(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, e := newRing(t, s, c, "")
	first := kid(t, r)
	files := s.files
	s.files = map[string][]byte{}
	c.Advance(60 * day)
	for range 3 {
		r.maintain(t.Context())
	}
	if got := kid(t, r); got != first || len(s.files) != 0 {
		t.Errorf("%q signs and there are %d files, want the known key, none", got, len(s.files))
	}
	if got := e.messages(); len(got) != 2 {
		t.Errorf("events = %q, want one about it", got)
	}
	s.files = files
	r.maintain(t.Context())
	if got := len(s.files); got != 2 {
		t.Errorf("%d files, want the overdue key as well", got)
	}
}

// A key that leaked can be taken away, and one that storage has lost before
// other nodes saw it must not sign.
func TestKeyThatWasRemovedIsNotUsedAnyMore(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, e := newRing(t, s, c, "")
	first := kid(t, r)
	c.Advance(30 * day)
	r.maintain(t.Context())
	second := other(t, r, first)
	c.Advance(ahead)
	delete(s.files, prefix+"/"+second+".json")
	r.maintain(t.Context())
	if got := kid(t, r); got != first {
		t.Errorf("%q signs, want the one that is left", got)
	}
	if k, err := r.Find(t.Context(), second); k != nil || err != nil {
		t.Errorf("Find(the removed key) = %v, %v; want nothing", k, err)
	}
	i := slices.IndexFunc(e.all, func(e Event) bool { return e.KeyID == second && errors.Is(e.Err, fs.ErrNotExist) })
	if i < 0 {
		t.Errorf("events = %q, want one about the removed key", e.messages())
	}
	if got := other(t, r, first); got == second {
		t.Errorf("%q is still published", got)
	}
}

// unsteady is storage in which files go while they are listed.
type unsteady struct {
	*memory
	times int // how often
}

func (u *unsteady) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	names, err := u.memory.List(ctx, dir, recursive)
	if u.times > 0 {
		u.times--
		return names[:len(names)-1], fs.ErrNotExist
	}
	return names, err
}

func TestListingThatChangesIsReadAgain(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(start)
	s := &unsteady{memory: newMemory()}
	r, e := newRing(t, s, c, "")
	first := kid(t, r)
	for times, want := range map[int]int{1: 0, 2: 0, 3: 1} {
		before := len(e.messages())
		s.times = times
		r.maintain(t.Context())
		if got := len(e.messages()) - before; got != want {
			t.Errorf("%d changes: events = %q, want %d of them", times, e.messages()[before:], want)
		}
		r.maintain(t.Context()) // all is well again
	}
	if got := kid(t, r); got != first || s.count("Store") != 1 {
		t.Errorf("%q signs and %d keys were made, want the first one", got, s.count("Store"))
	}
	c.Advance(30 * day)
	r.maintain(t.Context())
	s.times = 2
	r, _ = newRing(t, s, c, "")
	if got := published(t, r); len(got) != 2 {
		t.Errorf("a new ring has read %q, want both", got)
	}
}

// In a goroutine of the ring, a panic would be the end of the process.
func TestStorageThatPanicsIsAnError(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "ES256")
	s.fail["List"] = errPanics
	if _, err := r.Sign(t.Context(), "at+jwt", nil); err == nil {
		t.Error("signed with a key from nowhere")
	}
	r.maintain(t.Context())

	delete(s.fail, "List")
	c.Advance(retryAfter)
	known := kid(t, r)
	s.fail["List"] = errPanics
	if k, err := r.Find(t.Context(), "unknown"); k != nil || err == nil {
		t.Errorf("Find = %v, %v, want an error", k, err)
	}
	if k, err := r.Find(t.Context(), known); k == nil || err != nil {
		t.Errorf("the known key: %v, %v", k, err)
	}
}
