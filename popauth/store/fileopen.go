// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockTimeout is how long to wait for another process to give the file up, as
// the old one does at a restart.
const lockTimeout = 2 * time.Second

// OpenFile opens the store in a file, which is made if it does not exist. It
// reads all of it, to be sure that it makes sense. An error says what to do.
func OpenFile(ctx context.Context, c FileConfig) (*File, error) {
	if c.Path == "" || c.Clock == nil || c.Generation == nil {
		return nil, errors.New("a store file needs a path, a clock and a generation")
	}
	f := &File{
		clock: c.Clock, notify: c.Notify, generations: c.Generation,
		queue: make(chan *write, queueSize), done: make(chan struct{}), broken: make(chan struct{}),
	}
	if f.notify == nil {
		f.notify = func(Event) {}
	}
	if err := c.checkMaxSize(); err != nil {
		return nil, err
	}
	f.space.reserve = reserveBlocks
	if c.reserve != nil {
		f.space.reserve = c.reserve
	}
	f.space.max.Store(c.MaxSize)
	f.stall.init(f.notify)
	f.rest.most = queueSize
	if err := preparePlace(c.Path); err != nil {
		return nil, err
	}
	found, err := inspect(c.Path)
	if err != nil {
		return nil, explain(c.Path, err)
	}
	// before the file is touched: an unknown generation may be a higher one
	mark, err := inTime(ctx, c.Generation.Load)
	if err != nil {
		return nil, err
	}
	var file *os.File
	if f.db, file, err = openBolt(c.Path, false); err != nil {
		return nil, explain(c.Path, err)
	}
	events, err := f.start(file, found, mark)
	if err != nil {
		return nil, errors.Join(explain(c.Path, err), f.release())
	}
	syncDirectory(filepath.Dir(c.Path))
	if found.damaged > 0 {
		f.damaged.Store(found.damaged)
		events = append(events, Event{
			Message: "records of the store are damaged, which may be a sign of a bad disk",
			Damaged: found.damaged,
		})
	}
	for _, e := range events {
		f.notify(e)
	}
	f.store(ctx, f.mark())
	go f.run()
	return f, nil
}

