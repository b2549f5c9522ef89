package mux

import (
	"bytes"
	"encoding/binary"

	"github.com/afar-go/afar/internal/wire"
)

// batch is items in the order in which they came. Small ones lie behind each
// other as they came over the link, so that there is no allocation for each.
type batch struct {
	data  []byte // item frames, and for each large item a frame's first byte of another kind
	at    int    // where the next one is
	large []largeItem
}

// largeItem is one with memory of its own.
type largeItem struct {
	data   []byte
	charge int // what of the window it takes up
}

// largeMark stands for a large item in a batch.
const largeMark = byte(wire.ItemFirst)

func (b *batch) empty() bool { return b.at == len(b.data) }

// add copies whole frames.
func (b *batch) add(frames []byte) {
	if need := len(b.data) + len(frames); need > cap(b.data) && need >= minPooled {
		grown := append(Buffer(2*need), b.data...)
		Free(b.data)
		b.data = grown
	}
	b.data = append(b.data, frames...)
}

func (b *batch) addLarge(item largeItem) {
	b.data = append(b.data, largeMark)
	b.large = append(b.large, item)
}

// next takes the next item; tag is how long the first number of its frame is.
func (b *batch) next(tag int) (item []byte, large bool, charge int) {
	if b.data[b.at]&15 == largeMark {
		next := b.large[0]
		b.large[0] = largeItem{}
		b.large = b.large[1:]
		b.at++
		return next.data, true, next.charge
	}
	at := b.at + tag
	length, n := int(b.data[at]), 1
	if length >= 0x80 {
		var long uint64
		long, n = binary.Uvarint(b.data[at:])
		length = int(long)
	}
	at += n
	b.at = at + length
	return b.data[at:b.at:b.at], false, length + itemCost
}

// reset empties the batch and keeps its memory, unless there is much of it and
// it is not needed soon.
func (b *batch) reset(soon bool) {
	if !soon && cap(b.data) >= minPooled {
		Free(b.data)
		b.data = nil
	}
	b.data, b.at, b.large = b.data[:0], 0, nil
}

// measure measures the whole small items with the given tag that data begins with:
// the bytes of their frames, their number, and what they take up of the window.
func measure(data, tag []byte, limit int) (size, items, charge int) {
	for size < runLimit {
		rest := data[size:]
		if len(rest) <= len(tag) || !bytes.HasPrefix(rest, tag) {
			break
		}
		length, n := int(rest[len(tag)]), 1
		if length >= 0x80 {
			var long uint64
			if long, n = binary.Uvarint(rest[len(tag):]); n <= 0 || long > uint64(limit) {
				break
			}
			length = int(long)
		}
		end := len(tag) + n + length
		if length > limit || end > len(rest) {
			break
		}
		size += end
		items++
		charge += length + itemCost
	}
	return size, items, charge
}

const (
	// runLimit is how many bytes of small items are copied under a lock at once.
	runLimit = 32 << 10
	// smallItem is the size of the largest item without memory of its own.
	smallItem = 16<<10 - 1
)
