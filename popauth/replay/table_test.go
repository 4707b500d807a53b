// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// flood uses n fresh proofs of many keys, in the first of the partitions.
func flood(t *testing.T, g *guard, partitions, from, n int, now time.Duration) {
	t.Helper()
	for i := from; i < from+n; i++ {
		proof := newTag(mix(uint64(i)))
		proof = proof&(1<<printBits-1) | proof>>printBits%tag(partitions)<<printBits
		e := entry{proof: proof, owner: mix(uint64(i % 5000)), class: withNonce}
		if refusal := g.use(e, now, now+nonceEntryLife); refusal != nil {
			t.Fatalf("proof %d: got %v, want it accepted", i, refusal)
		}
	}
}

func TestMemoryFollowsUse(t *testing.T) {
	t.Parallel()
	partitions := quick(1<<partitionBits, 1<<partitionBits/8)
	n := 100 * partitions
	g := newGuard(8 << 20)
	if got := words(g); got != 0 {
		t.Errorf("an unused guard has %d words, want none", got)
	}
	flood(t, g, partitions, 0, n, 0)
	if got := 8 * float64(words(g)) / float64(n); got > 12 {
		t.Errorf("%.1f bytes per entry, want at most 12", got)
	}
	if got := len(g.ledger.held); got > (lifeSlices+1)*sliceKeys {
		t.Errorf("%d keys are counted, want at most %d", got, (lifeSlices+1)*sliceKeys)
	}
	for i, p := range g.table.partitions {
		if most := 2 * n / partitions; len(p) > most {
			t.Errorf("partition %d has %d words, want at most %d: it takes long to rebuild", i, len(p), most)
		}
	}

	// as many again, while the first expire: that is no reason to grow
	before := words(g)
	for second := range 125 {
		flood(t, g, partitions, n+second*n/125, n/125, nonceEntryLife+time.Duration(second)*time.Second)
	}
	if got, most := words(g), before*5/4; got > most {
		t.Errorf("a steady load took the guard from %d words to %d, want at most %d", before, got, most)
	}

	// one proof a second is all that is left
	end := 3*nonceEntryLife + (1<<partitionBits/sweep+1)*time.Second
	for now := 2 * nonceEntryLife; now < end; now += time.Second {
		flood(t, g, partitions, 2*n+int(now/time.Second), 1, now)
	}
	if got, most := words(g), 3*bucketSize*g.ledger.live; got > most {
		t.Errorf("%d words after the flood, for %d entries; want at most %d", got, g.ledger.live, most)
	}
}

// Collisions must stay rarer than 1 in 10⁸ checks at ten million entries, also
// under SingleUse, which checks two tags.
func TestTagsAreLongEnough(t *testing.T) {
	t.Parallel()
	if got := 2 * 10e6 / float64(uint64(1)<<tagBits); got > 1e-8 {
		t.Errorf("a fresh proof is refused in one of %g cases, want 1e8 or more", 1/got)
	}
	n := quick(200_000, 20_000)
	g := newGuard(n)
	seen := map[tag]bool{}
	var high, low tag
	for i := range n {
		e := newTag(mix(uint64(i)))
		if seen[e] {
			t.Errorf("tag %x comes twice", e)
		}
		seen[e] = true
		high, low = high|e, low|^e
	}
	if all := tag(1<<tagBits - 1); high != all || low&all != all {
		t.Errorf("bits that were ever set: %x, unset: %x; want all of %d", high, low&all, tagBits)
	}
	if a, b := g.entry("dpop", "k", "1"), g.entry("dpop", "k", "2"); a.proof == b.proof || a.owner != b.owner {
		t.Errorf("two proofs of a key are %+v and %+v, want other tags and one owner", a, b)
	}
	if a, b := g.entry("dpop", "k", "1"), newGuard(n).entry("dpop", "k", "1"); a == b {
		t.Error("two guards make the same tags")
	}
}

// A print of 0 would be an empty word where the last bits of its second are 0
// too, and the proof forgotten at once.
func TestNoTagIsAnEmptyWord(t *testing.T) {
	t.Parallel()
	for _, hash := range []uint64{0, 1 << 63, 7 << (64 - partitionBits), 1<<(64-tagBits) - 1} {
		for _, life := range []time.Duration{nonceEntryLife, 2 * longest * time.Second} {
			for _, now := range []time.Duration{0, time.Second, 1<<secondBits*time.Second - nonceEntryLife} {
				g := newGuard(10)
				e := entry{proof: newTag(hash), class: withNonce}
				want(t, "first", reason(g.use(e, now, now+life)), "")
				want(t, "again", reason(g.use(e, now, now+life)), oauth.ProofReplayed)
			}
		}
	}
}

