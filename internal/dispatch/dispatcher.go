package dispatch

import (
	"context"
	"fmt"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
	"runtime"
	"sync"
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
	resting map[*Call]*rest
	open    int   // calls submitted and not ended
	failed  error // why no more calls are taken
	closing bool  // only calls within calls are taken
	drained chan struct{}
	next    int  // lane to try first, so that equals take turns
	idle    bool // there may be a lane with an idle slot
	ahead   bool // there may be a lane that takes a chunk ahead of need
	batch   []peer.Call

	yielding bool // somebody is about to place what is queued
}

// Seat is a place that one lane at a time fills: a worker's, over its
// replacements.
type Seat struct {
	Name  string
	Order int   // among seats; equals in everything else take turns in it
	err   error // why there will be no lane any more; guarded by the dispatcher's mutex
}

func (s *Seat) order() int {
	if s == nil {
		return 0
	}
	return s.Order
}

// New returns an empty dispatcher.
func New() *Dispatcher {
	return &Dispatcher{seats: map[*Seat]*queue{}, paces: map[string]*pace{}, sources: map[*Source]struct{}{}, resting: map[*Call]*rest{}}
}

// pace returns how long calls of a spec's function take. d.mu is held.
func (d *Dispatcher) pace(s *Spec) *pace {
	if s.pace == nil || s.paced != d {
		p := d.paces[s.Key]
		if p == nil {
			p = &pace{}
			d.paces[s.Key] = p
		}
		s.pace, s.paced = p, d
	}
	return s.pace
}

// work is what is left to do when the mutex is unlocked.
type work struct {
	flush   []*Lane
	deliver []Delivery
	kill    []*Lane
	after   []func()
}

var works = sync.Pool{New: func() any { return new(work) }}

// lock begins a critical section; unlock ends it.
func (d *Dispatcher) lock() *work {
	w := works.Get().(*work)
	d.mu.Lock()
	return w
}

func (w *work) put() {
	clear(w.flush)
	clear(w.deliver)
	clear(w.kill)
	clear(w.after)
	w.flush, w.deliver, w.kill, w.after = w.flush[:0], w.deliver[:0], w.kill[:0], w.after[:0]
	works.Put(w)
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
	w.put()
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
	if d.closing && c.Spec.Depth == 0 && d.failed == nil {
		return ErrClosed
	}
	return d.verdict(c)
}

// verdict returns why a call can never be placed, or nil.
func (d *Dispatcher) verdict(c *Call) error {
	if d.failed == nil && c.Spec.Lane != nil {
		return c.Spec.Lane.err
	}
	return d.failed
}

// Submit queues a call and places what can be placed. The outcome may be
// delivered before Submit returns.
func (d *Dispatcher) Submit(c *Call) {
	w := d.lock()
	c.state = idle
	d.open++
	if err := d.refusal(c); err != nil {
		d.end(w, c, Outcome{Err: err})
		d.unlock(w)
		return
	}
	d.enqueue(c)
	if d.yielding {
		d.unlock(w) // whoever yields will place it
		return
	}
	if d.open > 2 && (d.idle || d.ahead) {
		// Others are calling too: let them add their calls to the same chunk.
		d.yielding = true
		d.mu.Unlock()
		runtime.Gosched()
		d.mu.Lock()
		d.yielding = false
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
	d.idle, d.ahead = false, false
	for _, l := range d.lanes {
		d.idle = d.idle || l.idleSlots() > 0
		d.ahead = d.ahead || l.waiting() <= l.slots && !l.slow
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
	if best != nil {
		d.next++
	}
	return best, max(idle, 1)
}

// take takes the calls of one chunk from a queue.
func (d *Dispatcher) take(q *queue, l *Lane, share int) []*Call {
	first := q.first()
	size := d.pace(first.Spec).chunk()
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
	w := d.lock()
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
		d.settle(w, c)
		d.queueOf(c).drop(c)
	case resting:
		d.rouse(c)
		d.settle(w, c)
	case placed:
		ch := c.chunk
		if ch == nil {
			break // answered: only its log records are waited for
		}
		at := wire.Place{Chunk: ch.id, Index: c.at}
		w.after = append(w.after, func() { ch.lane.conn.Cancel(at, cause, ch.large) })
		ch.lane.grace(ch, c)
	}
	return true
}

// Fail ends the dispatcher: calls that wait end with err, and those that run
// when their lanes are lost. It is idempotent; the first error counts.
func (d *Dispatcher) Fail(err error) {
	w := d.lock()
	defer d.unlock(w)
	if d.failed != nil {
		return
	}
	d.failed = err
	d.failQueue(w, &d.queue, err)
	for _, q := range d.seats {
		d.failQueue(w, q, err)
	}
	d.failResting(w)
	d.feed()
}

// FailSeat ends the calls that wait for one seat, and refuses others. The first
// error counts.
func (d *Dispatcher) FailSeat(s *Seat, err error) {
	w := d.lock()
	defer d.unlock(w)
	if s.err == nil {
		s.err = err
	}
	if q := d.seats[s]; q != nil {
		d.failQueue(w, q, s.err)
	}
	d.failResting(w)
	d.feed()
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
