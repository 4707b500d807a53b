// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/popauth/caddy-popauth/popauth/store"
)

func TestFileKeepsItsID(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newClock())
	f := p.open(t)
	id := f.ID()
	closeStore(t, f)
	f = p.open(t)
	if got := f.ID(); got != id {
		t.Errorf("ID() = %x, want %x as before", got, id)
	}
	closeStore(t, f)
	// also when it is known to be an older copy
	p.generation.mark.Number += 10
	if got := p.open(t).ID(); got != id {
		t.Errorf("ID() of a copy = %x, want %x", got, id)
	}
}

func TestFileThatItsMarkIsNotForIsCompleteSinceNow(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, p *place){
		"another store that is ahead": func(t *testing.T, p *place) {
			t.Helper()
			q := newPlace(t, p.clock)
			for range 5 {
				closeStore(t, q.open(t))
			}
			p.restore(t, q.path)
		},
		"a store that was moved here": func(t *testing.T, p *place) {
			t.Helper()
			p.generation = new(generation)
		},
		"a mark that was lost and is another's": func(t *testing.T, p *place) {
			t.Helper()
			p.generation.mark = store.Mark{Number: p.generation.mark.Number}
		},
		"an older copy of itself": func(t *testing.T, p *place) {
			t.Helper()
			p.generation.mark.Number++
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			p := newPlace(t, c)
			closeStore(t, p.open(t))
			change(t, p)
			c.Advance(time.Minute)
			since := c.Now()
			f := p.wantComplete(t, since, true)
			if got := p.generation.mark.ID; got != f.ID() {
				t.Errorf("the mark is for %x, want %x", got, f.ID())
			}
			// that is in the file before anything is answered
			left := newPlace(t, c)
			if err := os.Mkdir(filepath.Dir(left.path), 0o700); err != nil {
				t.Fatal(err)
			}
			p.copyTo(t, left.path)
			left.generation.mark = p.generation.mark
			c.Advance(time.Minute)
			left.wantComplete(t, since, false)
		})
	}
}

// With one of the two beginnings damaged, bbolt takes the other, in which the
// last transaction is missing.
func TestFileWithADamagedBeginningIsCompleteSinceNow(t *testing.T) {
	t.Parallel()
	for page := range 2 {
		// what it is, its format, its root, its transaction, its checksum
		for _, place := range []int{16, 20, 32, 64, 72} {
			t.Run("page "+strconv.Itoa(page)+" at "+strconv.Itoa(place), func(t *testing.T) {
				t.Parallel()
				c := newClock()
				p := newPlace(t, c)
				put(t, p.open(t), c, keyOf(store.KindRevocation, "1"), "")
				// what the process leaves behind when it dies
				copied := newPlace(t, c)
				copied.generation.mark = p.generation.mark
				if err := os.Mkdir(filepath.Dir(copied.path), 0o700); err != nil {
					t.Fatal(err)
				}
				content, err := os.ReadFile(p.path)
				if err != nil {
					t.Fatal(err)
				}
				content[page*os.Getpagesize()+place] ^= 1
				if err := os.WriteFile(copied.path, content, 0o600); err != nil {
					t.Fatal(err)
				}
				c.Advance(time.Minute)
				since := c.Now()
				closeStore(t, copied.wantComplete(t, since, true))
				c.Advance(time.Minute)
				copied.wantComplete(t, since, false)
			})
		}
	}
}

// hanging is a generation that does not answer, and takes no heed of its
// context, until it is released.
type hanging struct {
	store.Generation
	loads, stores chan struct{} // closed when they go on
}

func (h *hanging) Load(ctx context.Context) (store.Mark, error) {
	<-h.loads
	return h.Generation.Load(ctx)
}

func (h *hanging) Store(ctx context.Context, m store.Mark) error {
	<-h.stores
	return h.Generation.Store(ctx, m)
}

func TestFileDoesNotWaitForAStorageThatHangs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		loads bool // whether they hang
		opens bool
	}{
		"when its mark is needed":     {true, false},
		"when its mark is to be kept": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newClock()
				p := newPlace(t, c)
				free, held := make(chan struct{}), make(chan struct{})
				close(free)
				defer close(held)
				g := &hanging{p.generation, free, held}
				if test.loads {
					g.loads = held
				}
				begin := time.Now()
				f, err := store.OpenFile(t.Context(), store.FileConfig{
					Path: p.path, Clock: c, Generation: g, Notify: p.events.add,
				})
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("opening took %v", took)
				}
				if !test.opens {
					if f != nil || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("OpenFile = %v, %v; want it to give up", f, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				begin = time.Now()
				for n := range 5 {
					c.Advance(time.Minute)
					put(t, f, c, keyOf(store.KindRevocation, strconv.Itoa(n)), "")
				}
				if took := time.Since(begin); took > 0 {
					t.Errorf("writing took %v", took)
				}
				closeStore(t, f)
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("closing took %v", took)
				}
				if events := p.events.take(); len(events) != 2 || !errors.Is(events[0].Err, context.DeadlineExceeded) {
					t.Errorf("events %v, want one of opening and one of closing", events)
				}
			})
		})
	}
}

func TestFileGivesUpOpeningWithItsContext(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newClock())
	held := make(chan struct{})
	defer close(held)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f, err := store.OpenFile(ctx, store.FileConfig{Path: p.path, Clock: p.clock, Generation: &hanging{p.generation, held, held}})
	if f != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("OpenFile = %v, %v; want it to give up", f, err)
	}
}
