package mux

import "sync"

// Buffers of large messages are used again: allocating a megabyte for each
// would keep the garbage collector busier than the link.

// maxPooled is the largest buffer that is kept.
const maxPooled = 4 << 20

var buffers sync.Pool // of *[]byte

// Buffer returns an empty buffer with room for n bytes.
func Buffer(n int) []byte {
	if p, ok := buffers.Get().(*[]byte); ok && cap(*p) >= n {
		return (*p)[:0]
	}
	return make([]byte, 0, n)
}

// Free gives a buffer back that nobody refers to any more. Small, very large
// and nil ones are left to the garbage collector.
func Free(b []byte) {
	if cap(b) > smallBuffer && cap(b) <= maxPooled {
		buffers.Put(&b)
	}
}
