package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// Handle is how an object is used from elsewhere. Its methods may be used
// concurrently.
type Handle struct {
	Conn  *peer.Conn // whose notes come before the replies; nil of one that was bound
	Name  string     // of the class, for errors
	Limit int64      // bytes of a request

	born   chan struct{} // closed when the object is there or the handle is over
	over   chan struct{} // closed when err is set
	window window
	first  bool // the reader has seen the first item

	mu      sync.Mutex
	stream  *mux.Stream // nil until it is open; does not change then
	token   string
	pending map[uint64]*pending // requests without a reply
	last    uint64
	err     error  // why the handle is over
	stop    func() // see OnOver
}

// ErrClosed is the error of a handle that was closed without a cause.
var ErrClosed = errors.New("object closed")

// Create opens a stream for a new object of the class that info names, sends
// the constructor's argument, and waits until the object is there. listen gets
// the notes of the constructor, and of methods that have nobody of their own.
func Create(ctx context.Context, conn *peer.Conn, name string, info *wire.Info, argument []byte, limit int64, listen func(peer.Note)) (*Handle, error) {
	if ctx.Err() != nil { // else an object may be there before that is noticed
		return nil, context.Cause(ctx)
	}
	h := newHandle(name, limit)
	h.Conn = conn
	s, err := conn.Open(wire.AppendPurpose(nil, wire.PurposeObject, info), mux.StreamOptions{Item: h.item, Over: h.end},
		func(n peer.Note) { h.note(n, listen) })
	if err != nil {
		return nil, &peer.Lost{Cause: err}
	}
	h.opened(s)
	if err = s.SendNow(ctx, argument, nil); err == nil {
		select {
		case <-h.born:
			if err = h.Err(); err == nil {
				return h, nil
			}
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	err = h.why(ctx, err)
	h.Close(err)
	return nil, err
}

// Bound returns a handle on an object over a stream that a handle has led to. It
// reads until the stream ends.
func Bound(s *mux.Stream, name string, limit int64) *Handle {
	h := newHandle(name, limit)
	h.stream = s
	close(h.born)
	s.Grant()
	go func() {
		for {
			item, err := s.Recv(context.Background())
			if err != nil {
				h.end(err)
				return
			}
			h.item(item, true)
		}
	}()
	return h
}

func newHandle(name string, limit int64) *Handle {
	return &Handle{Name: name, Limit: limit, pending: map[uint64]*pending{},
		born: make(chan struct{}), over: make(chan struct{})}
}

// opened sets the stream, on which items, and the end, may have come already.
func (h *Handle) opened(s *mux.Stream) {
	h.mu.Lock()
	h.stream = s
	err := h.err
	h.mu.Unlock()
	if err != nil {
		h.hangUp(err)
	}
}

// OnOver has stop called when the handle is over. It may be called once.
func (h *Handle) OnOver(stop func()) {
	h.mu.Lock()
	h.stop = stop
	err := h.err
	h.mu.Unlock()
	if err != nil {
		stop()
	}
}

// note passes a note on to who waits for the request that it is of.
func (h *Handle) note(n peer.Note, others func(peer.Note)) {
	listen := others
	h.mu.Lock()
	if p := h.pending[n.Request]; p != nil && p.listen != nil {
		listen = p.listen
	}
	h.mu.Unlock()
	listen(n)
}

// Token names the object in its home. It is empty of a handle that was bound.
func (h *Handle) Token() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.token
}

// item takes what the host sends; the link's reader calls it.
func (h *Handle) item(item []byte, owned bool) {
	reply, err := wire.ParseReply(item)
	if err == nil && h.Conn != nil && !h.first {
		h.first = true
		err = h.birth(reply)
	} else if err == nil {
		h.reply(reply, owned)
	}
	if err != nil {
		h.Close(err)
	}
}

// birth takes the reply to the constructor's argument: the token.
func (h *Handle) birth(reply wire.Reply) error {
	if reply.ID != 0 || len(reply.Payload) == 0 || reply.Status&wire.StatusFailed != 0 {
		return fmt.Errorf("%w: object without a token", wire.ErrMalformed)
	}
	token := string(reply.Payload)
	h.afterNotes(reply.Logged, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.token = token
		if h.err == nil {
			close(h.born)
		}
	})
	return nil
}

// reply takes the reply to a request.
func (h *Handle) reply(reply wire.Reply, owned bool) {
	p := h.answered(reply.ID)
	if p == nil {
		return // never asked, or answered before
	}
	if !owned {
		reply.Payload = append([]byte(nil), reply.Payload...)
	}
	h.afterNotes(reply.Logged, func() { h.settle(p, outcome{reply, faultOf(reply)}) })
}

// end notes that the stream has ended.
func (h *Handle) end(err error) {
	end, how := peer.Ended(err)
	if err == io.EOF || how == io.EOF {
		h.Close(fmt.Errorf("%w: the host ended an object's stream", wire.ErrMalformed))
		return
	}
	if h.Conn != nil && h.Conn.Session().Err() != nil {
		end.Logged = math.MaxUint64 // after the replies that wait for notes, which are about to be told
	}
	h.afterNotes(end.Logged, func() { h.fail(how) })
}

// afterNotes calls do when so many notes were handled.
func (h *Handle) afterNotes(count uint64, do func()) {
	if h.Conn == nil || count == 0 {
		do()
		return
	}
	h.Conn.AfterNotes(count, do)
}

// fail ends the handle here. It tells whether that had not happened before.
func (h *Handle) fail(err error) bool {
	h.mu.Lock()
	if h.err != nil {
		h.mu.Unlock()
		return false
	}
	if h.err = err; err == nil {
		h.err = ErrClosed
	}
	close(h.over)
	if h.token == "" && h.Conn != nil {
		close(h.born)
	}
	s, stop := h.stream, h.stop
	h.mu.Unlock()
	if stop != nil {
		stop()
	}
	if s != nil && h.Conn != nil {
		h.Conn.Unlisten(s.ID())
	}
	return true
}

// hangUp ends the stream of a handle that is over.
func (h *Handle) hangUp(cause error) {
	if h.Conn != nil {
		h.Conn.Unlisten(h.stream.ID())
	}
	peer.Finish(h.stream, wire.Ending{Code: wire.EndClosed}, cause)
}

// Err returns why the handle is over, or nil while it is not: a *peer.Fault of
// the constructor, a *peer.Closed, a *peer.Lost, or Close's cause.
func (h *Handle) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// Done is closed when the handle is over.
func (h *Handle) Done() <-chan struct{} { return h.over }

// Close gives the handle up. The object of one that Create returned is freed.
// cause is what its methods return from then on. It is idempotent.
func (h *Handle) Close(cause error) {
	if cause == nil {
		cause = ErrClosed
	}
	if !h.fail(cause) {
		return
	}
	h.mu.Lock()
	s := h.stream
	h.mu.Unlock()
	if s != nil { // else opened sees to it
		h.hangUp(cause)
	}
}
