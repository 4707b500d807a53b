// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

func BenchmarkUse(b *testing.B) {
	var m *Memory
	var nonce string
	for n := 0; b.Loop(); n++ {
		if n%(1<<20) == 0 {
			m = New(clock.System, 1<<22)
			nonce = m.Nonce()
		}
		if refusal := m.Use(required, Proof{Method: "dpop", Key: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", ID: strconv.Itoa(n), Nonce: nonce, HasNonce: true}); refusal != nil {
			b.Fatal(refusal)
		}
	}
}

func BenchmarkFresh(b *testing.B) {
	m := New(clock.System, 1)
	nonce := m.Nonce()
	for b.Loop() {
		if _, refusal := m.Fresh(required, Proof{Nonce: nonce, HasNonce: true}); refusal != nil {
			b.Fatal(refusal)
		}
	}
}

func BenchmarkNonce(b *testing.B) {
	m := New(clock.System, 1)
	for b.Loop() {
		m.Nonce()
	}
}

// BenchmarkGuard compares the guard with the maps that one would write
// instead, under a steady load: every check is of a fresh proof, and one proof
// expires meanwhile. The last of them is no store: it reads two words at a time
// from as much memory as the guard has, which is what the guard waits for. 10
// million live ones take some GB and minutes, so that size must be asked for:
// POPAUTH_BENCH_LIVE=10000000.
//
// B/live is what the heap grew by per live entry, once it was filled and after
// as many checks again, 16 at most for the guard; ns/op is without the hashes of
// proof, key and nonce, and without the lock; gc-ms is the CPU time of one
// garbage collection with the store in memory.
func BenchmarkGuard(b *testing.B) {
	sizes := []int{1_000_000}
	if more, err := strconv.Atoi(os.Getenv("POPAUTH_BENCH_LIVE")); err == nil && more > 0 {
		sizes = []int{more}
	}
	for _, live := range sizes {
		for _, store := range []struct {
			name string
			make func() benchStore
		}{
			{"guard", func() benchStore { return newBenchGuard(live) }},
			{"map of 16 bytes", func() benchStore { return &mapOfBytes{until: map[[16]byte]uint32{}} }},
			{"map of strings", func() benchStore { return &mapOfStrings{until: map[string]time.Time{}} }},
			{"two reads", func() benchStore { return newTwoReads(live) }},
		} {
			b.Run(store.name+"/"+strconv.Itoa(live), func(b *testing.B) {
				size := benchmarkStore(b, live, store.make)
				// what it takes beside the entries is a part of few of them
				if store.name == "guard" && live >= 1_000_000 && size > 16 {
					b.Errorf("the guard takes %.1f bytes for a live entry, want 16 at most", size)
				}
			})
		}
	}
}

// benchStore takes in the n-th proof at a time, and reports whether it was new.
type benchStore interface {
	use(n uint64, now time.Duration) bool
}

// benchmarkStore returns the bytes for a live entry.
func benchmarkStore(b *testing.B, live int, make func() benchStore) float64 {
	before := heap()
	s := make()
	step := nonceEntryLife / time.Duration(live)
	n := uint64(0)
	check := func() {
		if !s.use(n, time.Hour+time.Duration(n)*step) {
			b.Fatal("a fresh proof was refused")
		}
		n++
	}
	for range 2 * live {
		check()
	}
	size := float64(heap()-before) / float64(live)
	collector := collect()
	b.ResetTimer()
	for range b.N {
		check()
	}
	b.StopTimer()
	b.ReportMetric(size, "B/live")
	b.ReportMetric(collector*1000, "gc-ms")
	runtime.KeepAlive(s)
	return size
}

// heap is how many bytes the spans of the heap take that hold anything.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// collect returns the CPU seconds of one garbage collection.
func collect() float64 {
	const rounds = 5
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(sample)
	before := sample[0].Value.Float64()
	for range rounds {
		runtime.GC()
	}
	metrics.Read(sample)
	return (sample[0].Value.Float64() - before) / rounds
}

// mix is a hash of n (splitmix64).
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

type benchGuard struct{ *guard }

func newBenchGuard(live int) benchGuard { return benchGuard{newGuard(live + live/50)} }

func (g benchGuard) use(n uint64, now time.Duration) bool {
	e := entry{proof: newTag(mix(n)), owner: mix(n % 10_000), class: withNonce}
	return g.guard.use(e, now, now+nonceEntryLife) == nil
}

// twoReads is as much memory as a guard takes. Where it is read depends on what
// was read before, since two checks do not wait for memory at the same time
// either.
type twoReads struct {
	words []uint64
	last  uint64
}

func newTwoReads(live int) *twoReads {
	r := &twoReads{words: make([]uint64, live*5/4)}
	for i := range r.words {
		r.words[i] = uint64(i)
	}
	return r
}

func (r *twoReads) use(n uint64, _ time.Duration) bool {
	x := mix(n ^ r.last)
	size := uint64(len(r.words))
	r.last = r.words[x>>32*size>>32] + r.words[x&(1<<32-1)*size>>32]
	return r.last < 2*size
}

// mapOfBytes is swept eight times a life.
type mapOfBytes struct {
	until map[[16]byte]uint32
	swept time.Duration
}

func (m *mapOfBytes) use(n uint64, now time.Duration) bool {
	var key [16]byte
	binary.LittleEndian.PutUint64(key[:], mix(n))
	binary.LittleEndian.PutUint64(key[8:], n)
	at := uint32(now / time.Second)
	if now-m.swept > nonceEntryLife/8 {
		for k, until := range m.until {
			if until <= at {
				delete(m.until, k)
			}
		}
		m.swept = now
	}
	if until, used := m.until[key]; used && until > at {
		return false
	}
	m.until[key] = uint32((now + nonceEntryLife + time.Second - 1) / time.Second)
	return true
}

// mapOfStrings is swept eight times a life. Its keys are as long as a
// thumbprint and a jti.
type mapOfStrings struct {
	until map[string]time.Time
	swept time.Duration
}

func (m *mapOfStrings) use(n uint64, now time.Duration) bool {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[:], mix(n))
	binary.LittleEndian.PutUint64(b[8:], n)
	key := hex.EncodeToString(b[:])
	at := start.Add(now)
	if now-m.swept > nonceEntryLife/8 {
		for k, until := range m.until {
			if !at.Before(until) {
				delete(m.until, k)
			}
		}
		m.swept = now
	}
	if until, used := m.until[key]; used && at.Before(until) {
		return false
	}
	m.until[key] = at.Add(nonceEntryLife)
	return true
}
