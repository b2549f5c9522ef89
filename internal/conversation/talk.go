// Package conversation keeps the books of a gateway's conversations, its
// channels and objects, and takes those that come in at a worker.
package conversation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/channel"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/object"
	"github.com/afar-go/afar/internal/peer"
)

// Talk is a conversation: with a routine over a channel, or with an object.
type Talk struct {
	Name    string                  // of the routine or the class
	Type    string                  // of an object
	Worker  string                  // id
	Channel *channel.End            // of a routine, else
	Object  *object.Handle          // of an object
	Book    *Book                   // where it is kept
	Fault   func(*peer.Fault) error // a routine's failure as users see it
	Log     *slog.Logger

	ctx     context.Context // of its beginning
	began   time.Time
	done    <-chan struct{} // closed when it is over
	dropped chan struct{}   // closed when its owner has forgotten it
	seen    atomic.Bool     // its error was received
	logged  atomic.Bool     // it was logged that nobody did
	closed  atomic.Bool     // by its user

	// Guarded by the book's mutex:
	ended  bool        // the book knows that it is over
	unwait func() bool // the end of its context is waited for, to log the error
}

// Begin keeps a conversation in its book until it is over, which the end of ctx
// brings about; after is called then.
func (t *Talk) Begin(ctx context.Context, after func()) {
	t.ctx, t.began, t.dropped = ctx, time.Now(), make(chan struct{})
	if t.Channel != nil {
		t.done = t.Channel.Done()
	} else {
		t.done = t.Object.Done()
	}
	if t.Book.add(t) {
		go t.watch(ctx, after)
		return
	}
	t.hangUp(dispatch.ErrClosed)
	after()
}

func (t *Talk) watch(ctx context.Context, after func()) {
	defer t.Book.watching.Done()
	select {
	case <-t.done:
	case <-ctx.Done():
		t.hangUp(dispatch.CtxError(ctx))
	case <-t.dropped:
		if !t.isOver() {
			t.Log.Warn("afar: a conversation was never closed", "with", t.Name, "worker", t.Worker)
			t.hangUp(errDropped)
		}
	}
	<-t.done
	if t.Channel != nil {
		_ = t.Channel.Wait(context.Background()) // until its log records were handled
	}
	after()
	t.Book.over(ctx, t)
}

func (t *Talk) hangUp(cause error) {
	if t.Channel != nil {
		t.Channel.Close(cause)
	} else {
		t.Object.Close(cause)
	}
}

func (t *Talk) isOver() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// Seen notes that the user has received an error of the conversation.
func (t *Talk) Seen() { t.seen.Store(true) }

// Unseen takes Seen back: what had received the error will give it to nobody.
func (t *Talk) Unseen() {
	t.seen.Store(false)
	t.report()
}

// Close ends the conversation for its user; cause is what its methods return
// from then on.
func (t *Talk) Close(cause error) {
	t.closed.Store(true)
	t.report()
	t.Book.forget(t)
	t.hangUp(cause)
}

// Abandon ends a conversation that its owner has forgotten to close. Of one that
// is over it uses nothing that belongs to a synctest bubble, outside of which the
// garbage collector calls it.
func (t *Talk) Abandon() {
	if !t.Book.abandon(t) {
		return
	}
	if t.Channel != nil {
		t.Channel.Close(errDropped) // there may be handles on it
	}
	go t.warn() // a log handler may take its time
}

var errDropped = fmt.Errorf("%w: it was dropped without Close", dispatch.ErrClosed)

// failed returns the error of a routine that has failed.
func (t *Talk) failed() error {
	if t.Channel == nil {
		return nil
	}
	if fault := t.Channel.Fault(); fault != nil {
		return t.Fault(fault)
	}
	return nil
}

// report logs the error that nobody has received, unless it is that the
// context has ended, which the user knows.
func (t *Talk) report() {
	if err := t.ctx.Err(); err == nil || !errors.Is(t.failed(), err) {
		t.warn()
	}
}

// warn logs the error that nobody has received, once.
func (t *Talk) warn() {
	if err := t.failed(); err != nil && !t.seen.Load() && t.logged.CompareAndSwap(false, true) {
		t.Log.Warn("afar: nobody received the error of a routine", "routine", t.Name, "worker", t.Worker, "error", err)
	}
}
