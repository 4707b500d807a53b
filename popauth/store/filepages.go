// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// pages reads the pages of a bbolt database, and finds what makes no sense in
// them. Bbolt believes its pages, which have no checksums: where one is
// damaged it panics, some of that in a goroutine of its own, reads outside of
// its memory map or allocates without end. So this comes first.
//
// A page is a header of id, flags, count and overflow (how many pages it has
// beyond the first), then a table of elements, then their keys and values.
// Numbers are those of the machine.
type pages struct {
	file io.ReaderAt
	size int           // of a page
	end  uint64        // ids are below
	seen []atomic.Bool // by id
	bufs [][]byte

	transaction uint64 // the newest
	torn        bool   // whether there may have been a newer one

	// visitor returns what gets all keys and values of a bucket, which it must
	// not keep. That of another bucket may be called at the same time.
	visitor func(bucket string) func(key, value []byte)
}

const (
	pageHeader   = 16
	pageElement  = 16 // both kinds
	branchPage   = 1
	leafPage     = 2
	bucketFlag   = 1
	bucketHeader = 16
	maxDepth     = 32
	maxRun       = 1 << 20 // bytes of a page and its overflow; values are far smaller

	metaMagic   = 0xed0cdaed
	metaVersion = 2
	metaSum     = 56 // offset of the checksum
)

// check walks all pages, those of each bucket by itself: with a million records,
// that is most of what it takes to open a file.
func (p *pages) check(fileSize int64) error {
	root, err := p.meta()
	if err != nil {
		return err
	}
	if p.end > uint64(fileSize)/uint64(p.size) {
		return &damage{"it is cut off"}
	}
	p.seen = make([]atomic.Bool, p.end)
	var buckets errgroup.Group
	// a page that is damaged may seem to have any number of them
	buckets.SetLimit(len(keySizes))
	err = p.tree(root, 0, nil, nil, func(flags uint32, name, value []byte) error {
		if flags != bucketFlag || len(value) < bucketHeader {
			return &damage{"its root has something else than buckets"}
		}
		visit := p.visitor(string(name))
		leaf := func(flags uint32, key, value []byte) error {
			if flags != 0 {
				return &damage{"a record is a bucket"}
			}
			visit(key, value)
			return nil
		}
		if root := binary.NativeEndian.Uint64(value); root != 0 {
			own := &pages{file: p.file, size: p.size, end: p.end, seen: p.seen}
			buckets.Go(func() error { return own.tree(root, 0, nil, nil, leaf) })
			return nil
		}
		// a small bucket is in the page of its parent
		inline := value[bucketHeader:]
		if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != leafPage {
			return &damage{"a small bucket makes no sense"}
		}
		return p.leaf(inline, nil, nil, leaf)
	})
	return cmp.Or(buckets.Wait(), err)
}

// meta returns the root of the newest of the two pages that say where all
// begins, and sets end, transaction and torn. Each is written in turn, so if
// one is damaged, what is left may be the last but one.
func (p *pages) meta() (root uint64, err error) {
	for id := range int64(2) {
		m := make([]byte, metaSum+8)
		if _, err := p.file.ReadAt(m, id*int64(p.size)+pageHeader); err != nil {
			return 0, err
		}
		sum := fnv.New64a()
		sum.Write(m[:metaSum])
		if binary.NativeEndian.Uint32(m) != metaMagic || binary.NativeEndian.Uint32(m[4:]) != metaVersion ||
			binary.NativeEndian.Uint64(m[metaSum:]) != sum.Sum64() {
			p.torn = true
			continue
		}
		if transaction := binary.NativeEndian.Uint64(m[48:]); root == 0 || transaction > p.transaction {
			p.transaction = transaction
			root, p.end = binary.NativeEndian.Uint64(m[16:]), binary.NativeEndian.Uint64(m[40:])
		}
	}
	if root == 0 {
		return 0, &damage{"it has no beginning"}
	}
	return root, nil
}

