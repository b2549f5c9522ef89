package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// Hold takes the stream of a holder of the end. What the holder sends goes to
// the far side; when the holder wants to receive it gets items like everybody
// else who does, each item going to one of them. It is a handle.Exported.
func (e *End) Hold(s *mux.Stream, lost handle.Lost) error {
	h := &hold{end: e, stream: s, lost: lost}
	h.over, h.cancel = handle.Until(s)
	h.wants, h.stop = context.WithCancel(h.over)
	go h.serve()
	return nil
}

// hold is a holder's stream, at the end that it holds.
type hold struct {
	end    *End
	stream *mux.Stream
	lost   handle.Lost // of its link

	over   context.Context // ends with the stream
	cancel context.CancelFunc
	wants  context.Context // ends when it wants to receive no more
	stop   context.CancelFunc

	ended    bool          // it has said that it sends no more; of up, and of serve after it
	pulls    atomic.Bool   // it receives
	stopped  atomic.Bool   // it does not any more
	given    atomic.Uint64 // items that it was given
	settled  atomic.Uint64 // of these: used, or given back; only up changes it, and serve after it
	finished atomic.Bool   // its stream was ended here
}

func (h *hold) serve() {
	defer h.cancel()
	if h.stream.Send(context.Background(), nil, nil) != nil { // the welcome
		return
	}
	var wg sync.WaitGroup
	wg.Go(h.down)
	wg.Go(h.tell)
	h.up()
	wg.Wait() // they end with the stream, and have counted all that it was given
	h.left(h.stream.Err())
}

// up carries what the holder sends, until it sends no more.
func (h *hold) up() {
	ctx := context.Background()
	for {
		item, err := h.stream.Recv(ctx)
		if err == io.EOF {
			h.closeSend()
		}
		if err != nil {
			return
		}
		if err := h.take(ctx, item); err != nil {
			if !h.end.Over() && !errors.Is(err, ErrClosed) { // the far side would miss it
				h.end.abort(fmt.Errorf("%w: an item of the holder of a handle on it was refused: %w", ErrClosed, err))
			}
			h.finish(err)
		}
	}
}

func (h *hold) closeSend() {
	h.ended = true
	h.end.CloseSend()
}

// take takes what the holder sends. An error is why it can use the end no more.
// What it sends to an end that is over is dropped: it is told, behind the items that
// it has asked for.
func (h *hold) take(ctx context.Context, item []byte) error {
	if len(item) == 0 {
		return fmt.Errorf("%w: empty item of a holder", wire.ErrMalformed)
	}
	kind, rest := item[0], item[1:]
	switch {
	case kind == wire.HolderItem:
		if err := h.end.Send(ctx, rest, nil); err != nil && !h.end.Over() {
			return err
		}
		return nil
	case kind == wire.HolderStop && len(rest) == 0:
		h.stop()
		return nil
	case kind == wire.HolderClose && len(rest) == 0:
		h.closeSend()
		return nil
	case kind == wire.HolderReturn && h.settled.Load() < h.given.Load():
		if !h.end.stream.PutBack(rest) {
			h.end.lose(fmt.Errorf("%w: the holder of a handle on it has left items unread, and nobody receives them", ErrClosed))
		}
		h.settled.Add(1)
		h.release()
		return nil
	case kind == wire.HolderUsed:
		r := wire.NewReader(rest)
		if n := r.Uvarint(); r.End() == nil && n <= h.given.Load() {
			h.use(n)
			h.release()
			return nil
		}
	}
	return fmt.Errorf("%w: item of a holder", wire.ErrMalformed)
}

// use takes note that the holder's user has received so many items, or given them
// back.
func (h *hold) use(n uint64) {
	if was := h.settled.Load(); n > was {
		h.end.stream.Settle(int(n - was))
		h.settled.Store(n)
	}
}

// release ends the stream of a holder that wants to receive no more and has given
// back what it had, once the end is over: its user may have closed it, and keep it
// only for what else it might say.
func (h *hold) release() {
	if h.stopped.Load() && h.end.Over() && h.settled.Load() == h.given.Load() {
		h.finish(h.end.Wait(h.over))
	}
}

// down carries what the holder wants to receive.
func (h *hold) down() {
	if h.stream.Granted(h.wants) == nil {
		h.pulls.Store(true)
		if err := h.carry(); err != nil {
			h.finish(err)
			return
		}
	}
	h.stream.End() // it wants no more, and waits for that; or there are no more
	select {
	case <-h.end.Done():
		if h.wants.Err() == nil {
			h.finish(h.end.Wait(h.over))
		}
	case <-h.wants.Done():
	}
	h.stopped.Store(true)
	h.release()
}

