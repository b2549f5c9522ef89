package mux

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/wire"
)

// openedWith is opened with options.
func openedWith(t *testing.T, a, b *end, o StreamOptions) (near, far *Stream) {
	t.Helper()
	near, err := a.Open([]byte("test"), o)
	if err != nil {
		t.Fatal(err)
	}
	return near, b.streams.take()
}

// tryAll sends empty items until that takes long, and returns how many went.
func tryAll(t *testing.T, st *Stream) (n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		for st.Send(ctx, nil, nil) == nil {
			n++
		}
		close(done)
	}()
	synctest.Wait()
	cancel()
	<-done
	return n
}

func TestCreditForOneItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := quiet()
		c.Window = 1600
		a, b := pair(t, c)
		near, far := openedWith(t, a, b, StreamOptions{Credit: itemCost})
		if n := tryAll(t, far); n != 1 {
			t.Errorf("%d empty items were sent before Grant", n)
		}
		if item, err := near.Recv(t.Context()); err != nil || len(item) != 0 {
			t.Errorf("%q, %v", item, err)
		}
		if n := tryAll(t, far); n != 0 {
			t.Errorf("%d empty items were sent after the first was received, before Grant", n)
		}
		books(t, far, near)
		ready := make(chan error, 1)
		go func() { ready <- far.Ready(t.Context()) }()
		synctest.Wait()
		if len(ready) > 0 {
			t.Error("ready before Grant")
		}
		near.Grant()
		near.Grant()
		if err := <-ready; err != nil {
			t.Errorf("Ready gave %v", err)
		}
		books(t, far, near)
		if n := tryAll(t, far); n != 100 {
			t.Errorf("%d empty items were sent after Grant, want a window of them", n)
		}
		near.Grant()
		if n := tryAll(t, far); n != 0 {
			t.Errorf("%d empty items were sent after Grant was repeated", n)
		}
		for range 100 {
			if _, err := near.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		books(t, far, near)
	})
}

func TestCredits(t *testing.T) {
	const window = 1600
	for credit, want := range map[int]int{0: 100, -1: 0, -1000: 0, 1: 0, 15: 0, 16: 1, 33: 2, 1599: 99, 1600: 100, 1 << 30: 100} {
		synctest.Test(t, func(t *testing.T) {
			c := quiet()
			c.Window = window
			a, b := pair(t, c)
			near, far := openedWith(t, a, b, StreamOptions{Credit: credit})
			if n := tryAll(t, far); n != want {
				t.Errorf("credit %d: %d empty items were sent, want %d", credit, n, want)
			}
			books(t, far, near)
			if n := tryAll(t, near); n != 100 {
				t.Errorf("credit %d: %d items the other way", credit, n)
			}
			for range want {
				if _, err := near.Recv(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			near.Grant()
			books(t, far, near)
			// Whatever was saved up goes with it; where nothing was missing it may stay.
			least := 50
			if credit != 0 && credit < window {
				least = 100
			}
			if n := tryAll(t, far); n < least || n > 100 {
				t.Errorf("credit %d: %d items after Grant", credit, n)
			}
			books(t, far, near)
		})
	}
}

// An item that is larger than the credit waits for Grant, and one of which a part
// may go begins.
func TestLargeItemBeforeGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := openedWith(t, a, b, StreamOptions{Credit: 5000})
		sent := make(chan error, 1)
		go func() { sent <- far.Send(t.Context(), nil, content("", 3*DefaultWindow)) }()
		taken := make(chan []byte, 1)
		go func() {
			item, err := near.Recv(t.Context())
			if err != nil {
				t.Error(err)
			}
			taken <- item
		}()
		synctest.Wait()
		if n := unread(near); n == 0 || n > 5000 {
			t.Errorf("%d bytes came before Grant", n)
		}
		near.Grant()
		if item := <-taken; len(item) != 3*DefaultWindow {
			t.Errorf("%d bytes", len(item))
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		books(t, far, near)
	})
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		near, far := openedWith(t, a, b, StreamOptions{Credit: itemCost + 1})
		if err := far.Ready(t.Context()); err != nil {
			t.Errorf("with credit for a byte: %v", err)
		}
		if err := near.Ready(t.Context()); err != nil {
			t.Errorf("with a window: %v", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("changed my mind")
		near, far = openedWith(t, a, b, StreamOptions{Credit: itemCost})
		ready := make(chan error, 3)
		wait := func(ctx context.Context) {
			go func() { ready <- far.Ready(ctx) }()
			synctest.Wait()
		}
		wait(ctx)
		wait(t.Context())
		if len(ready) > 0 {
			t.Fatal("ready with credit for an empty item")
		}
		cancel(cause)
		if err := <-ready; err != cause {
			t.Errorf("canceled: %v", err)
		}
		near.Finish([]byte("done"))
		finished(t, "finished", <-ready, "done")
		_, far = openedWith(t, a, b, StreamOptions{Credit: itemCost})
		wait(t.Context())
		far.End()
		if err := <-ready; !errors.Is(err, ErrClosed) {
			t.Errorf("after End: %v", err)
		}
	})
}

// Items in the reader's hands give their credit back by themselves.
func TestGrantOfAHandledStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := quiet()
		c.Window = 1600
		a, b := pair(t, c)
		n := 0
		near, far := openedWith(t, a, b, StreamOptions{Credit: 2 * itemCost, Item: func([]byte, bool) { n++ }})
		if sent := tryAll(t, far); sent != 2 || n != 2 {
			t.Errorf("%d sent, %d handled before Grant", sent, n)
		}
		near.Grant()
		for range 1000 {
			if err := far.Send(t.Context(), nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		books(t, far, near)
		if n != 1002 {
			t.Errorf("%d handled", n)
		}
	})
}

// A stream gets a wider window while it carries large items that are taken, and
// only then: one that nobody reads, or of small items, holds one window.
func TestWideWindow(t *testing.T) {
	for _, test := range []struct {
		size  int // of items
		taken int // bytes
		want  int // windows
	}{
		{wire.MaxFrame, 0, 1},
		{wire.MaxFrame, DefaultWindow, 1},
		{wire.MaxFrame, 3 * DefaultWindow, wide},
		{5 * DefaultWindow, 15 * DefaultWindow, wide},
		{smallItem, 5 * DefaultWindow, 1},
	} {
		for _, handled := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				a, b := pair(t, quiet())
				var o StreamOptions
				var taken atomic.Int64
				enough := func() bool { return taken.Load() >= int64(test.taken) }
				if handled {
					o.Item = func(item []byte, _ bool) { taken.Add(int64(len(item))) }
				}
				near, far := openedWith(t, a, b, o)
				item := make([]byte, test.size)
				sending, stop := context.WithCancel(t.Context())
				go func() {
					for !handled || !enough() {
						if far.Send(sending, nil, item) != nil {
							return
						}
					}
				}()
				for !handled && !enough() {
					item, err := near.Recv(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					taken.Add(int64(len(item)))
				}
				synctest.Wait()
				if n, limit := unread(near), test.want*DefaultWindow; n > limit {
					t.Errorf("%+v: %d bytes are held, limit %d", test, n, limit)
				}
				if near.in.window != test.want*DefaultWindow {
					t.Errorf("%+v: a window of %d bytes", test, near.in.window)
				}
				books(t, far, near)
				stop()
			})
		}
	}
}
