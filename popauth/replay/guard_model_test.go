// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// model is a guard beside the simplest thing that does the same: a map of
// what is in it, counted anew whenever a number is needed.
type model struct {
	t        *testing.T
	g        *guard
	capacity int
	now      time.Duration
	entries  map[tag]modelEntry
	used     []entry       // everything ever used, to be used again
	life     time.Duration // of an entry without nonce; it never gets shorter
}

type modelEntry struct {
	until time.Duration
	owner uint64
}

func newModel(t *testing.T, capacity int, now time.Duration) *model {
	return &model{
		t: t, g: newGuard(capacity), capacity: capacity, now: now,
		entries: map[tag]modelEntry{}, life: windows{time.Minute, 10 * time.Second}.life(),
	}
}

// naiveExpiry is expiry in other words.
func naiveExpiry(now, until time.Duration) time.Duration {
	grain := time.Second
	for at := now.Truncate(time.Second); roundUp(until, time.Second)-at > lifeSlices*grain; {
		grain *= 2
	}
	at := roundUp(until, grain)
	if at%(secondMask*time.Second+time.Second) == 0 {
		at += time.Second
	}
	return at
}

func roundUp(d, unit time.Duration) time.Duration {
	if down := d.Truncate(unit); down < d {
		return down + unit
	}
	return d
}

// pass moves the clock on and forgets what has expired then.
func (m *model) pass(d time.Duration) {
	m.now += d
	for k, e := range m.entries {
		if e.until <= m.now {
			delete(m.entries, k)
		}
	}
}

// use lets both take in an entry and compares their answers.
func (m *model) use(e entry) {
	m.t.Helper()
	life := m.life
	if e.class == withNonce {
		life = nonceEntryLife
	}
	m.used = append(m.used, e)
	held := 0
	for _, other := range m.entries {
		if other.owner == e.owner {
			held++
		}
	}
	live, share := len(m.entries), m.capacity/4
	_, replayed := m.entries[e.proof]
	_, nonceUsed := m.entries[e.nonce]
	got := reason(m.g.use(e, m.now, m.now+life))
	want, or := oauth.Reason(""), oauth.Reason("")
	switch {
	case replayed:
		want = oauth.ProofReplayed
	case nonceUsed && e.single:
		want = oauth.NonceUsed
	case live+e.size() > m.capacity:
		want = oauth.ReplayGuardFull
	case live > m.capacity/2 && held+e.size() > share:
		want = oauth.ReplayShareExceeded
	case live > m.capacity/2 && held+e.size() > share-live/(sliceKeys+1):
		or = oauth.ReplayShareExceeded // within the slack
	}
	if got != want && got != or {
		m.t.Fatalf("at %v: used %+v with %d of %d live, %d of this key: got %q, want %q",
			m.now, e, live, m.capacity, held, got, want)
	}
	if got != "" {
		return
	}
	until := naiveExpiry(m.now, m.now+life)
	m.entries[e.proof] = modelEntry{until, e.owner}
	if e.single {
		m.entries[e.nonce] = modelEntry{until, e.owner}
	}
}

// check compares what both hold.
func (m *model) check() {
	m.t.Helper()
	m.g.pass(m.now)
	if got, want := m.g.ledger.live, len(m.entries); got != want {
		m.t.Fatalf("at %v: %d entries are live, want %d", m.now, got, want)
	}
	for k := range m.entries {
		if !m.g.table.has(k, m.g.now) {
			m.t.Fatalf("at %v: %x was forgotten", m.now, k)
		}
	}
	held, counted, slack := 0, 0, 0
	for _, words := range m.g.table.partitions {
		for _, w := range words {
			if alive(w, m.g.now) {
				held++
			}
		}
	}
	for _, q := range m.g.ledger.queue {
		for _, s := range q {
			counted += s.entries
			slack += s.slack
		}
	}
	if held != len(m.entries) || counted != len(m.entries) || slack != m.g.ledger.slack {
		m.t.Fatalf("at %v: %d words are alive, %d entries and a slack of %d in the slices; want %d, %d and %d",
			m.now, held, counted, slack, len(m.entries), len(m.entries), m.g.ledger.slack)
	}
	if most := counted / (sliceKeys + 1); slack > most {
		m.t.Fatalf("at %v: a slack of %d, want at most %d", m.now, slack, most)
	}
}

