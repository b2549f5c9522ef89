package memq

import (
	"bytes"
	"slices"
	"time"

	"github.com/afar-go/afar/queue"
)

const (
	maxPast = 32 // attempts that are remembered, and settlements that counted
)

// task is what the store has of one. In which lists it is, and what its alarm is for,
// follows from its state: the end of a delay, a lease, or a retention.
type task struct {
	queue.Task
	state  queue.State
	back   bool          // it waits among those that came back
	number uint64        // of its coming into this state
	since  time.Duration // when it did
	links  [lists]link
	alarm  alarm
	group  *group // while it waits

	born     uint64 // tokens are greater
	token    uint64 // of the last delivery
	attempt  int
	counted  countedEnd // the last one
	worker   *worker    // while it runs
	lastWork string     // who had it last
	bySettle bool       // who had it last gave the outcome
	outcome  []byte
	endPlace uint64 // of its end in its topic; 0: it has none

	submitted, started, ended time.Duration

	rare *rare // what most tasks never have; see more
}

// rare is what the store has of a task that was retried, is to be canceled, is dead, or
// says something.
type rare struct {
	past     []queue.Attempt
	counted  []countedEnd // those before the last one
	unwanted bool
	verdict  []byte // its outcome if it ends because it is unwanted
	progress [2]int64
	outBlobs []string // that a dead task's outcome needs
	log      topic
}

// nothingRare is that of tasks which have none; it is never changed.
var nothingRare = new(rare)

// seldom is what is rare about a task, to be read.
func (t *task) seldom() *rare {
	if t.rare == nil {
		return nothingRare
	}
	return t.rare
}

// more is what is rare about a task, to be changed.
func (t *task) more() *rare {
	if t.rare == nil {
		t.rare = new(rare)
	}
	return t.rare
}

// countedEnd is a settlement that counted. Who repeats it is told that it did.
type countedEnd struct {
	token  uint64
	ending queue.Ending
}

// enter moves a task to a state's list.
func (s *store) enter(t *task, state queue.State) {
	if t.state != queue.StateUnknown {
		s.states[t.state].remove(t)
	}
	t.state, t.number, t.since = state, s.number(), s.now
	s.states[state].push(t)
}

// wait lets a task wait for a worker, or for the end of a delay first.
func (s *store) wait(t *task, delay time.Duration, back bool) {
	t.back = back
	if delay > 0 {
		s.enter(t, queue.StateDelayed)
		s.setAlarm(&t.alarm, t, delay)
		return
	}
	s.enter(t, queue.StateWaiting)
	s.lines.add(t, back)
}

// ring implements ringer.
func (t *task) ring(s *store) {
	switch {
	case t.state == queue.StateDelayed:
		s.wait(t, 0, t.back)
	case t.state == queue.StateRunning:
		s.lose(t)
	case t.state.Ended():
		s.forget(t)
	}
}

// begin leases a task to a worker.
func (s *store) begin(t *task, w *worker, lease time.Duration) {
	s.enter(t, queue.StateRunning)
	s.setAlarm(&t.alarm, t, lease)
	t.token = s.number()
	t.attempt++
	t.started = s.now
	if t.rare != nil {
		t.rare.progress = [2]int64{}
	}
	t.worker, t.lastWork = w, w.name
	w.running++
}

// lose ends a lease that was not renewed.
func (s *store) lose(t *task) {
	t.remember(queue.Attempt{Worker: t.lastWork, Ended: s.wall(s.now), Lost: true})
	s.giveBack(t, 0)
}

// giveBack ends the delivery of a task that waits again, unless nobody wants it.
func (s *store) giveBack(t *task, delay time.Duration) {
	if t.seldom().unwanted {
		s.end(t, queue.StateCanceled, t.rare.verdict, "")
		return
	}
	s.stop(t)
	s.alarms.unset(&t.alarm)
	s.wait(t, delay, true)
}

// stop ends what a task's state means: it waits, or runs, or is delayed no more.
func (s *store) stop(t *task) {
	if t.state == queue.StateWaiting {
		s.lines.remove(t)
	}
	if w := t.worker; w != nil {
		t.worker = nil
		w.running--
		s.drop(w)
	}
}

// end gives a task its outcome. By is who settled it, if somebody did.
func (s *store) end(t *task, state queue.State, outcome []byte, by string) {
	s.stop(t)
	s.enter(t, state)
	t.ended, t.outcome, t.bySettle = s.now, outcome, by != ""
	if t.bySettle {
		t.lastWork = by
	}
	if r := t.rare; r != nil {
		r.unwanted, r.verdict = false, nil
		r.log.bell.ring()
	}
	if t.Client != "" {
		s.say(t.Client, t.event())
	}
	t.endPlace = s.number()
	s.count(state)
	if state == queue.StateDead {
		s.alarms.unset(&t.alarm)
		return
	}
	s.release(t.Blobs)
	t.Body, t.Blobs = nil, nil
	if t.Retention == 0 {
		s.forget(t)
		return
	}
	s.setAlarm(&t.alarm, t, t.Retention)
}

// count counts an outcome.
func (s *store) count(state queue.State) {
	switch state {
	case queue.StateDone:
		s.ever.done++
	case queue.StateFailed:
		s.ever.failed++
	case queue.StateCanceled:
		s.ever.canceled++
	}
}

// forget drops a task that has ended.
func (s *store) forget(t *task) {
	s.alarms.unset(&t.alarm)
	s.states[t.state].remove(t)
	delete(s.tasks, t.ID)
	s.release(t.Blobs)
	if r := t.rare; r != nil {
		s.release(r.outBlobs)
		r.log.bell.ring()
	}
}

// remember adds an attempt to the last ones.
func (t *task) remember(a queue.Attempt) {
	r := t.more()
	r.past = lastOf(append(r.past, a))
}

// hasCounted tells whether a settlement has.
func (t *task) hasCounted(e countedEnd) bool {
	return t.counted == e || t.rare != nil && slices.Contains(t.rare.counted, e)
}

// counts notes a settlement that does.
func (t *task) counts(e countedEnd) {
	if t.counted.ending != 0 {
		r := t.more()
		r.counted = lastOf(append(r.counted, t.counted))
	}
	t.counted = e
}

// lastOf returns the last maxPast elements, in a slice that does not grow for ever.
func lastOf[T any](all []T) []T {
	if len(all) > maxPast {
		n := copy(all, all[len(all)-maxPast:])
		clear(all[n:])
		return all[:n]
	}
	return all
}

// event is the task's end. It shares the outcome's memory, which is never changed.
func (t *task) event() queue.Event {
	e := queue.Event{Kind: queue.EventEnd, ID: t.ID, State: t.state, Data: t.outcome, Attempt: t.attempt}
	if t.bySettle {
		e.Worker = t.lastWork
	}
	return e
}

// copyTask returns a task that shares no memory with t.
func copyTask(t *queue.Task) queue.Task {
	c := *t
	c.Body, c.Blobs = bytes.Clone(t.Body), slices.Clone(t.Blobs)
	return c
}

// copyPast returns attempts that share no memory with those of a task.
func copyPast(past []queue.Attempt) []queue.Attempt {
	c := slices.Clone(past)
	for i := range c {
		c[i].Error = bytes.Clone(c[i].Error)
	}
	return c
}
