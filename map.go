package afar

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"github.com/afar-go/afar/internal/dispatch"
)

// Outcome is what became of one input.
type Outcome[In, Out any] struct {
	Index int // of the input, from 0
	In    In
	Out   Out
	Err   error
}

// Map runs the function on every input of in and yields the results in the
// order of the inputs, with one error for each input that has failed. Inputs
// are pulled when they can be placed; at most 4,096 that were pulled are not yet
// yielded, so a slow one holds back so many and no more. Calls of quick
// functions share messages by themselves.
//
// Leaving the loop, and the end of ctx, cancel what is running. When ctx ends
// before the inputs do, those that were pulled get its error, no more are pulled,
// and the last thing that is yielded is its error in any case. A panic of
// in comes out of the loop, after the results of the inputs before it, unless
// the loop was left before. While in waits for its next input, results go on to
// be yielded.
//
// in runs in a goroutine of its own, and may still be about to end when the loop
// has been left. The sequence may be ranged over once at a
// time; each range starts again.
func (f *Function[In, Out]) Map(ctx context.Context, r Runner, in iter.Seq[In]) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		f.mapping(ctx, r, in, true, func(_ *slot[In], out Out, err error) bool { return yield(out, err) })
	}
}

// MapUnordered is Map that yields outcomes as they come.
func (f *Function[In, Out]) MapUnordered(ctx context.Context, r Runner, in iter.Seq[In]) iter.Seq[Outcome[In, Out]] {
	return func(yield func(Outcome[In, Out]) bool) {
		f.mapping(ctx, r, in, false, func(s *slot[In], out Out, err error) bool {
			return yield(Outcome[In, Out]{Index: s.index, In: s.in, Out: out, Err: err})
		})
	}
}

// Each runs the function once on every worker of the pool with the same input
// and yields outcomes as they come; Index is the gateway's position.
func (f *Function[In, Out]) Each(ctx context.Context, p *Pool, in In) iter.Seq2[*Gateway, Outcome[In, Out]] {
	return func(yield func(*Gateway, Outcome[In, Out]) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		outcomes := make(chan *Outcome[In, Out], len(p.gateways)) // elements of a channel are limited in size
		for i, g := range p.gateways {
			go func() {
				out, err := f.On(g)(ctx, in)
				outcomes <- &Outcome[In, Out]{Index: i, In: in, Out: out, Err: err}
			}()
		}
		for range p.gateways {
			o := <-outcomes
			if !yield(p.gateways[o.Index], *o) {
				return
			}
		}
	}
}

const (
	// window is how many inputs a map may have pulled and not yielded.
	window = 4096
	// heldBytes is how many bytes of results may wait to be yielded before a map
	// pulls no more inputs.
	heldBytes = 64 << 20
	// foreignCalls is how many calls a map has under way on a Runner that takes
	// them one by one, and does not say with a method InFlight() int.
	foreignCalls = 64
	// takeAtOnce is how many results the loop takes from the mapping at a time.
	takeAtOnce = 128
)

// inFlight is how many calls a map has under way on a Runner that is not ours.
func inFlight(r Runner) int {
	switch r := r.(type) {
	case *withPolicy:
		return inFlight(r.to)
	case interface{ InFlight() int }:
		return max(1, r.InFlight())
	}
	return foreignCalls
}

// slot is an input under way. Slots are used again.
type slot[In any] struct {
	call  dispatch.Call
	in    In
	index int
	out   dispatch.Outcome
	ready bool
	cut   bool // out is the end of the range's context
}

// mapping is one range over a map. The feeder adds inputs, sinks bring their
// outcomes, the loop yields them.
type mapping[In, Out any] struct {
	f       *Function[In, Out]
	route   *route
	spec    *dispatch.Spec
	source  *dispatch.Source // nil on a foreign Runner
	tickets chan struct{}    // bounds calls on a foreign Runner
	buf     []byte           // the feeder's, for encoding
	ordered bool
	outer   context.Context // the caller's
	ctx     context.Context // ends with the range, and with outer
	cancel  context.CancelCauseFunc

	mu       sync.Mutex
	changed  sync.Cond // for the loop: results or the end
	room     sync.Cond // for the feeder
	slots    []*slot[In]
	free     []*slot[In]
	order    fifo[*slot[In]] // ordered: all slots in use; else: those that are ready
	inUse    int
	spare    bool // there was room for another input; the feeder\'s
	held     int  // bytes of outcomes not yielded
	waiting  bool
	over     bool  // the range has ended
	ended    bool  // no more inputs are pulled
	cut      error // why inputs may be left that were not pulled
	pulled   int
	panicked any
	exited   bool // the inputs ended their goroutine
}