// carry gives items to the holder until it wants no more, or no more come. An error
// is how the end has ended, or why the holder can use it no more.
func (h *hold) carry() error {
	wanted := func() bool { return h.wants.Err() == nil && h.stream.Err() == nil }
	// Nothing is taken from the others before there is room for it there.
	for h.stream.Ready(h.wants) == nil {
		// Nor before it comes, when the holder may have gone.
		item, owned, err := h.end.borrow(h.wants, wanted)
		switch {
		case err == io.EOF && !h.end.Over() || err != nil && h.wants.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if !owned {
			item = append([]byte(nil), item...)
		}
		h.end.Release()
		h.given.Add(1)
		if err := h.stream.Send(h.over, []byte{wire.OwnerItem}, item); err != nil {
			return h.failed(item, err)
		}
	}
	return nil
}

// failed deals with an item that could not be sent to the holder.
func (h *hold) failed(item []byte, err error) error {
	h.given.Add(^uint64(0))
	if h.stream.Err() != nil { // the holder has gone
		h.end.stream.PutBack(item)
		return nil
	}
	// It may be too large for that link.
	h.end.lose(fmt.Errorf("%w: an item was lost on its way to the holder of a handle on it: %w", ErrClosed, err))
	h.end.stream.Settle(1)
	return err
}

// tell tells the holder that the far side sends no more items, and how it has ended,
// as soon as that is known: it is to say what it has used, and those who do not
// receive hear of the end. Receivers are told when nothing more can come back.
func (h *hold) tell() {
	for _, event := range []<-chan struct{}{h.end.stream.Last(), h.end.Done()} {
		select {
		case <-event:
		case <-h.over.Done():
			return
		}
		if !h.end.Over() {
			_ = h.stream.Send(h.over, []byte{wire.OwnerEnd}, nil) // it fails with the stream
			continue
		}
		how := h.end.Wait(h.over)
		if h.end.cause() != nil { // nothing can be received any more, nor come back
			h.finish(how)
		} else {
			_ = h.stream.Send(h.over, []byte{wire.OwnerEnd}, h.ending(how))
			h.release()
		}
		return
	}
}

// finish ends the holder's stream: it has received all, or can receive no more.
func (h *hold) finish(err error) {
	if h.stream.Err() == nil {
		h.finished.Store(true)
		h.stream.Finish(h.ending(err))
	}
}

// ending says how the end has ended, or why the holder can use it no more.
func (h *hold) ending(err error) []byte {
	var finished *mux.Finished
	if errors.As(h.end.stream.Err(), &finished) && h.end.missed() == nil {
		return finished.Payload
	}
	end := wire.Ending{Code: wire.EndDone}
	if err != nil && err != io.EOF {
		if lost, ok := err.(*peer.Lost); ok && h.end.Lost != nil {
			err = h.end.Lost(lost.Cause)
		}
		end = wire.Ending{Code: wire.EndClosed, Fault: peer.EncodeShort(err)}
	}
	return end.Append(nil)
}

// left ends the channel if the holder was lost or failed and what it was to send
// or to receive may be missing: that must not look like the end of the items, nor
// like patience.
func (h *hold) left(err error) {
	end, how := peer.Ended(err)
	cut := h.finished.Load() && errors.Is(err, mux.ErrClosed)
	h.use(min(end.Taken, h.given.Load()))
	missing := int(h.given.Load() - h.settled.Load())
	defer h.end.stream.Settle(missing) // when those who wait for it know
	_, lost := how.(*peer.Lost)
	switch {
	case missing == 0 && (cut || how == io.EOF || h.saidAll()):
	case cut || how == io.EOF:
		h.end.lose(fmt.Errorf("%w: the holder of a handle on it went with %d items unread that it had asked for", ErrClosed, missing))
	case lost:
		h.end.lose(fmt.Errorf("%w: the holder of a handle on it was lost: %w", ErrClosed, handle.How(err, h.lost)))
	default:
		h.end.lose(fmt.Errorf("%w: the holder of a handle on it failed: %w", ErrClosed, how))
	}
}

// saidAll tells whether the far side can miss nothing of the holder, nor the holder
// anything of the far side, once all that it was given is settled.
func (h *hold) saidAll() bool {
	select {
	case <-h.end.stream.Last():
		return h.ended || h.end.Over()
	default:
		return h.ended && !h.pulls.Load()
	}
}
