// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// DefaultMaxSize is how large a file becomes at most.
const DefaultMaxSize = 1 << 30

// Bbolt never writes over a page that is in use: whoever changes or removes
// something writes new pages first. So a file, or a disk, that is full to the
// last page can't even forget, and no revocation gets in. That is why a part is
// kept back: tokens and assertions are refused when only the reserve is left,
// and revocations and sweeping go on.
//
// What is kept back must be there when the disk is full. So the file is made
// larger before that is needed, by blocks that the disk gives for good, and
// bbolt may use no others. (A file system that writes nothing in place, as
// btrfs, zfs or APFS, may still refuse.)
const (
	// reservePercent of the file are kept back. A revocation takes 440 bytes,
	// and a token with a value of 400 bytes 1,150 where they come and go; so two
	// of five tokens of a full file may be revoked at once.
	reservePercent = 15

	// reservePages are kept back at least, also by a small file: 1,000
	// revocations take about 200 pages of 4 KiB, and sweepPages stay for
	// sweeping.
	reservePages = 512

	// basePages and changePages bound how many pages a transaction writes: for
	// each change a leaf and a branch, both of which may be split, and something
	// at the ends of the index and the feed; and once the upper branches of
	// three trees of five levels, which the changes share, all split. This is
	// high on purpose. A commit for which there is no room is expensive, as
	// bbolt reads the whole file again, and with this there is none.
	basePages   = 64
	changePages = 6

	// sweepPages stay when revocations have used up the reserve: room for a
	// transaction that removes 16 records, which makes room for larger ones.
	sweepPages = basePages + 16*changePages

	// aheadMost bounds how much a file grows at once. That is done between two
	// transactions, which wait for it.
	aheadMost  = 16 << 20
	aheadLeast = 1 << 20

	// askAgain is how long a disk that had no room is not asked again.
	askAgain = time.Second
)

// SmallestMaxSize is the least that a file can be limited to: half of it is
// reserve then. It is 4 MiB where pages have 4 KiB.
func SmallestMaxSize() int64 { return 2 * reservePages * int64(os.Getpagesize()) }

// errFull is the answer to what can wait until there is room.
var errFull = errors.New("it is full")

// space is how much room there is in a file. All sizes are in bytes.
type space struct {
	max     atomic.Int64 // what the operator allows
	file    *os.File
	page    int64
	reserve func(file *os.File, from, size int64) error

	// of run alone
	claimed   bool  // whether the disk has given all of the file for good
	allocated int64 // of which bbolt may use every page
	used      int64
	spare     int64 // pages that the next transaction may write
	full      bool  // whether only the reserve is left
	lack      error // why the disk did not give more, nil if it did
	lackedAt  time.Duration
}

// SetMaxSize sets how large the file may become. One that is larger already
// stays so, and is full until less of it is used.
func (f *File) SetMaxSize(size int64) { f.space.max.Store(size) }

// MaxSize is how large the file may become.
func (f *File) MaxSize() int64 { return f.space.max.Load() }

// settle takes over the open file, before the first transaction.
func (f *File) settle(file *os.File, size int64) {
	s := &f.space
	s.file, s.allocated, s.page = file, size, int64(f.db.Info().PageSize)
	// bbolt counts what it wants to grow by against its MaxSize: 0, so that it
	// is only what it needs, and since it need not grow, as that is done here
	f.db.AllocSize = 0
}

// limit is how much may be used, reserve and all.
func (s *space) limit() int64 { return min(s.allocated, s.ceiling()) }

// ceiling is the largest size of a file that the operator allows.
func (s *space) ceiling() int64 {
	allowed := s.max.Load()
	size := growth(allowed)
	switch {
	case size <= allowed:
		return size
	case runtime.GOOS != "windows":
		return size - growthStep
	case size > maxDoubling:
		return size - maxDoubling
	}
	return size / 2
}

// kept is the reserve of a file of that size.
func (s *space) kept(size int64) int64 {
	return max(size/100*reservePercent, reservePages*s.page)
}

const (
	growthStep  = 64 << 10 // a multiple of every page size
	maxDoubling = 1 << 30
)

// growth rounds a size up to one that a file can have. On Windows bbolt makes
// it as large as its memory map, which doubles until it has 1 GiB, and then
// grows by as much.
func growth(size int64) int64 {
	up := func(step int64) int64 { return (size + step - 1) / step * step }
	switch {
	case runtime.GOOS != "windows":
		return up(growthStep)
	case size > maxDoubling:
		return up(maxDoubling)
	}
	return max(int64(1)<<bits.Len64(uint64(size-1)), growthStep)
}

