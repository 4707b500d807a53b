// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/store"
	"github.com/popauth/caddy-popauth/popauth/store/storetest"
)

func TestFileKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, c clock.Clock) store.Store {
		return newPlace(t, c).open(t)
	})
}

// place is a file that is opened again and again, with what outlives it.
type place struct {
	path       string
	clock      clock.Clock
	generation *generation
	events     *events
}

func newPlace(t testing.TB, c clock.Clock) *place {
	return &place{
		path:  filepath.Join(t.TempDir(), "popauth", "store.db"),
		clock: c, generation: new(generation), events: new(events),
	}
}

func (p *place) tryOpen(ctx context.Context) (*store.File, error) {
	return store.OpenFile(ctx, store.FileConfig{
		Path: p.path, Clock: p.clock, Generation: p.generation, Notify: p.events.add,
	})
}

// open opens the file, which is closed at the end of the test at the latest.
func (p *place) open(t testing.TB) *store.File {
	t.Helper()
	f, err := p.tryOpen(t.Context())
	if err != nil {
		t.Fatalf("OpenFile: %v", err)
	}
	t.Cleanup(func() { closeStore(t, f) })
	return f
}

func closeStore(t testing.TB, s store.Store) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// copyTo copies the file as it is now.
func (p *place) copyTo(t testing.TB, path string) {
	t.Helper()
	content, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// generation is a store.Generation in memory.
type generation struct {
	mu      sync.Mutex
	mark    store.Mark
	stores  int
	failure error
	stored  chan store.Mark // if not nil, gets each mark that is stored
}

func (g *generation) Load(context.Context) (store.Mark, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mark, g.failure
}

func (g *generation) Store(_ context.Context, m store.Mark) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure != nil {
		return g.failure
	}
	g.mark = m
	g.stores++
	if g.stored != nil {
		g.stored <- m
	}
	return nil
}

func (g *generation) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failure = err
}

// events keeps what a store has notified of.
type events struct {
	mu  sync.Mutex
	all []store.Event
}

func (e *events) add(event store.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// take returns the events, and forgets them.
func (e *events) take() []store.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

func keyOf(kind store.Kind, id string) store.Key {
	return store.Key{Issuer: sha256.Sum256([]byte("issuer")), Kind: kind, ID: sha256.Sum256([]byte(id))}
}

func put(t testing.TB, s store.Store, c clock.Clock, k store.Key, value string) (won bool) {
	t.Helper()
	won, err := s.PutIfAbsent(t.Context(), k, []byte(value), c.Now().Add(time.Hour))
	if err != nil {
		t.Fatalf("PutIfAbsent: %v", err)
	}
	return won
}

func newClock() *clock.Fake { return clock.NewFake(time.Unix(1_800_000_000, 0)) }

func TestFileKeepsRecordsOverClosing(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	since := f.CompleteSince()
	token, used := keyOf(store.KindToken, "1"), keyOf(store.KindToken, "2")
	put(t, f, c, token, "value")
	put(t, f, c, used, "")
	put(t, f, c, keyOf(store.KindRevocation, "1"), "")
	if first, err := f.Consume(t.Context(), used); !first || err != nil {
		t.Fatalf("Consume = %v, %v; want it to be first", first, err)
	}
	closeStore(t, f)

	c.Advance(time.Minute)
	f = p.open(t)
	if got := f.CompleteSince(); !got.Equal(since) {
		t.Errorf("CompleteSince() = %v, want %v as before", got, since)
	}
	if value, ok, err := f.Get(t.Context(), token); string(value) != "value" || !ok || err != nil {
		t.Errorf("Get = %q, %v, %v; want the value", value, ok, err)
	}
	if first, err := f.Consume(t.Context(), used); first || err != nil {
		t.Errorf("Consume = %v, %v; want the mark still there", first, err)
	}
	// new revocations go behind the old ones
	put(t, f, c, keyOf(store.KindRevocation, "2"), "")
	feed, err := f.Revocations(t.Context(), token.Issuer, 0)
	if err != nil || len(feed.Revocations) != 2 || feed.Revocations[1].ID != keyOf(store.KindRevocation, "2").ID {
		t.Errorf("the feed has %v (%v), want both revocations in order", feed.Revocations, err)
	}
	if got := p.events.take(); len(got) != 0 {
		t.Errorf("events %v, want none", got)
	}
}

// F01: TestFileOfManyRecordsOpens closes a file with up to a million tokens, opens
// it, which reads all of it, and looks for each of them. Its figure says how
// long that took, and how long only to read the file.
func TestFileOfManyRecordsOpens(t *testing.T) {
	t.Parallel()
	n := fixture.Scale(2000, 1_000_000)
	p := newPlace(t, newClock())
	f := p.open(t)
	value := bytes.Repeat([]byte("v"), 300)
	expires := p.clock.Now().Add(time.Hour)
	key := func(i int) store.Key { return keyOf(store.KindToken, strconv.Itoa(i)) }
	var wg sync.WaitGroup
	const writers = 128
	for w := range writers {
		wg.Go(func() {
			for i := w; i < n; i += writers {
				if won, err := f.PutIfAbsent(t.Context(), key(i), value, expires); !won || err != nil {
					t.Errorf("record %d: PutIfAbsent = %v, %v; want true", i, won, err)
					return
				}
			}
		})
	}
	wg.Wait()
	closeStore(t, f)

	began := time.Now()
	content, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	read, size := time.Since(began), len(content)
	began = time.Now()
	f = p.open(t)
	opened := time.Since(began)
	for i := range n {
		if got, ok, err := f.Get(t.Context(), key(i)); !ok || !bytes.Equal(got, value) || err != nil {
			t.Fatalf("record %d: Get = %q, %v, %v; want what was put", i, got, ok, err)
		}
	}
	if got := p.events.take(); len(got) > 0 {
		t.Errorf("events: %+v, want none", got)
	}
	fixture.Figure(t, "F01", "records=%d file=%dMB opened in %v, read alone in %v",
		n, size>>20, opened.Round(time.Millisecond), read.Round(time.Millisecond))
}

func TestFileAndItsDirectoryAreForOneUser(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newClock())
	p.open(t)
	for path, want := range map[string]os.FileMode{p.path: 0o600, filepath.Dir(p.path): 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("the mode of %s is %v, want %v", filepath.Base(path), got, want)
		}
	}
}

