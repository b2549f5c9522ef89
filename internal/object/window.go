package object

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// window bounds what a handle has sent and has no reply to: the host takes all
// requests at once, so that cancels get through, and must not have to hold more
// than that. The zero value is ready.
type window struct {
	mu    sync.Mutex
	used  int
	queue []*entrant // first in first out
}

type entrant struct {
	cost int
	in   chan struct{}
}

// windowSize is how many bytes of requests may be open; a larger one goes alone.
const windowSize = 1 << 20

// entryCost is what a request costs besides its input.
const entryCost = 256

var errOver = errors.New("over")

// costOf is what a request takes of a window.
func costOf(size int) int { return min(size+entryCost, windowSize) }

// fits tells whether there is room for a request, a large one alone.
func fits(used, size int) bool { return used+costOf(size) <= windowSize }

// enter waits until there is room for a request.
func (w *window) enter(ctx context.Context, over <-chan struct{}, size int) error {
	cost := costOf(size)
	w.mu.Lock()
	if len(w.queue) == 0 && fits(w.used, size) {
		w.used += cost
		w.mu.Unlock()
		return nil
	}
	e := &entrant{cost, make(chan struct{})}
	w.queue = append(w.queue, e)
	w.mu.Unlock()
	var err error
	select {
	case <-e.in:
		return nil
	case <-over:
		err = errOver
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-e.in: // in the last moment
		w.used -= cost
	default:
		w.queue = slices.DeleteFunc(w.queue, func(other *entrant) bool { return other == e })
	}
	w.admit()
	return err
}

// leave makes room.
func (w *window) leave(size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used -= costOf(size)
	w.admit()
}

func (w *window) admit() {
	for len(w.queue) > 0 && w.used+w.queue[0].cost <= windowSize {
		e := w.queue[0]
		w.queue = w.queue[1:]
		w.used += e.cost
		close(e.in)
	}
}
