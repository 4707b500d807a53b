// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"slices"
)

// journal lists the revocations of one issuer in the order of their numbers.
type journal struct {
	records []*record
	dropped int // of records, still in the list
}

func (j *journal) append(r *record) { j.records = append(j.records, r) }

// after returns the records with a number above since. There are none in a nil
// journal.
func (j *journal) after(since uint64) []*record {
	if j == nil {
		return nil
	}
	from, found := slices.BinarySearchFunc(j.records, since, func(r *record, number uint64) int {
		return cmp.Compare(r.number, number)
	})
	if found {
		from++
	}
	return j.records[from:]
}

// drop takes note that a record has gone, and reports whether all have.
// Records leave the list in bulk, since each time the rest must move.
func (j *journal) drop(r *record) (empty bool) {
	r.value, r.place = nil, -1
	if j.dropped++; 2*j.dropped > len(j.records) {
		j.records = slices.DeleteFunc(j.records, func(r *record) bool { return r.place < 0 })
		j.dropped = 0
	}
	return len(j.records) == 0
}

// expiryHeap has the record that expires first at its root (container/heap).
type expiryHeap []*record

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *expiryHeap) Push(x any) {
	r := x.(*record)
	r.place = len(*h)
	*h = append(*h, r)
}

// Pop implements heap.Interface.
func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return r
}
