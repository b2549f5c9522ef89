package object

import (
	"context"
	"errors"
	"fmt"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// pending is a request that was sent and has no reply.
type pending struct {
	id       uint64
	size     int          // of its input
	came     chan outcome // has room for it
	answered bool         // the reply is here, or will not come; guarded by Handle.mu
	listen   func(peer.Note)
}

// outcome is how a request has ended.
type outcome struct {
	reply wire.Reply
	err   error
}

// Open is how many requests have no reply yet.
func (h *Handle) Open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pending)
}

// Do sends a request, whose ID it chooses, with its input, and waits for the
// reply. listen, if it is not nil, gets its notes. When ctx ends first it asks the
// host to cancel the request, and does not wait for that. A reply that failed is
// returned as its *peer.Fault. input may be used again when Do returns.
func (h *Handle) Do(ctx context.Context, q *wire.Request, input []byte, listen func(peer.Note)) (wire.Reply, error) {
	size := len(input)
	if h.Limit > 0 && int64(size) > h.Limit {
		return wire.Reply{}, &peer.TooLargeError{What: "input for an object of " + h.Name, Size: int64(size), Limit: h.Limit}
	}
	if err := h.window.enter(ctx, h.over, size); err != nil {
		return wire.Reply{}, h.why(ctx, err)
	}
	p, err := h.register(q, size, listen)
	if err != nil {
		h.window.leave(size)
		return wire.Reply{}, err
	}
	sent, err := h.send(ctx, q, p, input)
	if err != nil {
		h.settle(p, outcome{})
		return wire.Reply{}, h.why(ctx, err)
	}
	var o outcome
	select {
	case o = <-p.came:
	case <-h.over:
		select {
		case o = <-p.came: // it came before the end
		default:
			o.err = h.Err()
		}
	case <-ctx.Done():
		select {
		case o = <-p.came:
		default:
			o.err = context.Cause(ctx)
			go h.cancel(p, o.err, sent)
		}
	}
	if o.err != nil {
		return wire.Reply{}, o.err
	}
	return o.reply, nil
}

func faultOf(r wire.Reply) error {
	if r.Status&wire.StatusFailed == 0 {
		return nil
	}
	fault, err := peer.DecodeError(r.Payload)
	if err != nil {
		return err
	}
	return fault
}

// register gives a request its number.
func (h *Handle) register(q *wire.Request, size int, listen func(peer.Note)) (*pending, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return nil, h.err
	}
	h.last++
	q.ID = h.last
	p := &pending{id: q.ID, size: size, came: make(chan outcome, 1), listen: listen}
	h.pending[p.id] = p
	return p, nil
}

// sentWhole is the size up to which an item is sent at once or not at all. A
// larger one whose sending is given up halfway would end the stream, and with it
// the object.
const sentWhole = 1 << 10

// send sends a request. One that does not go at once is sent aside if it is large,
// so that the end of ctx ends the waiting only; sent is closed then when that is
// done.
func (h *Handle) send(ctx context.Context, q *wire.Request, p *pending, input []byte) (sent <-chan struct{}, err error) {
	var buf [256]byte
	head := q.AppendHead(buf[:0])
	if h.stream.TrySend(head, input) {
		return nil, nil
	}
	if len(head)+len(input) <= sentWhole || ctx.Done() == nil {
		return nil, h.stream.SendNow(ctx, head, input)
	}
	item := append(append(make([]byte, 0, len(head)+len(input)), head...), input...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.stream.SendNow(context.Background(), nil, item); err != nil {
			h.settle(p, outcome{err: h.why(context.Background(), err)})
		}
	}()
	return done, nil
}

// answered returns the request that a reply is for, once.
func (h *Handle) answered(id uint64) *pending {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.pending[id]
	if p == nil || p.answered {
		return nil
	}
	p.answered = true
	return p
}

// settle ends a request. It has its place in the window until then, as it has at
// the host.
func (h *Handle) settle(p *pending, o outcome) {
	h.mu.Lock()
	_, open := h.pending[p.id]
	delete(h.pending, p.id)
	h.mu.Unlock()
	if open {
		h.window.leave(p.size)
		p.came <- o
	}
}

// cancel asks the host to cancel a request that nobody waits for any more.
func (h *Handle) cancel(p *pending, cause error, sent <-chan struct{}) {
	h.mu.Lock()
	p.listen = nil
	h.mu.Unlock()
	if sent != nil {
		<-sent
	}
	q := wire.Request{ID: p.id, Op: wire.OpCancel}
	_ = h.stream.SendNow(context.Background(), q.AppendHead(nil), peer.EncodeShort(cause)) // it fails with the stream
}

// why says what an error of the window or of the stream means: the handle is over,
// which is the better reason, unless it is ctx's or the item's.
func (h *Handle) why(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, mux.ErrTooLarge):
		return fmt.Errorf("afar: input for an object of %s: %w: %w", h.Name, peer.ErrTooLarge, err)
	case ctx.Err() != nil && h.Err() == nil && errors.Is(err, context.Cause(ctx)):
		return err
	}
	select {
	case <-h.over: // or it is about to be told, once the notes that came before were handled
		return h.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
