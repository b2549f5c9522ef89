package mux

import (
	"context"
	"sync"
	"sync/atomic"
)

// queue is goroutines that wait, first come, first served. A mutex of its
// owner's guards it.
type queue []chan struct{}

// await waits to be called, for as long as ctx lasts; mu, which guards the
// queue, is held before and after. Who is called and canceled at once has been
// called.
func (q *queue) await(ctx context.Context, mu *sync.Mutex) error {
	c := make(chan struct{})
	*q = append(*q, c)
	mu.Unlock()
	select {
	case <-c:
		mu.Lock()
		return nil
	case <-ctx.Done():
	}
	mu.Lock()
	if !q.leave(c) {
		return nil
	}
	return context.Cause(ctx)
}

// leave tells whether c was still waiting.
func (q *queue) leave(c chan struct{}) bool {
	for i, other := range *q {
		if other == c {
			*q = append((*q)[:i], (*q)[i+1:]...)
			return true
		}
	}
	return false
}

// call calls the first, if there is one.
func (q *queue) call() {
	if all := *q; len(all) > 0 {
		close(all[0])
		all[0] = nil
		*q = all[1:]
	}
}

func (q *queue) callAll() {
	for _, c := range *q {
		close(c)
	}
	*q = nil
}

// turn is a right that one goroutine has at a time, first come, first served.
// The zero value is free.
type turn struct {
	state atomic.Int32 // turnFree, turnTaken or turnWanted
	mu    sync.Mutex   // guards all changes but those between free and taken
	queue queue
}

const (
	turnFree   = iota
	turnTaken  // by somebody
	turnWanted // and others wait
)

// try takes the turn if it is free.
func (t *turn) try() bool { return t.state.CompareAndSwap(turnFree, turnTaken) }

// free tells whether nobody has the turn, which may be over by then.
func (t *turn) free() bool { return t.state.Load() == turnFree }

// wanted tells whether others wait for the turn.
func (t *turn) wanted() bool { return t.state.Load() == turnWanted }

// acquire waits for the turn, for as long as ctx lasts.
func (t *turn) acquire(ctx context.Context) error {
	if t.try() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.state.Load() != turnWanted && !t.state.CompareAndSwap(turnTaken, turnWanted) {
		if t.try() {
			return nil
		}
	}
	err := t.queue.await(ctx, &t.mu)
	if err != nil && len(t.queue) == 0 {
		t.state.CompareAndSwap(turnWanted, turnTaken)
	}
	return err
}

// release gives the turn to who has waited longest.
func (t *turn) release() {
	if t.state.CompareAndSwap(turnTaken, turnFree) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch len(t.queue) {
	case 0:
		t.state.Store(turnFree)
	case 1:
		t.state.Store(turnTaken)
		fallthrough
	default:
		t.queue.call()
	}
}
