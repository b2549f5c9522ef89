package peer

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// waiting is a function that waits for a call of its own, which the test
// answers by closing answer.
type waiting struct{ answer chan struct{} }

func (w *waiting) body(ctx context.Context, s string) (string, error) {
	r := FromContext(ctx)
	r.Park()
	select {
	case <-w.answer:
	case <-ctx.Done():
	}
	r.Unpark()
	return s, context.Cause(ctx)
}

func TestParkGivesUpTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waiting{make(chan struct{})}
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, w.body, g.body)
		r.send(1, in("parent", "behind it")...)
		r.expect("release 1.1", "park 1.0")
		r.send(2, call{info: wire.Info{Function: 1}, input: "child"})
		time.Sleep(2 * tickPeriod)
		close(w.answer) // the parent wants its slot back, which the child has
		r.expect()
		r.send(3, in("other")...)
		close(g.let)
		r.expect(`result 2.0 "child"`, "unpark 1.0", `result 1.0 "parent"`, "park 3.0", "unpark 3.0", `result 3.0 "other"`)
		r.settled(1)
	})
}

// TestParkBeforeTheNextBegins: the caller must hear of it first, or it would
// take the next call for one that has not begun.
func TestParkBeforeTheNextBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waiting{make(chan struct{})}
		r := newRig(t, wire.Hello{Concurrency: 1}, func(ctx context.Context, s string) (string, error) {
			time.Sleep(2 * tickPeriod)
			return w.body(ctx, s)
		}, echo)
		r.send(1, in("parent")...)
		time.Sleep(tickPeriod + tickPeriod/2)
		r.send(2, call{info: wire.Info{Function: 1}, input: "waits for the slot"})
		time.Sleep(tickPeriod)
		r.expect("park 1.0", `result 2.0 "waits for the slot"`)
		close(w.answer)
		r.expect("unpark 1.0", `result 1.0 "parent"`)
		r.settled(1)
	})
}

func TestCanceledParkedCallEndsWithoutASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waiting{make(chan struct{})}
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, w.body, g.body)
		r.send(1, in("parent")...)
		r.expect("park 1.0")
		r.send(2, call{info: wire.Info{Function: 1}, input: "long"})
		time.Sleep(2 * tickPeriod)
		r.cancel(1, 0, context.Canceled)
		r.expect("result 1.0 status 1")
		r.send(3, in("x")...)
		time.Sleep(2 * tickPeriod)
		r.expect() // the long call still has the only slot
		close(g.let)
		r.expect(`result 2.0 "long"`, "park 3.0")
		close(w.answer)
		r.expect("unpark 3.0", `result 3.0 "x"`)
		r.settled(1)
	})
}

// TestParkFromSeveralGoroutines: a call has a slot again when the last of its
// goroutines has stopped waiting.
func TestParkFromSeveralGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := make(chan struct{}), make(chan struct{})
		r := newRig(t, wire.Hello{Concurrency: 1}, func(ctx context.Context, s string) (string, error) {
			var wg sync.WaitGroup
			for _, answer := range []chan struct{}{one, two} {
				wg.Go(func() {
					FromContext(ctx).Park()
					<-answer
					FromContext(ctx).Unpark()
				})
			}
			wg.Wait()
			return s, nil
		}, echo)
		r.send(1, in("parent")...)
		r.expect("park 1.0")
		close(one)
		r.send(2, call{info: wire.Info{Function: 1}, input: "child"})
		r.expect(`result 2.0 "child"`)
		close(two)
		r.expect("unpark 1.0", `result 1.0 "parent"`)
		r.settled(1)
	})
}

