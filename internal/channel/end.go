// Package channel is the ends of channels, in encoded form: of the one who
// started a routine, of the routine, and of those who hold a handle on either.
//
// A channel is a stream. Its items are the stream's; CloseSend is its End. It is
// over when the routine has returned, or its other user has closed it, which
// says how in what finishes the stream. A holder has a stream of its own to the end
// that it shares, over which it also gives back what it has not used.
package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// Kind says whose an end is, which decides what Close means.
type Kind uint8

// Kinds of ends.
const (
	Starter Kind = iota // of who started the routine: Close ends the routine
	Routine             // of the routine: it has ended when the routine returns
	Holder              // bound from a handle: Close gives the handle back
)

// Config says what an end is.
type Config struct {
	Kind  Kind
	Name  string      // of the routine, for errors
	Limit int64       // bytes of an item; 0: none
	Conn  *peer.Conn  // of a Starter: its log records come before its end
	Lost  handle.Lost // of a Starter: why its link has ended, for holders; nil: as the link says
	// Within is, of a Holder, a context that ends with what runs that has bound it,
	// if there is such a thing: Close gives the handle back when that has ended.
	Within context.Context
}

// End is one end of a channel. Its methods may be used concurrently.
type End struct {
	Config
	stream *mux.Stream
	bound  bound         // of a Holder
	taken  atomic.Uint64 // items given to the user
	shut   chan struct{} // closed when it can be used no more though it is not over

	mu      sync.Mutex
	closed  error    // why this end's own user, or a holder's loss, has ended it
	missing error    // why items are, in place of a clean end
	isShut  bool     // shut is closed
	done    bool     // close was called
	onClose []func() // to be called then
}

// New returns the end of a stream.
func New(s *mux.Stream, c Config) *End {
	e := &End{Config: c, stream: s, shut: make(chan struct{})}
	if c.Kind == Holder {
		e.newBound()
	}
	return e
}

// OnClose has f called when this end is closed for its own user, or the routine
// whose end it is has returned; not when the far side has ended, which leaves the
// items that have arrived. If that was before, f is called now.
func (e *End) OnClose(f func()) {
	e.mu.Lock()
	if !e.done {
		e.onClose = append(e.onClose, f)
		f = func() {}
	}
	e.mu.Unlock()
	f()
}

// Closed tells whether the functions of OnClose were called.
func (e *End) Closed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.done
}

// Withdraw calls the functions of OnClose: the end's link has ended, and nobody
// new can use it.
func (e *End) Withdraw() { e.close() }

