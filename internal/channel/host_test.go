package channel

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

func goexit(context.Context, *End) error {
	runtime.Goexit()
	return nil
}

// A link that ends takes its channels with it, on both sides, and what had
// arrived comes first.
func TestLinkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan error, 2)
		r, e := started(t, func(ctx context.Context, e *End) error {
			_ = e.Send(ctx, nil, []byte("last"))
			_, err := take(context.Background(), e)
			gone <- err
			<-ctx.Done()
			gone <- ctx.Err()
			return nil
		})
		synctest.Wait()
		_ = r.worker.Close()
		synctest.Wait()
		lost := func(err error) bool { var lost *peer.Lost; return errors.As(err, &lost) }
		hear(t, e, "last")
		endsWith(t, e, lost)
		if err := <-gone; !lost(err) {
			t.Errorf("the routine's end: %v", err)
		}
		if err := <-gone; err != context.Canceled {
			t.Errorf("the routine's context: %v", err)
		}
		if e.Fault() != nil {
			t.Error("a lost link is no error of the routine")
		}
	})
}

// A routine's end is told after its log records were handled, or not at all
// before the context ends.
func TestRecordsComeBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ *End) error {
			call := peer.FromContext(ctx)
			for range 3 {
				if err := call.Log(&peer.Record{Message: "here"}); err != nil {
					return err
				}
			}
			call.Progress(1, 2)
			return errors.New("wrong")
		})
		handled, step := 0, make(chan struct{})
		r.notes = func(n peer.Note) {
			<-step
			handled++
		}
		e := r.start(0)
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		mine := errors.New("mine")
		cancel(mine)
		if err := e.Wait(ctx); err != mine {
			t.Errorf("before the records: %v", err)
		}
		ended := make(chan error, 2)
		go func() { ended <- e.Wait(t.Context()) }()
		go func() { _, err := take(t.Context(), e); ended <- err }()
		for i := range 4 {
			synctest.Wait()
			select {
			case err := <-ended:
				t.Fatalf("%v after %d records", err, i)
			default:
			}
			step <- struct{}{}
		}
		for range 2 {
			if err := <-ended; err == nil || err.Error() != "wrong" || handled != 4 {
				t.Errorf("%v after %d notes", err, handled)
			}
		}
	})
}

// The time that the starter has left is the routine's, too.
func TestRemainingTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, e *End) error {
			_, err := take(ctx, e)
			return err
		})
		begun := time.Now()
		e := r.startWith(&wire.Info{Attempt: 1, Remaining: time.Minute})
		err := e.Wait(t.Context())
		if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took < time.Minute || took > 2*time.Minute {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// What is no routine is refused, and the link goes on.
func TestHostRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, echo)
		for name, purpose := range map[string][]byte{
			"no info":     {wire.PurposeRoutine},
			"a call":      wire.AppendPurpose(nil, wire.PurposeRoutine, &wire.Info{Function: 1, Attempt: 1}),
			"no function": wire.AppendPurpose(nil, wire.PurposeRoutine, &wire.Info{Function: 2, Attempt: 1}),
		} {
			s, err := r.caller.Open(purpose, mux.StreamOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			e := New(s, Config{Name: name, Conn: r.caller})
			endsWith(t, e, is(mux.ErrReset))
		}
		e := r.start(0)
		say(t, e, "on")
		hear(t, e, "on")
		e.Close(ErrClosed)
	})
}

// A routine that has not looked at its channel yet gets all that was sent, and a
// reader that never reads holds back its sender, and nobody else.
func TestUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan struct{})
		got := 0
		r := newRig(t, func(ctx context.Context, e *End) error {
			<-read
			for {
				if _, err := take(ctx, e); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				got++
			}
		}, echo)
		unread, other := r.start(0), r.start(1)
		sent := make(chan error, 1)
		const items, size = 5000, 1 << 10
		go func() {
			for range items {
				if err := unread.Send(t.Context(), nil, make([]byte, size)); err != nil {
					sent <- err
					return
				}
			}
			unread.CloseSend()
			sent <- nil
		}()
		synctest.Wait()
		s := unread.State()
		if s.Sent*size > 1<<20 || s.Sent*size < 1<<19 || !s.Waiting {
			t.Errorf("the sender is at %+v", s)
		}
		say(t, other, "me")
		hear(t, other, "me")
		other.CloseSend()
		if err := other.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		close(read)
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if err := unread.Wait(t.Context()); err != nil || got != items {
			t.Errorf("%d items, %v", got, err)
		}
	})
}
