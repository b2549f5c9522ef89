package mux

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestTurnsGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tn turn
		if !tn.free() || !tn.try() || tn.try() || tn.free() || tn.wanted() {
			t.Fatal("a turn that is free is not given once")
		}
		var order mailbox[int]
		canceled, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("changed my mind")
		for i := range 6 {
			ctx := t.Context()
			if i%2 == 1 {
				ctx = canceled
			}
			go func() {
				if err := tn.acquire(ctx); err != nil {
					if err != cause {
						t.Errorf("%d: %v", i, err)
					}
					return
				}
				order.put(i)
				tn.release()
			}()
			synctest.Wait() // the order of coming
		}
		if !tn.wanted() {
			t.Error("nobody wants the turn")
		}
		cancel(cause)
		synctest.Wait()
		tn.release()
		for _, want := range []int{0, 2, 4} {
			if got := order.take(); got != want {
				t.Errorf("%d had its turn, want %d", got, want)
			}
		}
		synctest.Wait()
		if !tn.free() || len(tn.queue) != 0 {
			t.Error("the turn is not free in the end")
		}
	})
}

func TestTurnThatNobodyWantsAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tn turn
		tn.try()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = tn.acquire(ctx) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if tn.wanted() {
			t.Error("the turn is wanted")
		}
		tn.release()
		if !tn.try() {
			t.Error("the turn is not free")
		}
	})
}

// One at a time has the turn, whoever comes and gives up when.
func TestTurnsExclude(t *testing.T) {
	var tn turn
	var wg sync.WaitGroup
	count := 0 // the race detector sees to it
	for i := range 8 {
		wg.Go(func() {
			for range 1000 {
				ctx, cancel := context.WithCancel(context.Background())
				if i%2 == 0 {
					go cancel()
				}
				if tn.acquire(ctx) == nil {
					count++
					tn.release()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if !tn.free() || count < 4000 {
		t.Errorf("%d turns", count)
	}
}
