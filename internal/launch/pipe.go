package launch

import (
	"io"
	"sync"
)

const (
	pipeCapacity = 256 << 10 // bytes that one direction of a Pipe holds
	pipeFirst    = 4 << 10   // bytes of its first buffer; it doubles on demand
)

// Pipe returns the two ends of a link in memory. Each direction buffers up to 256 KiB; a writer waits while it is
// full. Close of one end makes its own reads and writes, and the other end's writes, fail with io.ErrClosedPipe;
// the other end still reads what was written before, then io.EOF.
//
// Goroutines that wait in it do so in sync.Cond only, so they are durably blocked in the sense of testing/synctest.
func Pipe() (a, b Link) {
	ab, ba := newHalf(), newHalf()
	return &pipeEnd{in: ba, out: ab}, &pipeEnd{in: ab, out: ba}
}

// pipeEnd is one end of a Pipe.
type pipeEnd struct{ in, out *half }

func (e *pipeEnd) Read(p []byte) (int, error)  { return e.in.read(p) }
func (e *pipeEnd) Write(p []byte) (int, error) { return e.out.write(p) }

func (e *pipeEnd) Writev(bufs ...[]byte) error {
	_, err := e.out.write(bufs...)
	return err
}

func (e *pipeEnd) Close() error {
	e.in.closeReader()
	e.out.closeWriter()
	return nil
}

// half is one direction: a ring of bytes.
type half struct {
	mu    sync.Mutex
	data  sync.Cond // signaled when bytes arrived or an end closed
	space sync.Cond // signaled when bytes were taken, a writer finished or an end closed

	ring  []byte // grows to pipeCapacity
	start int    // index of the first unread byte
	size  int    // unread bytes

	// writing is set while one writer has its turn. A second mutex would do the same, but a goroutine that waits
	// for a mutex is not durably blocked under synctest.
	writing bool

	readerClosed, writerClosed bool
}

func newHalf() *half {
	h := &half{}
	h.data.L, h.space.L = &h.mu, &h.mu
	return h
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readerClosed:
			return 0, io.ErrClosedPipe
		case len(p) == 0:
			return 0, nil
		case h.size > 0:
			n := h.take(p)
			h.space.Broadcast()
			return n, nil
		case h.writerClosed:
			return 0, io.EOF
		}
		h.data.Wait()
	}
}

// write puts all of bufs in the ring, in one turn. It returns how many bytes it placed.
func (h *half) write(bufs ...[]byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.writing && !h.broken() {
		h.space.Wait()
	}
	if h.broken() {
		return 0, io.ErrClosedPipe
	}
	h.writing = true
	defer func() {
		h.writing = false
		h.space.Broadcast()
	}()

	total := 0
	for _, p := range bufs {
		for len(p) > 0 {
			for h.size == pipeCapacity && !h.broken() {
				h.space.Wait()
			}
			if h.broken() {
				return total, io.ErrClosedPipe
			}
			n := h.put(p)
			p, total = p[n:], total+n
			h.data.Signal()
		}
	}
	return total, nil
}

func (h *half) broken() bool { return h.readerClosed || h.writerClosed }

func (h *half) closeReader() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readerClosed = true
	h.ring, h.start, h.size = nil, 0, 0
	h.data.Broadcast()
	h.space.Broadcast()
}

func (h *half) closeWriter() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writerClosed = true
	h.data.Broadcast()
	h.space.Broadcast()
}

// take moves unread bytes to p.
func (h *half) take(p []byte) int {
	first := h.ring[h.start:min(h.start+h.size, len(h.ring))]
	n := copy(p, first)
	if n == len(first) {
		n += copy(p[n:], h.ring[:h.size-len(first)])
	}
	h.size -= n
	h.start = (h.start + n) % len(h.ring)
	if h.size == 0 {
		h.start = 0
	}
	return n
}

// put moves bytes of p to the ring, which it enlarges up to the capacity.
func (h *half) put(p []byte) int {
	if want := min(h.size+len(p), pipeCapacity); want > len(h.ring) {
		h.grow(want)
	}
	p = p[:min(len(p), len(h.ring)-h.size)]
	end := (h.start + h.size) % len(h.ring)
	n := copy(h.ring[end:], p)
	copy(h.ring, p[n:])
	h.size += len(p)
	return len(p)
}

// grow gives the ring at least want bytes.
func (h *half) grow(want int) {
	size := max(len(h.ring), pipeFirst)
	for size < want {
		size *= 2
	}
	ring := make([]byte, size)
	if unread := h.size; unread > 0 {
		h.take(ring)
		h.size = unread
	}
	h.ring, h.start = ring, 0
}