// TestParkWhileResuming: one goroutine wants the slot back, then another of the
// same call waits again; nobody may hold a slot while all of it waits.
func TestParkWhileResuming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, again, two := make(chan struct{}), make(chan struct{}), make(chan struct{})
		g := newGate()
		r := newRig(t, wire.Hello{Concurrency: 1}, func(ctx context.Context, s string) (string, error) {
			call := FromContext(ctx)
			var wg sync.WaitGroup
			wg.Go(func() {
				call.Park()
				<-one
				call.Unpark()
			})
			wg.Go(func() {
				<-again
				call.Park()
				<-two
				call.Unpark()
			})
			wg.Wait()
			return s, nil
		}, g.body, echo)
		r.send(1, in("parent")...)
		r.expect("park 1.0")
		r.send(2, call{info: wire.Info{Function: 1}, input: "child"})
		time.Sleep(2 * tickPeriod)
		close(one)
		synctest.Wait() // it waits for the child's slot
		close(again)
		synctest.Wait()
		close(g.let)
		r.expect(`result 2.0 "child"`)
		r.send(3, call{info: wire.Info{Function: 2}, input: "grandchild"})
		r.expect(`result 3.0 "grandchild"`)
		close(two)
		r.expect("unpark 1.0", `result 1.0 "parent"`)
		r.settled(1)
	})
}

// TestLeftBehind: what a function leaves behind may go on to wait, and neither
// takes nor gives a slot.
func TestLeftBehind(t *testing.T) {
	for name, early := range map[string]bool{"waits at the end": true, "waits after the end": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end, answer := make(chan struct{}), make(chan struct{})
				var wg sync.WaitGroup
				r := newRig(t, wire.Hello{Concurrency: 1}, func(ctx context.Context, s string) (string, error) {
					call := FromContext(ctx)
					parked := make(chan struct{})
					wg.Go(func() {
						if !early {
							<-end
						}
						call.Park()
						close(parked)
						<-answer
						call.Unpark()
					})
					if early {
						<-parked
					}
					return s, nil
				}, echo)
				g := call{info: wire.Info{Function: 1}, input: "x"}
				if early {
					r.send(1, in("a")...)
					r.expect("park 1.0", `result 1.0 "a"`)
				} else {
					r.send(1, call{input: "a"}, g)
					r.expect(`result 1.0 "a"`, `result 1.1 "x"`)
				}
				r.settled(1)
				close(end)
				r.send(2, g)
				r.expect(`result 2.0 "x"`)
				r.settled(1)
				close(answer)
				wg.Wait()
				r.send(3, g)
				r.expect(`result 3.0 "x"`)
				r.settled(1)
			})
		})
	}
}

// TestParkAtRandom checks the books after many calls that wait now and then,
// in several goroutines, while some are canceled.
func TestParkAtRandom(t *testing.T) {
	for _, slots := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(slots), 2))
			var mu sync.Mutex
			pause := func() {
				mu.Lock()
				d := time.Duration(rnd.IntN(2000)) * time.Microsecond
				mu.Unlock()
				time.Sleep(d) // the bubble's time
			}
			r := newRig(t, wire.Hello{Concurrency: slots}, func(ctx context.Context, s string) (string, error) {
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						for range 4 {
							pause()
							FromContext(ctx).Park()
							pause()
							FromContext(ctx).Unpark()
						}
					})
				}
				wg.Wait()
				return s, nil
			})
			for i := range 60 {
				r.send(uint64(i+1), in("x")...)
				if i%5 == 0 {
					r.cancel(uint64(i+1), i%2*wire.Whole, context.Canceled)
				}
				pause()
			}
			time.Sleep(time.Second)
			ends := 0
			parks := map[wire.Place]int{}
			for _, e := range r.take() {
				switch e.kind {
				case wire.TypeResults, wire.TypeRelease:
					ends++
				case wire.TypePark:
					parks[e.place]++
				case wire.TypeUnpark:
					parks[e.place]--
				}
				if n := parks[e.place]; n < 0 || n > 1 {
					t.Fatalf("%v: parked %d times at once", e, n)
				}
			}
			if ends != 60 {
				t.Errorf("%d of 60 calls ended", ends)
			}
			r.settled(slots)
		})
	}
}
