package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
)

// Items go both ways, the end of the one direction is not that of the other, and
// the far side's return is the end of both.
func TestConversation(t *testing.T) {
	bubble(t, "the starter ends first", func(t *testing.T) {
		_, e := started(t, echo)
		say(t, e, "one", "", "three")
		hear(t, e, "one", "", "three")
		say(t, e, "four")
		e.CloseSend()
		e.CloseSend()
		hear(t, e, "four")
		if _, err := take(t.Context(), e); err != io.EOF {
			t.Error(err)
		}
		if err := e.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
	bubble(t, "the routine ends first", func(t *testing.T) {
		_, e := started(t, func(ctx context.Context, e *End) error {
			if err := e.Send(ctx, nil, []byte("bye")); err != nil {
				return err
			}
			e.CloseSend()
			if err := e.Send(ctx, nil, nil); !errors.Is(err, ErrClosed) {
				return fmt.Errorf("Send after CloseSend: %v", err)
			}
			if got, err := take(ctx, e); got != "still here" || err != nil {
				return fmt.Errorf("%q, %v", got, err)
			}
			return nil
		})
		hear(t, e, "bye")
		if _, err := take(t.Context(), e); err != io.EOF {
			t.Error(err)
		}
		if e.Over() {
			t.Error("the channel is over")
		}
		say(t, e, "still here")
		if err := e.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What the routine returned comes after the items, to whoever asks: a receiver, a
// sender or one who waits; as often as asked.
func TestHowARoutineEnds(t *testing.T) {
	wrong := errors.New("wrong")
	for name, test := range map[string]struct {
		end     func(ctx context.Context, e *End) error
		matches func(error) bool
	}{
		"error": {func(context.Context, *End) error { return fmt.Errorf("%w: %w", wrong, io.ErrShortWrite) },
			func(err error) bool {
				f, ok := err.(*peer.Fault)
				return ok && f.Message == "wrong: short write" && !f.Panic && errors.Is(err, io.ErrShortWrite)
			}},
		"error after CloseSend": {func(_ context.Context, e *End) error { e.CloseSend(); return wrong }, nil},
		"error after Close": {func(_ context.Context, e *End) error { e.Close(ErrClosed); return wrong },
			func(err error) bool { f, ok := err.(*peer.Fault); return ok && f.Message == "wrong" }},
		"panic": {func(context.Context, *End) error { panic("ouch") },
			func(err error) bool {
				f, ok := err.(*peer.Fault)
				return ok && f.Message == "ouch" && f.Panic && f.Type == "string" && strings.Contains(f.Stack, "TestHowARoutineEnds")
			}},
		"Goexit": {goexit,
			func(err error) bool {
				f, ok := err.(*peer.Fault)
				return ok && f.Panic && strings.Contains(f.Message, "Goexit")
			}},
	} {
		bubble(t, name, func(t *testing.T) {
			_, e := started(t, func(ctx context.Context, e *End) error {
				for _, item := range []string{"a", "b"} {
					if err := e.Send(ctx, nil, []byte(item)); err != nil {
						return err
					}
				}
				return test.end(ctx, e)
			})
			synctest.Wait()
			hear(t, e, "a", "b")
			if test.matches == nil { // the end of the items came before
				if _, err := take(t.Context(), e); err != io.EOF {
					t.Error(err)
				}
				if err := e.Wait(t.Context()); err == nil || err.Error() != "wrong" {
					t.Error(err)
				}
				return
			}
			for range 2 {
				endsWith(t, e, test.matches)
			}
			e.Close(ErrClosed)
			endsWith(t, e, test.matches)
			if f := e.Fault(); f == nil || !test.matches(f) {
				t.Errorf("Fault: %v", f)
			}
		})
	}
	bubble(t, "nil", func(t *testing.T) {
		_, e := started(t, func(context.Context, *End) error { return nil })
		synctest.Wait()
		if _, err := take(t.Context(), e); err != io.EOF {
			t.Errorf("Take: %v", err)
		}
		if err := e.Send(t.Context(), nil, nil); !errors.Is(err, ErrClosed) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Send: %q", err)
		}
		if err := e.Wait(t.Context()); err != nil || e.Fault() != nil {
			t.Errorf("Wait: %v", err)
		}
	})
}

// The starter's Close ends the routine: its context, with the reason, and what it
// waits for. The starter's own methods give the cause from then on.
func TestStarterCloses(t *testing.T) {
	mine := errors.New("mine")
	synctest.Test(t, func(t *testing.T) {
		learned := make(chan error, 3)
		_, e := started(t, func(ctx context.Context, e *End) error {
			_, err := take(context.Background(), e)
			learned <- err
			learned <- e.Send(context.Background(), nil, nil)
			<-ctx.Done()
			learned <- context.Cause(ctx)
			return nil
		})
		say(t, e)
		synctest.Wait()
		failed := make(chan error, 2)
		go func() { _, err := take(context.Background(), e); failed <- err }()
		go func() { failed <- e.Wait(context.Background()) }()
		synctest.Wait()
		e.Close(mine)
		e.Close(errors.New("again"))
		for range 2 {
			if err := <-failed; err != mine {
				t.Errorf("what waited: %v", err)
			}
		}
		endsWith(t, e, is(mine))
		for range 2 {
			var closed *peer.Closed
			if err := <-learned; !errors.As(err, &closed) || !strings.Contains(err.Error(), "mine") {
				t.Errorf("the routine's end: %v", err)
			}
		}
		if err := <-learned; !errors.Is(err, peer.ErrStreamClosed) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "mine") {
			t.Errorf("the routine's context: %v", err)
		}
		closed := 0
		e.OnClose(func() { closed++ })
		if closed != 1 || !e.Closed() {
			t.Error("OnClose after Close does nothing")
		}
	})
}

// Close in the routine interrupts all that its end waits for, and the starter
// hears of it when the routine returns: of its error then, not of an end of the
// items that would hide it.
func TestRoutineCloses(t *testing.T) {
	mine, wrong := errors.New("mine"), errors.New("wrong")
	for _, large := range []int{0, 3 << 20} { // an item of which a part was sent
		bubble(t, fmt.Sprint(large), func(t *testing.T) {
			closed, shut, leave := make(chan error, 5), make(chan struct{}), make(chan struct{})
			_, e := started(t, func(ctx context.Context, e *End) error {
				go func() { _, err := take(context.Background(), e); closed <- err }()
				go func() { closed <- e.Wait(context.Background()) }()
				go func() {
					var err error
					for err == nil {
						err = e.Send(context.Background(), nil, make([]byte, max(large, 1000)))
					}
					closed <- err
				}()
				<-shut
				e.Close(mine)
				e.Close(errors.New("again"))
				_, err := take(ctx, e)
				closed <- err
				closed <- e.Send(ctx, nil, nil)
				e.CloseSend()
				<-leave
				return wrong
			})
			synctest.Wait()
			close(shut)
			for range 5 {
				if err := <-closed; err != mine {
					t.Errorf("what waited in the routine: %v", err)
				}
			}
			if e.Over() {
				t.Error("the starter's end is over")
			}
			say(t, e, "unheard")
			close(leave)
			synctest.Wait()
			for {
				if item, err := take(t.Context(), e); err != nil {
					if f, ok := err.(*peer.Fault); !ok || f.Message != "wrong" {
						t.Errorf("%v", err)
					}
					break
				} else if len(item) != 1000 {
					t.Fatalf("an item of %d bytes", len(item))
				}
			}
		})
	}
}

// What a routine has left behind learns that it has returned.
func TestLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed, leave, gone := make(chan error, 2), make(chan struct{}), make(chan struct{})
		var end *End
		_, e := started(t, func(ctx context.Context, e *End) error {
			end = e
			go func() { _, err := take(context.Background(), e); failed <- err }()
			go func() {
				<-ctx.Done()
				failed <- context.Cause(ctx)
			}()
			<-leave
			return nil
		})
		synctest.Wait()
		close(leave)
		if err := e.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-failed; !errors.Is(err, peer.ErrReturned) && err != errReturned {
				t.Errorf("%v", err)
			}
		}
		endsWith(t, end, is(errReturned))
		end.OnClose(func() { close(gone) })
		<-gone
	})
}