// measure looks how much room a transaction has that has just begun and may do
// that many writes, and gets more if that is too little.
func (f *File) measure(tx *bolt.Tx, writes int) {
	s, stats := &f.space, f.db.Stats()
	end := tx.Size()
	free := int64(stats.FreePageN) * s.page
	// what the last transaction has replaced is free, but some reader may still
	// look at it, and until then it can't be written
	s.used = end - free - int64(stats.PendingPageN)*s.page
	s.grow(s.used+min((basePages+3*int64(writes)*changePages)*s.page, aheadMost), f.clock.Mono())
	s.spare = (s.allocated-end+free)/s.page - basePages
	f.db.MaxSize = int(min(s.allocated, math.MaxInt))
	f.tellWhetherFull()
}

// grow makes the file large enough to use that much, and the reserve beside it.
func (s *space) grow(used int64, now time.Duration) {
	enough := s.claimed && s.allocated-s.kept(s.allocated) >= used
	if enough || s.claimed && s.allocated >= s.ceiling() || s.lack != nil && now-s.lackedAt < askAgain {
		return
	}
	from, size := int64(0), s.allocated
	if s.claimed {
		// some more, so that this comes seldom: a sixteenth
		used += min(max(used/16, aheadLeast), aheadMost)
		from, size = s.allocated, max(used+reservePages*s.page, used/(100-reservePercent)*100)
		size = min(growth(size), s.ceiling())
	}
	if s.lack = s.reserve(s.file, from, size); s.lack != nil {
		s.lackedAt = now
		// lest a part of it fill the disk to the last block
		_ = s.file.Truncate(s.allocated)
		return
	}
	if s.allocated = size; !s.claimed {
		s.claimed = true
		s.grow(used, now)
	}
}

// forOthers is how many pages may still be used by what is not a revocation.
func (s *space) forOthers() int64 {
	if !s.claimed {
		return 0
	}
	limit := s.limit()
	return min((limit-s.kept(limit)-s.used)/s.page, s.spare-sweepPages)
}

// tellWhetherFull notes whether only the reserve is left, and tells an operator
// when that changes. Between beginning and end there is a gap of a quarter of
// the reserve, lest it change with every request.
func (f *File) tellWhetherFull() {
	s, least := &f.space, int64(3*changePages)
	if s.full {
		least += s.kept(s.limit()) / 4 / s.page
	}
	full := s.forOthers() < least
	if full == s.full {
		return
	}
	s.full = full
	if full {
		f.notify(Event{
			Message: "the store is almost full: opaque tokens and client assertions are refused, revocations are still taken",
			Err:     s.why(),
		})
		return
	}
	f.notify(Event{Message: "the store has room again", Resolved: true})
}

// why says why there is no room, and what to do about it.
func (s *space) why() error {
	if s.lack != nil {
		return fmt.Errorf("%d MiB are used, and the disk gives no more: %w", s.used>>20, s.lack)
	}
	return fmt.Errorf("%d of at most %d MiB are used: raise max_size, or wait until records have expired",
		s.used>>20, s.max.Load()>>20)
}

// pagesFor bounds how many pages a write takes: its own, and unless sweeping is
// done apart, those for the two records that are removed meanwhile. A large
// value may share no page with others.
func (s *space) pagesFor(w *write) int64 {
	pages := changePages + 2*(int64(len(w.value))/s.page)
	if !s.full {
		pages += 2 * changePages
	}
	return pages
}

// admit says whether there is room for a write in a transaction that has
// written that many pages already. Not now: there may be in the next one.
func (s *space) admit(w *write, written int64) (now bool, err error) {
	left := s.spare - sweepPages
	if w.isDispensable() {
		if s.full {
			return false, s.refusal()
		}
		left = s.forOthers()
	}
	if needs := s.pagesFor(w); needs > left-written {
		if needs > left {
			return false, s.refusal()
		}
		return false, nil
	}
	return true, nil
}

// refusal is the answer to a write for which there is no room.
func (s *space) refusal() error { return fmt.Errorf("%w: %w", errFull, s.why()) }

// isDispensable says whether a write can be refused while there is a reserve.
// To use something up makes nothing larger, and a revocation is what the
// reserve is for.
func (w *write) isDispensable() bool { return !w.consume && kindOf(w.key) != KindRevocation }

// checkMaxSize checks the limit of a config, and sets the default.
func (c *FileConfig) checkMaxSize() error {
	c.MaxSize = cmp.Or(c.MaxSize, DefaultMaxSize)
	if least := SmallestMaxSize(); c.MaxSize < least {
		return fmt.Errorf("max_size is %d, expected at least %d", c.MaxSize, least)
	}
	return nil
}
