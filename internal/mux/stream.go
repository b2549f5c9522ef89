package mux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/afar-go/afar/internal/wire"
)

// itemCost is what an item costs beside its bytes, so that empty items are
// bounded too.
const itemCost = 16

// ErrReset is wrapped by what a stream returns after either side reset it.
var ErrReset = errors.New("stream reset")

// Stream carries items, byte strings with borders, in both directions. Send
// and Recv may be used concurrently with everything else, also with
// themselves.
type Stream struct {
	session *Session
	id      uint64
	purpose []byte

	sendLock chan struct{} // holds one token: whoever sends an item has it

	mu        sync.Mutex
	credit    int // bytes that may still be sent
	sendErr   error
	sendReady chan struct{} // one token: credit or sendErr changed

	items     []item
	part      item // of which some has arrived
	inPart    bool
	held      int // charged for what was received, and not given back as credit
	returned  int // of held: taken by the reader, credit not sent yet
	waiters   int // of Recv
	recvErr   error
	recvReady chan struct{} // one token: items or recvErr changed

	sentEnd, gotEnd bool
	over            bool // in both directions, before its time
}

// item is one that was received. held is the sum of all charges and returned.
type item struct {
	data   []byte
	charge int // what of the window it takes up
}

func newStream(s *Session, id uint64, purpose []byte) *Stream {
	st := &Stream{session: s, id: id, purpose: purpose, credit: s.config.Window,
		sendLock: make(chan struct{}, 1), sendReady: make(chan struct{}, 1), recvReady: make(chan struct{}, 1)}
	st.sendLock <- struct{}{}
	return st
}

