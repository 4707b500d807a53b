// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// inspection is what a look at all of a file has found. Tokens are not looked
// at, since one that is damaged or lost does no harm, and they are many.
type inspection struct {
	damaged uint64 // records and entries
	number  uint64 // of the newest record

	file        os.FileInfo // nil: there was none, or nothing in it
	transaction uint64      // the newest
	torn        bool        // whether there may have been a newer one

	records, places       int // that must not be forgotten, and in the index
	revocations, listings int // of the former, and in the feed

	strange bool // a key is none of a store
}

// firstTransaction is the number that bbolt gives a file when it makes one.
const firstTransaction = 1

// inspect reads all of a file, which may not exist yet. It is an error if
// anything is missing that must not be forgotten.
func inspect(path string) (found inspection, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return inspection{transaction: firstTransaction}, nil
	}
	if err != nil {
		return inspection{}, err
	}
	db, file, err := openBolt(path, true)
	if err != nil {
		return inspection{}, err
	}
	defer func() {
		if _, ok := errors.AsType[*panicked](err); ok {
			// it may have left locks held, for which db.Close would wait
			_ = file.Close()
			return
		}
		err = errors.Join(err, db.Close())
	}()
	// others that look at it don't write, but one that did may have made it
	// grow before this got its lock
	if info, err = file.Stat(); err != nil {
		return inspection{}, err
	}
	// before bbolt is asked for anything: it believes its pages
	var parts []*inspection
	p := &pages{file: file, size: db.Info().PageSize, visitor: func(bucket string) func(key, value []byte) {
		part := new(inspection)
		parts = append(parts, part)
		return func(key, value []byte) { part.visit(bucket, key, value) }
	}}
	if err := p.check(info.Size()); err != nil {
		return inspection{}, err
	}
	for _, part := range parts {
		found.add(part)
	}
	if err := guarded(db, knownFormat); err != nil {
		return inspection{}, err
	}
	if found.strange {
		return inspection{}, &damage{"it has a key that makes no sense"}
	}
	found.file, found.transaction, found.torn = info, p.transaction, p.torn
	if found.damaged > 0 || found.records < found.places || found.listings < found.revocations {
		return found, guarded(db, nothingMissing)
	}
	return found, nil
}

// guarded reads, and takes a panic for damage.
func guarded(db *bolt.DB, read func(*bolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{&damage{fmt.Sprint(p)}}
		}
	}()
	return db.View(read)
}

// knownFormat checks that a file is a store, and not a newer one.
func knownFormat(tx *bolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return &damage{"it is a database, but not a store"}
		}
		// made, but nothing came of it
		return nil
	}
	number := meta.Get(formatKey)
	if len(number) != numberSize || binary.BigEndian.Uint64(number) == 0 {
		return &damage{"it says no format"}
	}
	if n := binary.BigEndian.Uint64(number); n > format {
		return &newer{n}
	}
	return nil
}

// visit counts keys, and looks whether they and their values are intact.
func (found *inspection) visit(bucket string, key, value []byte) {
	if bucket == string(metaBucket) {
		return
	}
	if len(key) != keySizes[bucket] {
		found.strange = true
		return
	}
	intact := true
	switch bucket {
	case string(recordsBucket):
		if kindOf(key) == KindToken {
			return
		}
		found.records++
		if kindOf(key) == KindRevocation {
			found.revocations++
		}
		_, intact = unsealRecord(key, value)
	case string(expiryBucket):
		var record []byte
		if record, intact = unsealPlace(key, value); intact {
			found.number = max(found.number, binary.BigEndian.Uint64(key[timeSize:]))
			if kindOf(record) != KindToken {
				found.places++
			}
		}
	case string(feedBucket):
		found.listings++
		found.number = max(found.number, binary.BigEndian.Uint64(key[sha256.Size:]))
		_, intact = unsealListed(key, value)
	}
	if !intact {
		found.damaged++
	}
}

// add adds what was found in a bucket.
func (found *inspection) add(part *inspection) {
	found.damaged += part.damaged
	found.number = max(found.number, part.number)
	found.records += part.records
	found.places += part.places
	found.revocations += part.revocations
	found.listings += part.listings
	found.strange = found.strange || part.strange
}

// keySizes are those of the keys in each bucket.
var keySizes = map[string]int{
	string(recordsBucket): recordKeySize,
	string(expiryBucket):  expiryKeySize,
	string(feedBucket):    feedKeySize,
}

// nothingMissing looks whether the damage has taken a record that must not be
// forgotten. Damage to its value hasn't: that it is there is what counts. But
// one whose key is damaged is lost, and what still knows of it is the other
// place that has its key.
func nothingMissing(tx *bolt.Tx) error {
	records, feed := tx.Bucket(recordsBucket), tx.Bucket(feedBucket)
	err := tx.Bucket(expiryBucket).ForEach(func(place, sealed []byte) error {
		key, intact := unsealPlace(place, sealed)
		if intact && kindOf(key) != KindToken && records.Get(key) == nil {
			return &damage{"a record that must not be forgotten is missing"}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return records.ForEach(func(key, sealed []byte) error {
		s, intact := unsealRecord(key, sealed)
		if intact && kindOf(key) == KindRevocation && feed.Get(feedKey(key, s.number)) == nil {
			return &damage{"a revocation is missing from the feed"}
		}
		return nil
	})
}
