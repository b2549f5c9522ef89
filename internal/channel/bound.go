package channel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

	came atomic.Uint64 // items that have arrived
	last atomic.Bool   // the far side sends no more: the owner is told when all that came are used
	told chan struct{} // closed when the owner has said how the channel has ended
	how  atomic.Pointer[mux.Finished]

	// Guarded by End.mu:
	ended   bool          // the user sends no more
	sending int           // Sends that go on
	sent    chan struct{} // closed when they have ended; nil unless CloseSend waits for them
	closing chan struct{} // closed when the owner was told that no more is sent; nil before CloseSend
	back    chan struct{} // closed when all is given back; nil before gone
}

// newBound begins to listen to the owner.
func (e *End) newBound() {
	e.bound.told = make(chan struct{})
	e.stream.Sift(e.sift)
}

// sift takes the words of the owner, which are behind the items that they are about.
// The link's reader calls it.
func (e *End) sift(item []byte) bool {
	b := &e.bound
	if len(item) == 0 || item[0] != wire.OwnerEnd {
		b.came.Add(1)
		return false
	}
	if len(item) > 1 {
		if b.how.CompareAndSwap(nil, &mux.Finished{Payload: bytes.Clone(item[1:])}) {
			close(b.told)
		}
	}
	b.last.Store(true)
	e.sayUsed()
	return true
}

// sayUsed tells the owner when the user has all that came and the far side sends no
// more: others wait for the end as long as some of it may come back.
func (e *End) sayUsed() {
	if n := e.taken.Load(); e.bound.last.Load() && n > 0 && n >= e.bound.came.Load() {
		go e.sendUsed(n)
	}
}

func (e *End) sendUsed(n uint64) {
	_ = e.stream.Send(context.Background(), binary.AppendUvarint([]byte{wire.HolderUsed}, n), nil) // it fails with the stream
}

// sendBound sends an item for the far side.
func (e *End) sendBound(ctx context.Context, head, body []byte) error {
	if err := e.beginSend(); err != nil {
		return err
	}
	defer e.endSend()
	if body == nil {
		return e.stream.Send(ctx, []byte{wire.HolderItem}, head)
	}
	return e.stream.Send(ctx, append([]byte{wire.HolderItem}, head...), body)
}

func (e *End) beginSend() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch b := &e.bound; {
	case b.gone.Load():
		return ErrClosed // explained by the reason for that
	case b.how.Load() != nil:
		return b.how.Load()
	case b.ended:
		return mux.ErrClosed
	}
	e.bound.sending++
	return nil
}

func (e *End) endSend() {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := &e.bound
	if b.sending--; b.sending == 0 && b.sent != nil {
		close(b.sent)
		b.sent = nil
	}
}

// takeBound takes an item that the owner has sent.
func (e *End) takeBound(ctx context.Context) (item []byte, owned bool, err error) {
	b := &e.bound
	if b.gone.Load() {
		return nil, false, e.reason(ErrClosed)
	}
	b.wants.Do(func() {
		b.pulls.Store(true)
		e.stream.Grant()
	})
	item, owned, err = e.takeIf(ctx, func() bool { return !b.gone.Load() })
	switch {
	case err == mux.ErrUnwanted || err == io.EOF && b.gone.Load():
		return nil, false, e.reason(ErrClosed)
	case err != nil:
		return nil, false, err
	}
	e.sayUsed()
	if len(item) == 0 || item[0] != wire.OwnerItem {
		e.stream.Release()
		err = fmt.Errorf("%w: %w: item of a channel's owner", ErrClosed, wire.ErrMalformed)
		e.reason(err)
		e.finish(wire.EndClosed, err, 0)
		return nil, false, err
	}
	return item[1:], owned, nil
}

// closeSendBound tells the owner that the user sends no more. It waits for a Send
// that goes on, and not for the owner, who may have no room for that word yet.
func (e *End) closeSendBound() {
	b := &e.bound
	e.mu.Lock()
	if b.gone.Load() || b.ended {
		e.mu.Unlock()
		return
	}
	b.ended = true
	var sent chan struct{}
	if b.sending > 0 {
		b.sent = make(chan struct{})
		sent = b.sent
	}
	closing := make(chan struct{})
	b.closing = closing
	e.mu.Unlock()
	if sent != nil {
		<-sent
	}
	if e.stream.TrySend([]byte{wire.HolderClose}, nil) {
		close(closing)
		return
	}
	go func() {
		defer close(closing)
		_ = e.stream.Send(context.Background(), []byte{wire.HolderClose}, nil) // it fails with the stream
	}()
}

// closeBound gives the handle back, or cuts it off. In what has bound it the owner
// hears of that when it has returned, unless nothing can be missing. What the owner
// has sent in advance goes back first, if that can be.
func (e *End) closeBound(cause error) {
	if e.Within != nil && e.Within.Err() == nil && !e.saidAll() {
		e.desert(cause)
		go e.outlast()
		return
	}
	code := wire.EndDone
	if errors.Is(cause, errAbandoned) {
		code = wire.EndClosed
	} else {
		cause = nil
	}
	defer e.close()
	e.leave(code, cause)
}

// desert ends the use of the end for its user.
func (e *End) desert(cause error) {
	switch {
	case e.giveBack() != nil:
	case e.bound.pulls.Load() || e.stream.State().Waiting:
		e.interrupt(cause)
	default: // nobody waits in it, and what the owner says is heard
		e.mu.Lock()
		defer e.mu.Unlock()
		e.bound.gone.Store(true)
		e.wake()
	}
}

// leave finishes the stream when all is said and given back.
func (e *End) leave(code byte, cause error) {
	back := e.giveBack()
	e.mu.Lock()
	closing := e.bound.closing
	e.mu.Unlock()
	if isClosed(back) && isClosed(closing) {
		e.finish(code, cause, 0)
		return
	}
	go func() {
		for _, c := range []<-chan struct{}{back, closing} {
			if c != nil {
				<-c
			}
		}
		e.finish(code, cause, 0)
	}()
}

// isClosed tells whether c is closed, or nil.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return c == nil
	}
}

// saidAll tells whether nothing is missing if the holder goes now: it has sent all
// and receives nothing, or the far side has ended.
func (e *End) saidAll() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := &e.bound
	return e.Over() || b.how.Load() != nil || b.ended && !b.pulls.Load()
}

// outlast lets go of what would close the end later if it is over before: a
// routine that runs for long may bind and close many.
func (e *End) outlast() {
	select {
	case <-e.bound.told:
		e.leave(wire.EndDone, nil)
	case <-e.stream.Done():
	case <-e.Within.Done():
		return
	}
	e.close()
}

// giveBack begins to give back what the owner has sent and the user has not
// received. It returns nil when there is nothing of that sort, or no way: somebody
// waits in the direction to the owner.
func (e *End) giveBack() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := &e.bound
	if b.back == nil && (!b.pulls.Load() || e.isShut || e.Over() || isClosed(b.closing) && e.stream.State().Waiting) {
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
			if len(item) > 0 {
				err = e.stream.Send(ctx, []byte{wire.HolderReturn}, item[1:])
			}
			e.stream.Release()
			e.taken.Add(1) // it is not missing
		}
	}
	if err == io.EOF {
		e.sendUsed(e.taken.Load()) // the others were
	}
}
