package mux

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/afar-go/afar/internal/wire"
)

// outgoing is the direction of a stream to the peer.
type outgoing struct {
	turn turn // whoever sends an item that does not go at once, or the end, has it

	mu       sync.Mutex
	credit   int    // bytes that may still be sent
	granted  bool   // the peer has given more than it began with, or that was a window
	err      error  // why nothing more may be sent
	sent     uint64 // items
	starving int    // senders that wait for credit
	queue    queue  // whoever waits for credit
}

// directWrite is the size of the smallest part of an item that is written from
// the sender's memory.
const directWrite = 32 << 10

// Send sends one item, head and body put together, which may both be used again
// when it returns; either may be nil. It waits for credit, and while much waits
// to be written, for as long as ctx lasts; a canceled Send that has sent a part of
// the item resets the stream. Parts of large items, 64 KiB at the most, are
// written by Send itself, and such a write ends only with the link. An item over
// the session's limit gives an error that wraps ErrTooLarge.
//
// What was sent is written soon by another goroutine; see also SendNow.
func (st *Stream) Send(ctx context.Context, head, body []byte) error {
	return st.send(ctx, head, body, false)
}

// SendNow is Send and, but for large messages, Session.Flush in one: for an item
// that somebody waits for. It may block while the peer does not read.
func (st *Stream) SendNow(ctx context.Context, head, body []byte) error {
	return st.send(ctx, head, body, true)
}

func (st *Stream) send(ctx context.Context, head, body []byte, now bool) error {
	s := st.session
	size := len(head) + len(body)
	if limit := s.limit.Load(); int64(size) > limit {
		return fmt.Errorf("%w: item of %d bytes, limit %d", ErrTooLarge, size, limit)
	}
	if size < directWrite && st.sendAtOnce(head, body, now) {
		return nil
	}
	if err := st.out.turn.acquire(ctx); err != nil {
		return err
	}
	err := st.sendParts(ctx, head, body)
	st.out.turn.release()
	if err == nil && now {
		s.writer.mu.Lock()
		s.flushOut()
		s.writer.mu.Unlock()
	}
	return err
}

// TrySend is SendNow for items below 32 KiB, if neither credit nor others have to
// be waited for; it tells whether it has sent the item.
func (st *Stream) TrySend(head, body []byte) bool {
	size := len(head) + len(body)
	return size < directWrite && int64(size) <= st.session.limit.Load() && st.sendAtOnce(head, body, true)
}

// sendAtOnce sends an item if nothing has to be waited for.
func (st *Stream) sendAtOnce(head, body []byte, now bool) bool {
	o, s := &st.out, st.session
	w := &s.writer
	size := len(head) + len(body)
	o.mu.Lock()
	if o.credit < size+itemCost || o.err != nil || !o.turn.free() {
		o.mu.Unlock()
		return false
	}
	w.mu.Lock()
	if len(w.out) > roomLimit || w.err != nil {
		w.mu.Unlock()
		o.mu.Unlock()
		return false
	}
	o.credit -= size + itemCost
	o.sent++
	out := wire.AppendHeader(w.out, wire.Header{Stream: st.id, Kind: wire.Item, Length: size})
	w.out = append(append(out, head...), body...)
	o.mu.Unlock()
	idle := w.turn.free()
	if now {
		s.flushOut()
	}
	w.mu.Unlock()
	if idle && !now {
		s.Kick()
	}
	return true
}

// sendParts sends an item in as many frames as it takes. Its caller has the turn.
func (st *Stream) sendParts(ctx context.Context, head, body []byte) error {
	o, s := &st.out, st.session
	size := len(head) + len(body)
	var buf [binary.MaxVarintLen64]byte
	front := binary.AppendUvarint(buf[:0], uint64(size))
	for sent := 0; ; front = nil {
		n, err := st.allowance(ctx, size, sent, len(front))
		if err != nil {
			return st.failed(ctx, sent, err)
		}
		h := wire.Header{Stream: st.id, Kind: wire.ItemNext, Length: n}
		switch {
		case n == size:
			h.Kind, front = wire.Item, nil
		case sent == 0:
			h.Kind, h.Length = wire.ItemFirst, len(front)+n
		}
		first, second := span(head, body, sent, n)
		if err := s.postItem(ctx, h, front, first, second); err != nil {
			o.mu.Lock()
			o.credit += h.Length + itemCost
			o.queue.callAll()
			o.mu.Unlock()
			return st.failed(ctx, sent, err)
		}
		if sent += n; sent == size {
			o.mu.Lock()
			o.sent++
			o.mu.Unlock()
			return nil
		}
	}
}

