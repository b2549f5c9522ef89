package dispatch

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// Dispatcher places calls on lanes. Its methods may be used concurrently. One
// mutex guards all of it, also its lanes and their chunks; it is never held
// while a sink, a policy's function or a link is waited for.
type Dispatcher struct {
	mu      sync.Mutex
	queue   queue
	lanes   []*Lane
	seats   map[*Seat]*queue // calls for one seat only
	paces   map[string]*pace
	sources map[*Source]struct{}
	open    int   // calls submitted and not ended
	failed  error // why no more calls are taken
	closing bool  // only calls within calls are taken
	drained chan struct{}
	next    int // lane to try first, so that equals take turns
}

// Seat is a place that one lane at a time fills: a worker's, over its
// replacements.
type Seat struct{ Name string }

// New returns an empty dispatcher.
func New() *Dispatcher {
	return &Dispatcher{seats: map[*Seat]*queue{}, paces: map[string]*pace{}, sources: map[*Source]struct{}{}}
}

func (d *Dispatcher) pace(key string) *pace {
	p := d.paces[key]
	if p == nil {
		p = &pace{}
		d.paces[key] = p
	}
	return p
}

// work is what is left to do when the mutex is unlocked.
type work struct {
	flush   []*Lane
	deliver []Delivery
	kill    []*Lane
	after   []func()
}

func (w *work) touch(l *Lane) {
	if !l.dirty {
		l.dirty = true
		w.flush = append(w.flush, l)
	}
}

// unlock ends a critical section and does what it left to do.
func (d *Dispatcher) unlock(w *work) {
	inline := true
	for _, l := range w.flush {
		l.dirty = false
		l.inline = l.bytes <= inlineBytes
		inline = inline && l.inline
	}
	d.mu.Unlock()
	for _, l := range w.flush {
		if inline {
			l.conn.Session().Flush()
		} else {
			l.conn.Session().Kick()
		}
	}
	deliver(w.deliver)
	for _, l := range w.kill {
		l.kill()
	}
	for _, f := range w.after {
		f()
	}
}

// inlineBytes is how much may be unanswered on a lane for it to be written to
// without the link's own goroutine: so much any pipe takes without blocking.
const inlineBytes = 48 << 10

// deliver hands neighbouring outcomes for one sink over together.
func deliver(ds []Delivery) {
	for len(ds) > 0 {
		n := 1
		for n < len(ds) && ds[n].Call.To == ds[0].Call.To {
			n++
		}
		ds[0].Call.To.Deliver(ds[:n])
		ds = ds[n:]
	}
}

// end gives a call its outcome, unless nobody wants it. d.mu is held.
func (d *Dispatcher) end(w *work, c *Call, out Outcome) {
	d.settle(w, c)
	if !c.abandoned {
		if out.Attempt == 0 {
			out.Attempt = c.Attempt()
		}
		w.deliver = append(w.deliver, Delivery{c, out})
	}
}

// settle counts a call that has ended.
func (d *Dispatcher) settle(w *work, c *Call) {
	c.state = ended
	c.chunk = nil
	if d.open--; d.open == 0 && d.drained != nil {
		done := d.drained
		d.drained = nil
		w.after = append(w.after, func() { close(done) })
	}
}

// refusal returns why a call is not taken, or nil.
func (d *Dispatcher) refusal(c *Call) error {
	if d.failed != nil {
		return d.failed
	}
	if d.closing && c.Spec.Depth == 0 {
		return ErrClosed
	}
	return nil
}

// Submit queues a call and places what can be placed. The outcome may be
// delivered before Submit returns.
func (d *Dispatcher) Submit(c *Call) {
	w := &work{}
	d.mu.Lock()
	c.state = idle
	d.open++
	if err := d.refusal(c); err != nil {
		d.end(w, c, Outcome{Err: err})
		d.unlock(w)
		return
	}
	d.enqueue(c)
	if d.open > 2 {
		// Others are calling too: let them add their calls to the same chunk.
		d.mu.Unlock()
		runtime.Gosched()
		d.mu.Lock()
	}
	d.place(w, true)
	d.unlock(w)
}

func (d *Dispatcher) enqueue(c *Call) {
	d.queueOf(c).push(c)
}

func (d *Dispatcher) queueOf(c *Call) *queue {
	if c.Spec.Lane == nil {
		return &d.queue
	}
	q := d.seats[c.Spec.Lane]
	if q == nil {
		q = &queue{}
		d.seats[c.Spec.Lane] = q
	}
	return q
}

// place puts queued calls on lanes. Idle slots always get some; a chunk is sent
// ahead of need only when it is worth it, or all of force's callers have added
// their calls. d.mu is held.
func (d *Dispatcher) place(w *work, force bool) {
	for _, l := range d.lanes {
		if q := d.seats[l.seat]; q != nil {
			for q.count > 0 && l.takes(d, q, force) {
				l.send(w, d.take(q, l, 1))
			}
		}
	}
	for d.queue.count > 0 {
		l, idle := d.pick(force)
		if l == nil {
			break
		}
		l.send(w, d.take(&d.queue, l, idle))
	}
	d.feed()
}

