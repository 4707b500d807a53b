// SPDX-License-Identifier: Apache-2.0

package store

import (
	"os"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Held counts the records that are in memory, and the places in the feeds.
func (m *Memory) Held() (records, listed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.feeds {
		listed += len(j.records)
	}
	return len(m.records), listed
}

// Held counts the revocations that are in memory.
func (m *Mirror) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.revoked)
}

// HoldUp stops all writing until release is called.
func (f *File) HoldUp(t testing.TB) (release func()) {
	t.Helper()
	tx, err := f.db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// Update changes the file behind the back of its writer.
func (f *File) Update(t testing.TB, fn func(*bolt.Tx) error) {
	t.Helper()
	if err := f.db.Update(fn); err != nil {
		t.Fatal(err)
	}
}

// Count counts the entries of each bucket.
func (f *File) Count(t testing.TB) (records, places, listings int) {
	t.Helper()
	err := f.db.View(func(tx *bolt.Tx) error {
		records = tx.Bucket(recordsBucket).Stats().KeyN
		places = tx.Bucket(expiryBucket).Stats().KeyN
		listings = tx.Bucket(feedBucket).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records, places, listings
}

// Batch is PutIfAbsent by way of bbolt's own batches.
func (f *File) Batch(key Key, value []byte, expires time.Time) (won bool, err error) {
	err = f.db.Batch(func(tx *bolt.Tx) error {
		var err error
		won, err = f.change(tx).put(&write{key: recordKey(key), value: value, expires: expires})
		return err
	})
	return won, err
}

// RecordKey is the key of a record in the file.
var RecordKey = recordKey

// Names of buckets.
var (
	RecordsBucket = recordsBucket
	ExpiryBucket  = expiryBucket
	FeedBucket    = feedBucket
	MetaBucket    = metaBucket
)

// SetReserve replaces how the disk is asked for blocks.
func (c *FileConfig) SetReserve(reserve func(file *os.File, from, size int64) error) {
	c.reserve = reserve
}

// SetPatience sets how long writes wait for the disk.
func (f *File) SetPatience(d time.Duration) { f.stall.patience = d }

// TakeTooLong is what happens when patience with the transaction that runs is
// over. It says whether there is one.
func (f *File) TakeTooLong() bool {
	f.stall.mu.Lock()
	number, running := f.stall.watched, f.stall.running
	f.stall.mu.Unlock()
	if running {
		f.stall.shut(number)
	}
	return running
}

// PagesWritten is how many pages bbolt has written since the file was opened.
func (f *File) PagesWritten() int64 {
	stats := f.db.Stats()
	return stats.TxStats.GetPageCount()
}

// PagesFor bounds how many pages a transaction writes.
func PagesFor(changes int) int64 { return basePages + changePages*int64(changes) }
