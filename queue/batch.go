package queue

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// batcher gathers what many ask for at the same time into one request: while
// requests are under way, what comes goes into the next. There is no timer in it, so
// one who is alone does not wait.
type batcher[T, R any] struct {
	do       func(ctx context.Context, items []T) ([]R, error)
	max      int // items of a request
	parallel int // requests at a time

	mu      sync.Mutex
	waiting []*asked[T, R]
	running int
}

// asked is one who waits for an answer.
type asked[T, R any] struct {
	ctx    context.Context
	item   T
	result R
	err    error
	done   chan struct{}
}

// ask adds an item to the next request and waits for its answer. When ctx ends
// before, the item may have been asked for all the same; one whose request has not begun
// then is not.
func (b *batcher[T, R]) ask(ctx context.Context, item T) (result R, err error) {
	a := &asked[T, R]{ctx: ctx, item: item, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, a)
	if b.running < b.parallel {
		b.running++
		go b.run()
	}
	b.mu.Unlock()
	select {
	case <-a.done:
		return a.result, a.err
	case <-ctx.Done():
		return result, context.Cause(ctx)
	}
}

// run makes requests until nobody waits.
func (b *batcher[T, R]) run() {
	for {
		b.mu.Lock()
		n := min(len(b.waiting), b.max)
		batch := b.waiting[:n:n]
		b.waiting = b.waiting[n:]
		if n == 0 {
			b.running--
			b.waiting = nil
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		batch = slices.DeleteFunc(batch, func(a *asked[T, R]) bool { return a.ctx.Err() != nil })
		if len(batch) > 0 {
			b.request(batch)
		}
	}
}

// request makes one request. It is canceled when nobody waits for it any more.
func (b *batcher[T, R]) request(batch []*asked[T, R]) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(batch[0].ctx))
	defer cancel()
	items := make([]T, len(batch))
	left := new(atomic.Int64) // contexts that have not ended, and one until all are known
	left.Store(1)
	gone := func() {
		if left.Add(-1) == 0 {
			cancel()
		}
	}
	var last context.Context
	for i, a := range batch {
		items[i] = a.item
		if a.ctx == last { // that of a map, often
			continue
		}
		last = a.ctx
		left.Add(1)
		stop := context.AfterFunc(a.ctx, gone)
		defer stop()
	}
	gone()
	results, err := b.do(ctx, items)
	for i, a := range batch {
		a.err = err
		if i < len(results) && err == nil {
			a.result = results[i]
		}
		close(a.done)
	}
}
