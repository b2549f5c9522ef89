package mux

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/launch"
)

// waiters is everything that can wait in a stream, each in a way of its own.
type waiters struct {
	t      *testing.T
	failed mailbox[error]
	n      int
}

func (w *waiters) start(do func() error) {
	w.n++
	go func() { w.failed.put(do()) }()
	synctest.Wait()
}

// expect checks that all of them have failed by now, with errors that is accepts.
func (w *waiters) expect(is func(error) bool) {
	w.t.Helper()
	for range w.n {
		if err := w.failed.take(); !is(err) {
			w.t.Errorf("%v", err)
		}
	}
	w.n = 0
}

// everything makes all kinds of waiters on two streams of an end whose peer takes
// a window of each and then nothing, and whose link is not full.
func (w *waiters) everything(ctx context.Context, first, second *Stream) {
	w.start(func() error { // waits for credit, inside an item
		return first.Send(ctx, nil, make([]byte, 3*DefaultWindow))
	})
	w.start(func() error { return first.Send(ctx, nil, nil) }) // for its turn
	w.start(func() error {                                     // for credit
		for {
			if err := second.Send(ctx, nil, make([]byte, 1000)); err != nil {
				return err
			}
		}
	})
	w.start(func() error { return first.Ready(ctx) })
	w.start(func() error { _, err := first.Recv(ctx); return err })     // for an item
	w.start(func() error { _, _, err := first.Take(ctx); return err })  // for its turn
	w.start(func() error { _, _, err := second.Take(ctx); return err }) // for an item
}

func TestEverythingThatWaitsEndsWithTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		first, _ := opened(t, a, b)
		second, _ := opened(t, a, b)
		w := &waiters{t: t}
		w.everything(context.Background(), first, second)
		w.start(func() error { first.End(); return ErrClosed }) // for its turn
		if w.failed.len() > 0 {
			t.Fatalf("%v did not wait", w.failed.take())
		}
		_ = a.Close()
		w.expect(func(err error) bool { return errors.Is(err, ErrClosed) })
	})
}

func TestEverythingThatWaitsHonorsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		first, other := opened(t, a, b)
		second, third := opened(t, a, b)
		w := &waiters{t: t}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("changed my mind")
		w.everything(ctx, first, second)
		if w.failed.len() > 0 {
			t.Fatalf("%v did not wait", w.failed.take())
		}
		cancel(cause)
		// The Send that was inside an item has reset its stream.
		w.expect(func(err error) bool { return err == cause || errors.Is(err, ErrReset) })
		<-other.Done()
		books(t, second, third)
		if second.Err() != nil {
			t.Errorf("the stream without a broken item ended: %v", second.Err())
		}
	})
}

func TestEverythingThatWaitsEndsWithItsStream(t *testing.T) {
	for name, cut := range map[string]func(mine, theirs *Stream){
		"reset":        func(st, _ *Stream) { st.Reset("enough") },
		"finish":       func(st, _ *Stream) { st.Finish(nil) },
		"their reset":  func(_, st *Stream) { st.Reset("enough") },
		"their finish": func(_, st *Stream) { st.Finish(nil) },
	} {
		synctest.Test(t, func(t *testing.T) {
			a, b := pair(t, quiet())
			first, other := opened(t, a, b)
			second, third := opened(t, a, b)
			w := &waiters{t: t}
			w.everything(context.Background(), first, second)
			cut(first, other)
			cut(second, third)
			w.expect(func(err error) bool {
				return errors.Is(err, ErrReset) || errors.Is(err, ErrClosed) || errors.As(err, new(*Finished))
			})
			if a.Err() != nil || b.Err() != nil {
				t.Errorf("%s: the link ended: %v, %v", name, a.Err(), b.Err())
			}
		})
	}
}

// Sends that wait for the link, and for those who wait for it, honor their
// contexts, except the one that writes.
func TestSendsToALinkThatTakesNothing(t *testing.T) {
	for _, sizes := range [][]int{{1000}, {directWrite - 1}, {directWrite}, {300_000}, {1000, 300_000}} {
		synctest.Test(t, func(t *testing.T) {
			link := newBlocked(bytes.NewReader(nil))
			a := (&end{}).on(link, Config{Keepalive: -1, Window: 8 << 20})
			start(t, a)
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("changed my mind")
			w := &waiters{t: t}
			for i := range 10 {
				st, err := a.Open(nil, StreamOptions{})
				if err != nil {
					t.Fatal(err)
				}
				w.start(func() error {
					for {
						if err := st.Send(ctx, nil, make([]byte, sizes[i%len(sizes)])); err != nil {
							return err
						}
					}
				})
			}
			a.writer.mu.Lock()
			if n, limit := len(a.writer.out), roomLimit+directWrite+100; n > limit {
				t.Errorf("%d bytes wait to be written, limit %d", n, limit)
			}
			a.writer.mu.Unlock()
			cancel(cause)
			synctest.Wait()
			if n := w.failed.len(); n < 9 {
				t.Errorf("%v: %d of 10 have ended", sizes, n)
			}
			_ = a.Close()
			w.expect(func(err error) bool { return err == cause || errors.Is(err, ErrReset) || errors.Is(err, ErrClosed) })
		})
	}
}

// A canceled Send that had to wait for the link has sent nothing, and its credit
// is not lost.
func TestCreditOfACanceledSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := launch.Pipe()
		g := &gate{near, make(chan struct{}, 100), make(chan struct{}, 1000)}
		a, b := &end{}, &end{}
		join(quiet(), g, far, a, b)
		start(t, a, b)
		g.pass <- struct{}{}
		st, other := opened(t, a, b)
		<-g.came
		a.Post(nil, nil)
		a.Kick() // the writing goroutine waits at the gate from now on
		<-g.came
		for _, size := range []int{directWrite, 200_000} {
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("changed my mind")
			failed := make(chan error, 1)
			go func() { failed <- st.Send(ctx, nil, make([]byte, size)) }()
			synctest.Wait()
			cancel(cause)
			if err := <-failed; err != cause {
				t.Errorf("Send of %d bytes: %v", size, err)
			}
		}
		for range cap(g.pass) {
			g.pass <- struct{}{}
		}
		if err := st.Send(t.Context(), nil, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if item, err := other.Recv(t.Context()); err != nil || string(item) != "x" {
			t.Errorf("%q, %v", item, err)
		}
		books(t, st, other)
	})
}