// close calls the functions of OnClose.
func (e *End) close() {
	e.mu.Lock()
	todo := e.onClose
	e.onClose, e.done = nil, true
	e.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// interrupt ends what waits at this end, though the channel is not over.
func (e *End) interrupt(cause error) {
	e.stream.Shut(cause)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wake()
}

// wake wakes those who wait for the end; e.mu is held.
func (e *End) wake() {
	if !e.isShut {
		e.isShut = true
		close(e.shut)
	}
}

// Errors of an end whose user can use it no more.
var (
	ErrClosed = errors.New("channel closed")
	// errAbandoned is wrapped by the cause of a holder's end that was not given
	// back but cut short.
	errAbandoned = errors.New("abandoned by its holder")
	errEnded     = fmt.Errorf("%w: the far side has returned", ErrClosed)
	errReturned  = fmt.Errorf("%w: the routine has returned", ErrClosed)
	errCut       = fmt.Errorf("%w: a Send was canceled when it had sent a part of its item", ErrClosed)
)

// Send sends one item, head and body put together. It waits for credit as long
// as ctx lasts. Errors are those of Wait, a peer.TooLargeError, which of a byte
// string counts what is in it, or ctx's.
func (e *End) Send(ctx context.Context, head, body []byte) error {
	if e.Limit > 0 && int64(len(head)+len(body)) > e.Limit {
		if n := size(head, body); n > e.Limit {
			return &peer.TooLargeError{What: "item for " + e.Name, Size: n, Limit: e.Limit}
		}
	}
	var err error
	if e.Kind == Holder {
		err = e.sendBound(ctx, head, body)
	} else {
		err = e.stream.Send(ctx, head, body)
	}
	switch {
	case err == nil:
		return nil
	case e.hasReset(ctx) && e.reason(errCut) == errCut:
		return context.Cause(ctx)
	}
	return e.explain(ctx, err, true)
}

// hasReset tells whether the end of ctx has ended the stream, in this Send or
// another, and not the other way around.
func (e *End) hasReset(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(e.stream.Err(), mux.ErrReset) && !errors.Is(context.Cause(ctx), mux.ErrReset)
}

// size is what counts of an item.
func size(head, body []byte) int64 {
	if body != nil {
		return int64(len(body))
	}
	if b, err := codec.Bytes(head); err == nil {
		return int64(len(b))
	}
	return int64(len(head))
}

// Take returns the next item, as the stream's Take does; Release must follow.
// After the last it returns io.EOF, or what Wait returns.
func (e *End) Take(ctx context.Context) (item []byte, owned bool, err error) {
	if e.Kind == Holder {
		return e.takeBound(ctx)
	}
	return e.takeIf(ctx, nil)
}

// takeIf is Take, unless wanted says no when there is an item: then the error is
// mux.ErrUnwanted.
func (e *End) takeIf(ctx context.Context, wanted func() bool) (item []byte, owned bool, err error) {
	item, owned, err = e.stream.TakeIf(ctx, wanted)
	return e.took(ctx, item, owned, err)
}

// borrow is takeIf of an item that may be put back into the stream.
func (e *End) borrow(ctx context.Context, wanted func() bool) (item []byte, owned bool, err error) {
	item, owned, err = e.stream.Borrow(ctx, wanted)
	return e.took(ctx, item, owned, err)
}

// took counts what was taken, or explains why nothing was.
func (e *End) took(ctx context.Context, item []byte, owned bool, err error) ([]byte, bool, error) {
	if err == mux.ErrUnwanted {
		return nil, false, err
	}
	if err != nil {
		return nil, false, e.explain(ctx, err, false)
	}
	e.taken.Add(1)
	return item, owned, nil
}

// Release ends the use of what Take returned.
func (e *End) Release() { e.stream.Release() }

// CloseSend says that no more items will be sent. It waits for a Send that goes
// on.
func (e *End) CloseSend() {
	if e.Kind == Holder {
		e.closeSendBound()
	} else {
		e.stream.End()
	}
}

// Close closes the end for its own user; cause is what its methods return from
// then on, also those that wait. It is idempotent, and changes no error when the
// channel is over.
//
// The far side of a routine's end hears of it when the routine returns, and then
// whether that was an error: the end of the items now would hide it. The same goes
// for a handle that a routine has bound, which Abandon gives back then.
func (e *End) Close(cause error) {
	if !e.Over() {
		e.reason(cause)
	}
	if e.Kind == Holder {
		e.closeBound(cause)
		return
	}
	defer e.close()
	if e.Kind == Routine {
		e.interrupt(cause)
	} else {
		e.finish(wire.EndClosed, cause, 0)
	}
	e.forgo(cause)
}

// forgo ends the wait for items that are lent to holders.
func (e *End) forgo(cause error) {
	if e.stream.Settle(0) > 0 {
		e.miss(cause)
		e.stream.Settle(math.MaxInt)
	}
}

// miss has cause in the place of a clean end, unless there is such a cause.
func (e *End) miss(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.missing == nil {
		e.missing = cause
	}
}

// missed returns why items are missing, if they are.
func (e *End) missed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.missing
}

// lose ends the channel on both sides because items are missing. Where it has ended
// before, those who receive, or ask how, hear of that.
func (e *End) lose(cause error) {
	e.miss(cause)
	e.abort(cause)
}

// reason returns why the end can be used no more: the first reason that was
// given.
func (e *End) reason(cause error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed == nil {
		e.closed = cause
	}
	return e.closed
}

// Abandon closes a holder's end because its context has ended. When the function
// that has bound it returned, that is as if it had closed the end itself.
func (e *End) Abandon(cause error) {
	if !errors.Is(cause, peer.ErrReturned) && e.Kind == Holder {
		cause = fmt.Errorf("%w: %w", errAbandoned, cause)
	}
	e.Close(cause)
}

