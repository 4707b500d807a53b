// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// BenchmarkPutIfAbsent measures the file on a real disk beside bbolt's own
// db.Batch, which does the same writes into a file of its own in the same run.
func BenchmarkPutIfAbsent(b *testing.B) {
	for _, callers := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("%d callers", callers), func(b *testing.B) {
			own := newPlace(b, clock.System).open(b)
			batch := newPlace(b, clock.System).open(b)
			b.ResetTimer()
			ours := measure(b, callers, func(k store.Key, value []byte, expires time.Time) (bool, error) {
				return own.PutIfAbsent(b.Context(), k, value, expires)
			})
			theirs := measure(b, callers, batch.Batch)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ours, "file/s")
			b.ReportMetric(theirs, "db.Batch/s")
			b.ReportMetric(ours/theirs, "ratio")
		})
	}
}

// measure does b.N puts from a number of callers, and returns how many were
// done in a second.
func measure(b *testing.B, callers int, put func(store.Key, []byte, time.Time) (bool, error)) float64 {
	var done atomic.Uint64
	var wg sync.WaitGroup
	value := make([]byte, 300)
	begin := time.Now()
	for range callers {
		wg.Go(func() {
			for {
				n := done.Add(1)
				if n > uint64(b.N) {
					return
				}
				// whole seconds, as tokens have it
				expires := time.Now().Add(5 * time.Minute).Truncate(time.Second)
				k := store.Key{Kind: store.KindToken, ID: sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))}
				if won, err := put(k, value, expires); !won || err != nil {
					b.Errorf("put %d = %v, %v; want it to win", n, won, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(b.N) / time.Since(begin).Seconds()
}
