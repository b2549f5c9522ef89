package natsq

import "github.com/afar-go/afar/queue"

// newUpkeep returns those facts that are not about a delivery.
func newUpkeep(tag uint8) fact {
	switch tag {
	case tagCanceled:
		return &canceled{}
	case tagRequeued:
		return &requeued{}
	case tagDropped:
		return &dropped{}
	case tagPaused:
		return &paused{}
	case tagBlobPut:
		return &blobPut{}
	case tagBlobKept:
		return &blobKept{}
	case tagBlobGone:
		return &blobGone{}
	case tagState:
		return &state{}
	case tagEntry:
		return &entryAgain{}
	case tagEvents:
		return &eventsAgain{}
	case tagClaimed:
		return &claimed{}
	case tagSpared:
		return &spared{}
	}
	return nil
}

// canceled says that tasks are not wanted any more.
type canceled struct {
	nums    []uint64
	mark    uint64 // the number of the first task's event
	outcome data
}

func (f *canceled) code(c *codec) {
	list(c, &f.nums, integer[uint64])
	c.mark(&f.mark)
	c.data(&f.outcome)
}

func (f *canceled) apply(l *ledger) {
	for i, num := range f.nums {
		e, mark := l.nums[num], f.mark+uint64(i)
		switch {
		case e == nil || e.state.Ended():
		case e.state != queue.StateRunning:
			l.finish(e, end{state: queue.StateCanceled, outcome: f.outcome, mark: mark})
		case !e.life.unwanted:
			l.live -= e.size()
			e.life.unwanted, e.life.reason = true, f.outcome
			l.live += e.size()
			l.all.add(event{number: mark, base: e.base, at: l.now, kind: queue.EventCancel, id: e.id})
			l.touch(queue.Topic{})
		}
	}
}

// requeued says that dead tasks wait again.
type requeued struct{ nums []uint64 }

func (f *requeued) code(c *codec) { list(c, &f.nums, integer[uint64]) }

func (f *requeued) apply(l *ledger) {
	for _, num := range f.nums {
		e := l.nums[num]
		if e == nil || e.state != queue.StateDead {
			continue
		}
		l.live -= e.size()
		l.refer(e.life.needs, -1)
		e.life = &life{log: e.life.log, counted: e.life.counted}
		e.tries, e.back = 0, false
		l.live += e.size()
		l.wait(e)
	}
}

// dropped says that tasks which have ended are forgotten.
type dropped struct{ nums []uint64 }

func (f *dropped) code(c *codec) { list(c, &f.nums, integer[uint64]) }

func (f *dropped) apply(l *ledger) {
	for _, num := range f.nums {
		if e := l.nums[num]; e != nil && e.state.Ended() {
			l.forget(e)
		}
	}
}

// paused says whether there are deliveries.
type paused struct{ paused bool }

func (f *paused) code(c *codec)   { c.bool(&f.paused) }
func (f *paused) apply(l *ledger) { l.paused = f.paused }

// claimed says who writes the log from here on.
type claimed struct{ keeper uint64 }

func (f *claimed) code(c *codec) { integer(c, &f.keeper) }
func (f *claimed) apply(*ledger) {}

// spared says that all leases begin anew, because there is another keeper: who has one could not
// say that it is alive meanwhile. But that happens once to a lease that is not
// renewed, so that those of the dead end, however often keepers change.
type spared struct{}

func (f *spared) code(*codec) {}

func (f *spared) apply(l *ledger) {
	in := &l.states[queue.StateRunning]
	for e := in.head; e != nil; e = in.after(e) {
		if !e.life.spared {
			e.life.spared = true
			e.due = l.now + e.life.lease
			l.leases.set(e)
		}
	}
}

// state says again what is not about single tasks, when records before are to be deleted.
type state struct {
	lastNum, lastStamp, mark uint64
	done                     [queue.StateCanceled + 1]int64
	paused                   bool
	sessions                 []sessionAgain
}

type sessionAgain struct {
	id      uint64
	seen    int64
	numbers []uint64
	results []result
}

