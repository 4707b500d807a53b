// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	bolt "go.etcd.io/bbolt"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// flipIn flips one bit of the value under key.
func flipIn(t *testing.T, f *store.File, bucket, key []byte, bit int) {
	t.Helper()
	f.Update(t, func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		value := bytes.Clone(b.Get(key))
		value[bit/8] ^= 1 << (bit % 8)
		return b.Put(key, value)
	})
}

func TestFileNeverTakesADamagedRecordForGood(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	token, revocation, assertion := keyOf(store.KindToken, "1"), keyOf(store.KindRevocation, "1"), keyOf(store.KindAssertion, "1")
	for _, k := range []store.Key{token, revocation, assertion} {
		put(t, f, c, k, "some value")
	}
	if _, err := f.Consume(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	size := 0
	f.Update(t, func(tx *bolt.Tx) error {
		size = len(tx.Bucket(store.RecordsBucket).Get(store.RecordKey(token)))
		return nil
	})
	for bit := range 8 * size {
		for _, k := range []store.Key{token, revocation, assertion} {
			flipIn(t, f, store.RecordsBucket, store.RecordKey(k), bit)
			value, ok, err := f.Get(t.Context(), k)
			if want := k != token; ok != want || len(value) != 0 || err != nil {
				t.Errorf("bit %d, kind %d: Get = %q, %v, %v; want %v without a value", bit, k.Kind, value, ok, err, want)
			}
			if bit%16 == 0 {
				if put(t, f, c, k, "other") {
					t.Errorf("bit %d, kind %d: a put won", bit, k.Kind)
				}
				if first, err := f.Consume(t.Context(), k); first || err != nil {
					t.Errorf("bit %d, kind %d: Consume = %v, %v; want it not to be first", bit, k.Kind, first, err)
				}
			}
		}
		feed, err := f.Revocations(t.Context(), token.Issuer, 0)
		if err != nil || len(feed.Revocations) != 1 || feed.Revocations[0].ID != revocation.ID {
			t.Fatalf("bit %d: the feed has %v (%v), want the revocation", bit, feed.Revocations, err)
		}
		for _, k := range []store.Key{token, revocation, assertion} {
			flipIn(t, f, store.RecordsBucket, store.RecordKey(k), bit)
		}
	}
	if value, ok, err := f.Get(t.Context(), token); string(value) != "some value" || !ok || err != nil {
		t.Errorf("Get = %q, %v, %v; want what is whole again", value, ok, err)
	}
}

func TestFileTellsOfDamageButNotEachTime(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	k := keyOf(store.KindAssertion, "1")
	put(t, f, c, k, "value")
	flipIn(t, f, store.RecordsBucket, store.RecordKey(k), 100)
	for range 100 {
		if _, _, err := f.Get(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	events := p.events.take()
	if len(events) != 7 || events[6].Damaged != 64 {
		t.Errorf("events %v, want those of the 1st, 2nd, 4th … 64th time", events)
	}
	closeStore(t, f)
	p.open(t)
	if events := p.events.take(); len(events) != 1 || events[0].Damaged != 1 {
		t.Errorf("events %v at opening, want one of one damaged record", events)
	}
}

func TestFileFindsADamagedRevocationByItsNumber(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	for n := range 3 {
		put(t, f, c, keyOf(store.KindRevocation, strconv.Itoa(n)), "value")
	}
	var second []byte
	f.Update(t, func(tx *bolt.Tx) error {
		cursor := tx.Bucket(store.FeedBucket).Cursor()
		cursor.First()
		second, _ = cursor.Next()
		second = bytes.Clone(second)
		return nil
	})
	k := keyOf(store.KindRevocation, "1")
	flipIn(t, f, store.FeedBucket, second, 3)
	feed, err := f.Revocations(t.Context(), k.Issuer, 0)
	if err != nil || len(feed.Revocations) != 3 || feed.Revocations[1].ID != k.ID || string(feed.Revocations[1].Value) != "value" {
		t.Errorf("the feed has %v (%v), want the three revocations", feed.Revocations, err)
	}
	// with both damaged, which one it was is unknown
	flipIn(t, f, store.RecordsBucket, store.RecordKey(k), 3)
	if feed, err := f.Revocations(t.Context(), k.Issuer, 0); !errors.Is(err, store.ErrUnavailable) || len(feed.Revocations) > 0 {
		t.Errorf("Revocations = %v, %v; want ErrUnavailable", feed, err)
	}
}

func TestFileRefusesToForgetWhatDamageHasTaken(t *testing.T) {
	t.Parallel()
	first := func(b *bolt.Bucket) []byte { key, _ := b.Cursor().First(); return bytes.Clone(key) }
	for name, test := range map[string]struct {
		kind   store.Kind
		bucket []byte
		opens  bool
	}{
		"an assertion":                     {store.KindAssertion, store.RecordsBucket, false},
		"a revocation":                     {store.KindRevocation, store.RecordsBucket, false},
		"a revocation from the feed":       {store.KindRevocation, store.FeedBucket, false},
		"a token, which is inactive":       {store.KindToken, store.RecordsBucket, true},
		"a place, so that a record stays":  {store.KindAssertion, store.ExpiryBucket, true},
		"what it says of itself":           {store.KindToken, store.MetaBucket, false},
		"a place, so that a token lingers": {store.KindToken, store.ExpiryBucket, true},
	} {
		for _, flip := range []bool{false, true} {
			t.Run(name+map[bool]string{false: " by loss", true: " by a flipped key"}[flip], func(t *testing.T) {
				t.Parallel()
				c := newClock()
				p := newPlace(t, c)
				f := p.open(t)
				put(t, f, c, keyOf(test.kind, "1"), "value")
				f.Update(t, func(tx *bolt.Tx) error {
					b := tx.Bucket(test.bucket)
					key := first(b)
					value := bytes.Clone(b.Get(key))
					if err := b.Delete(key); err != nil || !flip {
						return err
					}
					key[len(key)-1] ^= 1
					return b.Put(key, value)
				})
				closeStore(t, f)
				g, err := p.tryOpen(t.Context())
				if err == nil {
					closeStore(t, g)
				}
				if (err == nil) != test.opens {
					t.Errorf("OpenFile: %v, want it to open: %v", err, test.opens)
				}
				if err != nil && !strings.Contains(err.Error(), "move it away") {
					t.Errorf("OpenFile: %v, want it to say what to do", err)
				}
			})
		}
	}
}

// F23: TestFileWithAFlippedBit flips one bit of a closed file. Then the file must be
// refused, or nothing in it may pass that must not; and if it was in a value,
// that must be noticed.
func TestFileWithAFlippedBit(t *testing.T) {
	t.Parallel()
	const records = 20
	flips := fixture.Scale(60, 10_000/3+1)
	if testing.Short() {
		flips = 15
	}
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	since := f.CompleteSince()
	var wg sync.WaitGroup
	for n := range records {
		for kind := store.KindToken; kind <= store.KindAssertion; kind++ {
			wg.Go(func() {
				k := keyOf(kind, strconv.Itoa(n))
				put(t, f, c, k, "the value of "+strconv.Itoa(n))
				if kind == store.KindToken && n%2 == 0 {
					if _, err := f.Consume(t.Context(), k); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	closeStore(t, f)
	whole, values := p.usedPart(t)
	c.Advance(time.Minute)
	end := len(whole)
	page := os.Getpagesize()
	for name, test := range map[string]struct {
		places  []span
		noticed bool
	}{
		"anywhere":     {[]span{{0, end}}, false},
		"in a value":   {values, true},
		"near the end": {[]span{{end - 4*page, end}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, 2))
			refused, fenced, told := 0, 0, 0
			for range flips {
				place := test.places[random.IntN(len(test.places))]
				bit := 8*place.begin + random.IntN(8*(place.end-place.begin))
				damaged := bytes.Clone(whole)
				damaged[bit/8] ^= 1 << (bit % 8)
				q := newPlace(t, c)
				q.generation.mark, q.path = p.generation.mark, filepath.Join(t.TempDir(), "store.db")
				if err := os.WriteFile(q.path, damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				g, err := q.tryOpen(t.Context())
				if err != nil {
					refused++
					continue
				}
				if g.CompleteSince().After(since) {
					// all tokens and assertions from before are refused
					fenced++
				} else {
					neverWrong(t, g, bit, records)
				}
				// one that found itself damaged in the meantime can't be closed
				if err := g.Close(t.Context()); err != nil && !strings.Contains(err.Error(), "damaged while it was open") {
					t.Errorf("bit %d: Close: %v", bit, err)
				}
				events := q.events.take()
				if len(events) > 0 {
					told++
				} else if test.noticed || g.CompleteSince().After(since) {
					t.Errorf("bit %d: an operator is not told", bit)
				}
				_ = os.Remove(q.path)
			}
			fixture.Figure(t, "F23", "flips=%d where=%q wrong=0 refused=%d told=%d fenced=%d", flips, name, refused, told, fenced)
		})
	}
}

// span is a part of a file.
type span struct{ begin, end int }

// usedPart returns a closed file without what is kept back at its end, and
// where in it the values are that count.
func (p *place) usedPart(t *testing.T) (content []byte, values []span) {
	t.Helper()
	content, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(p.path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		content = content[:tx.Size()]
		for _, bucket := range [][]byte{store.RecordsBucket, store.ExpiryBucket, store.FeedBucket} {
			err := tx.Bucket(bucket).ForEach(func(_, value []byte) error {
				begin := int(uintptr(unsafe.Pointer(unsafe.SliceData(value))) - db.Info().Data)
				values = append(values, span{begin, begin + len(value)})
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return content, values
}

// neverWrong checks that what was used, revoked and seen is so still, or
// unknown.
func neverWrong(t *testing.T, f *store.File, bit, records int) {
	t.Helper()
	feed, feedErr := f.Revocations(t.Context(), keyOf(0, "").Issuer, 0)
	var wg sync.WaitGroup
	for n := range records {
		id := strconv.Itoa(n)
		token := keyOf(store.KindToken, id)
		value, ok, err := f.Get(t.Context(), token)
		if err == nil && ok && string(value) != "the value of "+id {
			t.Errorf("bit %d: token %d has the value %q", bit, n, value)
		}
		if feedErr == nil && !hasRevocation(feed, keyOf(store.KindRevocation, id)) {
			t.Errorf("bit %d: revocation %d is not in the feed", bit, n)
		}
		wg.Go(func() {
			won, err := f.PutIfAbsent(t.Context(), keyOf(store.KindAssertion, id), nil, time.Unix(1_900_000_000, 0))
			if won && err == nil {
				t.Errorf("bit %d: assertion %d can be used again", bit, n)
			}
		})
		wg.Go(func() {
			first, err := f.Consume(t.Context(), token)
			if first && err == nil && n%2 == 0 {
				t.Errorf("bit %d: token %d can be used again", bit, n)
			}
		})
	}
	wg.Wait()
}

func hasRevocation(feed store.Feed, k store.Key) bool {
	for _, r := range feed.Revocations {
		if r.ID == k.ID {
			return true
		}
	}
	return false
}

func TestFileThatIsCutOffIsRefused(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	for n := range 200 {
		put(t, f, c, keyOf(store.KindToken, strconv.Itoa(n)), strings.Repeat("value", 50))
	}
	closeStore(t, f)
	whole, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1; size < len(whole); size += 1 + len(whole)/50 {
		if err := os.WriteFile(p.path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if g, err := p.tryOpen(t.Context()); err == nil {
			// the rest was empty pages
			if value, ok, err := g.Get(t.Context(), keyOf(store.KindToken, "1")); !ok || err != nil {
				t.Errorf("cut off at %d: Get = %q, %v, %v; want the file refused or whole", size, value, ok, err)
			}
			closeStore(t, g)
		}
	}
}

// TestFileWithASmallBucketThatIsTooLong has the number of elements of a small
// bucket, which is in the page of its parent, be more than there is room for.
// Bbolt would believe it and read what is behind its memory map, so nothing may
// be asked of bbolt before all pages are known to be in order.
func TestFileWithASmallBucketThatIsTooLong(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	closeStore(t, p.open(t))
	whole, _ := p.usedPart(t)
	page, refused := os.Getpagesize(), 0
	for at := 2 * page; at+8 <= len(whole); at++ {
		// flags of a leaf, a count, no overflow: the head of a page, but one
		// within a page
		count := binary.NativeEndian.Uint16(whole[at+2:])
		if binary.NativeEndian.Uint16(whole[at:]) != 2 || count == 0 || count > 16 || binary.NativeEndian.Uint32(whole[at+4:]) != 0 || at%page == 8 {
			continue
		}
		damaged := bytes.Clone(whole)
		binary.NativeEndian.PutUint16(damaged[at+2:], 0x4002)
		q := newPlace(t, c)
		q.generation.mark, q.path = p.generation.mark, filepath.Join(t.TempDir(), "store.db")
		if err := os.WriteFile(q.path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := q.tryOpen(t.Context())
		if err != nil {
			refused++
			continue
		}
		closeStore(t, f) // it was in a page that is not in use any more
	}
	if refused == 0 {
		t.Error("no bucket that is too long was refused")
	}
}
