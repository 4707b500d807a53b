// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/popauth/caddy-popauth/popauth/store"
)

// openToBreak opens the file, which can't be closed later, and gives the events.
func (p *place) openToBreak(t *testing.T) (*store.File, <-chan store.Event) {
	t.Helper()
	told := make(chan store.Event, 100)
	f, err := store.OpenFile(t.Context(), store.FileConfig{
		Path: p.path, Clock: p.clock, Generation: p.generation, Notify: func(e store.Event) { told <- e },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, told
}

// wantBroken checks that every answer is unknown, that none is waited for, and
// that an operator is told once.
func (p *place) wantBroken(t *testing.T, f *store.File, told <-chan store.Event) {
	t.Helper()
	var wg sync.WaitGroup
	for n := range 40 {
		k := keyOf(store.KindRevocation, strconv.Itoa(n))
		wg.Go(func() {
			if _, ok, err := f.Get(t.Context(), k); ok || !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Get = %v, %v; want ErrUnavailable", ok, err)
			}
		})
		wg.Go(func() {
			if won, err := f.PutIfAbsent(t.Context(), k, nil, p.clock.Now().Add(time.Hour)); won || !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("PutIfAbsent = %v, %v; want ErrUnavailable", won, err)
			}
		})
		wg.Go(func() {
			if first, err := f.Consume(t.Context(), k); first || !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Consume = %v, %v; want ErrUnavailable", first, err)
			}
		})
		wg.Go(func() {
			if _, err := f.Revocations(t.Context(), k.Issuer, 0); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Revocations: %v, want ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
	if err := f.Close(context.Background()); err == nil || !strings.Contains(err.Error(), "restart the process") {
		t.Errorf("Close: %v, want it to say what to do", err)
	}
	isIt := func(e store.Event) bool { return strings.Contains(e.Message, "cut off while it was open") }
	for e := range told {
		if isIt(e) {
			break
		}
	}
	for len(told) > 0 {
		if e := <-told; isIt(e) {
			t.Errorf("a second event %v, want one", e)
		}
	}
}

func TestFileThatIsCutOffWhileItIsOpenAnswersUnknown(t *testing.T) {
	t.Parallel()
	page := int64(os.Getpagesize())
	for name, size := range map[string]int64{"to nothing": 0, "to its first pages": 2 * page} {
		for first, call := range map[string]func(*testing.T, *store.File) error{
			"a read": func(t *testing.T, f *store.File) error {
				t.Helper()
				_, _, err := f.Get(t.Context(), keyOf(store.KindToken, "1"))
				return err
			},
			"a write": func(t *testing.T, f *store.File) error {
				t.Helper()
				_, err := f.Consume(t.Context(), keyOf(store.KindToken, "1"))
				return err
			},
			"all at once": nil,
		} {
			t.Run(name+", noticed by "+first, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t, newClock())
				f, told := p.openToBreak(t)
				put(t, f, p.clock, keyOf(store.KindToken, "1"), "value")
				if err := os.Truncate(p.path, size); err != nil {
					t.Fatal(err)
				}
				if call != nil {
					if err := call(t, f); !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("the first call: %v, want ErrUnavailable", err)
					}
				}
				p.wantBroken(t, f, told)
			})
		}
	}
}

func TestFileThatIsCutOffBeforeItIsClosedDoesNotHang(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newClock())
	f, _ := p.openToBreak(t)
	if err := os.Truncate(p.path, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "restart the process") {
		t.Errorf("Close: %v, want it to say what to do", err)
	}
}

func TestFileThatMakesNoSenseAnswersUnknown(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newClock())
	f, told := p.openToBreak(t)
	// without its buckets nothing in the file makes sense
	f.Update(t, func(tx *bolt.Tx) error {
		return errors.Join(tx.DeleteBucket(store.RecordsBucket), tx.DeleteBucket(store.FeedBucket))
	})
	p.wantBroken(t, f, told)
}

// after is a generation that something happens before it is known.
type after struct {
	store.Generation
	do func()
}

func (a after) Load(ctx context.Context) (store.Mark, error) {
	a.do()
	return a.Generation.Load(ctx)
}

func TestFileThatWasChangedWhileItWasLookedAtIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before, meanwhile func(*testing.T, *place)
	}{
		"written by another process": {
			func(t *testing.T, p *place) { t.Helper(); closeStore(t, p.open(t)) },
			func(t *testing.T, p *place) {
				t.Helper()
				f := p.open(t)
				put(t, f, p.clock, keyOf(store.KindRevocation, "1"), "")
				closeStore(t, f)
			},
		},
		"made by another process": {
			func(*testing.T, *place) {},
			func(t *testing.T, p *place) { t.Helper(); closeStore(t, p.open(t)) },
		},
		"replaced by one with as many transactions": {
			func(t *testing.T, p *place) { t.Helper(); closeStore(t, p.open(t)) },
			func(t *testing.T, p *place) {
				t.Helper()
				q := newPlace(t, p.clock)
				closeStore(t, q.open(t))
				p.restore(t, q.path)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, newClock())
			test.before(t, p)
			f, err := store.OpenFile(t.Context(), store.FileConfig{
				Path: p.path, Clock: p.clock,
				Generation: after{p.generation, func() { test.meanwhile(t, p) }},
			})
			if err == nil {
				closeStore(t, f)
			}
			if err == nil || !strings.Contains(err.Error(), "start again") {
				t.Errorf("OpenFile: %v, want it to say what to do", err)
			}
			// the file was given up
			closeStore(t, p.open(t))
		})
	}
}
