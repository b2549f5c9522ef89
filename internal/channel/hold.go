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

	// Used by up, and by serve after it:
	ended bool   // it has said that it sends no more
	back  uint64 // items that it gave back

	use   atomic.Int32  // unused, or what came first of the others
	given atomic.Uint64 // items that it was given
	told  atomic.Bool   // it was told how the end has ended
}

// What a holder's stream is used for besides sending.
const (
	unused  = iota
	pulling // it receives: it is told of the end once it has all that came before
	telling // it is told of the end, and was not to receive anything
)

func (h *hold) serve() {
	defer h.cancel()
	if h.stream.Send(context.Background(), nil, nil) != nil { // the welcome
		return
	}
	var wg sync.WaitGroup
	wg.Go(h.down)
	h.up()
	wg.Wait() // it ends with the stream, and has counted all that it took
	h.left(h.stream.Err())
}

// up carries what the holder sends, until it sends no more.
func (h *hold) up() {
	ctx := context.Background()
	for {
		item, err := h.stream.Recv(ctx)
		if err == io.EOF {
			h.ended = true
			h.end.CloseSend()
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

// take takes what the holder sends. An error is why it can use the end no more.
// What it sends to an end that is over is dropped if it receives, since it may not
// have received all that came before, and must not wait for ever for room.
func (h *hold) take(ctx context.Context, item []byte) error {
	switch {
	case len(item) > 0 && item[0] == wire.HolderItem:
		err := h.end.Send(ctx, item[1:], nil)
		if err != nil && h.end.Over() && !h.use.CompareAndSwap(unused, telling) {
			return nil
		}
		return err
	case len(item) == 1 && item[0] == wire.HolderStop:
		h.stop()
		return nil
	case len(item) > 0 && item[0] == wire.HolderReturn && h.back < h.given.Load():
		h.back++
		if !h.end.stream.PutBack(item[1:]) {
			h.end.abort(fmt.Errorf("%w: the holder of a handle on it has left items unread, and nobody receives them", ErrClosed))
		}
		return nil
	}
	return fmt.Errorf("%w: item of a holder", wire.ErrMalformed)
}

// down carries what the holder wants to receive.
func (h *hold) down() {
	room, stop := handle.Until(h.end.stream)
	defer stop()
	defer context.AfterFunc(h.wants, stop)()
	wanted := func() bool { return h.wants.Err() == nil && h.stream.Err() == nil }
	for h.wants.Err() == nil {
		// Nothing is taken from the others before there is room for it there.
		if h.stream.Ready(room) != nil {
			if h.wants.Err() != nil || h.end.State().Unread == 0 {
				break
			}
			if h.stream.Ready(h.wants) != nil { // the far side has ended, but items are left
				break
			}
		}
		if !h.use.CompareAndSwap(unused, pulling) && h.use.Load() != pulling {
			return
		}
		// Nor before it comes, when the holder may have gone.
		item, owned, err := h.end.takeIf(h.wants, wanted)
		if err != nil && h.wants.Err() == nil && (err != io.EOF || h.end.Over()) {
			h.finish(err)
			return
		} else if err != nil {
			h.stream.End() // there are no more, or it wants no more
			break
		}
		if !owned {
			item = append([]byte(nil), item...)
		}
		h.end.Release()
		h.given.Add(1)
		if err := h.stream.Send(h.over, item, nil); err != nil {
			if h.told.Load() || h.stream.Err() == nil { // it may be too large for that link
				h.end.abort(fmt.Errorf("%w: an item was lost on its way to the holder of a handle on it: %w", ErrClosed, err))
				h.finish(err)
			}
			return
		}
	}
	if h.wants.Err() != nil {
		h.stream.End() // it waits for that
	}
	select {
	case <-h.end.Done():
		h.finish(h.end.Wait(h.over))
	case <-h.over.Done():
	}
}

// finish tells the holder how the end has ended, or why it can use it no more.
func (h *hold) finish(err error) {
	if h.stream.Err() != nil {
		return
	}
	h.told.Store(true)
	var finished *mux.Finished
	if errors.As(h.end.stream.Err(), &finished) {
		h.stream.Finish(finished.Payload)
		return
	}
	end := wire.Ending{Code: wire.EndDone}
	if err != nil && err != io.EOF {
		if lost, ok := err.(*peer.Lost); ok && h.end.Lost != nil {
			err = h.end.Lost(lost.Cause)
		}
		end = wire.Ending{Code: wire.EndClosed, Fault: peer.EncodeShort(err)}
	}
	h.stream.Finish(end.Append(nil))
}

// left ends the channel if the holder was lost or failed and what it was to send
// or to receive may be missing: that must not look like the end of the items, nor
// like patience.
func (h *hold) left(err error) {
	if h.told.Load() && errors.Is(err, mux.ErrClosed) {
		return // finish has ended its stream
	}
	end, how := peer.Ended(err)
	all := h.ended && h.use.Load() != pulling
	_, lost := how.(*peer.Lost)
	switch n := h.given.Load(); {
	case how == io.EOF && end.Taken < n:
		h.end.abort(fmt.Errorf("%w: the holder of a handle on it went with %d items unread that it had asked for", ErrClosed, n-end.Taken))
	case how == io.EOF || all:
	case lost:
		h.end.abort(fmt.Errorf("%w: the holder of a handle on it was lost: %w", ErrClosed, handle.How(err, h.lost)))
	default:
		h.end.abort(fmt.Errorf("%w: the holder of a handle on it failed: %w", ErrClosed, how))
	}
}