// What the process would leave behind if it died at this moment must have all
// that was reported as done.
func TestFileIsDurableBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	for n := range 30 {
		id := strconv.Itoa(n)
		put(t, f, c, keyOf(store.KindToken, id), id)
		put(t, f, c, keyOf(store.KindRevocation, id), "")
		if n%2 == 0 {
			if _, err := f.Consume(t.Context(), keyOf(store.KindToken, id)); err != nil {
				t.Fatal(err)
			}
		}
		left := newPlace(t, c)
		left.generation.mark = p.generation.mark
		if err := os.Mkdir(filepath.Dir(left.path), 0o700); err != nil {
			t.Fatal(err)
		}
		p.copyTo(t, left.path)
		g := left.open(t)
		if value, ok, err := g.Get(t.Context(), keyOf(store.KindToken, id)); string(value) != id || !ok || err != nil {
			t.Fatalf("token %d: Get = %q, %v, %v; want it there", n, value, ok, err)
		}
		if first, err := g.Consume(t.Context(), keyOf(store.KindToken, id)); first != (n%2 == 1) || err != nil {
			t.Fatalf("token %d: Consume = %v, %v", n, first, err)
		}
		feed, err := g.Revocations(t.Context(), keyOf(store.KindToken, "").Issuer, 0)
		if err != nil || len(feed.Revocations) != n+1 {
			t.Fatalf("after %d revocations, the feed has %d (%v)", n+1, len(feed.Revocations), err)
		}
		if got := left.events.take(); len(got) != 0 {
			t.Errorf("events %v, want none after a crash", got)
		}
	}
}

// queued is a context that tells when the call it is given to waits for its
// answer: it asks for Done when it puts the write into the queue, and again
// when that is in.
type queued struct {
	context.Context
	asked atomic.Int32
	in    chan struct{}
}

func newQueued(ctx context.Context) *queued { return &queued{Context: ctx, in: make(chan struct{})} }

func (q *queued) Done() <-chan struct{} {
	if q.asked.Add(1) == 2 {
		close(q.in)
	}
	return q.Context.Done()
}

func TestFileAnswersUnknownToWhoeverGivesUpWaiting(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	release := f.HoldUp(t)
	canceled, cancel := context.WithCancel(t.Context())
	ctx := newQueued(canceled)
	answer := make(chan error, 1)
	k := keyOf(store.KindAssertion, "1")
	go func() {
		won, err := f.PutIfAbsent(ctx, k, nil, c.Now().Add(time.Hour))
		if won {
			err = errors.New("it won")
		}
		answer <- err
	}()
	<-ctx.in
	cancel()
	if err := <-answer; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("PutIfAbsent: %v, want ErrUnavailable", err)
	}
	release()
	// it has happened all the same
	if put(t, f, c, k, "") {
		t.Error("a second put won")
	}
}

func TestFileClosesAfterTheWritesThatWereBegun(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	release := f.HoldUp(t)
	var wg sync.WaitGroup
	for n := range 50 {
		ctx := newQueued(t.Context())
		wg.Go(func() {
			if won, err := f.PutIfAbsent(ctx, keyOf(store.KindToken, strconv.Itoa(n)), nil, c.Now().Add(time.Hour)); !won || err != nil {
				t.Errorf("put %d = %v, %v; want it to win", n, won, err)
			}
		})
		<-ctx.in
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v, want it to give up waiting", err)
	}
	if _, err := f.Consume(t.Context(), keyOf(store.KindToken, "1")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Consume after Close: %v, want ErrUnavailable", err)
	}
	release()
	wg.Wait()
	closeStore(t, f)
	f = p.open(t)
	for n := range 50 {
		if _, ok, err := f.Get(t.Context(), keyOf(store.KindToken, strconv.Itoa(n))); !ok || err != nil {
			t.Errorf("token %d: Get = %v, %v; want it there", n, ok, err)
		}
	}
}

func TestFileRefusesHugeValues(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	for size, want := range map[int]bool{64 << 10: true, 64<<10 + 1: false} {
		k := keyOf(store.KindToken, strconv.Itoa(size))
		won, err := f.PutIfAbsent(t.Context(), k, make([]byte, size), c.Now().Add(time.Hour))
		if won != want || (err == nil) != want || !want && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%d bytes: PutIfAbsent = %v, %v; want %v", size, won, err, want)
		}
	}
	// the large ones take many pages
	for n := range 20 {
		put(t, f, c, keyOf(store.KindAssertion, strconv.Itoa(n)), strings.Repeat("x", 64<<10-n))
	}
	closeStore(t, f)
	f = p.open(t)
	for n := range 20 {
		value, _, err := f.Get(t.Context(), keyOf(store.KindAssertion, strconv.Itoa(n)))
		if want := 64<<10 - n; len(value) != want || err != nil {
			t.Errorf("Get = %d bytes, %v; want %d", len(value), err, want)
		}
	}
}
