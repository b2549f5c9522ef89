package mux

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// roomLimit is how many bytes may wait to be written before those who send on
// streams wait too.
const roomLimit = 256 << 10

// A write of more than patientBytes that takes longer than patience may be one
// of two in opposite directions, each by the reader that the other waits for:
// then somebody else has to read. Smaller ones fit into a pipe; if they do not,
// keepalive sees to it.
const (
	patientBytes = 16 << 10
	patience     = 20 * time.Millisecond
)

// favor is how many bytes of others somebody writes who came to flush his own.
const favor = 256 << 10

// writer collects frames. Whoever flushes first writes for everybody who adds
// frames meanwhile, so concurrent senders share system calls without a timer
// and a lone sender writes without a goroutine switch. But nobody writes for
// ever what others add: the writing goroutine goes on.
type writer struct {
	turn turn // whoever writes has it; only they touch the link

	mu    sync.Mutex
	out   []byte    // frames to write next
	spare []byte    // the other of the two buffers that take turns
	bulk  []bulkOut // large messages, first in first out, written between frames
	room  queue     // those who wait until less is in out
	wrote sync.Cond // broadcast when something was written, or on failure
	err   error     // why nothing is written any more

	writes uint64 // that have ended
	// How much was written, for Sync: bytes of out, and large messages.
	taken, written   uint64 // taken from out, and of that written
	bulkIn, bulkDone uint64 // posted, and of that written
	refused          int    // in out: resets of streams beyond the limit
	over             int    // in out: resets and finishes of the peer's streams

	// Of whoever has the turn.
	relief *time.Timer
	timed  bool // relief runs
	vector [3][]byte
}

// maxRefused is how many streams the peer may open beyond the limit before it
// reads what became of them.
const maxRefused = 1024

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
	w.room.callAll()
	w.wrote.Broadcast()
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

// postLast adds the frame with which a stream is over. Streams that the peer
// opened count until it is written, so that a peer that does not read cannot
// fill our memory with them.
func (s *Session) postLast(h wire.Header, payload []byte, theirs bool) {
	w := &s.writer
	w.mu.Lock()
	if w.err == nil {
		w.out = append(wire.AppendHeader(w.out, h), payload...)
		if theirs {
			w.over++
		}
	}
	w.mu.Unlock()
	s.Kick()
}

// refuse resets a stream beyond the limit.
func (s *Session) refuse(id uint64, reason string) error {
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused >= maxRefused {
		return s.malformed("%d streams beyond the limit while nothing was read", w.refused)
	}
	if w.err == nil {
		w.refused++
		w.out = append(wire.AppendHeader(w.out, wire.Header{Stream: id, Kind: wire.Reset, Length: len(reason)}), reason...)
	}
	s.Kick()
	return nil
}

func (s *Session) writes() uint64 {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	return s.writer.writes
}

// overWaiting is how many of the peer's streams are over and it cannot know.
func (s *Session) overWaiting() int {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	return s.writer.over
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

// postItem adds a frame of an item, front and then first and second, or writes it
// if it is large. It waits for room, or for its turn to write, for as long as ctx
// lasts.
func (s *Session) postItem(ctx context.Context, h wire.Header, front, first, second []byte) error {
	w := &s.writer
	direct := len(first)+len(second) >= directWrite
	shared := 0
	if direct {
		if err := w.turn.acquire(ctx); err != nil {
			return err
		}
		shared = s.share(first, second)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for !direct && len(w.out) > roomLimit && w.err == nil {
		s.Kick() // somebody writes already, or the writing goroutine does
		if err := w.room.await(ctx, &w.mu); err != nil {
			return err
		}
	}
	if w.err == nil {
		w.out = append(appendHeader(w.out, h, shared), front...)
	}
	if direct {
		own := w.taken + uint64(len(w.out))
		if w.err == nil && shared == 0 {
			s.writeOnce(first, second)
		}
		s.flushLocked(own, 0)
		return w.err
	}
	if w.err != nil {
		return w.err
	}
	w.out = append(append(w.out, first...), second...)
	if len(w.out) <= roomLimit {
		w.room.call() // there is room for the next one as well
	}
	if w.turn.free() {
		s.Kick()
	}
	return nil
}
