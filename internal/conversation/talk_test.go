package conversation

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/dispatch"
)

// TestContextEndsAfterTheRoutine: that nobody received its error is logged then,
// once.
func TestContextEndsAfterTheRoutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		failed, received, closed := r.channel(ctx), r.channel(ctx), r.channel(ctx)
		for _, talk := range []*Talk{failed, received, closed} {
			r.fail(talk)
		}
		received.Seen()
		closed.Close(dispatch.ErrClosed)
		r.logged(1)
		cancel()
		r.logged(2)
		failed.Close(dispatch.ErrClosed)
		received.Close(dispatch.ErrClosed)
		r.book.End()
		r.logged(2)
	})
}

// TestUnseen: an error that was taken and given to nobody is logged, if it was not
// before.
func TestUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		talk := r.channel(t.Context())
		r.fail(talk)
		talk.Seen()
		talk.Close(dispatch.ErrClosed)
		r.logged(0)
		talk.Unseen()
		r.logged(1)
		talk.Seen()
		talk.Unseen()
		r.logged(1)
	})
}

// TestBeginAfterEnd: a conversation that comes too late is ended.
func TestBeginAfterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.book.End()
		talk := r.channel(t.Context())
		if err := talk.Channel.Wait(t.Context()); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
		if r.book.Open() != 0 {
			t.Errorf("%d are open", r.book.Open())
		}
	})
}

func TestExpect(t *testing.T) {
	var b Book
	first, second := b.Expect(), b.Expect()
	if b.Open() != 2 {
		t.Errorf("%d are expected", b.Open())
	}
	first()
	second()
	if b.Open() != 0 {
		t.Errorf("%d are expected", b.Open())
	}
}

// TestAbandonOutsideOfTheBubble: the garbage collector calls Abandon outside of the
// synctest bubble of the conversation, whose channels it must not touch.
func TestAbandonOutsideOfTheBubble(t *testing.T) {
	for _, seen := range []bool{false, true} {
		var r *rig
		var failed, ended *Talk
		synctest.Test(t, func(t *testing.T) {
			r = newRig(t)
			failed, ended = r.channel(t.Context()), r.channel(t.Context())
			r.fail(failed)
			ended.Channel.CloseSend()
			<-ended.Channel.Done()
			if seen {
				failed.Seen()
			}
		})
		failed.Abandon()
		ended.Abandon()
	}
}
