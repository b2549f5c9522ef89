package dispatch

import (
	"fmt"
	"slices"
	"time"

	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// chunkBytes is how many bytes of inputs a chunk of several calls may have.
const chunkBytes = peer.MaxChunk

// Lane is one link to a worker, from its hello to its loss.
type Lane struct {
	d     *Dispatcher
	seat  *Seat
	conn  *peer.Conn
	slots int
	relay bool           // leads to another dispatcher, which does the scheduling
	keys  []string       // of the worker's functions
	index map[string]int // their positions
	name  string
	kill  func() // ends the worker; the lane's loss follows
	log   func(worker string, c *Call, r *peer.Record)

	chunks  []*chunk // unanswered, in the order in which they were sent
	parked  int      // of them
	calls   int      // unanswered
	bytes   int      // of their inputs
	large   int      // chunks among them that are larger than a frame
	slow    bool     // the worker has handed calls back: send nothing ahead
	lastID  uint64
	dirty   bool
	inline  bool
	down    bool // the link has ended
	gone    bool
	retired bool
	empty   chan struct{} // after Retire: closed when no chunks are left
	settled bool
	killed  string // the function for whose sake the worker was killed, or ""
	held    map[uint64]*chunk

	scratch  []answer             // of the reader, for Results
	incoming map[wire.Place]*Call // calls of the worker's own
	done     int                  // calls that ended here
	failed   int
}

// chunk is calls that were sent together.
type chunk struct {
	lane   *Lane
	id     uint64
	calls  []*Call
	left   int  // not answered
	next   int  // the first of them
	parked bool // its call waits for calls of its own
	large  bool // or behind one that is
	bytes  int
	held   int // answered, but kept back until log records were handled

	running bool
	since   time.Time // when the call at next began, at the earliest
	timer   *time.Timer
	rings   time.Time // when timer does
}

// LaneConfig says what a lane leads to.
type LaneConfig struct {
	Seat      *Seat
	Name      string // of the worker
	Slots     int    // calls at a time
	Relay     bool
	Functions []string // keys, as the worker named them in its hello
	Kill      func()
	Log       func(worker string, c *Call, r *peer.Record)
}

// Prepare returns a lane that is to be its link's Caller and Callee; Join makes
// it take calls.
func (d *Dispatcher) Prepare() *Lane {
	return &Lane{d: d, held: map[uint64]*chunk{}, incoming: map[wire.Place]*Call{}}
}

// Join opens the lane.
func (l *Lane) Join(conn *peer.Conn, c LaneConfig) {
	w := &work{}
	d := l.d
	d.mu.Lock()
	defer d.unlock(w)
	l.conn, l.seat, l.name, l.kill, l.log = conn, c.Seat, c.Name, c.Kill, c.Log
	l.slots, l.relay = max(1, c.Slots), c.Relay
	l.keys = c.Functions
	l.index = make(map[string]int, len(c.Functions))
	for i, key := range c.Functions {
		l.index[key] = i
	}
	if l.gone || l.retired {
		return
	}
	d.lanes = append(d.lanes, l)
	slices.SortStableFunc(d.lanes, func(a, b *Lane) int { return a.seat.order() - b.seat.order() })
	d.place(w, true)
}

func (l *Lane) waiting() int { return len(l.chunks) - l.parked }
func (l *Lane) load() int    { return l.calls*1024/l.slots + l.waiting() }

func (l *Lane) idleSlots() int {
	if l.retired || l.down {
		return 0
	}
	return max(0, l.slots-l.waiting())
}

// takes tells whether the lane takes a chunk from the queue now.
func (l *Lane) takes(d *Dispatcher, q *queue, force bool) bool {
	c := q.first()
	if c == nil || l.down {
		return false
	}
	if l.retired {
		return c.Spec.Depth > 0 && l.within(d)
	}
	if l.idleSlots() > 0 {
		return true
	}
	p := d.pace(c.Spec)
	if l.slow || !p.quick() || c.Spec.exact() || l.waiting() > l.slots {
		return false
	}
	return force || 2*q.count >= p.chunk()
}

// within tells whether a retired lane takes a call within a call: when a call
// that it has may be waiting for it, and no other lane is there.
func (l *Lane) within(d *Dispatcher) bool {
	for _, other := range d.lanes {
		if !other.retired {
			return false
		}
	}
	return !l.settled && l.waiting() < l.slots
}

// send puts calls on the lane as one chunk. d.mu is held.
func (l *Lane) send(w *work, calls []*Call) {
	if len(calls) == 0 {
		return
	}
	fn, ok := l.index[calls[0].Spec.Key]
	if !ok {
		for _, c := range calls {
			l.d.end(w, c, Outcome{Worker: l.name, Err: fmt.Errorf("%w: %s is not registered in worker %s", ErrUnknownFunction, c.Spec.Name, l.name)})
		}
		return
	}
	l.lastID++
	ch := &chunk{lane: l, id: l.lastID, calls: calls, left: len(calls)}
	batch := l.d.batch[:0]
	var info *wire.Info
	for i, c := range calls {
		if i == 0 || c.Spec != calls[i-1].Spec || c.attempts != calls[i-1].attempts {
			info = c.info(fn)
		}
		batch = append(batch, peer.Call{Info: info, Input: c.Input})
		ch.bytes += len(c.Input)
		c.state, c.chunk, c.at = placed, ch, i
	}
	// What follows a large chunk must not overtake it: the order of beginning is
	// that of sending.
	if ch.large = l.conn.Send(ch.id, batch, l.large > 0); ch.large {
		l.large++
		ch.bytes = max(ch.bytes, inlineBytes+1)
	}
	l.chunks = append(l.chunks, ch)
	l.calls += len(calls)
	l.bytes += ch.bytes
	clear(batch)
	l.d.batch = batch
	w.touch(l)
	l.promote()
}

func (c *Call) info(fn int) *wire.Info { return c.Spec.Info(fn, c.Attempt()) }

// Info says to a worker what calls of the function at a position in its list
// have in common.
func (s *Spec) Info(fn, attempt int) *wire.Info {
	i := &wire.Info{Function: fn, Attempt: attempt, Depth: s.Depth, MaxAttempts: s.MaxAttempts,
		Timeout: s.Timeout, Grace: s.Grace, LogLevel: s.LogLevel, NoLog: s.NoLog, Header: s.Header,
		ParentChunk: s.Parent.Chunk, ParentIndex: s.Parent.Index}
	if !s.Deadline.IsZero() {
		i.Remaining = max(time.Until(s.Deadline), 1)
	}
	return i
}

func (l *Lane) find(id uint64) *chunk {
	for _, ch := range l.chunks {
		if ch.id == id {
			return ch
		}
	}
	return nil
}

// remove takes an answered chunk off the lane.
func (l *Lane) remove(ch *chunk) {
	for i, c := range l.chunks {
		if c == ch {
			l.chunks = append(l.chunks[:i], l.chunks[i+1:]...)
			break
		}
	}
	if ch.parked {
		l.parked--
	}
	if ch.large {
		l.large--
	}
	l.bytes -= ch.bytes
	l.slow = false
	l.d.idle = true
	ch.stop()
	l.promote()
	l.settle()
}

// promote notes which chunks run now.
func (l *Lane) promote() {
	free := l.slots
	for _, ch := range l.chunks {
		if ch.parked {
			continue
		}
		if free--; free < 0 {
			ch.running = false
			ch.stop()
		} else if !ch.running {
			ch.running = true
			l.arm(ch)
		}
	}
}

// Release takes calls back that have not begun.
func (l *Lane) Release(id uint64, from int) {
	d := l.d
	w := d.lock()
	defer d.unlock(w)
	ch := l.find(id)
	if ch == nil || l.gone {
		return
	}
	for i := len(ch.calls) - 1; i >= from; i-- {
		c := ch.calls[i]
		if c == nil || c.chunk != ch {
			continue
		}
		ch.calls[i] = nil
		ch.left--
		l.calls--
		l.back(w, c)
	}
	l.slow = true
	ch.advance()
	if ch.left == 0 {
		l.remove(ch)
		l.slow = len(l.chunks) > 0
	}
}

// back queues a call again that has not begun.
func (l *Lane) back(w *work, c *Call) {
	c.chunk = nil
	c.timedOut, c.stopped = false, time.Time{}
	switch {
	case c.abandoned:
		l.d.settle(w, c)
	case l.d.verdict(c) != nil:
		l.d.end(w, c, Outcome{Err: l.d.verdict(c)})
	default:
		l.d.queueOf(c).pushFront(c)
	}
}

// Park notes that a call waits for calls of its own.
func (l *Lane) Park(p wire.Place) { l.park(p, true) }

// Unpark notes that it goes on.
func (l *Lane) Unpark(p wire.Place) { l.park(p, false) }

func (l *Lane) park(p wire.Place, on bool) {
	w := l.d.lock()
	defer l.d.unlock(w)
	ch := l.find(p.Chunk)
	if ch == nil || ch.parked == on {
		return
	}
	ch.parked = on
	l.d.idle = true
	if on {
		l.parked++
	} else {
		l.parked--
	}
	l.promote()
}

// Idle places what can be placed now that everything that came was handled.
func (l *Lane) Idle() {
	d := l.d
	w := d.lock()
	d.place(w, true)
	d.unlock(w)
}

// Down notes that the link has ended: no calls are sent there any more, while
// the worker's end is found out.
func (l *Lane) Down() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.down = true
}

// Retire makes the lane take no more calls, except calls within calls when it
// is the last, and returns a channel that is closed when those that it has are
// answered.
func (l *Lane) Retire() <-chan struct{} {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.retired = true
	if l.empty == nil {
		l.empty = make(chan struct{})
		l.settle()
	}
	return l.empty
}

// settle closes empty when there is nothing left to wait for.
func (l *Lane) settle() {
	if l.empty != nil && !l.settled && (len(l.chunks) == 0 || l.gone) {
		l.settled = true
		close(l.empty)
	}
}
