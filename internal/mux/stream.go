package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/afar-go/afar/internal/wire"
)

// itemCost is what an item costs beside its bytes, so that empty items are
// bounded too.
const itemCost = 16

// maxPurpose bounds the purpose of a stream, in bytes.
const maxPurpose = 65_000

// MaxFinish is the largest payload of Finish, in bytes.
const MaxFinish = 48 << 10

// ErrReset is wrapped by what a stream returns after either side reset it.
var ErrReset = errors.New("stream reset")

// ErrTooLarge is wrapped by what Send returns for an item over the limit, of
// which nothing was sent.
var ErrTooLarge = errors.New("too large")

// Finished is how a stream ends that the far side finished.
type Finished struct{ Payload []byte }

func (*Finished) Error() string { return "stream finished by the far side" }

// StreamOptions shape this end of a stream. The zero value is useful: the peer
// may send a window at once, and items wait for Recv.
type StreamOptions struct {
	// Credit is how many bytes the peer may send before Grant, at most the
	// window; 0: the window, negative: none. An item costs 16 more than it has.
	Credit int
	// Item, if set, is given every item by the session's reader instead of
	// Recv. It must not block, so it must not send on a stream that may lack
	// credit, nor end its goroutine. item is valid during the call only, unless
	// owned is true. Credit goes back at once.
	Item func(item []byte, owned bool)
	// Over, if set, is called once when nothing more will come, with the error
	// that Recv would give, by whoever noticed; not before Item has returned
	// for the last time. It must not block.
	Over func(err error)
}

// StreamState is a glance at a stream.
type StreamState struct {
	Sent, Received uint64 // whole items
	Unread         int    // items received and not yet taken
	Held           int    // bytes of those for which no credit was given back, and 16 for each item
	Waiting        bool   // a sender waits for credit
}

// Stream carries items, byte strings with borders, in both directions. Its
// methods may be used concurrently, also with themselves. Each stream takes up
// memory, and a place among those that the peer accepts, until one of the sides
// ends it by Finish or Reset.
type Stream struct {
	session *Session
	id      uint64
	purpose []byte

	out outgoing
	in  incoming

	// Guarded by out.mu and in.mu, either of which will do for reading. Who needs
	// both locks out.mu first.
	over bool
	err  error         // how it is over
	done chan struct{} // closed when it is; nil while nobody asked
}

func newStream(s *Session, id uint64, purpose []byte, credit int, o StreamOptions) *Stream {
	window := s.config.Window
	if o.Credit == 0 || o.Credit > window {
		o.Credit = window
	}
	st := &Stream{session: s, id: id, purpose: purpose}
	st.out.credit, st.out.granted = credit, credit >= window
	in := &st.in
	in.tag = binary.AppendUvarint(in.space[:0], id<<4|uint64(wire.Item))
	in.item, in.over = o.Item, o.Over
	in.window = window
	in.withheld = window - max(0, o.Credit)
	in.held = in.withheld
	return st
}

// Open opens a stream; purpose, at most 65,000 bytes, tells the peer what it is
// for. The peer must have the same window. Streams beyond the number that the peer
// accepts are reset by it.
func (s *Session) Open(purpose []byte, o StreamOptions) (*Stream, error) {
	if len(purpose) > maxPurpose {
		return nil, fmt.Errorf("%w: purpose of %d bytes, limit %d", ErrTooLarge, len(purpose), maxPurpose)
	}
	s.mu.Lock()
	if s.streams == nil {
		s.mu.Unlock()
		<-s.done
		return nil, s.err
	}
	st := newStream(s, s.nextID, purpose, s.config.Window, o)
	s.nextID += 2
	s.streams[st.id] = st
	// Posted under the lock so that streams are opened in the order of their ids.
	payload := binary.AppendUvarint(nil, uint64(s.config.Window-st.in.withheld))
	payload = append(payload, purpose...)
	s.postFrame(wire.Header{Stream: st.id, Kind: wire.Open, Length: len(payload)}, payload)
	s.mu.Unlock()
	s.Kick()
	return st, nil
}

// used tells whether a stream of that id exists or existed. s.mu is held.
func (s *Session) used(id uint64) bool {
	if id%2 == s.nextID%2 {
		return id < s.nextID
	}
	return id <= s.lastID
}

func (s *Session) accept(id uint64, payload []byte) error {
	credit, n := binary.Uvarint(payload)
	if n <= 0 || credit > uint64(s.config.Window) {
		return s.malformed("stream %d opened with bad credit", id)
	}
	waiting := s.overWaiting()
	s.mu.Lock()
	if s.streams == nil {
		s.mu.Unlock()
		return nil
	}
	if id%2 == s.nextID%2 || id <= s.lastID {
		s.mu.Unlock()
		return s.malformed("stream %d opened out of turn", id)
	}
	s.lastID = id
	if s.theirs+waiting >= s.config.MaxStreams {
		s.mu.Unlock()
		return s.refuse(id, fmt.Sprintf("more than %d streams", s.config.MaxStreams))
	}
	s.theirs++
	st := newStream(s, id, append([]byte(nil), payload[n:]...), int(credit), StreamOptions{})
	s.streams[id] = st
	s.mu.Unlock()
	s.handler.Stream(st)
	return nil
}

// ID is the stream's number, the same at both ends and never used again on this
// link.
func (st *Stream) ID() uint64 { return st.id }

