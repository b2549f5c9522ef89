package mux

import (
	"encoding/binary"
	"sync"

	"github.com/afar-go/afar/internal/wire"
)

// roomLimit is how many bytes may wait to be written before those who send on
// streams wait too.
const roomLimit = 1 << 20

// writer collects frames. Whoever flushes first writes for everybody who adds
// frames meanwhile, so concurrent senders share system calls without a timer
// and a lone sender writes without a goroutine switch.
type writer struct {
	mu       sync.Mutex
	room     sync.Cond // broadcast when out was taken, or on failure
	out      []byte    // frames to write next
	spare    []byte    // the other of the two buffers that take turns
	bulk     []bulkOut // large messages, first in first out, written between frames
	flushing bool      // somebody writes; only they touch the link
	err      error
}

// bulkOut is a large message of which some has been written.
type bulkOut struct {
	parts [][]byte
	total int
	first bool
}

func (w *writer) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.out, w.bulk = nil, nil
	w.room.Broadcast()
	w.mu.Unlock()
}

// Post adds a message, head and body together at most wire.MaxFrame bytes,
// which are copied, to what is written next. Somebody has to Flush or Kick. It
// never blocks.
func (s *Session) Post(head, body []byte) {
	w := &s.writer
	w.mu.Lock()
	if w.err == nil {
		w.out = wire.AppendHeader(w.out, wire.Header{Kind: wire.Message, Length: len(head) + len(body)})
		w.out = append(append(w.out, head...), body...)
	}
	w.mu.Unlock()
}

func (s *Session) postFrame(h wire.Header, payload []byte) {
	w := &s.writer
	w.mu.Lock()
	if w.err == nil {
		w.out = append(wire.AppendHeader(w.out, h), payload...)
	}
	w.mu.Unlock()
}

// PostBulk adds a message of any size, the concatenation of parts. The parts
// must not change until they are written, which may be after the session has
// ended: the sender gives them away.
func (s *Session) PostBulk(parts ...[]byte) {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.bulk = append(w.bulk, bulkOut{parts: parts, total: total, first: true})
	}
}

// Flush writes what waits, unless somebody else is writing already, who then
// writes it. It may block for as long as the peer does not read.
func (s *Session) Flush() {
	w := &s.writer
	w.mu.Lock()
	if w.flushing || len(w.out) == 0 && len(w.bulk) == 0 {
		w.mu.Unlock()
		return
	}
	s.flushLocked()
	w.mu.Unlock()
}

// Kick has the writing goroutine flush: for those who must not block.
func (s *Session) Kick() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *Session) writeLoop() {
	defer s.wg.Done()
	for {
		select {
		case <-s.kick:
			s.Flush()
		case <-s.done:
			return
		}
	}
}

func (s *Session) flushLocked() {
	w := &s.writer
	w.flushing = true
	var head [wire.MaxHeader + binary.MaxVarintLen64]byte
	for w.err == nil && (len(w.out) > 0 || len(w.bulk) > 0) {
		out := w.out
		w.out, w.spare = w.spare[:0], nil
		header, part := w.fragment(head[:0])
		w.mu.Unlock()
		err := s.write(out, header, part)
		w.mu.Lock()
		if cap(out) <= roomLimit {
			w.spare = out[:0]
		}
		w.room.Broadcast()
		if err != nil {
			w.mu.Unlock()
			s.fail(err)
			w.mu.Lock()
		}
	}
	w.flushing = false
}

// fragment takes the next frame of the first large message.
func (w *writer) fragment(header []byte) (head, part []byte) {
	if len(w.bulk) == 0 {
		return nil, nil
	}
	b := &w.bulk[0]
	var total []byte
	kind := wire.BulkNext
	if b.first {
		b.first = false
		kind = wire.BulkFirst
		total = binary.AppendUvarint(nil, uint64(b.total))
	}
	part = b.parts[0]
	if limit := wire.MaxFrame - len(total); len(part) > limit {
		part = part[:limit]
	}
	b.parts[0] = b.parts[0][len(part):]
	for len(b.parts) > 0 && len(b.parts[0]) == 0 {
		b.parts = b.parts[1:]
	}
	if len(b.parts) == 0 {
		w.bulk = w.bulk[1:]
		if len(w.bulk) == 0 {
			w.bulk = nil
		}
	}
	head = wire.AppendHeader(header, wire.Header{Kind: kind, Length: len(total) + len(part)})
	return append(head, total...), part
}

func (s *Session) write(out, header, part []byte) error {
	if part == nil {
		_, err := s.link.Write(out)
		return err
	}
	if s.writev != nil {
		return s.writev(out, header, part)
	}
	if _, err := s.link.Write(append(out, header...)); err != nil {
		return err
	}
	_, err := s.link.Write(part)
	return err
}

// WaitRoom waits while more than a megabyte waits to be written.
func (s *Session) WaitRoom() {
	w := &s.writer
	w.mu.Lock()
	for len(w.out) > roomLimit && w.err == nil {
		if w.flushing {
			w.room.Wait()
		} else {
			s.flushLocked()
		}
	}
	w.mu.Unlock()
}
