package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/peer"
)

// received is what somebody has received until the end, and that.
type received struct {
	items []string
	err   error
}

// receiving receives all, aside.
func receiving(ctx context.Context, e *End) <-chan received {
	c := make(chan received, 1)
	go func() {
		var r received
		for {
			item, err := take(ctx, e)
			if err != nil {
				r.err = err
				c <- r
				return
			}
			r.items = append(r.items, item)
		}
	}()
	return c
}

// waits checks that somebody still receives.
func waits(t *testing.T, c <-chan received) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-c:
		t.Errorf("told of the end while items are lent: %d items, %v", len(r.items), r.err)
	default:
	}
}

// ends are the ways in which the far side sends no more.
var ends = map[string]func(h *held, far *End){
	"returned":  func(h *held, _ *End) { h.said <- nil },
	"CloseSend": func(_ *held, far *End) { far.CloseSend() },
}

// lends has a holder receive one of a hundred items, of which the others are sent
// to it, and the far side end.
func lends(t *testing.T, h *held, far *End, end func(*held, *End)) (holder *End) {
	t.Helper()
	holder = h.bind()
	say(t, far, numbers(100)...)
	hear(t, holder, "0")
	synctest.Wait()
	end(h, far)
	synctest.Wait()
	return holder
}

// onLent runs a test for all ways in which the far side sends no more, with an owner
// who receives before the holder leaves, and one who does after that.
func onLent(t *testing.T, test func(t *testing.T, h *held, far, holder *End, first bool)) {
	for how, end := range ends {
		for _, first := range []bool{true, false} {
			onHeld(t, fmt.Sprintf("%s, owner first %v", how, first), func(t *testing.T, h *held, far *End) {
				test(t, h, far, lends(t, h, far, end), first)
			})
		}
	}
}

// What a holder has not read comes back also behind the end, which nobody is told
// before; however it leaves.
func TestLentItemsComeBack(t *testing.T) {
	for name, leave := range map[string]func(e *End){
		"Close":            func(e *End) { e.Close(ErrClosed) },
		"returned":         func(e *End) { e.Abandon(peer.ErrReturned) },
		"CloseSend, Close": func(e *End) { e.CloseSend(); e.Close(ErrClosed) },
	} {
		t.Run(name, func(t *testing.T) {
			onLent(t, func(t *testing.T, h *held, far, holder *End, first bool) {
				if !first {
					leave(holder)
					synctest.Wait()
				}
				all := receiving(t.Context(), h.End)
				if first {
					waits(t, all)
					leave(holder)
				}
				if r := <-all; len(r.items) != 99 || r.items[0] != "1" || r.items[98] != "99" || r.err != io.EOF {
					t.Errorf("%d items, %v", len(r.items), r.err)
				}
				synctest.Wait()
				if !holder.Over() {
					t.Error("the handle is not given back")
				}
			})
		})
	}
}

// One that fails says so to those who would miss what it was to send; what it has
// not read comes back anyway.
func TestLentToWhoFails(t *testing.T) {
	onHeld(t, "", func(t *testing.T, h *held, far *End) {
		holder := lends(t, h, far, ends["returned"])
		holder.Abandon(errors.New("it went wrong"))
		if r := <-receiving(t.Context(), h.End); len(r.items) != 99 || r.err != io.EOF {
			t.Errorf("%d items, %v", len(r.items), r.err)
		}
	})
}

// What cannot come back is missed, and not the end.
func TestLentItemsAreLost(t *testing.T) {
	onLent(t, func(t *testing.T, h *held, far, holder *End, first bool) {
		cut := func() { h.holder.Session().Fail(errors.New("killed")) }
		if !first {
			cut()
			synctest.Wait()
		}
		all := receiving(t.Context(), h.End)
		if first {
			waits(t, all)
			cut()
		}
		if r := <-all; len(r.items) > 0 || !errors.Is(r.err, ErrClosed) || !mentions("the holder was cut")(r.err) {
			t.Errorf("%d items, %v", len(r.items), r.err)
		}
		if err := h.Wait(t.Context()); err == nil || !mentions("the holder was cut")(err) {
			t.Errorf("Wait: %v", err)
		}
	})
}

// A holder that has received all is harmless: others are told the end without a word
// of its user's, and it may be lost.
func TestLentItemsAreUsed(t *testing.T) {
	onLent(t, func(t *testing.T, h *held, far, holder *End, first bool) {
		var all <-chan received
		if first {
			all = receiving(t.Context(), h.End)
		}
		hear(t, holder, numbers(100)[1:]...)
		holder.CloseSend()
		synctest.Wait()
		if !first {
			h.holder.Session().Fail(errors.New("killed"))
			synctest.Wait()
			all = receiving(t.Context(), h.End)
		}
		if r := <-all; len(r.items) > 0 || r.err != io.EOF {
			t.Errorf("%d items, %v", len(r.items), r.err)
		}
		if first {
			if _, err := take(soon(t), holder); err != io.EOF {
				t.Errorf("the holder: %v", err)
			}
		}
	})
}