// What is cut off a hash, or folded, makes collisions more frequent.
func TestATagIsTheBeginningOfItsHash(t *testing.T) {
	t.Parallel()
	const unit = 1 << (64 - tagBits)
	for hash, want := range map[uint64]tag{
		0: 1, unit - 1: 1, unit: 1, 2 * unit: 2, 5*unit + 1: 5,
		1 << 63: 1<<(tagBits-1) + 1, 1<<63 + 3*unit: 1<<(tagBits-1) + 3, math.MaxUint64: 1<<tagBits - 1,
	} {
		if got := newTag(hash); got != want {
			t.Errorf("newTag(%#x) = %#x, want %#x", hash, got, want)
		}
	}
}

func TestTagsThatDifferInOneBitAreTwo(t *testing.T) {
	t.Parallel()
	whole := newTag(mix(1))
	for bit := range tagBits {
		var in table
		in.add(whole, 100, 0)
		if !in.has(whole, 0) || in.has(whole^1<<bit, 0) {
			t.Errorf("with %#x the table has it: %v, and with bit %d flipped: %v; want true and false",
				whole, in.has(whole, 0), bit, in.has(whole^1<<bit, 0))
		}
	}
}

// inBuckets returns n words of which the buckets of a partition of two are
// these.
func inBuckets(n, first, second int) (found []uint64) {
	for i := uint64(0); len(found) < n; i++ {
		word := newTag(mix(i)).word(100)
		if a, b := buckets(make([]uint64, 2*bucketSize), word); a == first && b == second {
			found = append(found, word)
		}
	}
	return found
}

func TestAFullBucketMovesAWordToItsOtherOne(t *testing.T) {
	t.Parallel()
	for _, full := range []int{0, bucketSize} {
		other := bucketSize - full
		for name, movable := range map[string][]uint64{
			"where all are in their first bucket":  inBuckets(bucketSize, full, other),
			"where all are in their second bucket": inBuckets(bucketSize, other, full),
		} {
			for _, empty := range []int{other, other + 3, other + bucketSize - 1} {
				words := make([]uint64, 2*bucketSize)
				copy(words[full:], movable)
				copy(words[other:], inBuckets(bucketSize, other, other))
				words[empty] = 0
				newcomer := inBuckets(bucketSize+1, full, full)[bucketSize]
				if !place(words, newcomer, 0) || !slices.Contains(words[full:full+bucketSize], newcomer) {
					t.Errorf("bucket %d, %s: no room, though word %d is empty", full, name, empty)
				}
				if words[empty] != movable[0] {
					t.Errorf("bucket %d, %s: word %d is %#x, want %#x", full, name, empty, words[empty], movable[0])
				}
				if place(words, 1<<secondBits|100, 0) {
					t.Errorf("bucket %d, %s: there is room in a full partition", full, name)
				}
			}
		}
	}
}

func TestARebuiltPartitionHoldsAllThatIsAlive(t *testing.T) {
	t.Parallel()
	const live, dead, now = 100, 50, 10
	var old, kept []uint64
	for i := range uint64(live) {
		kept = append(kept, newTag(mix(i)).word(100))
	}
	for i := range uint64(dead) {
		old = append(old, newTag(mix(live+i)).word(now))
	}
	old = append(old, kept...)
	for _, another := range []uint64{0, newTag(mix(1000)).word(100)} {
		for _, size := range []int{0, bucketSize, live / 2, live, 3 * live} {
			var got []uint64
			words := rebuilt(old, another, size, now)
			if most := max(2*live, size+size/4+2*bucketSize); len(words) > most {
				t.Errorf("rebuilt to %d words, want at most %d", len(words), most)
			}
			for _, w := range words {
				if w != 0 {
					got = append(got, w)
				}
			}
			want := kept
			if another != 0 {
				want = append(slices.Clone(kept), another)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("rebuilt to %d words and with word %#x: %d words are in use, want the %d that are alive", size, another, len(got), len(want))
			}
		}
	}
}

// The words of one full bucket fit, and one more of it does not.
func TestARebuiltPartitionGrowsUntilTheNewcomerFits(t *testing.T) {
	t.Parallel()
	crowd := inBuckets(bucketSize+1, 0, 0)
	old, newcomer := crowd[:bucketSize], crowd[bucketSize]
	if got := rebuilt(old, 0, bucketSize, 0); len(got) != 2*bucketSize {
		t.Errorf("without a newcomer there are %d words, want %d", len(got), 2*bucketSize)
	}
	got := rebuilt(old, newcomer, bucketSize, 0)
	for _, word := range crowd {
		if !slices.Contains(got, word) {
			t.Errorf("of %d words, %#x is not there", len(got), word)
		}
	}
}

