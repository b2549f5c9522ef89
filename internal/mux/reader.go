package mux

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/afar-go/afar/internal/wire"
)

const (
	smallBuffer = 16 << 10  // of an idle session
	largeBuffer = 256 << 10 // of one that fills the small one
)

// A reader's state is the number of the message it is at, times four, plus
// where it is; or handedOff once it has lost the role.
const (
	inMessage = 1 // inside Handler.Message
	inIdle    = 2 // inside Handler.Idle
	handedOff = ^uint64(0)
)

// reader is the reading role and its buffer.
type reader struct {
	state atomic.Uint64
	turn  uint64 // messages handled, by this reader and those before it
	buf   []byte
	r, w  int       // buf[r:w] is unread
	fresh bool      // something was handled and Idle was not called since
	probe bool      // the last frame was read straight into its destination
	more  bool      // and there was more to read
	due   []*Stream // whose receivers are to be woken before anything that takes long
	last  *Stream   // the stream of the last frame, if it was there

	shared int // so much of the payload of the next frame, or of this one, is in shared memory
}

// errHandedOff tells a reader that it has lost the role.
var errHandedOff = errors.New("reading was handed off")

// read reads until the session ends or somebody else has the role, with which
// goes the count in s.wg.
func (s *Session) read(rd *reader) {
	over := false
	defer func() { s.leave(rd, over) }()
	for {
		h, payload, err := s.frame(rd)
		if err == errHandedOff {
			return
		}
		if err != nil {
			over = true
			s.fail(s.cutShort(rd, err))
			return
		}
		var msg []byte
		owned := false
		switch h.Kind {
		case wire.Message:
			msg = payload
		case wire.BulkFirst, wire.BulkNext:
			if msg = s.bulk.whole(); msg == nil {
				continue
			}
			owned = true
		default:
			rd.wake()
			if err := s.control(rd, h, payload); err != nil {
				over = true
				s.fail(err)
				return
			}
			continue
		}
		rd.wake()
		rd.turn++
		rd.state.Store(rd.turn<<2 | inMessage)
		s.handler.Message(msg, owned)
		if !rd.state.CompareAndSwap(rd.turn<<2|inMessage, rd.turn<<2) {
			s.Flush() // nobody calls Idle here any more
			return
		}
		rd.fresh = true
		if s.Err() != nil {
			over = true // what has arrived already does not count any more
			return
		}
	}
}

// leave gives up the role with the session's end, or sees that reading goes on:
// a handler that ends its goroutine (runtime.Goexit) must not take the link with
// it.
func (s *Session) leave(rd *reader, over bool) {
	if over {
		s.wg.Done()
	} else if state := rd.state.Load(); state&3 != 0 && state != handedOff && rd.state.CompareAndSwap(state, handedOff) {
		s.resume(rd, false)
	}
}

// idle tells the handler that the reader is about to wait. It returns
// errHandedOff when the role was lost meanwhile.
func (s *Session) idle(rd *reader) error {
	rd.wake()
	rd.fresh = false
	rd.state.Store(rd.turn<<2 | inIdle)
	s.handler.Idle()
	s.kickIfAnythingWaits() // credit does, where Idle does not flush
	if !rd.state.CompareAndSwap(rd.turn<<2|inIdle, rd.turn<<2) {
		return errHandedOff
	}
	return nil
}

// cutShort is a link that ended where it must not. It is io.EOF as well, since
// that is what the link said, and io.ErrUnexpectedEOF.
type cutShort struct{}

func (cutShort) Error() string   { return "the link ended inside a message" }
func (cutShort) Unwrap() []error { return []error{io.EOF, io.ErrUnexpectedEOF} }

func (s *Session) cutShort(rd *reader, err error) error {
	if errors.Is(err, io.EOF) && (rd.r < rd.w || rd.shared > 0 || s.bulk.total > 0) {
		return cutShort{}
	}
	return err
}

// Turn returns the number of the message that is being handled, for HandOff. It
// means something only inside Handler.Message, before a HandOff.
func (s *Session) Turn() uint64 { return s.reader.Load().state.Load() >> 2 }

// HandOff lets reading go on in another goroutine while the handler of one
// message goes on, if it still does. Anybody may call it at any time.
func (s *Session) HandOff(turn uint64) {
	rd := s.reader.Load()
	if rd != nil && rd.state.CompareAndSwap(turn<<2|inMessage, handedOff) {
		s.resume(rd, false)
	}
}

// relieve lets reading go on in another goroutine if the reader is inside
// Handler.Idle, where it may be flushing to a peer that does the same and waits
// for us to read.
func (s *Session) relieve() {
	rd := s.reader.Load()
	if rd == nil {
		return
	}
	if state := rd.state.Load(); state&3 == inIdle && rd.state.CompareAndSwap(state, handedOff) {
		s.resume(rd, true)
	}
}

// resume starts another reader where rd, which has lost the role, is. A
// message that is still being handled may be in rd's buffer; otherwise idle is
// true.
func (s *Session) resume(rd *reader, idle bool) {
	next := &reader{turn: rd.turn, fresh: rd.fresh, last: rd.last, shared: rd.shared}
	if idle {
		next.buf, next.r, next.w = rd.buf, rd.r, rd.w
	} else {
		next.buf = make([]byte, max(smallBuffer, rd.w-rd.r))
		next.w = copy(next.buf, rd.buf[rd.r:rd.w])
		next.fresh = true
	}
	s.reader.Store(next)
	go s.read(next)
}

