package mux

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// roomLimit is how many bytes may wait to be written before those who send on
// streams wait too.
const roomLimit = 1 << 20

// A write of more than patientBytes that takes longer than patience may be one
// of two in opposite directions, each by the reader that the other waits for:
// then somebody else has to read. Smaller ones fit into a pipe; if they do not,
// keepalive sees to it.
const (
	patientBytes = 16 << 10
	patience     = 20 * time.Millisecond
)

// writer collects frames. Whoever flushes first writes for everybody who adds
// frames meanwhile, so concurrent senders share system calls without a timer
// and a lone sender writes without a goroutine switch.
type writer struct {
	mu       sync.Mutex
	room     sync.Cond   // broadcast when something was written, or on failure
	out      []byte      // frames to write next
	spare    []byte      // the other of the two buffers that take turns
	bulk     []bulkOut   // large messages, first in first out, written between frames
	flushing bool        // somebody writes; only they touch the link
	relief   *time.Timer // used by whoever flushes
	err      error

	writes uint64 // that have ended
	// How much was written, for Sync: bytes of out, and large messages.
	taken, written   uint64 // taken from out, and of that written
	bulkIn, bulkDone uint64 // posted, and of that written
	resets           int    // in out, of streams that the peer opened
}

// maxResets is how many streams the peer may open in vain before it reads what
// became of them.
const maxResets = 1024

// bulkOut is a large message of which some has been written.
type bulkOut struct {
	parts [][]byte
	total int
	first bool
	free  []byte // to be used again once all is written
}

func (w *writer) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.out, w.bulk = nil, nil
	w.room.Broadcast()
	w.mu.Unlock()
}

// Post adds a message, head and body together at most wire.MaxFrame bytes,
// which are copied, to what is written next; one that is larger is sent as
// PostBulk does. Somebody has to Flush or Kick. It never blocks.
func (s *Session) Post(head, body []byte) {
	if len(head)+len(body) > wire.MaxFrame {
		s.PostBulk(append(append([]byte(nil), head...), body...))
		return
	}
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

// pong shows that we live, unless something else is about to be written, which
// does so as well; so a peer that sends pings and does not read cannot
// fill our memory with answers.
func (s *Session) pong() {
	w := &s.writer
	w.mu.Lock()
	if w.err == nil && len(w.out) == 0 {
		w.out = wire.AppendHeader(w.out, wire.Header{Kind: wire.Pong})
	}
	w.mu.Unlock()
	s.Kick()
}

func (s *Session) postReset(id uint64, reason string, theirs bool) {
	reason = reason[:min(len(reason), maxReason)]
	w := &s.writer
	w.mu.Lock()
	if w.err == nil {
		w.out = wire.AppendHeader(w.out, wire.Header{Stream: id, Kind: wire.Reset, Length: len(reason)})
		w.out = append(w.out, reason...)
		if theirs {
			w.resets++
		}
	}
	w.mu.Unlock()
	s.Kick()
}

func (s *Session) writes() uint64 {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	return s.writer.writes
}

func (s *Session) resetsWaiting() int {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	return s.writer.resets
}

// PostBulk adds a message of any size, the concatenation of parts. The parts
// must not change until they are written, which may be after the session has
// ended: the sender gives them away.
func (s *Session) PostBulk(parts ...[]byte) { s.postBulk(nil, parts) }

// PostBulkFree is PostBulk of a head and a body that nobody needs afterwards.
func (s *Session) PostBulkFree(head, body []byte) { s.postBulk(body, [][]byte{head, body}) }

func (s *Session) postBulk(free []byte, parts [][]byte) {
	parts = slices.DeleteFunc(parts, func(p []byte) bool { return len(p) == 0 })
	if len(parts) == 0 {
		s.Post(nil, nil)
		return
	}
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.bulkIn++
		w.bulk = append(w.bulk, bulkOut{parts: parts, total: total, first: true, free: free})
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

// Sync writes what waits, as Flush does, and does not return before all that
// was posted until now has been given to the link, by whomever, or the session
// has ended: what the process does next cannot undo it.
func (s *Session) Sync() {
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	out, bulk := w.taken+uint64(len(w.out)), w.bulkIn
	for w.err == nil && (w.written < out || w.bulkDone < bulk) {
		if w.flushing {
			w.room.Wait()
		} else {
			s.flushLocked()
		}
	}
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
	timed := false
	var head [wire.MaxHeader + binary.MaxVarintLen64]byte
	for w.err == nil && (len(w.out) > 0 || len(w.bulk) > 0) {
		out := w.out
		w.out, w.spare = w.spare[:0], nil
		w.taken += uint64(len(out))
		w.resets = 0
		header, part, free, last := w.fragment(head[:0])
		if !timed && (part != nil || len(out) > patientBytes) {
			timed = true
			s.beRelieved()
		}
		w.mu.Unlock()
		err := s.write(out, header, part)
		Free(free)
		w.mu.Lock()
		w.writes++
		w.written = w.taken
		if last {
			w.bulkDone++
		}
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
	if timed {
		w.relief.Stop()
	}
	w.flushing = false
}

// beRelieved has somebody else read if the writing that begins takes long and
// is the reader's. Whoever flushes calls it.
func (s *Session) beRelieved() {
	if w := &s.writer; w.relief == nil {
		w.relief = time.AfterFunc(patience, s.relieve)
	} else {
		w.relief.Reset(patience)
	}
}

// fragment takes the next frame of the first large message; with the last one
// comes the buffer that is free once it is written.
func (w *writer) fragment(header []byte) (head, part, free []byte, last bool) {
	if len(w.bulk) == 0 {
		return nil, nil, nil, false
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
	if b.parts[0] = b.parts[0][len(part):]; len(b.parts[0]) == 0 {
		b.parts = b.parts[1:]
	}
	if len(b.parts) == 0 {
		free, last = b.free, true
		*b = bulkOut{} // the array behind w.bulk must not keep its bytes
		w.bulk = w.bulk[1:]
		if len(w.bulk) == 0 {
			w.bulk = nil
		}
	}
	head = wire.AppendHeader(header, wire.Header{Kind: kind, Length: len(total) + len(part)})
	return append(head, total...), part, free, last
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

// waitRoom waits while more than a megabyte waits to be written, for as long
// as ctx lasts.
func (s *Session) waitRoom(ctx context.Context) error {
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.out) <= roomLimit || w.err != nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		w.room.Broadcast()
		w.mu.Unlock()
	})
	defer stop()
	for len(w.out) > roomLimit && w.err == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.Kick() // somebody writes already, or the writing goroutine does
		w.room.Wait()
	}
	return nil
}
