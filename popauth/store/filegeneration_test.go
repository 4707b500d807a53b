// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// restore puts a copy back in the place of the file.
func (p *place) restore(t *testing.T, copied string) {
	t.Helper()
	if err := os.Rename(copied, p.path); err != nil {
		t.Fatal(err)
	}
}

// wantComplete opens the file and checks since when it is complete, and that it
// tells of it when that is not as before.
func (p *place) wantComplete(t *testing.T, since time.Time, told bool) *store.File {
	t.Helper()
	f := p.open(t)
	if got := f.CompleteSince(); !got.Equal(since) {
		t.Errorf("CompleteSince() = %v, want %v", got, since)
	}
	events := p.events.take()
	if (len(events) == 1 && events[0].Err != nil) != told || len(events) > 1 {
		t.Errorf("events %v, want one: %v", events, told)
	}
	return f
}

// F22: TestFileSeesARestoredBackup puts an older copy in the place of the file. It
// is not seen where all it lacks are revocations of less than a minute and the
// process died before it could tell storage of them.
func TestFileSeesARestoredBackup(t *testing.T) {
	t.Parallel()
	var seen, unseen atomic.Int32
	t.Cleanup(func() { // when all of them are through
		fixture.Figure(t, "F22", "copies=%d seen=%d not_seen=%d", seen.Load()+unseen.Load(), seen.Load(), unseen.Load())
	})
	for name, test := range map[string]struct {
		live  bool // whether the copy is made while the store is open
		clean bool // whether the store is closed before the copy is put back
		after time.Duration
		seen  bool
	}{
		"copied closed, closed":                           {false, true, 0, true},
		"copied live, closed":                             {true, true, 0, true},
		"copied closed, crashed":                          {false, false, 0, true},
		"copied live, crashed after a minute of revoking": {true, false, time.Minute, true},
		"copied live, crashed in the same minute":         {true, false, 59 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			p := newPlace(t, c)
			stored := make(chan store.Mark, 10)
			p.generation.stored = stored
			f := p.open(t)
			made := f.CompleteSince()
			put(t, f, c, keyOf(store.KindRevocation, "1"), "")
			copied := filepath.Join(t.TempDir(), "copy")
			if !test.live {
				closeStore(t, f)
			}
			p.copyTo(t, copied)
			if !test.live {
				f = p.open(t)
			}
			for len(stored) > 0 {
				<-stored
			}
			c.Advance(test.after)
			put(t, f, c, keyOf(store.KindRevocation, "2"), "")
			if test.after >= time.Minute {
				<-stored
			}
			if test.clean {
				closeStore(t, f)
			} else {
				// the process dies, and another one comes
				p.path = filepath.Join(t.TempDir(), "store.db")
			}
			p.restore(t, copied)
			c.Advance(time.Minute)
			since := made
			if test.seen {
				since = c.Now()
			}
			f = p.wantComplete(t, since, test.seen)
			// and it stays so
			closeStore(t, f)
			c.Advance(time.Minute)
			p.wantComplete(t, since, false)
			if f.CompleteSince().After(made) {
				seen.Add(1)
			} else {
				unseen.Add(1)
			}
		})
	}
}

func TestFileSeesThatItWasRemoved(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	closeStore(t, p.open(t))
	if err := os.Remove(p.path); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Minute)
	p.wantComplete(t, c.Now(), true)
}

// A crash between the raise in the file and that in storage must not look like
// a restored backup, nor must a storage that was not there for long.
func TestFileAheadOfItsStoredGenerationIsWhole(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	made := f.CompleteSince()
	for _, number := range []uint64{1, 0} {
		closeStore(t, f)
		c.Advance(time.Minute)
		p.generation.mark.Number = number
		f = p.wantComplete(t, made, false)
	}
}

func TestFileWithADamagedStateIsCompleteSinceNow(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	flipIn(t, f, store.MetaBucket, []byte("state"), 3)
	// one that was not closed cleanly, which would write it anew
	copied := filepath.Join(t.TempDir(), "copy")
	p.copyTo(t, copied)
	p.path = filepath.Join(t.TempDir(), "store.db")
	p.restore(t, copied)
	c.Advance(time.Minute)
	p.wantComplete(t, c.Now(), true)
}

func TestFileIsNeverCompleteFromAnEarlierTime(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	made := f.CompleteSince()
	closeStore(t, f)
	p.generation.mark.Number += 10
	c.Step(-time.Hour)
	f = p.open(t)
	if got := f.CompleteSince(); !got.Equal(made) {
		t.Errorf("CompleteSince() = %v, want %v, though the clock was set back", got, made)
	}
	if events := p.events.take(); len(events) != 2 {
		t.Errorf("events %v, want one of the backup and one of the clock", events)
	}
}

func TestFileNeedsToKnowTheGeneration(t *testing.T) {
	t.Parallel()
	p := newPlace(t, newClock())
	failure := errors.New("storage is down")
	p.generation.fail(failure)
	if f, err := p.tryOpen(t.Context()); f != nil || !errors.Is(err, failure) {
		t.Errorf("OpenFile = %v, %v; want the error of storage", f, err)
	}
	if _, err := os.Stat(p.path); err == nil {
		t.Error("there is a file, want none until the generation is known")
	}
}

func TestFileGoesOnWhenStorageFails(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	p.generation.fail(errors.New("storage is down"))
	c.Advance(time.Minute)
	put(t, f, c, keyOf(store.KindRevocation, "1"), "")
	closeStore(t, f)
	if events := p.events.take(); len(events) != 2 || events[0].Err == nil {
		t.Errorf("events %v, want one for the raise while revoking and one at closing", events)
	}
	p.generation.fail(nil)
	p.wantComplete(t, c.Now().Add(-time.Minute), false)
}