// start makes the buckets of a new file, and brings the generation of an old
// one up to date with the mark. All that is on the disk before anybody gets an
// answer.
func (f *File) start(file *os.File, found inspection, mark Mark) (events []Event, err error) {
	info, err := file.Stat()
	if err != nil || found.file != nil && !os.SameFile(info, found.file) {
		return nil, cmp.Or(err, errChanged)
	}
	f.settle(file, info.Size())
	f.number = found.number
	now := f.clock.Now()
	err = f.transact(func(tx *bolt.Tx) error {
		// between the look at the file and the lock, another process may have
		// had it: then numbers would be given twice, and mark be an old one
		if uint64(tx.ID()) != found.transaction+1 {
			return errChanged
		}
		f.measure(tx, 1)
		for _, name := range [][]byte{recordsBucket, expiryBucket, feedBucket, metaBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		doubt := f.recognize(meta, now, found, mark)
		if doubt != nil {
			events = append(events, Event{
				Message: "the store is not what it was, or may not be: a backup was put back, or the file was " +
					"removed or damaged, or its mark in storage was; tokens that were issued before now are refused",
				Err: doubt,
			})
			// not earlier than it was, if the clock was set back
			if f.state.since.Before(now) {
				f.state.since = now
			}
		}
		f.state.generation = max(f.state.generation, mark.Number)
		if meta.Get(formatKey) == nil {
			if err := meta.Put(formatKey, binary.BigEndian.AppendUint64(nil, format)); err != nil {
				return err
			}
		}
		return f.raise(tx)
	})
	f.since, f.id = f.state.since, f.state.id
	if now.Before(f.since) {
		events = append(events, Event{
			Message: "the wall clock is behind the time when the store was made; tokens are refused until then",
			Err:     fmt.Errorf("it is %s, and the store is complete since %s", now.UTC(), f.since.UTC()),
		})
	}
	return events, err
}

// recognize sets the state, that of the file or a new one, and returns why
// revocations that were made before now may be missing, nil if none can be. A
// file that is ahead of its mark, by however much, is the one that the mark is
// for: a raise comes to the file first.
func (f *File) recognize(meta *bolt.Bucket, now time.Time, found inspection, mark Mark) (doubt error) {
	s, ok := unsealState(meta.Get(stateKey))
	made := meta.Get(formatKey) == nil
	switch f.state = s; {
	case made:
		f.state = state{created: now, since: now, id: newID()}
		if mark != (Mark{}) {
			return errors.New("the file is new, and there was another one")
		}
		return nil
	case !ok:
		f.state = state{created: now, id: newID()}
		return errors.New("what the file says of itself is damaged")
	case found.torn:
		return errors.New("the last transaction of the file may be lost")
	case mark == Mark{}:
		return errors.New("there is no mark in storage of the file's generation")
	case mark.ID != s.id:
		return errors.New("the file is another one than the last")
	case s.generation < mark.Number:
		return fmt.Errorf("the file has generation %d, and the last one was %d", s.generation, mark.Number)
	}
	return nil
}

// preparePlace makes the directory, and refuses places where a store can't be.
func preparePlace(path string) error {
	directory := filepath.Dir(path)
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return explain(path, err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return explain(path, err)
	case info.IsDir():
		return fmt.Errorf("store file %q is a directory: give the path of a file in it", path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("store file %q is not a regular file: give another path", path)
	}
	if name := networkFileSystem(directory); name != "" {
		return fmt.Errorf("store file %q is on a network file system (%s), where locks and syncing "+
			"can't be relied on: give the path of a file on a local disk", path, name)
	}
	return nil
}

// syncDirectory makes a file that is new in a directory stay there when the
// power fails. Not all systems can; then the store that is lost with its file
// is a young one, and it is noticed.
func syncDirectory(path string) {
	if directory, err := os.Open(path); err == nil {
		_ = directory.Sync()
		_ = directory.Close()
	}
}

// openBolt opens the database, and gives its file too.
func openBolt(path string, readOnly bool) (db *bolt.DB, file *os.File, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		// of bbolt when pages make no sense; without closing the file, it
		// would stay locked
		if p := recover(); p != nil {
			db, err = nil, &damage{fmt.Sprint(p)}
			_ = file.Close()
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		ReadOnly:       readOnly,
		Timeout:        lockTimeout,
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		// of use only to who writes: they tell how many pages are free
		NoStatistics: readOnly,
		OpenFile: func(name string, flag int, mode os.FileMode) (opened *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	return db, file, err
}

// errChanged is the error for a file that is not the one that was looked at.
var errChanged = errors.New("it was changed meanwhile")

// panicked is damage that was met as a panic of bbolt.
type panicked struct{ *damage }

func (p *panicked) Unwrap() error { return p.damage }

// damage is an error that says what of a file makes no sense.
type damage struct{ what string }

func (d *damage) Error() string { return d.what }

// newer is the error for a file of a format that is not known here.
type newer struct{ format uint64 }

func (n *newer) Error() string { return fmt.Sprintf("it has format %d", n.format) }

// explain says what an operator can do about an error.
func explain(path string, err error) error {
	_, damaged := errors.AsType[*damage](err)
	_, isNewer := errors.AsType[*newer](err)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("store file %q is in use by another process: stop that, or give this one another path", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("store file %q can't be used by this user: let the user that runs Caddy own "+
			"it and its directory: %w", path, err)
	case errors.Is(err, errChanged):
		return fmt.Errorf("store file %q was changed by another process while this one looked at it: "+
			"start again, with one process for it", path)
	case isNewer:
		return fmt.Errorf("store file %q was written by a newer version, %w: use that version, "+
			"or give another path", path, err)
	case damaged, errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("store file %q is damaged or something else than a store: move it away, and a new "+
			"one is made, which refuses all tokens issued before: %w", path, err)
	}
	return fmt.Errorf("store file %q: %w", path, err)
}
