// SPDX-License-Identifier: Apache-2.0

package replay

import "slices"

// table is a set of tags, each until a time of its own. It is never full and
// never drops a tag that is alive; how many it may hold is the guard's affair.
//
// It is cut into partitions, and a partition is one slice of words without
// pointers: the garbage collector does not look into it, an unused partition
// takes nothing, and one that must grow or may shrink is rebuilt alone, in a
// fraction of a millisecond at ten million tags. A partition consists of
// buckets of one cache line. A tag may be in two of them, so that a check
// reads two lines, and nine words out of ten can be in use before a partition
// must grow.
//
// A word holds a print, which is the tag without its partition, and below it
// the second from which on the word is free again. So a word that has expired
// is as good as an empty one, and nobody has to delete it. Both buckets follow
// from the print, so that a partition can be rebuilt from its words alone.
// Since words of one partition are equal only if the tags are, a fresh tag is
// taken for another one with the probability of a collision of tags: it is at
// most live ÷ 2^tagBits, 4·10⁻⁹ at ten million live tags. The way around it
// cannot happen: equal tags have equal partitions, buckets and prints.
type table struct {
	partitions [1 << partitionBits][]uint64
	next       int // to be swept
}

// tag stands for a proof or a used nonce: the number of a partition, then a
// print.
type tag uint64

const (
	partitionBits = 11
	printBits     = 40
	tagBits       = partitionBits + printBits
	secondBits    = 24
	bucketSize    = 8 // words of 8 bytes, a cache line
	secondMask    = 1<<secondBits - 1
)

// second is a reading of the monotonic clock in whole seconds. A word has
// room for its last bits only, which is enough to tell the coming 97 days from
// the past ones.
type second uint64

// never is when a tag expires whose life a word can't hold.
const never = ^second(0)

// longest is the longest life that a word can hold: half of what it can tell
// from the past, so that there are 48 days to sweep the word once it expired.
// One that is not swept by then would seem alive again, which is the safe way
// to be wrong.
const longest = 1 << (secondBits - 2)

// word is the entry of a tag. Its lowest bits are 0 if the tag never expires,
// which is why no other tag may expire at a second that ends in these bits:
// see expiry.
func (t tag) word(until second) uint64 {
	w := uint64(t) << secondBits
	if until != never {
		w |= uint64(until) & secondMask
	}
	return w
}

// alive reports whether a word is in use. An empty word is 0; a tag is never
// 0 in the bits of the print.
func alive(word uint64, now second) bool {
	if word&secondMask == 0 {
		return word != 0
	}
	left := (word - uint64(now)) & secondMask
	return left != 0 && left < 1<<(secondBits-1)
}

// buckets returns where the two buckets of a word start. Each half of the
// print chooses one, by its fraction of the highest value.
func buckets(words []uint64, word uint64) (a, b int) {
	const half = printBits / 2
	n := uint64(len(words) / bucketSize)
	a = int(word >> (secondBits + half) * n >> half)
	b = int(word >> secondBits & (1<<half - 1) * n >> half)
	return a * bucketSize, b * bucketSize
}

// has reports whether the tag is in the table and alive.
func (t *table) has(g tag, now second) bool {
	words := t.partitions[g>>printBits]
	if words == nil {
		return false
	}
	word := g.word(never)
	a, b := buckets(words, word)
	for _, at := range [...]int{a, b} {
		for _, w := range words[at : at+bucketSize] {
			if w&^secondMask == word && alive(w, now) {
				return true
			}
		}
	}
	return false
}

// add puts a tag in that is not in yet.
func (t *table) add(g tag, until, now second) {
	words := &t.partitions[g>>printBits]
	if word := g.word(until); !place(*words, word, now) {
		*words = rebuilt(*words, word, len(*words)*5/4, now)
	}
}

// place puts a word into one of its buckets, if need be after moving another
// one to its other bucket. It reports whether there was room.
func place(words []uint64, word uint64, now second) bool {
	if len(words) == 0 {
		return false
	}
	a, b := buckets(words, word)
	for _, at := range [...]int{a, b} {
		if room := free(words, at, now); room != nil {
			*room = word
			return true
		}
	}
	for _, at := range [...]int{a, b} {
		for i := at; i < at+bucketSize; i++ {
			c, d := buckets(words, words[i])
			if c == at {
				c = d
			}
			if room := free(words, c, now); room != nil {
				*room, words[i] = words[i], word
				return true
			}
		}
	}
	return false
}

// free returns a word of the bucket that is not in use, nil if there is none.
func free(words []uint64, at int, now second) *uint64 {
	for i, w := range words[at : at+bucketSize] {
		if !alive(w, now) {
			return &words[at+i]
		}
	}
	return nil
}

// rebuilt returns a partition of at least the given size that holds the live
// words of the old one and another one, unless that is 0. It ends because
// with every round there are more buckets for as many tags, and who sends them
// can't choose their buckets: the tags are keyed.
func rebuilt(old []uint64, word uint64, size int, now second) []uint64 {
next:
	for ; ; size += size / 4 {
		// rounded up to what the allocator would spend anyway
		size = (size/bucketSize + 1) * bucketSize
		words := slices.Grow([]uint64(nil), size)
		words = words[:cap(words)/bucketSize*bucketSize]
		for _, w := range old {
			if alive(w, now) && !place(words, w, now) {
				continue next
			}
		}
		if word != 0 && !place(words, word, now) {
			continue
		}
		return words
	}
}

// sweep empties the expired words of the next n partitions and gives back
// what they don't need any more.
func (t *table) sweep(n int, now second) {
	for range min(n, len(t.partitions)) {
		words := &t.partitions[t.next]
		t.next = (t.next + 1) % len(t.partitions)
		live := 0
		for i, w := range *words {
			if alive(w, now) {
				live++
			} else {
				(*words)[i] = 0
			}
		}
		switch {
		case live == 0:
			*words = nil
		// twice what they need, so that add and sweep do not take turns
		case len(*words) > 3*live+2*bucketSize:
			*words = rebuilt(*words, 0, live*3/2, now)
		}
	}
}

// clear empties the table, and gives its memory back.
func (t *table) clear() { *t = table{} }