// An item may be as large as the limit, of which a byte string's own bytes count;
// one that is larger is refused with both sizes, and the channel goes on.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, e := started(t, echo)
		e.Limit = 1000
		head := []byte{0x59, 1000 >> 8, 1000 & 255} // of a byte string
		for _, parts := range [][2][]byte{{make([]byte, 1000), nil}, {head, make([]byte, 1000)}, {append(head, make([]byte, 1000)...), nil}, {head, []byte{}}} {
			if err := e.Send(t.Context(), parts[0], parts[1]); err != nil {
				t.Errorf("%d and %d bytes: %v", len(parts[0]), len(parts[1]), err)
			} else if got, err := take(t.Context(), e); err != nil || len(got) != len(parts[0])+len(parts[1]) {
				t.Errorf("%d bytes back, %v", len(got), err)
			}
		}
		for _, parts := range [][2][]byte{{make([]byte, 1001), nil}, {head, make([]byte, 1001)}} {
			err := e.Send(t.Context(), parts[0], parts[1])
			if !errors.Is(err, peer.ErrTooLarge) || !strings.Contains(err.Error(), "1001") || !strings.Contains(err.Error(), "1000") {
				t.Errorf("%v", err)
			}
		}
		say(t, e, "on")
		hear(t, e, "on")
	})
}

