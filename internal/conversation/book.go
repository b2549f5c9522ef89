package conversation

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/dispatch"
)

// Book is the conversations of a gateway. The zero value is ready; its methods
// may be used concurrently.
type Book struct {
	mu       sync.Mutex
	open     []*Talk        // oldest first
	coming   int            // that are about to begin
	failed   []*Talk        // over, and nobody has received the error
	idle     chan struct{}  // closed when no channel is open; nil unless somebody waits
	closed   bool           // by End
	watching sync.WaitGroup // Begin's goroutines
}

// add tells whether the conversation can begin.
func (b *Book) add(t *Talk) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.watching.Add(1)
	b.open = append(b.open, t)
	return true
}

// over notes that a conversation is over. An error that nobody has received is
// kept until the conversation is closed or dropped, or its context or the gateway
// ends.
func (b *Book) over(ctx context.Context, t *Talk) {
	failed := t.failed() != nil && !t.seen.Load()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = remove(b.open, t)
	t.ended = true
	if failed && !t.closed.Load() {
		b.failed = append(b.failed, t)
		t.unwait = context.AfterFunc(ctx, func() {
			t.report()
			b.forget(t)
		})
	}
	b.settle()
}

// abandon notes that nobody can use a conversation any more. It tells whether
// it was over before.
func (b *Book) abandon(t *Talk) (over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.ended {
		b.drop(t)
	} else if !t.closed.Load() {
		close(t.dropped)
	}
	return t.ended
}

// forget drops what was kept of a conversation because of its error.
func (b *Book) forget(t *Talk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(t)
}

// drop is forget; b.mu is held.
func (b *Book) drop(t *Talk) {
	b.failed = remove(b.failed, t)
	if t.unwait != nil {
		t.unwait()
		t.unwait = nil
	}
}

func remove(all []*Talk, one *Talk) []*Talk {
	return slices.DeleteFunc(all, func(other *Talk) bool { return other == one })
}

// Open is how many conversations are open, and how many are expected.
func (b *Book) Open() int {
	n := len(b.current())
	b.mu.Lock()
	defer b.mu.Unlock()
	return n + b.coming
}

// Expect has a conversation that is about to begin counted until done is called.
func (b *Book) Expect() (done func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.coming++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.coming--
	}
}

// current returns the conversations that are open, oldest first: without those
// that are over and that Begin's goroutine is about to remove, so that one that
// was closed is not counted from then on.
func (b *Book) current() []*Talk {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.open), (*Talk).isOver)
}

// settle wakes those who wait for the channels to end; b.mu is held.
func (b *Book) settle() {
	if b.idle == nil || b.channels() > 0 {
		return
	}
	close(b.idle)
	b.idle = nil
}

func (b *Book) channels() (n int) {
	for _, t := range b.open {
		if t.Channel != nil {
			n++
		}
	}
	return n
}

// Drain waits until no channel is open, for as long as ctx lasts.
func (b *Book) Drain(ctx context.Context) error {
	b.mu.Lock()
	if b.idle == nil {
		b.idle = make(chan struct{})
	}
	idle := b.idle
	b.settle()
	b.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		return fmt.Errorf("%d channels open: %w", b.channels(), dispatch.CtxError(ctx))
	}
}

// End waits until the conversations of a worker that is gone are over, and logs
// the errors that nobody has received. None can begin any more.
func (b *Book) End() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.watching.Wait()
	b.mu.Lock()
	failed := slices.Clone(b.failed)
	for _, t := range failed {
		b.drop(t)
	}
	b.mu.Unlock()
	for _, t := range failed {
		t.report()
	}
}

// Range calls f for each conversation that is open, oldest first, with how long
// it has been.
func (b *Book) Range(f func(*Talk, time.Duration)) {
	for _, t := range b.current() {
		f(t, time.Since(t.began))
	}
}
