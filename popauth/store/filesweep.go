// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// sweepSize is how many expired records a transaction removes at least.
	// One with many writes removes twice as many as it can make, so that
	// expired ones don't pile up when there is much to do.
	sweepSize = 64

	// sweepGrace is how long an expired record stays. The wall clock may be
	// set forward by mistake: what has gone by that is gone for good, and a
	// revocation is needed again when the mistake is mended. The monotonic
	// clock, which Memory asks too, does not survive a restart.
	sweepGrace = time.Hour
)

// sweep removes at most limit records whose grace is over.
func (c *change) sweep(limit int) error {
	before := c.now.Add(-sweepGrace)
	for _, d := range c.due(limit, before) {
		if err := c.remove(d[0], d[1], before); err != nil {
			return err
		}
	}
	return nil
}

// due returns the places of at most limit records that expired before then,
// with what is in them.
func (c *change) due(limit int, before time.Time) (due [][2][]byte) {
	cursor := c.expiry.Cursor()
	for place, sealed := cursor.First(); place != nil && len(due) < limit; place, sealed = cursor.Next() {
		if !expired(binary.BigEndian.Uint64(place), before) {
			break
		}
		// not removed at once, which would move the cursor
		due = append(due, [2][]byte{bytes.Clone(place), bytes.Clone(sealed)})
	}
	return due
}

// relieve removes what it can from a full file, in a transaction of its own: if
// there is no room for what is asked for, there may be for this, and that makes
// room. It fits as many changes as there are pages for, which is 16 at least,
// unless the file was full before it had a reserve. Then bbolt takes one.
func (f *File) relieve() {
	s := &f.space
	if !s.full || f.rest.over(f.clock.Mono()) != nil {
		return
	}
	// if it fails, the next one rests, and tells
	_ = f.transact(func(tx *bolt.Tx) error {
		f.measure(tx, 1)
		c := f.change(tx)
		limit := int(min(s.spare/changePages, int64(f.rest.most)))
		if len(c.due(1, c.now.Add(-sweepGrace))) == 0 {
			return errNothing
		}
		return c.sweep(max(limit, 1))
	})
}

// remove empties a place of the index that is due, and removes the record that
// it is for. If the two do not agree, one is damaged: then the record stays if
// it says so, lest it be forgotten too early, and gets another place.
func (c *change) remove(place, sealed []byte, before time.Time) error {
	if err := c.expiry.Delete(place); err != nil {
		return err
	}
	key, placeIntact := unsealPlace(place, sealed)
	record := c.records.Get(key)
	if record == nil {
		return nil
	}
	s, intact := unsealRecord(key, record)
	switch {
	case intact && !expired(s.expires, before):
		return c.index(key, s)
	case intact:
		if err := c.forget(key, s); err != nil {
			return err
		}
	case !placeIntact:
		return nil
	}
	return c.records.Delete(key)
}

// forget removes what points to a record.
func (c *change) forget(key []byte, s stored) error {
	if kindOf(key) == KindRevocation {
		if err := c.feed.Delete(feedKey(key, s.number)); err != nil {
			return err
		}
	}
	return c.expiry.Delete(s.place())
}
