// Package memq is the broker of package queue that keeps queues in the memory of this
// process: for tests, for programs that are one process, and as the reference of what
// a broker does. What it keeps ends with Close, and with the process.
//
// An operation on n tasks takes O(log n) time or less, whatever else is stored. Bytes
// are copied on the way in and on the way out, as with a broker elsewhere.
package memq

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/internal/check"
)

// Broker is a queue.Broker in memory. Its clock is that of the process, whose jumps
// it does not notice.
type Broker struct {
	began time.Time // times are kept as durations from here on

	mu     sync.RWMutex
	stores map[string]*store // nil after Close
}

var _ queue.Broker = (*Broker)(nil)

// New returns a broker without queues.
func New() *Broker {
	// No time is 0 from there, which stands for none.
	return &Broker{began: time.Now().Add(-time.Nanosecond), stores: map[string]*store{}}
}

// Submit implements queue.Broker.
func (b *Broker) Submit(ctx context.Context, name string, tasks []queue.Task) ([]bool, error) {
	s, err := b.open(ctx, name)
	if err == nil {
		err = check.Tasks(tasks)
	}
	if err != nil {
		return nil, check.Wrap(name, err)
	}
	known, err := s.submit(tasks)
	return known, check.Wrap(name, err)
}

// Take implements queue.Broker.
func (b *Broker) Take(ctx context.Context, name string, r queue.TakeRequest) ([]queue.Delivery, error) {
	s, err := b.open(ctx, name)
	if err == nil {
		err = check.Take(r)
	}
	if err != nil {
		return nil, check.Wrap(name, err)
	}
	deliveries, err := s.take(ctx, r)
	return deliveries, check.Wrap(name, err)
}

// Renew implements queue.Broker.
func (b *Broker) Renew(ctx context.Context, name, worker string, beats []queue.Beat) ([]queue.Hold, error) {
	s, err := b.open(ctx, name)
	if err == nil {
		err = check.Renew(worker, beats)
	}
	if err != nil {
		return nil, check.Wrap(name, err)
	}
	holds, err := s.renew(worker, beats)
	return holds, check.Wrap(name, err)
}

// Settle implements queue.Broker.
func (b *Broker) Settle(ctx context.Context, name string, ends []queue.Settlement) ([]queue.Hold, error) {
	s, err := b.open(ctx, name)
	if err == nil {
		err = check.Settle(ends)
	}
	if err != nil {
		return nil, check.Wrap(name, err)
	}
	holds, err := s.settle(ends)
	return holds, check.Wrap(name, err)
}

// Follow implements queue.Broker. At most 1,000 events or about 8 MiB come at a time.
func (b *Broker) Follow(ctx context.Context, name string, t queue.Topic, after queue.Cursor, wait time.Duration) ([]queue.Event, queue.Cursor, error) {
	s, err := b.open(ctx, name)
	if err == nil {
		err = check.Follow(t, wait)
	}
	if err != nil {
		return nil, after, check.Wrap(name, err)
	}
	events, next, err := s.follow(ctx, t, after, wait)
	return events, next, check.Wrap(name, err)
}

// Inspect implements queue.Broker. Tasks in a state are in the order in which they came
// into it.
func (b *Broker) Inspect(ctx context.Context, name string, q queue.Query) (*queue.Report, error) {
	if q.Queues && name == "" {
		name = "-" // it does not matter, but that this is not used as a name does
	}
	s, err := b.open(ctx, name)
	if err == nil {
		err = check.Query(q)
	}
	if err != nil {
		return nil, check.Wrap(name, err)
	}
	report, err := s.inspect(q)
	if err != nil {
		return nil, check.Wrap(name, err)
	}
	if q.Queues {
		report.Queues = b.queues()
	}
	return report, nil
}

// Change implements queue.Broker.
func (b *Broker) Change(ctx context.Context, name string, c queue.Change) (int, error) {
	s, err := b.open(ctx, name)
	if err == nil {
		err = check.Change(c)
	}
	if err != nil {
		return 0, check.Wrap(name, err)
	}
	n, err := s.change(c)
	return n, check.Wrap(name, err)
}

// Blobs implements queue.Broker.
func (b *Broker) Blobs(name string) queue.Blobs { return &blobs{broker: b, queue: name} }

// Close ends everything: what waits and what comes later returns an ErrClosed, and
// what was stored is forgotten. It returns nil, also the second time.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.stores {
		s.close()
	}
	b.stores = nil
	return nil
}

// open returns a queue's store, for a call whose context has not ended.
func (b *Broker) open(ctx context.Context, name string) (*store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := check.Queue(name); err != nil {
		return nil, err
	}
	b.mu.RLock()
	s, closed := b.stores[name], b.stores == nil
	b.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	if closed {
		return nil, queue.ErrClosed
	}
	return b.create(name)
}

// create makes a store, unless another call was faster.
func (b *Broker) create(name string) (*store, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stores == nil {
		return nil, queue.ErrClosed
	}
	if b.stores[name] == nil {
		b.stores[name] = newStore(b.began)
	}
	return b.stores[name], nil
}

// queues returns the names of those that were used: that one was looked at does not
// make it one.
func (b *Broker) queues() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	names := []string{}
	for name, s := range b.stores {
		if s.isUsed() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