// frame returns the next frame. The payload of a large message's frame is not
// returned but added to s.bulk, and items are handled at once.
func (s *Session) frame(rd *reader) (wire.Header, []byte, error) {
	for {
		h, size, err := wire.ParseHeader(rd.buf[rd.r:rd.w])
		if err != nil {
			return h, nil, err
		}
		end := rd.r + size + h.Length - rd.shared
		if size > 0 && rd.shared > 0 && (!inParts(h) || h.Length < rd.shared) {
			return h, nil, s.malformed("%v frame of %d bytes with %d in shared memory", h.Kind, h.Length, rd.shared)
		}
		if size > 0 && h.Kind != wire.Message && inParts(h) {
			if rd.fresh && end > rd.w {
				if err := s.idle(rd); err != nil {
					return h, nil, err
				}
			}
			rd.r += size
			if h.Stream == 0 {
				return h, nil, s.bulkPart(rd, h)
			}
			if err := s.part(rd, h); err != nil {
				return h, nil, err
			}
			continue
		}
		if size > 0 && end <= rd.w {
			switch h.Kind {
			case wire.Item:
				if err := s.items(rd, h, end); err != nil {
					return h, nil, err
				}
				continue
			case wire.Shared:
				if err := s.elsewhere(rd, rd.buf[rd.r+size:end]); err != nil {
					return h, nil, err
				}
				rd.r = end
				continue
			}
			payload := rd.buf[rd.r+size : end : end]
			rd.r = end
			return h, payload, nil
		}
		need := wire.MaxHeader
		if size > 0 {
			need = size + h.Length
		}
		if err := s.idle(rd); err != nil {
			return h, nil, err
		}
		if err := rd.fill(s, need); err != nil {
			return h, nil, err
		}
	}
}

// inParts tells whether a frame's payload is not handled as one, but read to where
// it belongs.
func inParts(h wire.Header) bool {
	switch h.Kind {
	case wire.BulkFirst, wire.BulkNext, wire.ItemFirst, wire.ItemNext:
		return true
	case wire.Item:
		return h.Length > smallItem
	}
	return false
}

// wake wakes the receivers that have waited for what has come. That is put off
// while more comes: being woken for each item costs a receiver, and the machine,
// more than most items do.
func (rd *reader) wake() {
	if len(rd.due) > 0 {
		rd.wakeAll()
	}
}

func (rd *reader) wakeAll() {
	for i, st := range rd.due {
		in := &st.in
		in.mu.Lock()
		in.due = false
		in.wake()
		in.mu.Unlock()
		rd.due[i] = nil
	}
	rd.due = rd.due[:0]
}

// fill reads more, making room for need bytes in all.
func (rd *reader) fill(s *Session, need int) error {
	if rd.r == rd.w {
		rd.r, rd.w = 0, 0
	}
	if rd.w == len(rd.buf) || rd.r+need > len(rd.buf) {
		into := rd.buf
		if need > len(rd.buf) || rd.r == 0 && rd.w == len(rd.buf) {
			into = make([]byte, max(largeBuffer, need))
		}
		rd.w = copy(into, rd.buf[rd.r:rd.w])
		rd.r = 0
		rd.buf = into
	}
	rd.wake()
	full := rd.w
	into := rd.buf[rd.w:]
	if rd.probe {
		rd.probe = false
		into = into[:min(len(into), probe)]
	}
	n, err := s.link.Read(into)
	rd.w += n
	if n > 0 {
		s.beat.heard.Add(1)
		if full == 0 && rd.w == len(rd.buf) && len(rd.buf) < largeBuffer {
			// It would have read more: the link is busy.
			rd.buf = append(make([]byte, 0, largeBuffer), rd.buf[:rd.w]...)[:largeBuffer]
		}
		return nil
	}
	return err
}

// bulk takes the payload of a frame of a large message.
func (s *Session) bulkPart(rd *reader, h wire.Header) error {
	p := &s.bulk
	if (h.Kind == wire.BulkNext) != (p.total > 0) {
		return s.malformed("%v frame out of turn", h.Kind)
	}
	length := h.Length
	if h.Kind == wire.BulkFirst {
		total, n, err := s.announced(rd, length)
		if err != nil {
			return err
		}
		length -= n
		p.begin(total, trusted)
	}
	if !p.fits(length) {
		return s.malformed("part of a large message of the wrong size")
	}
	return p.take(s, rd, length)
}

// control handles the frames that are not messages.
func (s *Session) control(rd *reader, h wire.Header, payload []byte) error {
	switch h.Kind {
	case wire.Ping:
		s.pong()
		return nil
	case wire.Pong:
		return nil
	case wire.GoAway:
		why := string(payload[:min(len(payload), maxReason)])
		s.away.Store(&why)
		s.handler.GoAway(why)
		return nil
	case wire.Open:
		return s.accept(h.Stream, payload)
	}
	st, err := s.find(rd, h)
	if st == nil {
		return err // of none: what was under way when the stream ended
	}
	if h.Kind == wire.Reset || h.Kind == wire.Finish {
		rd.last = nil // it is not to be kept alive by that
	}
	return st.handle(h.Kind, payload)
}
