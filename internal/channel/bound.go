package channel

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// bound is what only a holder's end has.
type bound struct {
	wants sync.Once   // it has said that it wants to receive
	pulls atomic.Bool // it has begun to say so
	gone  atomic.Bool // its user can use it no more, and it gives back what it was sent

	// Guarded by End.mu:
	ended bool          // it has said that it sends no more
	back  chan struct{} // closed when all is given back; nil before gone
}

// sendBound sends an item for the far side.
func (e *End) sendBound(ctx context.Context, head, body []byte) error {
	if e.bound.gone.Load() {
		return ErrClosed // explained by the reason for that
	}
	if body == nil {
		return e.stream.Send(ctx, []byte{wire.HolderItem}, head)
	}
	return e.stream.Send(ctx, append([]byte{wire.HolderItem}, head...), body)
}

// takeBound takes an item that the owner has sent.
func (e *End) takeBound(ctx context.Context) (item []byte, owned bool, err error) {
	b := &e.bound
	b.wants.Do(func() {
		b.pulls.Store(true)
		e.stream.Grant()
	})
	item, owned, err = e.takeIf(ctx, func() bool { return !b.gone.Load() })
	if err == mux.ErrUnwanted || err == io.EOF && b.gone.Load() {
		err = e.reason(ErrClosed)
	}
	return item, owned, err
}

// endBound tells whether the stream is to end in this direction, because the user
// sends no more.
func (e *End) endBound() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bound.gone.Load() {
		return false
	}
	e.bound.ended = true
	return true
}

// closeBound gives the handle back, or cuts it off. In a routine or a method, the
// owner hears of that when it has returned. What the owner has sent in advance goes
// back first, if that can be.
func (e *End) closeBound(cause error) {
	if e.Within != nil && e.Within.Err() == nil && !e.Over() && !e.saidAll() {
		if e.giveBack() == nil {
			e.interrupt(cause)
		}
		go e.outlast()
		return
	}
	defer e.close()
	if errors.Is(cause, errAbandoned) {
		e.finish(wire.EndClosed, cause, 0)
		return
	}
	back := e.giveBack()
	if back == nil {
		e.finish(wire.EndDone, nil, 0)
		return
	}
	go func() {
		<-back
		e.finish(wire.EndDone, nil, 0)
	}()
}

// saidAll tells whether nothing is missing if the holder goes now.
func (e *End) saidAll() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bound.ended && !e.bound.pulls.Load()
}

// outlast lets go of what would close the end later if it is over before: a
// routine that runs for long may bind and close many.
func (e *End) outlast() {
	select {
	case <-e.stream.Done():
		e.close()
	case <-e.Within.Done():
	}
}

// giveBack begins to give back what the owner has sent and the user has not
// received. It returns nil when there is nothing of that sort, or no way: the
// direction to the owner has ended, or somebody waits in it.
func (e *End) giveBack() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := &e.bound
	if b.back == nil && (!b.pulls.Load() || b.ended || e.isShut || e.Over() || e.stream.State().Waiting) {
		return nil
	}
	if b.back == nil {
		b.back = make(chan struct{})
		b.gone.Store(true)
		e.wake()
		go e.returnItems()
	}
	return b.back
}

// returnItems gives back what the owner has sent.
func (e *End) returnItems() {
	defer close(e.bound.back)
	ctx := context.Background()
	err := e.stream.Send(ctx, []byte{wire.HolderStop}, nil)
	for err == nil {
		var item []byte
		if item, _, err = e.stream.Take(ctx); err == nil {
			err = e.stream.Send(ctx, []byte{wire.HolderReturn}, item)
			e.stream.Release()
			e.taken.Add(1) // it is not missing
		}
	}
}