// abort ends the channel on both sides.
func (e *End) abort(cause error) {
	if !e.Over() {
		e.reason(cause)
		e.finish(wire.EndClosed, cause, 0)
	}
}

// retire closes a routine's end for what the routine has left behind, which must
// not end the stream before that can say how the routine has returned. The end
// of its context is to come between retire and returned, so that the stream's end
// is not the reason of it.
func (e *End) retire() {
	if !e.Over() {
		e.interrupt(e.reason(errReturned))
	}
	e.forgo(errReturned)
}

// returned ends a routine's end: the routine has returned, with an error or nil,
// and sent so many log records until then.
func (e *End) returned(err error, logged uint64) {
	if err == nil {
		e.finish(wire.EndDone, nil, logged)
	} else {
		e.finish(wire.EndFailed, err, logged)
	}
	e.close()
}

func (e *End) finish(code byte, err error, logged uint64) {
	peer.Finish(e.stream, wire.Ending{Code: code, Logged: logged, Taken: e.taken.Load()}, err)
}

// Over tells whether the channel has ended in both directions.
func (e *End) Over() bool { return e.stream.Err() != nil }

// Done is closed when the channel has ended in both directions. Items that have
// arrived can still be taken.
func (e *End) Done() <-chan struct{} { return e.stream.Done() }

// State is a snapshot of the stream underneath.
func (e *End) State() mux.StreamState { return e.stream.State() }

// Wait waits until the channel has ended, for as long as ctx lasts, and returns
// nil when the far side has said all, a *peer.Fault when the routine failed, a
// *peer.Closed, a *peer.Lost, or the cause of this end's own Close. It takes no
// items.
func (e *End) Wait(ctx context.Context) error {
	over := e.stream.Err()
	if over == nil {
		select {
		case <-e.stream.Done():
			over = e.stream.Err()
		case <-e.bound.told: // of a Holder
			over = e.bound.how.Load()
		case <-e.shut:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := e.explain(ctx, over, false)
	if err == io.EOF {
		return nil
	}
	return err
}

// Fault returns the error of a routine that has failed, if this end was not
// closed before. It does not wait for what the routine has logged.
func (e *End) Fault() *peer.Fault {
	err := e.stream.Err()
	if err == nil || e.cause() != nil {
		return nil
	}
	_, how := peer.Ended(err)
	fault, _ := how.(*peer.Fault)
	return fault
}

// cause returns why this side has ended the channel, if it has.
func (e *End) cause() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// explain says what an error of the stream means; nil is that of a routine's end
// that is closed.
func (e *End) explain(ctx context.Context, err error, sending bool) error {
	over, closed := e.stream.Err(), e.cause()
	var told *mux.Finished
	if over == nil && errors.As(err, &told) {
		over = told // by the owner of a holder's end, whose stream goes on
	}
	switch {
	case err == io.EOF:
		return e.clean()
	case closed != nil:
		return closed
	case !sending && err != over && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)): // waiting for lent items
		return err
	case over != nil:
		return e.ending(ctx, over, sending)
	case errors.Is(err, mux.ErrClosed): // sending after CloseSend
		return ErrClosed
	case errors.Is(err, mux.ErrTooLarge): // a holder does not know the limit of its link
		return fmt.Errorf("afar: item for %s: %w: %w", e.Name, peer.ErrTooLarge, err)
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		return err
	}
	<-e.stream.Done() // the link has ended, and so will the stream
	return e.ending(ctx, e.stream.Err(), sending)
}

// ending says how the far side or the link has ended the channel, which over is the
// error of.
func (e *End) ending(ctx context.Context, over error, sending bool) error {
	end, how := peer.Ended(over)
	if e.Conn != nil {
		if err := e.Conn.WaitNotes(ctx, end.Logged); err != nil {
			return err
		}
	}
	switch {
	case how != io.EOF:
		return how
	case sending:
		return errEnded
	}
	return e.clean()
}

// clean is io.EOF, unless items are missing.
func (e *End) clean() error {
	if err := e.missed(); err != nil {
		return err
	}
	return io.EOF
}
