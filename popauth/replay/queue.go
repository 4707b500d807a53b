// SPDX-License-Identifier: Apache-2.0

package replay

import "time"

// item is what the guard must know to forget an entry. It holds no pointer,
// so the garbage collector does not read millions of them.
type item struct {
	tag   tag
	owner uint64
	until time.Duration
}

// queue is a first-in first-out queue in blocks: it grows without copying
// and gives memory back after a flood. The zero queue is empty.
type queue struct{ head, tail *block }

type block struct {
	items       [512]item
	first, next int // the used ones are items[first:next]
	after       *block
}

func (q *queue) push(i item) {
	switch {
	case q.tail == nil:
		q.tail = new(block)
		q.head = q.tail
	case q.tail.next == len(q.tail.items):
		q.tail.after = new(block)
		q.tail = q.tail.after
	}
	q.tail.items[q.tail.next] = i
	q.tail.next++
}

// peek returns the oldest item, nil if there is none. It is valid until the
// next pop.
func (q *queue) peek() *item {
	if q.head == nil || q.head.first == q.head.next {
		return nil
	}
	return &q.head.items[q.head.first]
}

// pop removes the oldest item. There must be one.
func (q *queue) pop() {
	b := q.head
	switch b.first++; {
	case b.first < b.next:
	case b.after != nil:
		q.head = b.after
	default:
		b.first, b.next = 0, 0
	}
}
