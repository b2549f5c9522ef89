package object

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// entrants enter a window one after the other.
type entrants struct {
	w    window
	over chan struct{}
	wg   sync.WaitGroup

	mu   sync.Mutex
	in   []int // the sizes of those who are in, in order
	errs []error
}

func (e *entrants) enter(ctx context.Context, size int) {
	e.wg.Go(func() {
		err := e.w.enter(ctx, e.over, size)
		e.mu.Lock()
		defer e.mu.Unlock()
		if err == nil {
			e.in = append(e.in, size)
		} else {
			e.errs = append(e.errs, err)
		}
	})
	synctest.Wait()
}

func (e *entrants) expect(t *testing.T, in ...int) {
	t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.in, in) {
		t.Fatalf("%d are in, want %d", e.in, in)
	}
}

// empty checks that nothing is left.
func (e *entrants) empty(t *testing.T) {
	t.Helper()
	e.wg.Wait()
	if e.w.used != 0 || len(e.w.queue) != 0 {
		t.Fatalf("%d bytes used, %d wait", e.w.used, len(e.w.queue))
	}
}

func TestWindowIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, ctx := &entrants{}, t.Context()
		const half = windowSize/2 - entryCost
		e.enter(ctx, half)
		e.enter(ctx, half)
		e.enter(ctx, windowSize) // more than what one of them leaves
		e.enter(ctx, 1)          // has room soon, but came later
		e.expect(t, half, half)
		e.w.leave(half)
		e.expect(t, half, half)
		e.w.leave(half)
		e.expect(t, half, half, windowSize)
		e.w.leave(windowSize)
		e.expect(t, half, half, windowSize, 1)
		e.w.leave(1)
		e.empty(t)
	})
}

// One that is larger than the window goes alone.
func TestWindowLargeRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, ctx := &entrants{}, t.Context()
		e.enter(ctx, 1)
		e.enter(ctx, 100<<20)
		e.enter(ctx, 2)
		e.expect(t, 1)
		e.w.leave(1)
		e.expect(t, 1, 100<<20)
		e.w.leave(100 << 20)
		e.expect(t, 1, 100<<20, 2)
		e.w.leave(2)
		e.empty(t)
	})
}

func TestWindowBoundsTheNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &entrants{}
		const most = windowSize / entryCost
		for range most {
			if err := e.w.enter(t.Context(), nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		e.enter(t.Context(), 0)
		e.expect(t)
		e.w.leave(0)
		e.expect(t, 0)
		for range most {
			e.w.leave(0)
		}
		e.empty(t)
	})
}

// Who gives up lets those behind through.
func TestWindowGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &entrants{over: make(chan struct{})}
		e.enter(t.Context(), windowSize-2*entryCost-1) // leaves room for a small one
		ctx, cancel := context.WithCancelCause(t.Context())
		e.enter(ctx, windowSize)
		e.enter(t.Context(), 1)
		cancel(errors.New("enough"))
		e.expect(t, windowSize-2*entryCost-1, 1)
		if len(e.errs) != 1 || e.errs[0].Error() != "enough" {
			t.Fatal(e.errs)
		}
		e.enter(t.Context(), 2)
		close(e.over)
		synctest.Wait()
		if len(e.errs) != 2 || e.errs[1] != errOver {
			t.Fatal(e.errs)
		}
		e.w.leave(windowSize - 2*entryCost - 1)
		e.w.leave(1)
		e.empty(t)
	})
}

// Whoever enters and leaves, and gives up in whatever moment: nobody has more
// than the window, and in the end nothing is left.
func TestWindowUnderLoad(t *testing.T) {
	e := &entrants{over: make(chan struct{})}
	for i := range 64 {
		e.wg.Go(func() {
			for j := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if j%3 == 0 {
					go cancel()
				}
				size := (i*7919 + j*104729) % (windowSize / 2)
				if e.w.enter(ctx, e.over, size) == nil {
					e.w.mu.Lock()
					if e.w.used > windowSize {
						t.Errorf("%d bytes in the window", e.w.used)
					}
					e.w.mu.Unlock()
					e.w.leave(size)
				}
				cancel()
			}
		})
	}
	e.empty(t)
}
