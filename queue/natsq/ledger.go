package natsq

import (
	"time"

	"github.com/afar-go/afar/queue"
)

// ledger is all that a queue's log says. Facts change it, and nothing else: those of a
// record when it is read, and when it is written. What need not outlive its keeper is
// not in it, but for the ends of leases.
type ledger struct {
	entries map[string]*entry
	nums    map[uint64]*entry
	states  [queue.StateCanceled + 1]chain
	bases   chain  // oldest first
	delayed timers // until they wait
	leases  timers // until they are lost
	kept    timers // until they are forgotten
	lanes   [3]*lane

	clients  map[string]*topic
	all      topic // what is said to all workers
	sessions map[uint64]*session
	blobs    map[string]*blob

	lastNum, lastStamp uint64
	mark               uint64 // of the last event; grows with time, in microseconds
	done               [queue.StateCanceled + 1]int64
	paused             bool
	live               int64 // about how many bytes of the log are needed

	now     int64 // the queue's clock, as of the record
	record  uint64
	replay  bool // the log is being read
	touched map[queue.Topic]bool
	gone    map[string]*entry // those that ended and were not kept, in this record
}

// session is a client of a queue, and what its requests have led to, until it is known
// that it knows.
type session struct {
	results map[uint64]*result
	seen    int64
}

// result is what a request has led to, if it is not what everybody expects.
type result struct {
	known []bool
	holds []queue.Hold
	took  []queue.Lease
	count int
}

func codeResult(c *codec, r *result) {
	list(c, &r.known, (*codec).bool)
	list(c, &r.holds, integer[queue.Hold])
	list(c, &r.took, codeLease)
	integer(c, &r.count)
}

func newLedger() *ledger {
	l := &ledger{
		entries: map[string]*entry{}, nums: map[uint64]*entry{},
		clients: map[string]*topic{}, sessions: map[uint64]*session{}, blobs: map[string]*blob{},
		delayed: timers{less: byDue}, leases: timers{less: byDue}, kept: timers{less: byDue},
		bases:   chain{order: byBase},
		touched: map[queue.Topic]bool{}, gone: map[string]*entry{},
	}
	for i := range l.lanes {
		l.lanes[i] = newLane()
	}
	return l
}

// begin begins a record. Marks go on where they were in the record before, and never
// fall behind the clock, so they grow even when a failure of power has taken records.
func (l *ledger) begin(record uint64, now int64) {
	l.record = record
	l.pass(now)
	l.mark = max(l.mark, uint64(l.now)/uint64(time.Microsecond))
}

// marks returns the first of n new marks.
func (l *ledger) marks(n int) uint64 {
	l.mark += uint64(n)
	return l.mark - uint64(n) + 1
}

// pass lets time pass: what is delayed waits, and outcomes are forgotten. That is in no
// record, because it follows from them.
func (l *ledger) pass(now int64) {
	l.now = max(l.now, now)
	for e := l.delayed.top(); e != nil && e.due <= l.now; e = l.delayed.top() {
		l.wait(e)
	}
	for e := l.kept.top(); e != nil && e.due <= l.now; e = l.kept.top() {
		l.forget(e)
	}
}

// next is when something happens by itself, 0 if nothing does.
func (l *ledger) next() int64 {
	first := int64(0)
	for _, t := range []*timers{&l.delayed, &l.leases, &l.kept} {
		if e := t.top(); e != nil && (first == 0 || e.due < first) {
			first = e.due
		}
	}
	return first
}

// enter puts an entry into a state, and takes it out of all places of the one before.
func (l *ledger) enter(e *entry, s queue.State) {
	l.leave(e)
	e.state = s
	e.since = l.now
	l.lastStamp++
	e.stamp = l.lastStamp
	l.states[s].push(e)
}

// leave takes an entry out of where its state had put it.
func (l *ledger) leave(e *entry) {
	if e.state == queue.StateWaiting && e.links[byState].in != nil {
		l.lane(e).remove(e)
	}
	unset(e)
	if in := e.links[byState].in; in != nil {
		in.remove(e)
	}
}

func (l *ledger) lane(e *entry) *lane { return l.lanes[queue.High-e.priority] }

// wait lets a task wait for a worker.
func (l *ledger) wait(e *entry) {
	l.enter(e, queue.StateWaiting)
	e.due = 0
	l.lane(e).add(e)
}

