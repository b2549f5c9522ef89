// Package ring moves bytes between two processes through memory that both of
// them see, beside a link that says what is in it. A pipe copies every byte
// twice, page by page, inside system calls; a ring copies it twice in user space,
// which is several times as fast for blocks of 4 KiB and more.
//
// A ring never blocks and wakes nobody: Put says no when there is no room, and
// what was put is announced over the link, in the same order. So whoever has to
// wait does so in the link, and without a ring everything works as well.
//
// The peer is not trusted further than over a pipe. It may write anything
// anywhere in the shared memory at any time; that spoils the bytes that it sends,
// and gives errors here, never reads or writes outside of the ring.
package ring

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

const (
	// Size is how many bytes each direction holds. It was measured: a quarter of
	// it is slower, since the sender falls back to the pipe more often, and more is
	// no faster, since it leaves the caches.
	Size = 1 << 20

	page   = 4096 // of the words in front of a ring
	length = page + Size
)

// ErrClosed is given by a Memory that was closed.
var ErrClosed = errors.New("shared memory was closed")

// words is what the two ends tell each other about a ring. Each has a cache line
// of its own, since different processors write them.
type words struct {
	put   atomic.Uint64 // bytes that were ever put; its sender writes it
	_     [56]byte
	taken atomic.Uint64 // bytes that were ever taken; its receiver writes it
	_     [56]byte
	open  atomic.Uint32 // 1 once the receiver takes what comes
}

// half is a ring in one direction, seen by one of its ends.
type half struct {
	mu    sync.Mutex // Close must not take away what is being copied
	words *words
	data  []byte // of Size bytes; nil after Close
	at    uint64 // what this end has ever put or taken: not read from where the peer can write
}

func over(memory []byte) half {
	return half{words: (*words)(unsafe.Pointer(&memory[0])), data: memory[page:length]}
}

// Memory is one end of a ring in each direction. Put may be used concurrently with
// Take and Skip; Put by one goroutine at a time, and Take and Skip by one, as the
// order of what goes through it asks for anyway. Close may be called at any time.
type Memory struct {
	out, in half
	release func() // gives the memory back
	once    sync.Once
}

// newMemory returns the end of a memory of two rings that first puts into the
// first of them.
func newMemory(all []byte, first bool, release func()) *Memory {
	m := &Memory{out: over(all[:length]), in: over(all[length:]), release: release}
	if !first {
		m.out, m.in = over(all[length:]), over(all[:length])
	}
	return m
}

// Pair returns the two ends of a memory within this process.
func Pair() (a, b *Memory) {
	all := make([]uint64, 2*length/8) // for the alignment of its words
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&all[0])), 2*length)
	return newMemory(bytes, true, func() {}), newMemory(bytes, false, func() {})
}

// Listen says that this end takes what the other puts. Before that the other's Put
// has no room: there may be something on the way of the link that knows nothing
// of the memory.
func (m *Memory) Listen() {
	m.in.mu.Lock()
	defer m.in.mu.Unlock()
	if m.in.data != nil {
		m.in.words.open.Store(1)
	}
}

// Put copies first and second, put together, to the other end, if there is room.
// The other end has to be told.
func (m *Memory) Put(first, second []byte) bool {
	h := &m.out
	n := len(first) + len(second)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.data == nil || h.words.open.Load() == 0 {
		return false
	}
	used := h.at - h.words.taken.Load()
	if used > Size || uint64(n) > Size-used { // over Size only if the peer is broken
		return false
	}
	h.put(first)
	h.put(second)
	h.words.put.Store(h.at)
	return true
}

func (h *half) put(p []byte) {
	n := copy(h.data[h.at%Size:], p)
	copy(h.data, p[n:])
	h.at += uint64(len(p))
}

// Take appends the next n bytes that the other end has put to dst. It gives an
// error when the other end has not put so many.
func (m *Memory) Take(dst []byte, n int) ([]byte, error) {
	err := m.in.take(n, func(first, second []byte) {
		// Appending to an empty slice does not clear memory that is written at once.
		if dst = append(dst, first...); len(second) > 0 {
			dst = append(dst, second...)
		}
	})
	return dst, err
}

// Skip leaves the next n bytes out.
func (m *Memory) Skip(n int) error { return m.in.take(n, func(_, _ []byte) {}) }

func (h *half) take(n int, use func(first, second []byte)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.data == nil {
		return ErrClosed
	}
	if has := h.words.put.Load() - h.at; n < 0 || has > Size || uint64(n) > has {
		return fmt.Errorf("shared memory does not have the %d bytes that were announced", n)
	}
	at := int(h.at % Size)
	first := h.data[at:min(at+n, Size)]
	use(first, h.data[:n-len(first)])
	h.at += uint64(n)
	h.words.taken.Store(h.at)
	return nil
}

// Close gives the memory back. It is idempotent.
func (m *Memory) Close() {
	m.once.Do(func() {
		for _, h := range []*half{&m.out, &m.in} {
			h.mu.Lock()
			h.data, h.words = nil, nil
			h.mu.Unlock()
		}
		m.release()
	})
}