// failed returns why an item could not be sent of which some was.
func (st *Stream) failed(ctx context.Context, sent int, err error) error {
	o, s := &st.out, st.session
	if s.Err() != nil {
		st.cut(s.cut, false) // if that has not come here yet
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.err
	}
	o.mu.Lock()
	open := o.err == nil // and not shut
	o.mu.Unlock()
	if sent > 0 && open && ctx.Err() != nil {
		st.Reset("sender gave up inside an item")
	}
	return err
}

// span returns n bytes of head and body put together, from an index on.
func span(head, body []byte, from, n int) (first, second []byte) {
	if from >= len(head) {
		return body[from-len(head):][:n], nil
	}
	first = head[from:min(len(head), from+n)]
	return first, body[:n-len(first)]
}

// allowance waits until a part of an item may be sent of which some was, takes
// the credit for it and returns its size. front is the size of what stands in
// front of it, unless it is the whole item.
func (st *Stream) allowance(ctx context.Context, size, sent, front int) (int, error) {
	o := &st.out
	least := 0
	if sent == 0 {
		least = st.least(size + front)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if o.err != nil {
			return 0, o.err
		}
		if sent == 0 && size <= wire.MaxFrame && size+itemCost <= o.credit {
			o.credit -= size + itemCost
			return size, nil
		}
		left := size - sent
		n := min(left, wire.MaxFrame-front, o.credit-itemCost-front)
		if n > 0 && (n == left || n >= 1024 || st.session.config.Window < 4096) && o.credit >= least {
			o.credit -= n + front + itemCost
			return n, nil
		}
		o.starving++
		err := o.queue.await(ctx, &o.mu)
		o.starving--
		if err != nil {
			return 0, err
		}
	}
}

// least is how much credit there must be before an item of so many bytes begins:
// enough for all of it if that is at most a quarter of the window, so that a
// canceled Send has sent nothing of it and the stream goes on.
func (st *Stream) least(size int) int {
	window := st.session.config.Window
	frames := (size + wire.MaxFrame - 1) / wire.MaxFrame
	if cost := size + frames*itemCost; cost <= window/4 && window >= 4096 {
		return cost
	}
	return 0
}

// Ready waits until the peer has given credit for more than an empty item, or
// the stream's sending is over, which gives the error that Send would give.
func (st *Stream) Ready(ctx context.Context) error {
	o := &st.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.credit <= itemCost && o.err == nil {
		if err := o.queue.await(ctx, &o.mu); err != nil {
			return err
		}
	}
	return o.err
}

// Granted waits until the peer, which has opened the stream with less credit than a
// window, has called Grant. Errors are those of Ready.
func (st *Stream) Granted(ctx context.Context) error {
	o := &st.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.granted && o.err == nil {
		if err := o.queue.await(ctx, &o.mu); err != nil {
			return err
		}
	}
	return o.err
}

// End says that no more items will be sent. It waits for a Send that goes on.
// It is idempotent. The stream is not over even when both sides have said so:
// Finish of either side says how it ends. (A routine that has sent its last item
// may still fail.)
func (st *Stream) End() {
	o := &st.out
	_ = o.turn.acquire(context.Background())
	defer o.turn.release()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	o.err = fmt.Errorf("%w: send after the end", ErrClosed)
	o.queue.callAll()
	st.session.postFrame(wire.Header{Stream: st.id, Kind: wire.End}, nil)
	st.session.Kick()
}

// credited takes a credit frame.
func (st *Stream) credited(payload []byte) error {
	n, size := binary.Uvarint(payload)
	if size <= 0 || size != len(payload) {
		return st.session.malformed("bad credit")
	}
	o := &st.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return nil
	}
	most := wide * st.session.config.Window
	if n > uint64(most) || o.credit+int(n) > most {
		return st.session.malformed("credit beyond the widest window")
	}
	o.credit += int(n)
	o.granted = true
	o.queue.callAll()
	return nil
}
