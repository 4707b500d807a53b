// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/store"
)

// openSmall opens the file with a limit to its size, on a disk that asks
// before it gives anything. It may be nil.
func (p *place) openSmall(t testing.TB, size int64, disk *disk) *store.File {
	t.Helper()
	config := store.FileConfig{
		Path: p.path, Clock: p.clock, Generation: p.generation, Notify: p.events.add, MaxSize: size,
	}
	if disk != nil {
		config.SetReserve(disk.reserve)
	}
	f, err := store.OpenFile(t.Context(), config)
	if err != nil {
		t.Fatalf("OpenFile: %v", err)
	}
	t.Cleanup(func() { closeStore(t, f) })
	return f
}

// disk gives what there is.
type disk struct {
	room  atomic.Int64 // the largest size of a file
	asked atomic.Int64
}

func (d *disk) reserve(file *os.File, _, size int64) error {
	d.asked.Add(1)
	if size > d.room.Load() {
		return syscall.ENOSPC
	}
	return file.Truncate(size)
}

// crowd is how many call at once, so that a full file is a matter of seconds.
const crowd = 128

// fill puts tokens until they are refused, and returns how many there were
// room for.
func fill(t testing.TB, f *store.File, p *place, prefix string, why string) (tokens int) {
	t.Helper()
	return until(t, f, p, store.KindToken, prefix, 400, why)
}

// until puts records until they are refused, and returns how many won.
func until(t testing.TB, f *store.File, p *place, kind store.Kind, prefix string, size int, why string) int {
	t.Helper()
	var next, won atomic.Int64
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			for {
				k := keyOf(kind, prefix+strconv.FormatInt(next.Add(1)-1, 10))
				first, err := f.PutIfAbsent(t.Context(), k, make([]byte, size), p.clock.Now().Add(time.Hour))
				if err != nil {
					wantFull(t, err, why)
					return
				}
				if !first {
					t.Errorf("a record of kind %d did not win", kind)
					return
				}
				won.Add(1)
			}
		})
	}
	wg.Wait()
	return int(won.Load())
}

func wantFull(t testing.TB, err error, why string) {
	t.Helper()
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "full") || !strings.Contains(err.Error(), why) {
		t.Errorf("got %v, want ErrUnavailable that says full and %q", err, why)
	}
}

// revoke revokes that many tokens.
func revoke(t testing.TB, f store.Store, p *place, prefix string, n int) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				k := keyOf(store.KindRevocation, prefix+strconv.FormatInt(i, 10))
				if won, err := f.PutIfAbsent(t.Context(), k, nil, p.clock.Now().Add(time.Hour)); !won || err != nil {
					t.Errorf("revocation %d: PutIfAbsent = %v, %v; want it to win", i, won, err)
				}
			}
		})
	}
	wg.Wait()
}

// said are the messages of the events so far, which are forgotten.
func (p *place) said() (all []string) {
	for _, e := range p.events.take() {
		word, _, _ := strings.Cut(strings.TrimPrefix(e.Message, "the store "), ":")
		if e.Resolved {
			word += " (resolved)"
		}
		all = append(all, word)
	}
	return all
}

func wantSaid(t testing.TB, p *place, want ...string) {
	t.Helper()
	if got := p.said(); !slices.Equal(got, want) {
		t.Errorf("an operator was told %q, want %q", got, want)
	}
}

const (
	saidFull = "is almost full"
	saidRoom = "has room again (resolved)"
)