// A context ends a Send that waits for credit. The channel goes on, unless a part
// of a large item was sent.
func TestCanceledSend(t *testing.T) {
	mine := errors.New("mine")
	for _, size := range []int{1, 64 << 10, 200 << 10, 2 << 20} {
		bubble(t, fmt.Sprint(size), func(t *testing.T) {
			release := make(chan struct{})
			gone := make(chan error, 1)
			_, e := started(t, func(ctx context.Context, e *End) error {
				<-release
				for {
					if _, err := take(ctx, e); err != nil {
						gone <- err
						return nil
					}
				}
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			failed := make(chan error, 1)
			go func() {
				var err error
				for err == nil {
					err = e.Send(ctx, nil, make([]byte, size))
				}
				failed <- err
			}()
			synctest.Wait()
			cancel(mine)
			err := <-failed
			if err != mine {
				t.Errorf("%v", err)
			}
			if size < 1<<20 {
				close(release)
				e.CloseSend()
				if err := <-gone; err != io.EOF {
					t.Errorf("the routine: %v", err)
				}
				return
			}
			endsWith(t, e, is(ErrClosed))
			close(release)
			var lost *peer.Lost
			if err := <-gone; !errors.As(err, &lost) || !errors.Is(err, mux.ErrReset) || !strings.Contains(err.Error(), "inside an item") {
				t.Errorf("the routine: %v", err)
			}
		})
	}
}

// A context that has ended does not hide what is there: items, and the end.
func TestEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine := errors.New("mine")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(mine)
		hold := make(chan struct{})
		_, e := started(t, func(ctx context.Context, e *End) error {
			defer func() { <-hold }()
			return e.Send(ctx, nil, []byte("item"))
		})
		synctest.Wait()
		if got, err := take(ctx, e); err != nil || got != "item" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := take(ctx, e); err != mine {
			t.Error(err)
		}
		if err := e.Wait(ctx); err != mine {
			t.Error(err)
		}
		close(hold)
		synctest.Wait()
		for range 20 {
			if err := e.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := take(ctx, e); err != io.EOF {
				t.Fatal(err)
			}
		}
	})
}