func TestFileRaisesItsGenerationOnceAMinute(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	p.generation.stored = make(chan store.Mark, 100)
	f := p.open(t)
	<-p.generation.stored
	for n := range 300 {
		put(t, f, c, keyOf(store.KindToken, strconv.Itoa(n)), "")
		put(t, f, c, keyOf(store.KindRevocation, strconv.Itoa(n)), "")
		c.Advance(time.Second)
		if n%60 == 59 && n < 299 {
			put(t, f, c, keyOf(store.KindRevocation, "at "+strconv.Itoa(n)), "")
			<-p.generation.stored
		}
	}
	// only the revocations do it
	c.Advance(time.Hour)
	put(t, f, c, keyOf(store.KindToken, "late"), "")
	closeStore(t, f)
	if got := len(p.generation.stored); got != 1 {
		t.Errorf("%d further generations were stored, want that of closing", got)
	}
	if got, want := p.generation.mark.Number, uint64(1+4+1); got != want {
		t.Errorf("the generation is %d, want %d", got, want)
	}
}

func TestOpenFileSaysWhatToDo(t *testing.T) {
	t.Parallel()
	ours := func(t *testing.T, p *place) {
		t.Helper()
		closeStore(t, p.open(t))
	}
	write := func(content string) func(*testing.T, *place) {
		return func(t *testing.T, p *place) {
			t.Helper()
			if err := os.WriteFile(p.path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	database := func(bucket, key, value string) func(*testing.T, *place) {
		return func(t *testing.T, p *place) {
			t.Helper()
			db, err := bolt.Open(p.path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte(bucket))
				if err != nil {
					return err
				}
				return b.Put([]byte(key), []byte(value))
			})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		before []func(*testing.T, *place)
		want   string
	}{
		"in use": {[]func(*testing.T, *place){func(t *testing.T, p *place) {
			t.Helper()
			p.open(t)
		}}, "is in use by another process: stop that"},
		"a directory": {[]func(*testing.T, *place){func(t *testing.T, p *place) {
			t.Helper()
			p.path = filepath.Dir(p.path)
		}}, "is a directory: give the path of a file in it"},
		"a device": {[]func(*testing.T, *place){func(t *testing.T, p *place) {
			t.Helper()
			p.path = os.DevNull
		}}, "is not a regular file"},
		"below a file": {[]func(*testing.T, *place){ours, func(_ *testing.T, p *place) {
			p.path = filepath.Join(p.path, "store.db")
		}}, "not a directory"},
		"short text":         {[]func(*testing.T, *place){write("text")}, "move it away"},
		"long text":          {[]func(*testing.T, *place){write(strings.Repeat("text", 10_000))}, "move it away"},
		"another database":   {[]func(*testing.T, *place){database("acme", "key", "value")}, "not a store"},
		"a newer version":    {[]func(*testing.T, *place){ours, database("meta", "format", "\x00\x00\x00\x00\x00\x00\x00\x02")}, "use that version"},
		"an unknown bucket":  {[]func(*testing.T, *place){ours, database("more", "key", "value")}, "move it away"},
		"a key of no record": {[]func(*testing.T, *place){ours, database("records", "key", "value")}, "move it away"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, clock.System)
			if err := os.Mkdir(filepath.Dir(p.path), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, before := range test.before {
				before(t, p)
			}
			f, err := p.tryOpen(t.Context())
			if err == nil {
				closeStore(t, f)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("OpenFile: %v, want %q", err, test.want)
			}
		})
	}
}

func TestOpenFileWithoutPermission(t *testing.T) {
	t.Parallel()
	p := newPlace(t, clock.System)
	closeStore(t, p.open(t))
	if err := os.Chmod(p.path, 0); err != nil {
		t.Fatal(err)
	}
	if file, err := os.Open(p.path); err == nil {
		_ = file.Close()
		t.Skip("this user may do everything")
	}
	if _, err := p.tryOpen(t.Context()); err == nil || !strings.Contains(err.Error(), "let the user that runs Caddy own it") {
		t.Errorf("OpenFile: %v, want it to say what to do", err)
	}
}

// A file that came into being, but not further, is as good as none.
func TestOpenFileThatIsEmpty(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(path string) error{
		"no bytes": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"no buckets": func(path string) error {
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				return err
			}
			return db.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			p := newPlace(t, c)
			if err := errors.Join(os.Mkdir(filepath.Dir(p.path), 0o700), make(p.path)); err != nil {
				t.Fatal(err)
			}
			f := p.wantComplete(t, c.Now(), false)
			put(t, f, c, keyOf(store.KindToken, "1"), "")
		})
	}
}

func TestOpenFileNeedsAllOfItsConfig(t *testing.T) {
	t.Parallel()
	whole := store.FileConfig{Path: "store.db", Clock: clock.System, Generation: new(generation)}
	for name, change := range map[string]func(*store.FileConfig){
		"path":       func(c *store.FileConfig) { c.Path = "" },
		"clock":      func(c *store.FileConfig) { c.Clock = nil },
		"generation": func(c *store.FileConfig) { c.Generation = nil },
	} {
		c := whole
		change(&c)
		if f, err := store.OpenFile(t.Context(), c); f != nil || err == nil {
			t.Errorf("without a %s: OpenFile = %v, %v; want an error", name, f, err)
		}
	}
}
