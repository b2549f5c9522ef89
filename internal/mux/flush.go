package mux

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// Flush writes what waits, unless somebody else is writing already, who then
// sees to it. It may block for as long as the peer does not read.
func (s *Session) Flush() {
	w := &s.writer
	w.mu.Lock()
	if w.waits() && w.turn.try() {
		s.flushLocked(w.posted())
	}
	w.mu.Unlock()
}

// flushOut is Flush, but leaves large messages to others sooner. w.mu is held
// before and after.
func (s *Session) flushOut() {
	w := &s.writer
	if len(w.out) > 0 && w.turn.try() {
		out, _ := w.posted()
		s.flushLocked(out, 0)
	}
}

// posted says what will have been written when all that waits was.
func (w *writer) posted() (out, bulk uint64) { return w.taken + uint64(len(w.out)), w.bulkIn }

// Sync writes what waits, as Flush does, and does not return before all that
// was posted until now has been given to the link, by whomever, or the session
// has ended: what the process does next cannot undo it.
func (s *Session) Sync() {
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	out, bulk := w.posted()
	for w.err == nil && (w.written < out || w.bulkDone < bulk) {
		if w.turn.try() {
			s.flushLocked(out, bulk)
		} else {
			w.wrote.Wait()
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

func (s *Session) kickIfAnythingWaits() {
	w := &s.writer
	w.mu.Lock()
	waits := w.waits() && w.turn.free()
	w.mu.Unlock()
	if waits {
		s.Kick()
	}
}

func (s *Session) writeLoop() {
	defer s.wg.Done()
	w := &s.writer
	for {
		select {
		case <-s.kick:
			w.mu.Lock()
			if w.turn.try() {
				s.flushLocked(math.MaxUint64, math.MaxUint64)
			}
			w.mu.Unlock()
		case <-s.done:
			return
		}
	}
}

// waits tells whether there is something to write; w.mu is held.
func (w *writer) waits() bool { return len(w.out) > 0 || len(w.bulk) > 0 }

// flushLocked writes what waits and gives up the turn, which its caller has. It
// is at its own work until so many bytes of out and so many large messages are
// written; after that it does others a limited favor. If others wait for the turn
// they go on. w.mu is held before and after.
func (s *Session) flushLocked(out, bulk uint64) {
	w := &s.writer
	for favors := 0; w.err == nil && w.waits(); {
		own := w.written < out || w.bulkDone < bulk
		if !own && favors > favor {
			break
		}
		if n := s.writeOnce(nil, nil); !own {
			favors += n
		}
		if w.turn.wanted() {
			break
		}
	}
	if w.timed {
		w.timed = false
		w.relief.Stop()
	}
	w.turn.release()
	if w.waits() && w.turn.free() {
		s.Kick()
	}
}

// writeOnce writes what waits in out, and behind it first and second, or else the
// next frame of a large message. It returns how many bytes that was. Its caller
// has the turn. w.mu is held before and after.
func (s *Session) writeOnce(first, second []byte) int {
	w := &s.writer
	out := w.out
	w.out, w.spare = w.spare, nil
	w.taken += uint64(len(out))
	w.refused, w.over = 0, 0
	w.room.call()
	var spare []byte
	last := false
	var part fragment
	if first == nil {
		part, spare, last = w.fragment()
	}
	w.mu.Unlock()
	if part.bytes != nil {
		shared := s.share(part.bytes, nil)
		out = append(appendHeader(out, part.header, shared), part.total...)
		if shared == 0 {
			first = part.bytes
		}
	}
	if second == nil && len(out)+len(first) > patientBytes {
		s.beRelieved()
	}
	err := s.write(out, first, second)
	Free(spare)
	w.mu.Lock()
	w.writes++
	w.written = w.taken
	if last {
		w.bulkDone++
	}
	if cap(out) <= 4*roomLimit {
		w.spare = out[:0]
	}
	w.wrote.Broadcast()
	if err != nil {
		w.mu.Unlock()
		s.fail(err)
		w.mu.Lock()
	}
	return len(out) + len(first) + len(second)
}

// beRelieved has somebody else read if the writing that begins takes long and
// is the reader's.
func (s *Session) beRelieved() {
	w := &s.writer
	w.timed = true
	if w.relief == nil {
		w.relief = time.AfterFunc(patience, s.relieve)
	} else {
		w.relief.Reset(patience)
	}
}

// fragment is a frame of a large message.
type fragment struct {
	header wire.Header
	total  []byte // the message's size, in front of the first one's bytes
	bytes  []byte // nil: there is none
}

// fragment takes the next frame of the first large message; with the last one
// comes the buffer that is free once it is written.
func (w *writer) fragment() (next fragment, spare []byte, last bool) {
	if len(w.bulk) == 0 {
		return fragment{}, nil, false
	}
	b := &w.bulk[0]
	var total []byte
	kind := wire.BulkNext
	if b.first {
		b.first = false
		kind = wire.BulkFirst
		total = binary.AppendUvarint(nil, uint64(b.total))
	}
	part := b.parts[0]
	if limit := wire.MaxFrame - len(total); len(part) > limit {
		part = part[:limit]
	}
	if b.parts[0] = b.parts[0][len(part):]; len(b.parts[0]) == 0 {
		b.parts = b.parts[1:]
	}
	if len(b.parts) == 0 {
		spare, last = b.free, true
		*b = bulkOut{} // the array behind w.bulk must not keep its bytes
		w.bulk = w.bulk[1:]
		if len(w.bulk) == 0 {
			w.bulk = nil
		}
	}
	return fragment{wire.Header{Kind: kind, Length: len(total) + len(part)}, total, part}, spare, last
}

// write gives bytes to the link, in one call where that is possible.
func (s *Session) write(out, first, second []byte) error {
	if first == nil {
		_, err := s.link.Write(out)
		return err
	}
	w := &s.writer
	w.vector = [3][]byte{out, first, second}
	defer clear(w.vector[:])
	if s.writev != nil {
		return s.writev(w.vector[:]...)
	}
	for _, b := range w.vector {
		if len(b) == 0 {
			continue
		}
		if _, err := s.link.Write(b); err != nil {
			return err
		}
	}
	return nil
}