// delay lets a task wait until a time.
func (l *ledger) delay(e *entry, until int64) {
	if until <= l.now {
		l.wait(e)
		return
	}
	l.enter(e, queue.StateDelayed)
	e.due = until
	l.delayed.set(e)
}

// store takes a new entry in.
func (l *ledger) store(e *entry) {
	if old := l.entries[e.id]; old != nil { // it was forgotten where this was written
		l.forget(old)
	}
	e.base = l.record
	l.entries[e.id], l.nums[e.num] = e, e
	l.bases.push(e)
	l.lastNum = max(l.lastNum, e.num)
	l.live += e.size()
	l.refer(e.blobs, 1)
	delete(l.gone, e.id)
}

// forget gives an entry up, which takes its ID with it.
func (l *ledger) forget(e *entry) {
	l.leave(e)
	l.bases.remove(e)
	delete(l.entries, e.id)
	delete(l.nums, e.num)
	l.live -= e.size()
	l.refer(e.blobs, -1)
	if e.life != nil {
		l.refer(e.life.needs, -1)
		for i := range e.life.log {
			l.live -= e.life.log[i].size()
		}
	}
	if !l.replay {
		l.gone[e.id] = e
	}
	l.touch(queue.Topic{Task: e.id})
}

// touch notes that a topic has something new.
func (l *ledger) touch(t queue.Topic) {
	if !l.replay {
		l.touched[t] = true
	}
}

// end is how a task ends.
type end struct {
	state   queue.State
	outcome data
	settler string
	needs   []string // blobs of the outcome
	mark    uint64   // the number of the event
}

// finish gives a task its outcome.
func (l *ledger) finish(e *entry, end end) {
	l.live -= e.size()
	life := e.lived()
	life.outcome, life.settler, life.ended, life.unwanted = end.outcome, end.settler, l.now, false
	life.reason = data{}
	if end.settler != "" {
		life.worker = end.settler
	}
	l.enter(e, end.state)
	life.told = end.mark
	l.done[end.state]++
	if end.state != queue.StateDead {
		e.body = data{}
		l.refer(e.blobs, -1)
		e.blobs = nil
	}
	l.live += e.size()
	l.touch(queue.Topic{Task: e.id})
	if e.client != "" {
		l.tell(e)
	}
	switch {
	case end.state == queue.StateDead:
		life.needs = end.needs
		l.refer(end.needs, 1)
	case e.retention > 0:
		life.needs = end.needs
		l.refer(end.needs, 1)
		e.due = l.now + e.retention
		l.kept.set(e)
	default:
		l.forget(e)
	}
}

// tell tells the task's client of the end.
func (l *ledger) tell(e *entry) {
	t := l.clients[e.client]
	if t == nil {
		t = &topic{}
		l.clients[e.client] = t
	}
	t.add(event{
		number: e.life.told, base: e.base, at: l.now, kind: queue.EventEnd, state: e.state,
		attempt: e.tries, id: e.id, worker: e.life.settler, data: e.life.outcome,
	})
	l.touch(queue.Topic{Client: e.client})
}

// comeBack ends a delivery that gave no outcome.
func (l *ledger) comeBack(e *entry, a attempt, counts bool, until int64, mark uint64) {
	l.live -= e.size()
	if counts {
		e.tries++
		e.remember(a)
	}
	l.live += e.size()
	if e.lived().unwanted {
		l.enter(e, queue.StateDelayed)
		l.finish(e, end{state: queue.StateCanceled, outcome: e.life.reason, mark: mark})
		return
	}
	e.back = true
	l.delay(e, until)
}

// sweep forgets events that are too old and sessions that have gone, and counts what
// topics take. It is done now and then.
func (l *ledger) sweep() {
	for name, t := range l.clients {
		if t.expire(l.now); len(t.events) == 0 {
			delete(l.clients, name)
		}
	}
	l.all.expire(l.now)
	for id, s := range l.sessions {
		if s.seen < l.now-int64(sessionFor) {
			delete(l.sessions, id)
		}
	}
}

// sessionFor is for how long results are kept for a client that says nothing.
const sessionFor = 30 * time.Minute

// refer counts who needs blobs.
func (l *ledger) refer(hashes []string, n int) {
	for _, h := range hashes {
		b := l.blobs[h]
		if b == nil {
			b = &blob{hash: h}
			l.blobs[h] = b
		}
		if b.refs += n; b.refs == 0 {
			if b.until = max(b.until, l.now+b.keep); b.upload == "" {
				delete(l.blobs, h)
			}
		}
	}
}