func wantSizeWithin(t testing.TB, p *place, size int64) {
	t.Helper()
	info, err := os.Stat(p.path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > size {
		t.Errorf("the file has %d bytes, want at most %d", info.Size(), size)
	}
}

func TestFullFileStillRevokes(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newClock())
	size := store.SmallestMaxSize()
	f := p.openSmall(t, size, nil)
	tokens := fill(t, f, p, "", "max_size")
	if tokens < 1000 {
		t.Errorf("there was room for %d tokens, want 1000", tokens)
	}
	for range 10 {
		won, err := f.PutIfAbsent(t.Context(), keyOf(store.KindAssertion, "1"), nil, p.clock.Now().Add(time.Hour))
		if won {
			t.Error("an assertion won")
		}
		wantFull(t, err, "max_size")
	}
	// once, and not for each request
	wantSaid(t, p, saidFull)

	revoke(t, f, p, "", 1000)
	if first, err := f.Consume(t.Context(), keyOf(store.KindToken, "1")); !first || err != nil {
		t.Errorf("Consume = %v, %v; want it to be first", first, err)
	}
	if _, ok, err := f.Get(t.Context(), keyOf(store.KindToken, "2")); !ok || err != nil {
		t.Errorf("Get = %v, %v; want the token", ok, err)
	}
	wantSaid(t, p)
	wantSizeWithin(t, p, size)

	// the same after a restart
	closeStore(t, f)
	f = p.openSmall(t, size, nil)
	if got := len(feedOf(t, f)); got != 1000 {
		t.Errorf("the feed has %d revocations, want 1000", got)
	}
	if n := fill(t, f, p, "more", "max_size"); n != 0 {
		t.Errorf("there was room for %d more tokens", n)
	}
	revoke(t, f, p, "more", 10)
	wantSaid(t, p, saidFull)
	t.Logf("%d tokens of 400 bytes in %d MiB", tokens, size>>20)
}

// feedOf reads all revocations.
func feedOf(t testing.TB, f *store.File) (all []store.Revocation) {
	t.Helper()
	for since := uint64(0); ; {
		feed, err := f.Revocations(t.Context(), keyOf(0, "").Issuer, since)
		if err != nil {
			t.Fatal(err)
		}
		if len(feed.Revocations) == 0 {
			return all
		}
		all, since = append(all, feed.Revocations...), feed.Next
	}
}

// Even when revocations have used up the reserve, there is room to forget. No
// commit ever fails for want of room, which would make an event.
func TestFullFileForgets(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	size := store.SmallestMaxSize()
	f := p.openSmall(t, size, nil)
	for round := range 2 {
		prefix := strconv.Itoa(round) + "/"
		tokens := fill(t, f, p, prefix, "max_size")
		revocations := until(t, f, p, store.KindRevocation, prefix, 0, "max_size")
		if tokens < 1000 || revocations < 1000 {
			t.Errorf("round %d: there was room for %d tokens and %d revocations, want 1000 each", round, tokens, revocations)
		}
		wantSaid(t, p, saidFull)
		c.Advance(3 * time.Hour)
		attempts := 0
		for won := false; !won; attempts++ {
			if attempts == 100 {
				t.Fatal("there is no room again")
			}
			won, _ = f.PutIfAbsent(t.Context(), keyOf(store.KindToken, prefix+"again"), nil, c.Now().Add(time.Hour))
		}
		wantSaid(t, p, saidRoom)
		t.Logf("round %d: %d tokens, %d revocations, %d attempts until there was room", round, tokens, revocations, attempts)
	}
	wantSizeWithin(t, p, size)
}

func TestFullFileTakesMoreWhenItsLimitIsRaised(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newClock())
	size := store.SmallestMaxSize()
	f := p.openSmall(t, size, nil)
	fill(t, f, p, "", "max_size")
	f.SetMaxSize(2 * size)
	if n := fill(t, f, p, "more", "max_size"); n < 1000 {
		t.Errorf("there was room for %d more tokens, want 1000", n)
	}
	wantSizeWithin(t, p, 2*size)
	// a file does not shrink, but what is used of it counts
	f.SetMaxSize(size)
	if n := fill(t, f, p, "no more", "max_size"); n != 0 {
		t.Errorf("there was room for %d more tokens, want none", n)
	}
	revoke(t, f, p, "", 100)
	wantSaid(t, p, saidFull, saidRoom, saidFull)
}

func TestFileWithoutRoomOnItsDiskIsFull(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	d := new(disk)
	d.room.Store(4 << 20)
	f := p.openSmall(t, store.DefaultMaxSize, d)
	if n := fill(t, f, p, "", syscall.ENOSPC.Error()); n < 1000 {
		t.Errorf("there was room for %d tokens, want 1000", n)
	}
	asked := d.asked.Load()
	revoke(t, f, p, "", 1000)
	for range 100 {
		fill(t, f, p, "more", syscall.ENOSPC.Error())
	}
	if got := d.asked.Load(); got != asked {
		t.Errorf("the disk was asked %d times in a second, want once", got-asked+1)
	}
	wantSaid(t, p, saidFull)
	d.room.Store(8 << 20)
	c.Advance(time.Second)
	if n := fill(t, f, p, "more", syscall.ENOSPC.Error()); n < 1000 {
		t.Errorf("there was room for %d tokens when the disk had some again, want 1000", n)
	}
	wantSaid(t, p, saidRoom, saidFull)
}