// newState returns the ledger's.
func newState(l *ledger) *state {
	f := &state{lastNum: l.lastNum, lastStamp: l.lastStamp, mark: l.mark, done: l.done, paused: l.paused}
	for id, s := range l.sessions {
		again := sessionAgain{id: id, seen: s.seen}
		for n, r := range s.results {
			again.numbers = append(again.numbers, n)
			again.results = append(again.results, *r)
		}
		f.sessions = append(f.sessions, again)
	}
	return f
}

func (f *state) code(c *codec) {
	for _, n := range []*uint64{&f.lastNum, &f.lastStamp, &f.mark} {
		integer(c, n)
	}
	for i := range f.done {
		integer(c, &f.done[i])
	}
	c.bool(&f.paused)
	list(c, &f.sessions, func(c *codec, s *sessionAgain) {
		integer(c, &s.id)
		integer(c, &s.seen)
		list(c, &s.numbers, integer[uint64])
		list(c, &s.results, codeResult)
		if len(s.numbers) != len(s.results) {
			c.fail(errShort)
		}
	})
}

// apply is for who reads the log; to who has written the fact it says nothing.
func (f *state) apply(l *ledger) {
	if !l.replay {
		return
	}
	l.lastNum, l.lastStamp, l.mark = max(l.lastNum, f.lastNum), max(l.lastStamp, f.lastStamp), max(l.mark, f.mark)
	l.done, l.paused = f.done, f.paused
	clear(l.sessions)
	for _, s := range f.sessions {
		kept := &session{results: map[uint64]*result{}, seen: s.seen}
		for i := range s.results {
			kept.results[s.numbers[i]] = &s.results[i]
		}
		l.sessions[s.id] = kept
	}
}

// entryAgain says again all about a task but its log.
type entryAgain struct{ entry *entry }

func (f *entryAgain) code(c *codec) {
	if c.reading {
		f.entry = &entry{}
	}
	f.entry.code(c)
}

func (f *entryAgain) apply(l *ledger) {
	e := f.entry
	if !l.replay {
		e.base = l.record
		l.bases.push(e)
		return
	}
	if e.state == queue.StateUnknown || e.state > queue.StateCanceled || e.priority != clamp(e.priority) ||
		e.life == nil && e.state >= queue.StateRunning {
		return
	}
	if old := l.nums[e.num]; old != nil && old.life != nil && e.life != nil {
		e.life.log = old.life.log
		for i := range e.life.log {
			l.live += e.life.log[i].size()
		}
	}
	l.store(e)
	since, stamp := e.since, e.stamp
	if e.life != nil {
		l.refer(e.life.needs, 1)
	}
	switch e.state {
	case queue.StateWaiting:
		l.wait(e)
	case queue.StateDelayed:
		l.delay(e, max(e.due, l.now+1))
	case queue.StateRunning:
		l.enter(e, e.state)
		l.leases.set(e)
	case queue.StateDead:
		l.enter(e, e.state)
	default:
		l.enter(e, e.state)
		l.kept.set(e)
	}
	e.since, e.stamp = since, stamp
}

// eventsAgain says again what is in a topic.
type eventsAgain struct {
	num    uint64 // of the task
	client string // if num is 0; "": all workers
	events []event
}

func (f *eventsAgain) code(c *codec) {
	integer(c, &f.num)
	c.text(&f.client)
	list(c, &f.events, codeTold)
}

func (f *eventsAgain) apply(l *ledger) {
	if !l.replay {
		return
	}
	if f.num != 0 {
		if e := l.nums[f.num]; e != nil && e.life != nil {
			l.live -= logSize(e.life.log)
			e.life.log = merge(e.life.log, f.events)
			l.live += logSize(e.life.log)
		}
		return
	}
	t := &l.all
	if f.client != "" {
		if t = l.clients[f.client]; t == nil {
			t = &topic{}
			l.clients[f.client] = t
		}
	}
	t.events = merge(t.events, f.events)
	t.size = logSize(t.events)
}

func logSize(events []event) (n int64) {
	for i := range events {
		n += events[i].size()
	}
	return n
}
