package mux

import (
	"math/bits"
	"sync"
)

// Buffers of large messages and items are used again: allocating a megabyte for
// each would keep the garbage collector busier than the link.

// Buffers of minPooled to maxPooled bytes are kept.
const (
	minPooled = 4 << 10
	maxPooled = 4 << 20
)

// buffers has a pool for each power of two, from which to the next its buffers
// are large.
var buffers [23]sync.Pool // of *[]byte

func class(n int) int { return bits.Len(uint(n)) - 1 }

// Buffer returns an empty buffer with room for n bytes, and for hardly more than
// twice as many.
func Buffer(n int) []byte {
	if b := used(n); b != nil {
		return b
	}
	return make([]byte, 0, n)
}

// used returns a buffer that was used before, or nil.
func used(n int) []byte {
	if n >= minPooled && n <= maxPooled {
		if p, ok := buffers[class(n)].Get().(*[]byte); ok && cap(*p) >= n {
			return (*p)[:0]
		}
	}
	return nil
}

// Free gives a buffer back that nobody refers to any more. Small, very large
// and nil ones are left to the garbage collector.
func Free(b []byte) {
	if n := cap(b); n >= minPooled && n <= maxPooled {
		buffers[class(n)].Put(&b)
	}
}