// Purpose is what the opener said the stream is for.
func (st *Stream) Purpose() []byte { return st.purpose }

// Done is closed when the stream is over in both directions: by Finish or Reset of
// either side, or with the link. Items that have arrived can still be received,
// except after this side's Finish.
func (st *Stream) Done() <-chan struct{} {
	st.out.mu.Lock()
	defer st.out.mu.Unlock()
	st.in.mu.Lock()
	defer st.in.mu.Unlock()
	if st.done == nil {
		st.done = make(chan struct{})
		if st.over {
			close(st.done)
		}
	}
	return st.done
}

// Err returns how the stream was ended, or nil while Done is open: *Finished, or
// an error that wraps ErrReset, or ErrClosed after this side's Finish, or the end
// of the link.
func (st *Stream) Err() error {
	st.out.mu.Lock()
	defer st.out.mu.Unlock()
	return st.err
}

// Handle sets what StreamOptions.Item and Over are for a stream that the peer
// opened. It may be called only inside Handler.Stream. Either may be nil.
func (st *Stream) Handle(item func(item []byte, owned bool), over func(error)) {
	in := &st.in
	in.mu.Lock()
	defer in.mu.Unlock()
	in.item, in.over = item, over
	st.tell() // the link may have ended meanwhile
}

// State returns the stream's state at this moment.
func (st *Stream) State() StreamState {
	var s StreamState
	o, in := &st.out, &st.in
	o.mu.Lock()
	s.Sent, s.Waiting = o.sent, o.starving > 0
	o.mu.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	s.Received = in.received
	if !in.dropped.Load() {
		s.Unread = int(in.received - in.taken.Load())
		s.Held = in.held - in.withheld - int(in.owed.Load()) + in.heldAgain
	}
	return s
}

// Reset ends the stream in both directions at once, here and there. Reasons are
// cut at 1 KiB. It is idempotent.
func (st *Stream) Reset(reason string) {
	reason = reason[:min(len(reason), maxReason)]
	if st.cut(fmt.Errorf("%w: %s", ErrReset, reason), false) {
		st.last(wire.Reset, []byte(reason))
	}
}

// Finish ends the stream in both directions at once, here and there, and says
// how: the far side receives the items that were sent before, then *Finished
// with payload, and what it sends fails so at once. Here what was not received is
// dropped, and sending and receiving fail with an error that wraps ErrClosed. Finish
// is idempotent, and does nothing on a stream that is over. It panics if payload
// is longer than MaxFinish.
func (st *Stream) Finish(payload []byte) {
	if len(payload) > MaxFinish {
		panic(fmt.Sprintf("mux: Finish with %d bytes, limit %d", len(payload), MaxFinish))
	}
	if st.cut(fmt.Errorf("%w: stream finished", ErrClosed), true) {
		st.last(wire.Finish, payload)
	}
}

// last sends the frame with which this end has ended the stream.
func (st *Stream) last(kind wire.Kind, payload []byte) {
	s := st.session
	s.forget(st) // first, so that it does not count twice
	s.postLast(wire.Header{Stream: st.id, Kind: kind, Length: len(payload)}, payload, st.theirs())
}

// cut ends both directions. Items that have arrived can still be received unless
// drop is set. It tells whether the stream was open.
func (st *Stream) cut(err error, drop bool) bool {
	o, in := &st.out, &st.in
	o.mu.Lock()
	in.mu.Lock()
	if st.over {
		in.mu.Unlock()
		o.mu.Unlock()
		return false
	}
	// Whoever is told of the end finds Done closed.
	st.over, st.err = true, err
	if st.done != nil {
		close(st.done)
	}
	if o.err == nil {
		o.err = err
	}
	o.queue.callAll()
	o.mu.Unlock()
	if in.err == nil || drop {
		in.end(err)
	}
	if drop {
		in.dropped.Store(true)
		in.fresh = batch{}
	}
	if in.parted {
		in.parted = false
		st.session.parcels.Add(-1)
	}
	in.wake()
	st.tell()
	in.mu.Unlock()
	return true
}

// theirs tells whether the peer opened the stream.
func (st *Stream) theirs() bool { return st.id%2 == 1 != st.session.config.Initiator }

// forget takes a stream that is over from the session.
func (s *Session) forget(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[st.id] == st {
		delete(s.streams, st.id)
		if st.theirs() {
			s.theirs--
		}
	}
}

// handle takes a frame that is not an item's; the reader calls it.
func (st *Stream) handle(kind wire.Kind, payload []byte) error {
	switch kind {
	case wire.Reset:
		if st.cut(fmt.Errorf("%w by the far side: %s", ErrReset, payload), false) {
			st.session.forget(st)
		}
	case wire.Finish:
		if st.cut(&Finished{append([]byte(nil), payload...)}, false) {
			st.session.forget(st)
		}
	case wire.Credit:
		return st.credited(payload)
	case wire.End:
		return st.ended()
	}
	return nil
}

// ended takes the far side's End.
func (st *Stream) ended() error {
	in := &st.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == io.EOF || in.err == nil && in.parcel.total > 0 {
		return st.session.malformed("end inside an item or twice")
	}
	if in.err == nil {
		in.end(io.EOF)
		in.wake()
		st.tell()
	}
	return nil
}
