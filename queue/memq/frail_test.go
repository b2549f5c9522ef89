package memq_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
	"github.com/afar-go/afar/queue/queuetest"
)

// frail is a client of a broker that is elsewhere, behind a network which loses answers:
// what it has asked for when the network fails, it asks for again, as clients of real
// servers do. It shows that memq is harmed by no repetition, and that queuetest expects
// nothing of a broker behind a network which none can do.
type frail struct {
	*memq.Broker
	network *network

	mu     sync.Mutex
	failed int // how often the network had failed at the last answer that was lost
}

// network is between all clients and their broker.
type network struct {
	mu    sync.Mutex
	fails int
	works context.Context // until it fails
	fail  context.CancelFunc
	delay time.Duration
}

// drop fails, at once for all clients.
func (n *network) drop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails++
	if n.fail != nil {
		n.fail()
	}
	n.works, n.fail = context.WithCancel(context.Background())
}

func (n *network) slow(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

func (n *network) state() (context.Context, int, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.works, n.fails, n.delay
}

// loses tells whether an answer is lost: if the network has failed since it was asked
// for, and the first one after each time that it failed.
func (f *frail) loses(failsBefore int) bool {
	_, fails, _ := f.network.state()
	f.mu.Lock()
	defer f.mu.Unlock()
	if fails == failsBefore && fails == f.failed {
		return false
	}
	f.failed = fails
	return true
}

// ask asks until there is an answer.
func ask[A any](ctx context.Context, f *frail, question func(context.Context) (A, error)) (A, error) {
	for {
		works, fails, delay := f.network.state()
		both, cancel := context.WithCancel(ctx)
		forget := context.AfterFunc(works, cancel)
		if delay > 0 {
			select {
			case <-both.Done():
			case <-time.After(delay):
			}
		}
		answer, err := question(both)
		forget()
		cancel()
		if ctx.Err() != nil || !f.loses(fails) {
			return answer, err
		}
	}
}

func (f *frail) Submit(ctx context.Context, name string, tasks []queue.Task) ([]bool, error) {
	return ask(ctx, f, func(ctx context.Context) ([]bool, error) { return f.Broker.Submit(ctx, name, tasks) })
}

func (f *frail) Take(ctx context.Context, name string, r queue.TakeRequest) ([]queue.Delivery, error) {
	return ask(ctx, f, func(ctx context.Context) ([]queue.Delivery, error) { return f.Broker.Take(ctx, name, r) })
}

func (f *frail) Renew(ctx context.Context, name, worker string, beats []queue.Beat) ([]queue.Hold, error) {
	return ask(ctx, f, func(ctx context.Context) ([]queue.Hold, error) { return f.Broker.Renew(ctx, name, worker, beats) })
}

func (f *frail) Settle(ctx context.Context, name string, ends []queue.Settlement) ([]queue.Hold, error) {
	return ask(ctx, f, func(ctx context.Context) ([]queue.Hold, error) { return f.Broker.Settle(ctx, name, ends) })
}

func (f *frail) Inspect(ctx context.Context, name string, q queue.Query) (*queue.Report, error) {
	return ask(ctx, f, func(ctx context.Context) (*queue.Report, error) { return f.Broker.Inspect(ctx, name, q) })
}

func (f *frail) Change(ctx context.Context, name string, c queue.Change) (int, error) {
	return ask(ctx, f, func(ctx context.Context) (int, error) { return f.Broker.Change(ctx, name, c) })
}

func (f *frail) Follow(ctx context.Context, name string, t queue.Topic, after queue.Cursor, wait time.Duration) ([]queue.Event, queue.Cursor, error) {
	next := after
	events, err := ask(ctx, f, func(ctx context.Context) (events []queue.Event, err error) {
		events, next, err = f.Broker.Follow(ctx, name, t, after, wait)
		return events, err
	})
	return events, next, err
}

// TestBrokerBehindANetwork runs the suite with a network that fails. A restart of a
// broker in memory would forget everything, so that too is a failure of the network.
func TestBrokerBehindANetwork(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) *queuetest.Backend {
		b := memq.New()
		t.Cleanup(func() { _ = b.Close() })
		n := &network{}
		n.works, n.fail = context.WithCancel(context.Background())
		t.Cleanup(func() { n.drop(); n.fail() })
		return &queuetest.Backend{
			Clients: []queue.Broker{&frail{Broker: b, network: n}, &frail{Broker: b, network: n}},
			Durable: true, DropConnections: n.drop, Slow: n.slow, Restart: n.drop, Kill: n.drop, DamageBlob: b.DamageBlob,
		}
	})
}