// Open opens a stream; purpose, at most wire.MaxFrame bytes, tells the peer
// what it is for. The peer must have the same window.
func (s *Session) Open(purpose []byte) (*Stream, error) {
	if len(purpose) > wire.MaxFrame {
		return nil, fmt.Errorf("purpose of %d bytes, limit %d", len(purpose), wire.MaxFrame)
	}
	s.mu.Lock()
	if s.streams == nil {
		s.mu.Unlock()
		<-s.done
		return nil, s.err
	}
	st := newStream(s, s.nextID, purpose)
	s.nextID += 2
	s.streams[st.id] = st
	// Posted under the lock so that streams are opened in the order of their ids.
	s.postFrame(wire.Header{Stream: st.id, Kind: wire.Open, Length: len(purpose)}, purpose)
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

func (s *Session) accept(id uint64, purpose []byte) error {
	if n := s.resetsWaiting(); n >= maxResets {
		return s.malformed("%d streams were opened and reset while nothing was read", n)
	}
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
	if s.theirs >= s.config.MaxStreams {
		s.mu.Unlock()
		s.postReset(id, fmt.Sprintf("more than %d streams", s.config.MaxStreams), true)
		return nil
	}
	s.theirs++
	st := newStream(s, id, append([]byte(nil), purpose...))
	s.streams[id] = st
	s.mu.Unlock()
	s.handler.Stream(st)
	return nil
}

// Purpose is what the opener said the stream is for.
func (st *Stream) Purpose() []byte { return st.purpose }

// Send sends one item, which is copied. It waits for credit, and while a
// megabyte waits to be written, for as long as ctx lasts; a canceled Send that
// has sent a part of the item resets the stream.
func (st *Stream) Send(ctx context.Context, item []byte) error {
	if limit := st.session.limit.Load(); int64(len(item)) > limit {
		return fmt.Errorf("item of %d bytes, limit %d", len(item), limit)
	}
	select {
	case <-st.sendLock:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { st.sendLock <- struct{}{} }()
	for first := true; ; first = false {
		n := 0
		err := st.session.waitRoom(ctx)
		if err == nil {
			n, err = st.allowance(ctx, len(item))
		}
		if err != nil {
			if !first && ctx.Err() != nil {
				st.Reset("sender gave up inside an item")
			}
			return err
		}
		kind := wire.Item
		if n < len(item) {
			kind = wire.ItemPart
		}
		st.session.postFrame(wire.Header{Stream: st.id, Kind: kind, Length: n}, item[:n])
		item = item[n:]
		st.session.Kick()
		if kind == wire.Item {
			return nil
		}
	}
}

// allowance waits until a part of an item of which left bytes are left may be
// sent, takes the credit for it and returns its size.
func (st *Stream) allowance(ctx context.Context, left int) (int, error) {
	for {
		st.mu.Lock()
		if st.sendErr != nil {
			defer st.mu.Unlock()
			return 0, st.sendErr
		}
		if n := min(left, wire.MaxFrame); n+itemCost <= st.credit {
			st.credit -= n + itemCost
			st.mu.Unlock()
			return n, nil
		} else if n = st.credit - itemCost; n > 0 && n < left && (n >= 1024 || st.session.config.Window < 4096) {
			st.credit = 0
			st.mu.Unlock()
			return n, nil
		}
		st.mu.Unlock()
		select {
		case <-st.sendReady:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// Recv returns the next item, which the caller owns. After the far side's End it
// returns io.EOF, and otherwise why the stream or the link ended, which is never
// io.EOF.
func (st *Stream) Recv(ctx context.Context) ([]byte, error) {
	for {
		st.mu.Lock()
		if len(st.items) > 0 {
			next := st.items[0]
			st.items[0] = item{}
			st.items = st.items[1:]
			st.returned += next.charge
			st.giveBack()
			st.mu.Unlock()
			return next.data, nil
		}
		if st.recvErr != nil {
			defer st.mu.Unlock()
			wake(st.recvReady) // for others that wait in Recv
			return nil, st.recvErr
		}
		// An item larger than the window needs credit before it is whole; only a
		// reader that waits for it may cause that.
		st.waiters++
		st.giveBack()
		st.mu.Unlock()
		var err error
		select {
		case <-st.recvReady:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		st.mu.Lock()
		st.waiters--
		if len(st.items) > 0 && st.waiters > 0 {
			wake(st.recvReady)
		}
		st.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
}

// giveBack returns credit for what the reader took, and for an unfinished item
// that a reader waits for. Small amounts are saved up.
func (st *Stream) giveBack() {
	grant := st.returned
	waited := len(st.items) == 0 && st.waiters > 0
	if waited {
		grant += st.part.charge
	}
	if grant < st.session.config.Window/2 || st.gotEnd || st.over {
		return
	}
	if waited {
		st.part.charge = 0
	}
	st.held -= grant
	st.returned = 0
	payload := binary.AppendUvarint(nil, uint64(grant))
	st.session.postFrame(wire.Header{Stream: st.id, Kind: wire.Credit, Length: len(payload)}, payload)
	st.session.Kick()
}

// End says that no more items will be sent. It waits for a Send that goes on.
// It is idempotent.
func (st *Stream) End() {
	<-st.sendLock
	defer func() { st.sendLock <- struct{}{} }()
	st.mu.Lock()
	if st.sendErr != nil { // ended before
		st.mu.Unlock()
		return
	}
	st.sentEnd = true
	st.sendErr = fmt.Errorf("%w: send after the end", ErrClosed)
	st.session.postFrame(wire.Header{Stream: st.id, Kind: wire.End}, nil)
	over := st.gotEnd
	st.mu.Unlock()
	st.session.Kick()
	if over {
		st.forget()
	}
}

// Reset ends the stream in both directions at once, here and there. Reasons are
// cut at 1 KiB. It is idempotent.
func (st *Stream) Reset(reason string) {
	if st.end(fmt.Errorf("%w: %s", ErrReset, reason)) {
		st.session.postReset(st.id, reason, st.theirs())
	}
	st.forget()
}

// end ends both directions; items that have arrived can still be received. It
// tells whether the stream was open.
func (st *Stream) end(err error) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over || st.sentEnd && st.gotEnd {
		return false
	}
	st.over = true
	st.part = item{}
	if !st.sentEnd {
		st.sendErr = err
	}
	if !st.gotEnd {
		st.recvErr = err
	}
	wake(st.sendReady)
	wake(st.recvReady)
	return true
}

// theirs tells whether the peer opened the stream.
func (st *Stream) theirs() bool { return st.id%2 == 1 != st.session.config.Initiator }

func (st *Stream) forget() {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[st.id] == st {
		delete(s.streams, st.id)
		if st.theirs() {
			s.theirs--
		}
	}
}

// handle takes a frame; the reader calls it.
func (st *Stream) handle(kind wire.Kind, payload []byte) error {
	if kind == wire.Reset {
		st.end(fmt.Errorf("%w by the far side: %s", ErrReset, payload))
		st.forget()
		return nil
	}
	st.mu.Lock()
	if st.over {
		st.mu.Unlock()
		return nil // reset here; the peer does not know yet
	}
	var err error
	switch kind {
	case wire.Item, wire.ItemPart:
		err = st.receive(payload, kind == wire.Item)
	case wire.Credit:
		err = st.credited(payload)
	case wire.End:
		err = st.ended()
	}
	finished := st.sentEnd && st.gotEnd
	st.mu.Unlock()
	if finished {
		st.forget()
	}
	return err
}

// receive takes an item or a part of one; st.mu is held, as in what follows.
func (st *Stream) receive(payload []byte, last bool) error {
	if st.gotEnd {
		return st.session.malformed("item after the end")
	}
	charge := len(payload) + itemCost
	st.held += charge
	if st.held > st.session.config.Window {
		return st.session.malformed("more than the window of %d bytes", st.session.config.Window)
	}
	if limit := st.session.limit.Load(); int64(len(st.part.data)+len(payload)) > limit {
		return st.session.malformed("item over the limit of %d bytes", limit)
	}
	st.part.data = append(st.part.data, payload...)
	st.part.charge += charge
	if st.inPart = !last; st.inPart {
		st.giveBack() // for readers that wait: the item may be larger than the window
		return nil
	}
	st.items = append(st.items, st.part)
	st.part = item{}
	wake(st.recvReady)
	return nil
}

func (st *Stream) credited(payload []byte) error {
	n, size := binary.Uvarint(payload)
	if size <= 0 || size != len(payload) {
		return st.session.malformed("bad credit")
	}
	window := st.session.config.Window
	if n > uint64(window) || st.credit+int(n) > window {
		return st.session.malformed("credit beyond the window")
	}
	st.credit += int(n)
	wake(st.sendReady)
	return nil
}

func (st *Stream) ended() error {
	if st.gotEnd || st.inPart {
		return st.session.malformed("end inside an item or twice")
	}
	st.gotEnd = true
	st.recvErr = io.EOF
	wake(st.recvReady)
	return nil
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