func (f *Function[In, Out]) mapping(ctx context.Context, r Runner, in iter.Seq[In], ordered bool, yield func(*slot[In], Out, error) bool) {
	m := &mapping[In, Out]{f: f, route: routeFor(r), ordered: ordered}
	m.changed.L, m.room.L = &m.mu, &m.mu
	m.outer = ctx
	m.ctx, m.cancel = context.WithCancelCause(ctx)
	defer m.leave()
	if err := m.begin(); err != nil {
		var zero Out
		yield(&slot[In]{}, zero, err)
		return
	}
	if ctx.Err() != nil {
		m.expire()
	} else {
		stop := context.AfterFunc(ctx, m.expire)
		defer stop()
		go m.feed(in)
	}
	m.loop(yield)
}

func (m *mapping[In, Out]) begin() error {
	if m.route.foreign != nil {
		m.tickets = make(chan struct{}, inFlight(m.route.foreign))
		return nil
	}
	spec, err := m.route.spec(m.ctx, m.f.f, nil)
	if err != nil {
		return err
	}
	m.spec = spec
	m.source = m.route.d.Source(spec)
	return nil
}

// leave ends the range: the feeder stops and what runs is canceled.
func (m *mapping[In, Out]) leave() {
	m.cancel(context.Canceled)
	m.mu.Lock()
	m.over = true
	m.room.Broadcast()
	m.mu.Unlock()
	if m.source != nil {
		m.source.Leave(context.Canceled)
	}
}

// expire gives the context's error to every input that has no outcome yet.
func (m *mapping[In, Out]) expire() {
	err := dispatch.CtxError(m.outer) // m.ctx may not know yet
	if m.source != nil {
		m.source.Leave(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended || m.cut != nil {
		m.ended, m.cut = true, err
	}
	for _, s := range m.slots {
		if s.index >= 0 && !s.ready {
			s.cut = true
			m.set(s, dispatch.Outcome{Err: err})
		}
	}
	m.room.Broadcast()
	m.changed.Broadcast()
}

// feed pulls inputs and submits them.
func (m *mapping[In, Out]) feed(in iter.Seq[In]) {
	whole := false   // in came to its end, or we stopped it
	stopped := false // we did
	defer func() {
		p := recover()
		m.mu.Lock()
		if !m.ended && !m.over && stopped && m.outer.Err() != nil {
			m.cut = dispatch.CtxError(m.outer) // which expire was about to say
		}
		m.ended = true
		m.panicked = p
		m.exited = p == nil && !whole
		m.changed.Broadcast()
		m.mu.Unlock()
	}()
	stopped = !m.admit(false)
	if !stopped {
		index := 0
		for v := range in {
			if stopped = !m.add(v, index); stopped {
				break
			}
			index++
		}
	}
	whole = true
}

// admit waits until another input may be pulled.
func (m *mapping[In, Out]) admit(more bool) bool {
	if more && m.spare && m.source != nil {
		return true // the end of the range is noticed when the input is there
	}
	m.mu.Lock()
	for (m.inUse >= window || m.held > heldBytes) && !m.over && !m.ended {
		m.room.Wait()
	}
	over := m.over || m.ended
	m.mu.Unlock()
	switch {
	case over:
		return false
	case m.source == nil:
		select {
		case m.tickets <- struct{}{}:
			return true
		case <-m.ctx.Done():
			return false
		}
	case more:
		return true
	default:
		return m.source.Ready(m.ctx) == nil
	}
}

// add submits an input and tells whether to go on.
func (m *mapping[In, Out]) add(v In, index int) bool {
	// Encoding runs the user's code, which may panic: no slot is taken yet.
	input, err := m.f.in.Append(m.buf[:0], v)
	s := m.take(v, index)
	if s == nil {
		return false
	}
	if err == nil {
		err = m.route.limit(m.f.f.Name, len(input))
	} else {
		err = inputError(m.f.f.Name, err)
	}
	if err != nil {
		if m.source == nil {
			<-m.tickets
		}
		m.Deliver([]dispatch.Delivery{{Call: &s.call, Outcome: dispatch.Outcome{Err: err}}})
		return m.admit(true)
	}
	if len(input) > maxKept { // it is given away
		m.buf = nil
	} else {
		m.buf = input
		input = append(s.call.Input[:0], input...)
	}
	if m.source == nil {
		go m.runForeign(s, input)
		return m.admit(true)
	}
	s.call.Renew(input, uint64(index))
	return m.admit(m.source.Add(&s.call))
}

// maxKept is the largest input whose buffer is used again.
const maxKept = 16 << 10

// take returns a slot for an input, nil when the range has ended.
func (m *mapping[In, Out]) take(v In, index int) *slot[In] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over || m.ended {
		return nil
	}
	var s *slot[In]
	if n := len(m.free); n > 0 {
		s = m.free[n-1]
		m.free = m.free[:n-1]
	} else {
		s = &slot[In]{call: dispatch.Call{Spec: m.spec, Index: len(m.slots), To: m}}
		m.slots = append(m.slots, s)
	}
	s.index, s.ready, s.in = index, false, v
	m.inUse++
	m.spare = m.inUse < window && m.held <= heldBytes
	m.pulled++
	if m.ordered {
		m.order.push(s)
	}
	return s
}

// runForeign runs one call on a Runner that takes them one by one.
func (m *mapping[In, Out]) runForeign(s *slot[In], input []byte) {
	out := dispatch.Outcome{Err: errors.New("afar: the Runner ended its goroutine (runtime.Goexit)")}
	defer func() {
		<-m.tickets
		m.Deliver([]dispatch.Delivery{{Call: &s.call, Outcome: out}})
	}()
	output, err := m.route.runForeign(m.ctx, m.f.f, input)
	out = dispatch.Outcome{Output: output, Err: err}
}

// Deliver takes outcomes; it is the sink of the mapping's calls.
func (m *mapping[In, Out]) Deliver(ds []dispatch.Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range ds {
		if s := m.slots[ds[i].Call.Index]; !s.ready {
			m.set(s, ds[i].Outcome)
		}
	}
}

// set makes a slot ready and wakes the loop if it waits for it. m.mu is held.
func (m *mapping[In, Out]) set(s *slot[In], out dispatch.Outcome) {
	s.out, s.ready = out, true
	m.held += len(out.Output)
	if !m.ordered {
		m.order.push(s)
	}
	if m.waiting && (!m.ordered || m.order.first() == s) {
		m.waiting = false
		m.changed.Signal()
	}
}

// loop yields outcomes until the inputs have ended and all were yielded.
func (m *mapping[In, Out]) loop(yield func(*slot[In], Out, error) bool) {
	var buf [takeAtOnce]*slot[In]
	atEnd := false // the last thing yielded was cut
	for {
		batch := m.collect(buf[:0])
		if len(batch) == 0 {
			break
		}
		for _, s := range batch {
			out, err := m.result(s)
			atEnd = s.cut
			if !yield(s, out, err) {
				return
			}
		}
		m.recycle(batch)
	}
	m.mu.Lock()
	cut, pulled, panicked, exited := m.cut, m.pulled, m.panicked, m.exited
	m.mu.Unlock()
	switch {
	case cut != nil && !atEnd:
		var zero Out
		yield(&slot[In]{index: pulled}, zero, cut)
	case cut != nil:
	case panicked != nil:
		panic(panicked)
	case exited:
		runtime.Goexit()
	}
}

// collect waits for outcomes that can be yielded and takes some. It returns
// none at the end.
func (m *mapping[In, Out]) collect(batch []*slot[In]) []*slot[In] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.due() && !m.finished() {
		m.wait()
	}
	for len(batch) < cap(batch) && m.due() {
		batch = append(batch, m.order.pop())
	}
	return batch
}