// step does one thing, which the arguments choose.
func (m *model) step(op, a byte, b uint16) {
	m.t.Helper()
	switch op % 16 {
	case 0: // a small step of time
		m.pass(time.Duration(b) * 100 * time.Microsecond)
	case 1:
		m.pass(time.Duration(b) * time.Millisecond)
	case 2: // to the moment before, or when, something expires
		if len(m.used) > 0 {
			if e, ok := m.entries[m.used[int(b)%len(m.used)].proof]; ok {
				m.pass(max(0, e.until-m.now-time.Duration(a%2)))
			}
		}
	case 3: // a reload
		m.capacity = max(m.capacity, int(b)%(2*m.capacity))
		m.g.grow(m.capacity)
		if a%4 == 0 {
			m.life += time.Duration(a) * time.Second
		}
	case 4: // a long rest
		if a%8 == 0 {
			m.pass(time.Duration(b) * time.Hour)
		}
	case 5, 6, 7: // a replay
		if len(m.used) > 0 {
			e := m.used[int(b)%len(m.used)]
			if a%4 == 0 {
				e.proof = m.fresh(uint64(len(m.used)))
			}
			if a%4 == 1 {
				e.nonce, e.single = m.fresh(1<<32+uint64(len(m.used))), true
			}
			m.use(e)
		}
	case 8: // a key sends many
		for i := range int(b) % 64 {
			m.use(entry{proof: m.fresh(uint64(len(m.used))), owner: uint64(a % 4), class: class(i % 2)})
		}
	default: // someone sends one
		e := entry{proof: m.fresh(uint64(len(m.used))), owner: 10 + uint64(b%512), class: class(a % 2)}
		if e.single = a%3 == 0; e.single {
			e.class, e.nonce = withNonce, m.fresh(1<<32+uint64(len(m.used)))
		}
		m.use(e)
	}
}

// fresh returns a new tag, of one of a few partitions: that fills them as much
// as a thousand times the entries would fill all.
func (m *model) fresh(n uint64) tag {
	t := newTag(mix(n))
	return t&(1<<printBits-1) | tag(n%3)<<printBits
}

func TestGuardDoesWhatASetDoes(t *testing.T) {
	t.Parallel()
	const seconds = 1 << secondBits * time.Second
	for i, start := range []time.Duration{0, time.Hour + 1, seconds - time.Minute, 7*seconds - 500*time.Second} {
		for j, capacity := range []int{3, 40, 300, 2000} {
			t.Run("start "+start.String()+", capacity "+strconv.Itoa(capacity), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(uint64(i), uint64(j)))
				m := newModel(t, capacity, start)
				for n := range quick(2000, 700) {
					op := byte(r.Uint32())
					if n%400 > 250 { // a time of crowds
						op |= 8
					}
					m.step(op, byte(r.Uint32()), uint16(r.Uint32()))
					if n%50 == 0 {
						m.check()
					}
				}
				m.check()
				m.pass(time.Hour * 24 * 40)
				m.check()
				if got := words(m.g); got != 0 {
					t.Errorf("an empty guard has %d words, want none", got)
				}
			})
		}
	}
}

func FuzzGuard(f *testing.F) {
	f.Add(uint8(3), uint32(0), []byte{9, 0, 0, 0, 5, 2, 0, 0, 2, 1, 0, 0, 5, 2, 0, 0, 2, 0, 0, 0, 5, 2, 0, 0})
	f.Add(uint8(40), uint32(1<<24-100), slices.Repeat([]byte{8, 1, 0, 63, 9, 3, 1, 7, 1, 0, 100, 0, 5, 1, 0, 9}, 20))
	f.Add(uint8(255), uint32(5), slices.Repeat([]byte{8, 1, 0, 63, 3, 4, 0, 200, 4, 8, 0, 1, 6, 0, 0, 3}, 20))
	f.Fuzz(func(t *testing.T, capacity uint8, start uint32, ops []byte) {
		m := newModel(t, int(capacity)+1, time.Duration(start)*time.Second)
		for ops = ops[:min(len(ops), 4*500)]; len(ops) >= 4; ops = ops[4:] {
			m.step(ops[0], ops[1], binary.BigEndian.Uint16(ops[2:]))
		}
		m.check()
	})
}