// A copy of a file may have holes where the reserve was, and the disk no room
// to fill them.
func TestFileWithHolesIsFullUntilTheyAreFilled(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	closeStore(t, p.open(t))
	d := new(disk)
	f := p.openSmall(t, store.DefaultMaxSize, d)
	if n := fill(t, f, p, "", syscall.ENOSPC.Error()); n != 0 {
		t.Errorf("there was room for %d tokens, want none", n)
	}
	revoke(t, f, p, "", 10)
	d.room.Store(1 << 30)
	c.Advance(time.Second)
	put(t, f, c, keyOf(store.KindToken, "1"), "")
	wantSaid(t, p, saidFull, saidRoom)
}

func TestOpenFileRefusesTooSmallALimit(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newClock())
	for _, size := range []int64{-1, 1, store.SmallestMaxSize() - 1} {
		_, err := store.OpenFile(t.Context(), store.FileConfig{Path: p.path, Clock: p.clock, Generation: p.generation, MaxSize: size})
		if err == nil || !strings.Contains(err.Error(), "max_size") {
			t.Errorf("size %d: OpenFile: %v, want it to name max_size", size, err)
		}
	}
	if _, err := os.Stat(p.path); err == nil {
		t.Error("the file was made")
	}
}

// The bound on what a transaction writes must hold, or commits fail for want
// of room that was thought to be there. In a file with many more leaves than
// changes, with keys that are hashes, nearly each change has a leaf of its own.
func TestTransactionWritesNoMorePagesThanItMay(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	value := make([]byte, 2000)
	var wg sync.WaitGroup
	for n := range 4000 {
		wg.Go(func() {
			expires := c.Now().Add(time.Duration(1+n%20) * time.Hour)
			if _, err := f.PutIfAbsent(t.Context(), keyOf(store.KindToken, strconv.Itoa(n)), value, expires); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	worst := 0.0
	for round, n := range []int{300, 1, 200, 10, 3, 200, 1, 50} {
		before := f.PagesWritten()
		release := f.HoldUp(t)
		for i := range n {
			ctx := newQueued(t.Context())
			wg.Go(func() {
				kind := []store.Kind{store.KindToken, store.KindRevocation, store.KindAssertion}[i%3]
				k := keyOf(kind, strconv.Itoa(round)+"/"+strconv.Itoa(i))
				if _, err := f.PutIfAbsent(ctx, k, value[:100*(i%11)], c.Now().Add(time.Minute)); err != nil {
					t.Error(err)
				}
			})
			<-ctx.in
		}
		release()
		wg.Wait()
		// the first may have had a transaction for itself, and both sweep
		changes := n + max(64, 2*n) + 64
		got := f.PagesWritten() - before
		if limit := store.PagesFor(0) + store.PagesFor(changes); got > limit {
			t.Errorf("%d changes wrote %d pages, want at most %d", changes, got, limit)
		}
		worst = max(worst, float64(got)/float64(changes))
		c.Advance(2 * time.Hour)
	}
	t.Logf("at most %.1f pages a change", worst)
}

// Who is told that a token is revoked must not see it pass afterwards.
func TestRevokedIsRevokedAtOnce(t *testing.T) {
	t.Parallel()
	const tokens = 10_000
	p := newPlace(t, newClock())
	m := store.NewMirror(p.open(t), p.clock)
	var next, refused atomic.Int64
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < tokens; i = next.Add(1) - 1 {
				k := keyOf(store.KindRevocation, strconv.FormatInt(i, 10))
				if revoked, err := m.Revoked(t.Context(), k.Issuer, k.ID); revoked || err != nil {
					t.Errorf("token %d is revoked before it was: %v, %v", i, revoked, err)
				}
				if _, err := m.PutIfAbsent(t.Context(), k, nil, p.clock.Now().Add(time.Hour)); err != nil {
					t.Error(err)
				}
				if revoked, err := m.Revoked(t.Context(), k.Issuer, k.ID); revoked && err == nil {
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := refused.Load(); got != tokens {
		t.Errorf("%d of %d revoked tokens were refused", got, tokens)
	}
}
