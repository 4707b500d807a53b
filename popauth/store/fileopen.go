// SPDX-License-Identifier: Apache-2.0

package store

import (
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
		queue: make(chan *write, queueSize), done: make(chan struct{}),
	}
	if f.notify == nil {
		f.notify = func(Event) {}
	}
	if err := preparePlace(c.Path); err != nil {
		return nil, err
	}
	found, err := inspect(c.Path)
	if err != nil {
		return nil, explain(c.Path, err)
	}
	// before the file is touched: an unknown generation may be a higher one
	stored, err := c.Generation.Load(ctx)
	if err != nil {
		return nil, err
	}
	if f.db, _, err = openBolt(c.Path, false); err != nil {
		return nil, explain(c.Path, err)
	}
	f.number = found.number
	events, err := f.start(stored)
	if err != nil {
		return nil, errors.Join(explain(c.Path, err), f.db.Close())
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
	f.store(ctx, f.state.generation)
	go f.run()
	return f, nil
}

// start makes the buckets of a new file, and brings the generation of an old
// one up to date with the stored one. All that is on the disk before anybody
// gets an answer.
func (f *File) start(stored uint64) (events []Event, err error) {
	now := f.clock.Now()
	err = f.transact(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{recordsBucket, expiryBucket, feedBucket, metaBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		sealed, made := meta.Get(stateKey), meta.Get(formatKey) == nil
		var ok bool
		switch f.state, ok = unsealState(sealed); {
		case made:
			f.state = state{created: now, since: now}
			if err := meta.Put(formatKey, binary.BigEndian.AppendUint64(nil, format)); err != nil {
				return err
			}
		case !ok:
			f.state = state{created: now}
		}
		if !made && !ok || f.state.generation < stored {
			events = append(events, Event{
				Message: "the store is older than it was: a backup was put back, or the file was removed; " +
					"tokens that were issued before now are refused",
				Err: fmt.Errorf("the file has generation %d, and the last one was %d", f.state.generation, stored),
			})
			f.state.generation = stored
			// not earlier than it was, if the clock was set back
			if f.state.since.Before(now) {
				f.state.since = now
			}
		}
		_, err := f.raise(tx)
		return err
	})
	f.since = f.state.since
	if now.Before(f.since) {
		events = append(events, Event{
			Message: "the wall clock is behind the time when the store was made; tokens are refused until then",
			Err:     fmt.Errorf("it is %s, and the store is complete since %s", now.UTC(), f.since.UTC()),
		})
	}
	return events, err
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
		NoStatistics:   true,
		OpenFile: func(name string, flag int, mode os.FileMode) (opened *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	return db, file, err
}

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
