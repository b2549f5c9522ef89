package mux

import (
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"

	"github.com/afar-go/afar/internal/wire"
)

const (
	smallBuffer = 16 << 10  // of an idle session
	largeBuffer = 256 << 10 // of one that fills the small one
	// directRead is the smallest rest of a large message that is read straight
	// into its destination.
	directRead = 8 << 10
	// trustedSize is how much of a large message's announced size is allocated
	// before its bytes have come.
	trustedSize = 1 << 20
)

// Who has the reading role: a reader inside a handler can lose it.
const (
	reading int32 = iota
	handling
	handedOff
)

// reader is the reading role and its buffer.
type reader struct {
	state atomic.Int32
	buf   []byte
	r, w  int // buf[r:w] is unread
}

// bulkIn is a large message of which some has arrived.
type bulkIn struct {
	buf   []byte
	total int
}

func (s *Session) read(rd *reader) {
	defer s.wg.Done()
	handler := false
	defer func() {
		// A handler that ends its goroutine (runtime.Goexit) must not take the
		// link with it.
		if handler && rd.state.CompareAndSwap(handling, handedOff) {
			s.resume(rd)
		}
	}()
	for {
		h, payload, err := s.frame(rd)
		if err != nil {
			s.fail(err)
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
			if err := s.control(h, payload); err != nil {
				s.fail(err)
				return
			}
			continue
		}
		rd.state.Store(handling)
		handler = true
		s.handler.Message(msg, owned)
		handler = false
		if !rd.state.CompareAndSwap(handling, reading) {
			s.Flush() // nobody calls Idle here any more
			return
		}
	}
}

// HandOff lets reading go on in another goroutine while the handler that runs
// now, if any, goes on. Anybody may call it at any time.
func (s *Session) HandOff() {
	rd := s.reader.Load()
	if rd != nil && rd.state.CompareAndSwap(handling, handedOff) {
		s.resume(rd)
	}
}

// resume starts another reader where rd, which has lost the role, is.
func (s *Session) resume(rd *reader) {
	next := &reader{buf: make([]byte, max(smallBuffer, rd.w-rd.r))}
	next.w = copy(next.buf, rd.buf[rd.r:rd.w])
	s.reader.Store(next)
	s.wg.Add(1)
	go s.read(next)
}

// frame returns the next frame. The payload of a large message's frame is not
// returned but added to s.bulk.
func (s *Session) frame(rd *reader) (wire.Header, []byte, error) {
	for {
		h, size, err := wire.ParseHeader(rd.buf[rd.r:rd.w])
		if err != nil {
			return h, nil, err
		}
		if size > 0 && (h.Kind == wire.BulkFirst || h.Kind == wire.BulkNext) {
			rd.r += size
			return h, nil, s.bulk.read(s, rd, h)
		}
		if end := rd.r + size + h.Length; size > 0 && end <= rd.w {
			payload := rd.buf[rd.r+size : end : end]
			rd.r = end
			return h, payload, nil
		}
		need := wire.MaxHeader
		if size > 0 {
			need = size + h.Length
		}
		s.handler.Idle()
		if err := rd.fill(s, need); err != nil {
			return h, nil, err
		}
	}
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
	full := rd.w
	n, err := s.link.Read(rd.buf[rd.w:])
	rd.w += n
	if n > 0 {
		s.beat.heard.Add(1)
		if full == 0 && rd.w == len(rd.buf) && len(rd.buf) < largeBuffer {
			// It would have read more: the link is busy.
			rd.buf = append(make([]byte, 0, largeBuffer), rd.buf[:rd.w]...)[:largeBuffer]
		}
		return nil
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) && rd.r < rd.w {
		return io.ErrUnexpectedEOF
	}
	return err
}

// read takes the payload of a frame of a large message.
func (b *bulkIn) read(s *Session, rd *reader, h wire.Header) error {
	length := h.Length
	if h.Kind == wire.BulkFirst {
		if b.buf != nil {
			return s.malformed("large message inside another")
		}
		total, n, err := bulkTotal(s, rd, length)
		if err != nil {
			return err
		}
		if total < 1 || total > uint64(s.config.MaxMessage) {
			return s.malformed("message of %d bytes, limit %d", total, s.config.MaxMessage)
		}
		length -= n
		b.total = int(total)
		b.buf = make([]byte, 0, min(b.total, trustedSize))
	}
	if b.buf == nil || length == 0 && b.total > 0 || len(b.buf)+length > b.total {
		return s.malformed("part of a large message of the wrong size")
	}
	return b.take(s, rd, length)
}

// bulkTotal reads the announced size, which stands in front of the first part.
func bulkTotal(s *Session, rd *reader, length int) (total uint64, n int, err error) {
	for {
		total, n = binary.Uvarint(rd.buf[rd.r:min(rd.w, rd.r+length)])
		if n > 0 {
			rd.r += n
			return total, n, nil
		}
		if n < 0 || rd.w-rd.r >= min(length, binary.MaxVarintLen64) {
			return 0, 0, s.malformed("bad size of a large message")
		}
		if err := rd.fill(s, binary.MaxVarintLen64); err != nil {
			return 0, 0, err
		}
	}
}

func (b *bulkIn) take(s *Session, rd *reader, length int) error {
	if room := len(b.buf) + length; room > cap(b.buf) {
		grown := make([]byte, len(b.buf), min(b.total, max(2*cap(b.buf), room)))
		copy(grown, b.buf)
		b.buf = grown
	}
	for length > 0 {
		if rd.r == rd.w && length >= directRead {
			n, err := s.link.Read(b.buf[len(b.buf) : len(b.buf)+length])
			b.buf = b.buf[:len(b.buf)+n]
			length -= n
			if n > 0 {
				s.beat.heard.Add(1)
			} else if err != nil {
				return err
			}
			continue
		}
		if rd.r == rd.w {
			if err := rd.fill(s, 1); err != nil {
				return err
			}
		}
		n := min(length, rd.w-rd.r)
		b.buf = append(b.buf, rd.buf[rd.r:rd.r+n]...)
		rd.r += n
		length -= n
	}
	return nil
}

// whole returns the large message once all of it is there.
func (b *bulkIn) whole() []byte {
	if len(b.buf) < b.total {
		return nil
	}
	msg := b.buf
	*b = bulkIn{}
	return msg
}

// control handles the frames that are not messages.
func (s *Session) control(h wire.Header, payload []byte) error {
	switch h.Kind {
	case wire.Ping:
		s.postFrame(wire.Header{Kind: wire.Pong}, nil)
		s.Kick()
		return nil
	case wire.Pong:
		return nil
	case wire.GoAway:
		s.handler.GoAway(string(payload))
		return nil
	case wire.Open:
		return s.accept(h.Stream, payload)
	}
	s.mu.Lock()
	st := s.streams[h.Stream]
	known := st != nil || s.used(h.Stream)
	s.mu.Unlock()
	if st == nil {
		if known {
			return nil // what was under way when the stream ended
		}
		return s.malformed("%v frame for stream %d, which was never opened", h.Kind, h.Stream)
	}
	return st.handle(h.Kind, payload)
}