// pick returns the least loaded lane that takes a chunk now, and how many
// lanes are idle.
func (d *Dispatcher) pick(force bool) (best *Lane, idle int) {
	n := len(d.lanes)
	for i := range n {
		l := d.lanes[(d.next+i)%n]
		if l.idleSlots() > 0 {
			idle++
		}
		if (best == nil || l.load() < best.load()) && l.takes(d, &d.queue, force) {
			best = l
		}
	}
	d.next++
	return best, max(idle, 1)
}

// take takes the calls of one chunk from a queue.
func (d *Dispatcher) take(q *queue, l *Lane, share int) []*Call {
	first := q.first()
	size := d.pace(first.Spec.Key).chunk()
	if l.relay {
		size = maxChunk
	}
	size = min(size, (q.count+share-1)/share)
	calls := make([]*Call, 0, min(size, q.count))
	bytes := 0
	for len(calls) < size {
		c := q.first()
		if c == nil || c.Spec.Key != first.Spec.Key {
			break
		}
		bytes += len(c.Input) + 8
		if len(calls) > 0 && (c.solo || c.Spec.exact() || first.solo || first.Spec.exact() || bytes > chunkBytes) {
			break
		}
		calls = append(calls, q.pop())
	}
	return calls
}

// Cancel ends a call whose outcome nobody wants any more. A function that runs
// has its context canceled, and its worker is killed when it goes on after its
// grace. It returns false when the outcome was delivered, or is just now.
func (d *Dispatcher) Cancel(c *Call, cause error) bool {
	w := &work{}
	d.mu.Lock()
	defer d.unlock(w)
	return d.cancel(w, c, cause)
}

func (d *Dispatcher) cancel(w *work, c *Call, cause error) bool {
	if c.abandoned || c.state == ended {
		return false
	}
	c.abandoned = true
	switch c.state {
	case queued:
		d.queueOf(c).left(c)
		d.settle(w, c)
	case resting:
		d.settle(w, c)
	case placed:
		ch := c.chunk
		w.after = append(w.after, func() {
			ch.lane.conn.Cancel(wire.Place{Chunk: ch.id, Index: c.at}, cause)
		})
		ch.lane.grace(ch, c)
	}
	return true
}

// Fail ends the dispatcher: calls that wait end with err, and those that run
// when their lanes are lost. It is idempotent; the first error counts.
func (d *Dispatcher) Fail(err error) {
	w := &work{}
	d.mu.Lock()
	defer d.unlock(w)
	if d.failed != nil {
		return
	}
	d.failed = err
	d.failQueue(w, &d.queue, err)
	for _, q := range d.seats {
		d.failQueue(w, q, err)
	}
	d.feed()
}

// FailSeat ends the calls that wait for one seat.
func (d *Dispatcher) FailSeat(s *Seat, err error) {
	w := &work{}
	d.mu.Lock()
	defer d.unlock(w)
	if q := d.seats[s]; q != nil {
		d.failQueue(w, q, err)
	}
}

func (d *Dispatcher) failQueue(w *work, q *queue, err error) {
	for c := q.pop(); c != nil; c = q.pop() {
		d.end(w, c, Outcome{Err: err})
	}
}

// Drain takes no new calls, except calls within calls, and waits for those
// that were taken.
func (d *Dispatcher) Drain(ctx context.Context) error {
	d.mu.Lock()
	d.closing = true
	d.feed()
	if d.open == 0 {
		d.mu.Unlock()
		return nil
	}
	if d.drained == nil {
		d.drained = make(chan struct{})
	}
	done := d.drained
	d.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d calls still open: %w", d.Open(), CtxError(ctx))
	}
}

// Open returns how many calls were taken and have not ended.
func (d *Dispatcher) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

// Queued returns how many calls wait for a lane.
func (d *Dispatcher) Queued() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.queue.count
	for _, q := range d.seats {
		n += q.count
	}
	return n
}

// again queues a call for another attempt, after its backoff. d.mu is held.
func (d *Dispatcher) again(w *work, c *Call) {
	c.chunk = nil
	c.timedOut = false
	if err := d.failed; err != nil {
		d.end(w, c, Outcome{Err: err})
		return
	}
	if c.Spec.Backoff == nil {
		d.queueOf(c).pushFront(c)
		return
	}
	c.state = resting
	attempt := c.attempts
	w.after = append(w.after, func() {
		time.AfterFunc(c.Spec.Backoff(attempt), func() { d.wakeUp(c) })
	})
}

func (d *Dispatcher) wakeUp(c *Call) {
	w := &work{}
	d.mu.Lock()
	defer d.unlock(w)
	if c.state != resting {
		return
	}
	if d.failed != nil {
		d.end(w, c, Outcome{Err: d.failed})
		return
	}
	d.queueOf(c).pushFront(c)
	d.place(w, true)
}