// tree walks the page with that id and all below it, whose keys must be at
// least lower and less than upper, where these are given.
func (p *pages) tree(id uint64, depth int, lower, upper []byte, leaf func(flags uint32, key, value []byte) error) error {
	page, err := p.read(id, depth)
	if err != nil {
		return err
	}
	switch binary.NativeEndian.Uint16(page[8:]) {
	case leafPage:
		return p.leaf(page, lower, upper, leaf)
	case branchPage:
	default:
		return &damage{fmt.Sprintf("page %d is neither branch nor leaf", id)}
	}
	count := int(binary.NativeEndian.Uint16(page[10:]))
	if count == 0 {
		return &damage{fmt.Sprintf("page %d is empty", id)}
	}
	key, child, err := branchElement(page, 0)
	for i := 1; err == nil; i++ {
		next, nextChild := upper, uint64(0)
		if i < count {
			if next, nextChild, err = branchElement(page, i); err != nil {
				break
			}
		}
		if bytes.Compare(key, lower) < 0 || next != nil && bytes.Compare(key, next) >= 0 {
			return outOfOrder(id)
		}
		if err = p.tree(child, depth+1, key, next, leaf); err != nil || i >= count {
			break
		}
		key, child, lower = next, nextChild, next
	}
	return err
}

func branchElement(page []byte, i int) (key []byte, child uint64, err error) {
	element := pageHeader + i*pageElement
	if element+pageElement > len(page) {
		return nil, 0, outside(page)
	}
	position := uint64(binary.NativeEndian.Uint32(page[element:]))
	size := uint64(binary.NativeEndian.Uint32(page[element+4:]))
	key, ok := within(page, element, position, size)
	if !ok || size == 0 {
		return nil, 0, outside(page)
	}
	return key, binary.NativeEndian.Uint64(page[element+8:]), nil
}

// leaf visits the elements of a leaf page.
func (p *pages) leaf(page, lower, upper []byte, visit func(flags uint32, key, value []byte) error) error {
	for i := range int(binary.NativeEndian.Uint16(page[10:])) {
		element := pageHeader + i*pageElement
		if element+pageElement > len(page) {
			return outside(page)
		}
		position := uint64(binary.NativeEndian.Uint32(page[element+4:]))
		keySize := uint64(binary.NativeEndian.Uint32(page[element+8:]))
		valueSize := uint64(binary.NativeEndian.Uint32(page[element+12:]))
		both, ok := within(page, element, position, keySize+valueSize)
		if !ok || keySize == 0 {
			return outside(page)
		}
		key := both[:keySize:keySize]
		// the first may be the lower bound itself
		if order := bytes.Compare(key, lower); order < 0 || order == 0 && i > 0 ||
			upper != nil && bytes.Compare(key, upper) >= 0 {
			return outOfOrder(binary.NativeEndian.Uint64(page))
		}
		if err := visit(binary.NativeEndian.Uint32(page[element:]), key, both[keySize:]); err != nil {
			return err
		}
		lower = key
	}
	return nil
}

// within returns the part of a page that an element points to, relative to
// itself.
func within(page []byte, element int, position, size uint64) ([]byte, bool) {
	begin := uint64(element) + position
	if position < pageElement || begin+size > uint64(len(page)) {
		return nil, false
	}
	return page[begin : begin+size], true
}

// read returns a page with its overflow, each of which may be read only once.
// It is good until the next one of that depth is read.
func (p *pages) read(id uint64, depth int) ([]byte, error) {
	if depth >= maxDepth {
		return nil, &damage{"its pages are nested too deeply"}
	}
	for len(p.bufs) <= depth {
		p.bufs = append(p.bufs, make([]byte, p.size))
	}
	page := p.bufs[depth][:p.size]
	if err := p.claim(id, 1); err != nil {
		return nil, err
	}
	if _, err := p.file.ReadAt(page, int64(id)*int64(p.size)); err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint64(page) != id {
		return nil, &damage{fmt.Sprintf("page %d is another one", id)}
	}
	overflow := uint64(binary.NativeEndian.Uint32(page[12:]))
	if overflow == 0 {
		return page, nil
	}
	if err := p.claim(id+1, overflow); err != nil {
		return nil, err
	}
	page = append(page, make([]byte, int(overflow)*p.size)...)
	p.bufs[depth] = page
	_, err := p.file.ReadAt(page, int64(id)*int64(p.size))
	return page, err
}

// claim marks pages as read.
func (p *pages) claim(id, count uint64) error {
	if id < 2 || id >= p.end || count > p.end-id || count > uint64(maxRun/p.size) {
		return &damage{fmt.Sprintf("page %d is outside of the file", id)}
	}
	for i := id; i < id+count; i++ {
		if p.seen[i].Swap(true) {
			return &damage{fmt.Sprintf("page %d is used twice", i)}
		}
	}
	return nil
}

func outOfOrder(id uint64) error { return &damage{fmt.Sprintf("page %d is out of order", id)} }

func outside(page []byte) error {
	return &damage{fmt.Sprintf("page %d points outside of itself", binary.NativeEndian.Uint64(page))}
}
