package natsq

import (
	"errors"
	"slices"

	"github.com/afar-go/afar/queue"
)

// errVersion means that another version of afar wrote something.
var errVersion = errors.New("written by another version of afar, which this one does not understand")

// Facts of which events come have the numbers of these, so that they are the same when the
// log is read again from a later record on.

// A fact is one thing that has happened in a queue. Records are made of facts. A fact
// about a task that is not known concerns one that was forgotten when a record after it
// was written, and changes nothing.
type fact interface {
	code(c *codec)
	apply(l *ledger)
}

// Tags of facts in records; they are never used for anything else.
const (
	tagSubmitted uint8 = iota + 1
	tagTaken
	tagEnded
	tagReturned
	tagNoted
	tagExtended
	tagCanceled
	tagRequeued
	tagDropped
	tagPaused
	tagServed
	tagBlobPut
	tagBlobKept
	tagBlobGone
	tagState
	tagEntry
	tagEvents
	tagClaimed
	tagSpared
)

// newFact returns the fact with a tag, nil if there is none.
func newFact(tag uint8) fact {
	switch tag {
	case tagSubmitted:
		return &submitted{}
	case tagTaken:
		return &taken{}
	case tagEnded:
		return &ended{}
	case tagReturned:
		return &returned{}
	case tagNoted:
		return &noted{}
	case tagExtended:
		return &extended{}
	case tagCanceled:
		return &canceled{}
	case tagRequeued:
		return &requeued{}
	case tagDropped:
		return &dropped{}
	case tagPaused:
		return &paused{}
	case tagServed:
		return &served{}
	default:
		return newUpkeep(tag)
	}
}

// submitted says that a task was stored.
type submitted struct {
	num       uint64
	task      queue.Task // without its body
	body      data
	ready     int64
	submitted int64
	birth     uint64 // tokens of its deliveries are greater
}

func (f *submitted) code(c *codec) {
	integer(c, &f.num)
	c.text(&f.task.ID)
	c.text(&f.task.Label)
	c.data(&f.body)
	integer(c, &f.task.Priority)
	c.text(&f.task.Group)
	c.text(&f.task.Client)
	c.bool(&f.task.Random)
	integer(c, &f.task.Retention)
	c.texts(&f.task.Blobs)
	integer(c, &f.ready)
	integer(c, &f.submitted)
	c.mark(&f.birth)
}

func (f *submitted) apply(l *ledger) {
	t := &f.task
	e := &entry{
		num: f.num, id: t.ID, label: t.Label, group: t.Group, client: t.Client, body: f.body,
		blobs: t.Blobs, retention: int64(t.Retention), submitted: f.submitted, birth: f.birth,
		token: f.birth, priority: clamp(t.Priority), random: t.Random,
	}
	l.store(e)
	l.delay(e, f.ready)
}

// clamp keeps a priority from a peer within the three that there are.
func clamp(p queue.Priority) queue.Priority { return max(queue.Low, min(queue.High, p)) }

// taken says that tasks were leased to a worker.
type taken struct {
	worker string
	lease  int64
	tasks  []grant
}

// grant is one lease.
type grant struct{ num, token uint64 }

func (f *taken) code(c *codec) {
	c.text(&f.worker)
	integer(c, &f.lease)
	list(c, &f.tasks, func(c *codec, g *grant) {
		integer(c, &g.num)
		integer(c, &g.token)
	})
}

func (f *taken) apply(l *ledger) {
	for _, g := range f.tasks {
		e := l.nums[g.num]
		if e == nil {
			continue
		}
		e.token = g.token
		life := e.lived()
		life.worker, life.lease, life.started, life.progress = f.worker, f.lease, l.now, [2]int64{}
		life.spared = false
		l.enter(e, queue.StateRunning)
		e.due = l.now + f.lease
		l.leases.set(e)
	}
}

// ended says that a delivery gave its task the outcome.
type ended struct {
	num     uint64
	token   uint64
	ending  queue.Ending
	worker  string
	mark    uint64 // the number of the event
	outcome data
	said    data
	needs   []string
}

func (f *ended) code(c *codec) {
	integer(c, &f.num)
	integer(c, &f.token)
	integer(c, &f.ending)
	c.text(&f.worker)
	c.mark(&f.mark)
	c.data(&f.outcome)
	c.data(&f.said)
	c.texts(&f.needs)
}