func TestAPartitionGrowsByAQuarter(t *testing.T) {
	t.Parallel()
	var in table
	grown := 0
	for i := range uint64(3000) {
		before := len(in.partitions[0])
		in.add(newTag(mix(i))&(1<<printBits-1), 100, 0)
		after := len(in.partitions[0])
		if after == before || before < 400 {
			continue
		}
		grown++
		// the allocator rounds up by an eighth at the most
		if by := float64(after) / float64(before); by < 1.2 || by > 1.45 {
			t.Errorf("a partition grew from %d words to %d, want a quarter more", before, after)
		}
	}
	if grown < 5 {
		t.Errorf("the partition grew %d times, want several", grown)
	}
}

// Up to three times what is alive, and two buckets, may be empty; what is given
// back leaves room, or the next proof takes it again.
func TestASweepGivesBackWhatIsHardlyUsed(t *testing.T) {
	t.Parallel()
	const live = 200
	for size, kept := range map[int]bool{live: true, 3*live + 2*bucketSize: true, 3*live + 3*bucketSize: false, 20 * live: false} {
		var in table
		words := make([]uint64, size)
		for i := range words {
			words[i] = newTag(mix(uint64(i))).word(10)
			if i < live {
				words[i] = newTag(mix(uint64(i))).word(100)
			}
		}
		in.partitions[0] = words
		in.sweep(1, 10)
		got := in.partitions[0]
		if (len(got) == size) != kept || !kept && len(got) > 2*live {
			t.Errorf("a partition of %d words with %d alive has %d after the sweep; want it kept: %v", size, live, len(got), kept)
		}
		if kept {
			continue
		}
		in.next = 0
		in.sweep(1, 10)
		for i := range live / 4 {
			in.add(newTag(mix(uint64(1e6+i)))&(1<<printBits-1), 100, 10)
		}
		if again := in.partitions[0]; &again[0] != &got[0] {
			t.Errorf("a partition of %d words was built again, with %d words, for a few more", len(got), len(again))
		}
	}
}

// A second that a word has room for comes again after half a year.
func TestWhatWasSweptDoesNotComeBack(t *testing.T) {
	t.Parallel()
	g := newGuard(10)
	want(t, "one that never ends", reason(g.use(entry{proof: 1}, 0, 2*longest*time.Second)), "")
	want(t, "one beside it", reason(g.use(entry{proof: 2, class: withNonce}, 0, nonceEntryLife)), "")
	g.pass(time.Hour)
	again := 1<<secondBits*time.Second + time.Second
	want(t, "when its seconds come again", reason(g.use(entry{proof: 2, class: withNonce}, again, again+nonceEntryLife)), "")
	want(t, "the one that never ends", reason(g.use(entry{proof: 1}, again, again+nonceEntryLife)), oauth.ProofReplayed)
}

func TestExpiredPartitionsAreSweptAFewAtATime(t *testing.T) {
	t.Parallel()
	g := newGuard(8192)
	want(t, "the one that stays", reason(g.use(entry{proof: 1}, 0, time.Hour)), "")
	for p := range tag(1 << partitionBits) {
		e := entry{proof: p<<printBits | 2, class: withNonce}
		want(t, "one in each partition", reason(g.use(e, 0, nonceEntryLife)), "")
	}
	all := words(g)
	for now := time.Second; now <= nonceEntryLife; now += time.Second {
		g.pass(now)
	}
	if got, want := words(g), all-4*bucketSize; got != want {
		t.Errorf("in the second in which all expired, the guard shrank from %d words to %d, want %d", all, got, want)
	}
	for now := nonceEntryLife; now <= nonceEntryLife+9*time.Minute; now += time.Second {
		g.pass(now)
	}
	if got := words(g); got != bucketSize {
		t.Errorf("nine minutes later it has %d words, want %d", got, bucketSize)
	}
}

func TestStatsForgetWhatHasExpired(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(start)
	m := New(c, 10)
	fill(t, m, required, "a", 5)
	c.Advance(nonceEntryLife)
	if got := m.Stats().Live; got != 0 || words(m.guard) != 0 {
		t.Errorf("%d entries and %d words when all have expired, want none", got, words(m.guard))
	}
}