func TestExpiryIsNeverEarlyAndHardlyLate(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range quick(100_000, 20_000) {
		now := time.Duration(r.Int64N(1 << r.IntN(55)))
		life := 1 + time.Duration(r.Int64N(1<<r.IntN(52)))
		at := expiry(second(now/time.Second), now+life)
		if at == never {
			if life < (longest-2)*time.Second {
				t.Fatalf("at %v a life of %v never ends", now, life)
			}
			continue
		}
		late := time.Duration(at)*time.Second - (now + life)
		if late < 0 || late > 2*time.Second+life/128 {
			t.Fatalf("at %v a life of %v ends %v late", now, life, late)
		}
	}
}

func TestExpiryRoundsUp(t *testing.T) {
	t.Parallel()
	const again = 1 << secondBits
	for _, test := range []struct {
		now   second
		until time.Duration
		want  second
	}{
		{0, 1, 1}, {0, time.Second, 1}, {0, time.Second + 1, 2}, {0, 2*time.Second - 1, 2},
		{5, 5 * time.Second, 5}, {9, 5 * time.Second, 5}, {5, 6 * time.Second, 6},
		// to whole seconds while 256 of them make a life, then to twos and fours
		{0, 255 * time.Second, 255}, {1, 257 * time.Second, 257}, {0, 257 * time.Second, 258},
		{1, 511 * time.Second, 512}, {0, 512 * time.Second, 512}, {0, 513 * time.Second, 516},
		// but never to a second whose last bits say never
		{0, 0, 1}, {again - 10, again * time.Second, again + 1}, {again - 9, (again - 1) * time.Second, again - 1},
	} {
		if got := expiry(test.now, test.until); got != test.want {
			t.Errorf("at %d: what must live until %v expires at %d, want %d", test.now, test.until, got, test.want)
		}
	}
}

// The last bits of a second that a word has room for come again.
func TestTheLongestLifeEndsInTime(t *testing.T) {
	t.Parallel()
	for _, start := range []time.Duration{0, 1 << secondBits * time.Second, (1<<secondBits - longest) * time.Second} {
		g := newGuard(10)
		e := entry{proof: newTag(mix(1)), class: withoutNonce}
		until := start + longest*time.Second
		want(t, "first", reason(g.use(e, start, until)), "")
		for part := range time.Duration(16) {
			want(t, "meanwhile", reason(g.use(e, start+part*longest*time.Second/16, until)), oauth.ProofReplayed)
		}
		want(t, "in its last moment", reason(g.use(e, until-1, until)), oauth.ProofReplayed)
		// so that the guard does not become empty, when it forgets all
		other := entry{proof: newTag(mix(2)), class: withNonce}
		want(t, "another", reason(g.use(other, until-1, until+nonceEntryLife)), "")
		want(t, "after it", reason(g.use(e, until+time.Second, until+2*time.Second)), "")
	}
}

func TestALifeOfWeeksEnds(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	g := newGuard(10)
	want(t, "first", reason(g.use(entry{proof: 1}, 0, 48*day)), "")
	want(t, "beside it", reason(g.use(entry{proof: 2, class: withNonce}, 48*day, 49*day)), "")
	want(t, "half a day later, as its end is rounded", reason(g.use(entry{proof: 1, class: withNonce}, 48*day+day/2, 49*day)), "")
}

func TestALifeThatIsTooLongNeverEnds(t *testing.T) {
	t.Parallel()
	g := newGuard(10)
	kept := entry{proof: newTag(mix(1)), class: withoutNonce}
	want(t, "first", reason(g.use(kept, 0, 2*longest*time.Second)), "")
	for n := range uint64(300) {
		now := time.Duration(n) * 1e6 * time.Second
		want(t, "again", reason(g.use(kept, now, now+time.Second)), oauth.ProofReplayed)
		want(t, "another", reason(g.use(entry{proof: newTag(mix(2)), class: withNonce}, now, now+nonceEntryLife)), "")
	}
	if got := (windows{1 << 62, 1 << 62}).life(); got < 1<<60 {
		t.Errorf("the life of the largest windows is %v", got)
	}
}