// due tells whether an outcome can be yielded. m.mu is held.
func (m *mapping[In, Out]) due() bool { return m.order.n > 0 && m.order.first().ready }

func (m *mapping[In, Out]) finished() bool { return m.ended && m.inUse == 0 }

// wait waits until there is something to yield. A function that maps gives up
// its slot meanwhile. m.mu is held.
func (m *mapping[In, Out]) wait() {
	if within := m.route.within; within != nil {
		m.mu.Unlock()
		within.Park()
		m.mu.Lock()
		defer func() {
			m.mu.Unlock()
			within.Unpark()
			m.mu.Lock()
		}()
	}
	for !m.due() && !m.finished() {
		m.waiting = true
		m.changed.Wait()
	}
	m.waiting = false
}

// result decodes an outcome.
func (m *mapping[In, Out]) result(s *slot[In]) (out Out, err error) {
	switch {
	case s.out.Err != nil && m.spec != nil:
		return out, publicError(m.spec.Name, s.out.Worker, s.out.Err)
	case s.out.Err != nil:
		return out, s.out.Err
	}
	out, err = m.f.out.Decode(s.out.Output)
	if err != nil {
		err = fmt.Errorf("afar: output of %s: %w", m.f.f.Name, err)
	}
	return out, err
}

// recycle frees slots whose outcomes were yielded.
func (m *mapping[In, Out]) recycle(batch []*slot[In]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var zero In
	for _, s := range batch {
		m.held -= len(s.out.Output)
		s.out.Free()
		s.out = dispatch.Outcome{}
		s.in = zero
		s.index = -1
		m.free = append(m.free, s)
	}
	m.inUse -= len(batch)
	m.room.Signal()
}

// fifo is a queue in a ring.
type fifo[T any] struct {
	ring []T // its length is a power of two
	head int
	n    int
}

func (q *fifo[T]) push(v T) {
	if q.n == len(q.ring) {
		ring := make([]T, max(16, 2*len(q.ring)))
		for i := range q.n {
			ring[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
		}
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = v
	q.n++
}

func (q *fifo[T]) first() T { return q.ring[q.head] }

func (q *fifo[T]) pop() T {
	var zero T
	v := q.ring[q.head]
	q.ring[q.head] = zero
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return v
}