func (f *ended) apply(l *ledger) {
	e := l.nums[f.num]
	if e == nil {
		return
	}
	if _, ok := outcomes[f.ending]; !ok || e.state.Ended() {
		return
	}
	e.count(f.token, f.ending)
	e.tries = e.attempts()
	if f.ending == queue.EndDead {
		l.live -= e.size()
		e.remember(attempt{worker: f.worker, ended: l.now, said: f.said})
		l.live += e.size()
	}
	l.finish(e, end{outcomes[f.ending], f.outcome, f.worker, f.needs, f.mark})
}

// outcomes are the states that endings lead to, for those that give an outcome.
var outcomes = map[queue.Ending]queue.State{
	queue.EndDone: queue.StateDone, queue.EndFailed: queue.StateFailed,
	queue.EndDead: queue.StateDead, queue.EndCanceled: queue.StateCanceled,
}

// returned says that a delivery ended without an outcome: settled, or because its lease
// did.
type returned struct {
	num    uint64
	token  uint64
	ending queue.Ending // retry or release
	lost   bool
	worker string
	said   data
	ready  int64
	mark   uint64 // of the event, if the task is not wanted any more
}

func (f *returned) code(c *codec) {
	integer(c, &f.num)
	integer(c, &f.token)
	integer(c, &f.ending)
	c.bool(&f.lost)
	c.text(&f.worker)
	c.data(&f.said)
	integer(c, &f.ready)
	c.mark(&f.mark)
}

func (f *returned) apply(l *ledger) {
	e := l.nums[f.num]
	if e == nil || !e.holds(f.token) {
		return
	}
	a := attempt{worker: f.worker, ended: l.now, lost: f.lost, said: f.said}
	if !f.lost {
		e.count(f.token, f.ending)
	}
	l.comeBack(e, a, f.ending == queue.EndRetry, f.ready, f.mark)
}

// noted keeps what a delivery has said and how far it is.
type noted struct {
	num      uint64
	progress [2]int64
	mark     uint64 // the number of the first record's event
	log      []data
}

func (f *noted) code(c *codec) {
	integer(c, &f.num)
	integer(c, &f.progress[0])
	integer(c, &f.progress[1])
	c.mark(&f.mark)
	list(c, &f.log, (*codec).data)
}

func (f *noted) apply(l *ledger) {
	e := l.nums[f.num]
	if e == nil {
		return
	}
	life := e.lived()
	if f.progress != [2]int64{} {
		life.progress = f.progress
	}
	for i, d := range f.log {
		ev := event{number: f.mark + uint64(i), base: e.base, at: l.now, kind: queue.EventLog, id: e.id, data: d}
		life.log = append(life.log, ev)
		l.live += ev.size()
	}
	if n := len(life.log); n > maxLog+maxLog/4 {
		for i := range life.log[:n-maxLog] {
			l.live -= life.log[i].size()
		}
		life.log = slices.Clone(life.log[n-maxLog:])
	}
	if len(f.log) > 0 {
		l.touch(queue.Topic{Task: e.id})
	}
}

// extended says that a lease is of another length from now on, which a keeper who takes
// over has to know.
type extended struct {
	num   uint64
	lease int64
}

func (f *extended) code(c *codec) {
	integer(c, &f.num)
	integer(c, &f.lease)
}

func (f *extended) apply(l *ledger) {
	if e := l.nums[f.num]; e != nil && e.state == queue.StateRunning {
		e.life.lease, e.life.spared = f.lease, false
		e.due = l.now + f.lease
		l.leases.set(e)
	}
}

// served says what a client's request has led to, and which of its answers have arrived.
type served struct {
	session, number uint64
	finished        []uint64
	result          result
}

func (f *served) code(c *codec) {
	integer(c, &f.session)
	integer(c, &f.number)
	list(c, &f.finished, integer[uint64])
	codeResult(c, &f.result)
}

func (f *served) apply(l *ledger) {
	s := l.session(f.session)
	for _, n := range f.finished {
		delete(s.results, n)
	}
	r := f.result
	s.results[f.number] = &r
}

// session returns a client's session, and notes that it is there.
func (l *ledger) session(id uint64) *session {
	s := l.sessions[id]
	if s == nil {
		s = &session{results: map[uint64]*result{}}
		l.sessions[id] = s
	}
	s.seen = l.now
	return s
}