// Two holders that wait for each other's items are both told the end when there are
// none; and when one leaves the other gets what that had.
func TestTwoHolders(t *testing.T) {
	for how, end := range ends {
		for _, leaves := range []bool{true, false} {
			onHeld(t, fmt.Sprintf("%s, one leaves %v", how, leaves), func(t *testing.T, h *held, far *End) {
				one := lends(t, h, far, end)
				two, three := h.bind(), h.bind()
				second, third := receiving(t.Context(), two), receiving(t.Context(), three)
				waits(t, second)
				waits(t, third)
				got := 0
				if leaves {
					one.Close(ErrClosed)
				} else {
					r := <-receiving(t.Context(), one)
					got = len(r.items)
					if r.err != io.EOF {
						t.Error(r.err)
					}
				}
				for _, c := range []<-chan received{second, third} {
					r := <-c
					got += len(r.items)
					if r.err != io.EOF {
						t.Error(r.err)
					}
				}
				if got != 99 {
					t.Errorf("%d items, want 99", got)
				}
			})
			onHeld(t, how+", all leave", func(t *testing.T, h *held, far *End) {
				one, two := h.bind(), h.bind()
				for _, e := range []*End{one, two} {
					e.bound.wants.Do(func() { e.bound.pulls.Store(true); e.stream.Grant() })
				}
				say(t, far, numbers(100)...)
				synctest.Wait()
				end(h, far)
				all := receiving(t.Context(), h.End)
				waits(t, all)
				one.Close(ErrClosed)
				two.Close(ErrClosed)
				if r := <-all; len(r.items) != 100 || r.err != io.EOF {
					t.Errorf("%d items, %v", len(r.items), r.err)
				}
			})
		}
	}
}

// Who waits for lent items can give up, and close; Wait does not wait for them, on
// either side.
func TestWaitingForLentItems(t *testing.T) {
	onHeld(t, "context", func(t *testing.T, h *held, far *End) {
		holder := lends(t, h, far, ends["returned"])
		ctx, cancel := context.WithCancelCause(t.Context())
		all := receiving(ctx, h.End)
		waits(t, all)
		enough := errors.New("enough")
		cancel(enough)
		if r := <-all; r.err != enough {
			t.Error(r.err)
		}
		for _, e := range []*End{h.End, holder} {
			if err := e.Wait(soon(t)); err != nil {
				t.Error(err)
			}
		}
		if err := holder.Send(soon(t), nil, []byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("a Send to what has ended: %v", err)
		}
		hear(t, holder, numbers(100)[1:]...)
		if _, err := take(soon(t), h.End); err != io.EOF {
			t.Error(err)
		}
	})
	for how, end := range ends {
		onHeld(t, "Close, "+how, func(t *testing.T, h *held, far *End) {
			holder := lends(t, h, far, end)
			all := receiving(t.Context(), h.End)
			waits(t, all)
			h.Close(ErrClosed)
			if r := <-all; !errors.Is(r.err, ErrClosed) {
				t.Error(r.err)
			}
			hear(t, holder, numbers(100)[1:]...)
			if _, err := take(soon(t), holder); err == nil {
				t.Error("it goes on")
			}
		})
	}
	onHeld(t, "who does not receive", func(t *testing.T, h *held, far *End) {
		other := h.bind()
		lends(t, h, far, ends["returned"])
		if err := other.Wait(soon(t)); err != nil {
			t.Error(err)
		}
		say(t, h.bind()) // it can still be bound
	})
}

// What a holder has closed and keeps until its routine returns is let go of when the
// far side has ended.
func TestEndedHandlesAreNotKept(t *testing.T) {
	onHeld(t, "", func(t *testing.T, h *held, far *End) {
		var closed []*End
		for range 3 {
			e := h.bind()
			e.Within = t.Context()
			closed = append(closed, e)
		}
		say(t, far, "1", "2")
		hear(t, closed[0], "1")
		say(t, closed[1], "x")
		for _, e := range closed {
			e.Close(ErrClosed)
		}
		synctest.Wait()
		h.said <- nil
		synctest.Wait()
		for i, e := range closed {
			if !e.Over() || !e.Closed() {
				t.Errorf("handle %d is kept", i)
			}
		}
		hear(t, h.End, "2")
	})
}

// Many holders come and go at any time, with the end in between: each item is
// received once, and everybody who receives until the end is told it.
func TestLentUnderLoad(t *testing.T) {
	const n = 3000
	for round := range 10 {
		h := newHeld(t)
		far := <-h.far
		all := make(chan string, n)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for visits := 0; ; visits++ {
					e := h.bind()
					most := n // until the end
					if visits < 20 {
						most = (i*31 + visits*17 + round) % 150
					}
					for range most {
						item, err := take(context.Background(), e)
						if err == io.EOF {
							e.Close(ErrClosed)
							return
						} else if err != nil {
							t.Error(err)
							return
						}
						all <- item
					}
					e.Close(ErrClosed)
				}
			})
		}
		say(t, far, numbers(n)...)
		if round%2 == 0 {
			h.said <- nil
		} else {
			far.CloseSend()
		}
		last := receiving(context.Background(), h.End)
		wg.Wait()
		r := <-last
		close(all)
		seen := map[string]bool{}
		for item := range all {
			seen[item] = true
		}
		for _, item := range r.items {
			seen[item] = true
		}
		if len(seen) != n || r.err != io.EOF {
			t.Errorf("%d of %d items, %v", len(seen), n, r.err)
		}
	}
}
