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

	items     [][]byte
	part      []byte // an item of which some has arrived
	inPart    bool
	held      int // bytes received and not given back as credit
	returned  int // of held: taken by the reader, credit not sent yet
	waiters   int // of Recv
	recvErr   error
	recvReady chan struct{} // one token: items or recvErr changed

	sentEnd, gotEnd bool
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
		reason := fmt.Sprintf("more than %d streams", s.config.MaxStreams)
		s.postFrame(wire.Header{Stream: id, Kind: wire.Reset, Length: len(reason)}, []byte(reason))
		s.Kick()
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

// Send sends one item, which is copied. It waits for credit, for as long as
// ctx lasts; a canceled Send may have sent a part of the item, so it resets the
// stream if it did.
func (st *Stream) Send(ctx context.Context, item []byte) error {
	select {
	case <-st.sendLock:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { st.sendLock <- struct{}{} }()
	for first := true; ; first = false {
		n, err := st.allowance(ctx, len(item))
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
		st.session.WaitRoom()
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

// Recv returns the next item, which the caller owns. At the end it returns
// io.EOF, or why the stream or the link ended.
func (st *Stream) Recv(ctx context.Context) ([]byte, error) {
	for {
		st.mu.Lock()
		if len(st.items) > 0 {
			item := st.items[0]
			st.items[0] = nil
			st.items = st.items[1:]
			st.giveBack(len(item) + itemCost)
			st.mu.Unlock()
			return item, nil
		}
		if st.recvErr != nil {
			defer st.mu.Unlock()
			wake(st.recvReady) // for others that wait in Recv
			return nil, st.recvErr
		}
		// An item larger than the window needs credit before it is whole; only a
		// reader that waits for it may cause that.
		st.waiters++
		if len(st.part) > 0 {
			st.giveBack(0)
		}
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

// giveBack returns credit for n bytes that the reader took, and for those of
// an unfinished item that a reader waits for. Small amounts are saved up.
func (st *Stream) giveBack(n int) {
	st.returned = min(st.returned+n, st.held)
	grant := st.returned
	if len(st.items) == 0 && st.inPart && st.waiters > 0 {
		grant = st.held
	}
	if grant < st.session.config.Window/2 {
		return
	}
	st.held -= grant
	st.returned = 0
	if st.gotEnd {
		return
	}
	payload := binary.AppendUvarint(nil, uint64(grant))
	st.session.postFrame(wire.Header{Stream: st.id, Kind: wire.Credit, Length: len(payload)}, payload)
	st.session.Kick()
}

// End says that no more items will be sent. It is idempotent.
func (st *Stream) End() {
	<-st.sendLock
	defer func() { st.sendLock <- struct{}{} }()
	st.mu.Lock()
	if st.sentEnd || st.sendErr != nil {
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

// Reset ends the stream in both directions at once, here and there.
func (st *Stream) Reset(reason string) {
	if len(reason) > wire.MaxFrame {
		reason = reason[:wire.MaxFrame]
	}
	if st.fail(fmt.Errorf("%w: %s", ErrReset, reason)) {
		st.session.postFrame(wire.Header{Stream: st.id, Kind: wire.Reset, Length: len(reason)}, []byte(reason))
		st.session.Kick()
	}
	st.forget()
}

// fail ends both directions; items that have arrived can still be received.
// It tells whether the stream was open.
func (st *Stream) fail(err error) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	open := !(st.sentEnd && st.gotEnd) && !errors.Is(st.recvErr, ErrReset)
	if st.sendErr == nil || !st.sentEnd {
		st.sendErr = err
	}
	if st.recvErr == nil {
		st.recvErr = err
	}
	wake(st.sendReady)
	wake(st.recvReady)
	return open
}

func (st *Stream) forget() {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[st.id] == st {
		delete(s.streams, st.id)
		if st.id%2 != s.nextID%2 {
			s.theirs--
		}
	}
}

// handle takes a frame; the reader calls it.
func (st *Stream) handle(kind wire.Kind, payload []byte) error {
	switch kind {
	case wire.Item, wire.ItemPart:
		return st.receive(payload, kind == wire.Item)
	case wire.Credit:
		n, size := binary.Uvarint(payload)
		if size <= 0 || size != len(payload) {
			return st.session.malformed("bad credit")
		}
		st.mu.Lock()
		defer st.mu.Unlock()
		if n > uint64(st.session.config.Window) || st.credit+int(n) > st.session.config.Window {
			return st.session.malformed("credit beyond the window")
		}
		st.credit += int(n)
		wake(st.sendReady)
	case wire.End:
		st.mu.Lock()
		if st.gotEnd || st.inPart {
			st.mu.Unlock()
			return st.session.malformed("end inside an item or twice")
		}
		st.gotEnd = true
		if st.recvErr == nil {
			st.recvErr = io.EOF
		}
		over := st.sentEnd
		wake(st.recvReady)
		st.mu.Unlock()
		if over {
			st.forget()
		}
	case wire.Reset:
		st.fail(fmt.Errorf("%w by the far side: %s", ErrReset, payload))
		st.forget()
	}
	return nil
}

func (st *Stream) receive(payload []byte, last bool) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gotEnd {
		return st.session.malformed("item after the end")
	}
	st.held += len(payload) + itemCost
	if st.held > st.session.config.Window {
		return st.session.malformed("more than the window of %d bytes", st.session.config.Window)
	}
	if int64(len(st.part)+len(payload)) > st.session.config.MaxMessage {
		return st.session.malformed("item over the limit of %d bytes", st.session.config.MaxMessage)
	}
	if st.recvErr != nil {
		return nil // reset here; the peer does not know yet
	}
	if !last {
		st.part = append(st.part, payload...)
		st.inPart = true
		// The parts of an item are charged itemCost each, so it is given back
		// with them; waiting readers get the item's room as they need it.
		st.returned += itemCost
		if st.waiters > 0 {
			st.giveBack(0)
		}
		return nil
	}
	st.items = append(st.items, append(st.part, payload...))
	st.part, st.inPart = nil, false
	wake(st.recvReady)
	return nil
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
