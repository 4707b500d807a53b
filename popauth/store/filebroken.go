// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// errBroken is the answer of a store whose file was damaged or cut off while it
// was open.
var errBroken = errors.New("its file was damaged while it was open: restart the process")

// rescue must be deferred before anything of bbolt is called. A panic, as bbolt
// has it for pages that make no sense and for those that the disk does not
// give, breaks the store: bbolt may have left locks held, for which the next
// call, and even closing, would wait forever. So the file is never given up,
// and stays locked until the process ends.
func (f *File) rescue(err *error) {
	p := recover()
	if p == nil {
		return
	}
	*err = fmt.Errorf("%w: %v", errBroken, p)
	f.breaking.Do(func() {
		close(f.broken)
		f.notify(Event{
			Message: "the file of the store was damaged or cut off while it was open; it answers nothing until the process is restarted",
			Err:     *err,
		})
	})
}

func (f *File) isBroken() bool {
	select {
	case <-f.broken:
		return true
	default:
		return false
	}
}

// view reads.
func (f *File) view(ctx context.Context, read func(*bolt.Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	defer func() {
		if err != nil {
			err = unavailable(err)
		}
	}()
	// a page that the disk does not give is a fault of the memory map, and
	// would otherwise be the end of the process
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer f.rescue(&err)
	tx, err := f.begin()
	if err != nil {
		return err
	}
	err = read(tx)
	if f.isBroken() {
		return errBroken
	}
	_ = tx.Rollback()
	return err
}

// begin begins to read. One after the other does, so that if it breaks the
// store, nobody else is waiting for the locks of bbolt.
func (f *File) begin() (tx *bolt.Tx, err error) {
	f.beginning.Lock()
	defer f.beginning.Unlock()
	defer f.rescue(&err)
	if f.isBroken() {
		return nil, errBroken
	}
	return f.db.Begin(false)
}

// transact commits what fn does.
func (f *File) transact(fn func(*bolt.Tx) error) (err error) {
	if f.isBroken() {
		return errBroken
	}
	defer f.stall.watch()()
	began := f.clock.Mono()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer f.rescue(&err)
	tx, err := f.db.Begin(true)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	err = tx.Commit()
	f.committed(began, err)
	return err
}

// release closes the file, if that is possible.
func (f *File) release() error {
	if f.isBroken() {
		return errBroken
	}
	return f.db.Close()
}
