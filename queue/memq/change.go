package memq

import (
	"bytes"

	"github.com/afar-go/afar/queue"
)

// change does what an operator asks for, and returns how many tasks it concerned.
func (s *store) change(c queue.Change) (int, error) {
	defer s.unlock()
	if err := s.lock(); err != nil {
		return 0, err
	}
	switch c.Verb {
	case queue.Cancel:
		return s.each(c.IDs, func(t *task) bool { return s.cancel(t, bytes.Clone(c.Outcome)) }), nil
	case queue.Requeue:
		return s.each(s.deadOr(c.IDs), s.requeue), nil
	case queue.Drop:
		return s.each(s.deadOr(c.IDs), s.dropTask), nil
	case queue.Purge:
		return s.purge(bytes.Clone(c.Outcome)), nil
	case queue.Pause, queue.Resume:
		s.used, s.paused = true, c.Verb == queue.Pause
	case queue.Leave:
		if w := s.workers[c.Worker]; w != nil {
			s.leave(w)
		}
	}
	return 0, nil
}

// each counts the tasks that are concerned.
func (s *store) each(ids []string, concerned func(*task) bool) int {
	n := 0
	for _, id := range ids {
		if t := s.tasks[id]; t != nil && concerned(t) {
			n++
		}
	}
	return n
}

// deadOr returns the IDs, or if there are none those of all dead tasks.
func (s *store) deadOr(ids []string) []string {
	if len(ids) > 0 {
		return ids
	}
	for t := s.states[queue.StateDead].head; t != nil; t = t.links[byState].next {
		ids = append(ids, t.ID)
	}
	return ids
}

// cancel ends a task, or tells those who run it that nobody wants it.
func (s *store) cancel(t *task, outcome []byte) bool {
	switch {
	case t.state.Ended():
		return false
	case t.state == queue.StateRunning:
		if r := t.more(); !r.unwanted {
			r.unwanted, r.verdict = true, outcome
		}
		s.say("", queue.Event{Kind: queue.EventCancel, ID: t.ID, State: t.state})
	default:
		s.end(t, queue.StateCanceled, outcome, "")
	}
	return true
}

// requeue lets a dead task wait again, as if it had never been taken. What it said
// stays; its end does not.
func (s *store) requeue(t *task) bool {
	if t.state != queue.StateDead {
		return false
	}
	r := t.more()
	s.release(r.outBlobs)
	r.outBlobs, r.past, r.progress = nil, nil, [2]int64{}
	t.outcome, t.lastWork, t.bySettle = nil, "", false
	t.attempt, t.endPlace, t.started, t.ended = 0, 0, 0, 0
	s.wait(t, 0, false)
	return true
}

// dropTask forgets a task that has ended.
func (s *store) dropTask(t *task) bool {
	if !t.state.Ended() {
		return false
	}
	s.forget(t)
	return true
}

// purge ends all that wait.
func (s *store) purge(outcome []byte) int {
	n := 0
	for _, state := range []queue.State{queue.StateWaiting, queue.StateDelayed} {
		for t := s.states[state].head; t != nil; t = s.states[state].head {
			s.end(t, queue.StateCanceled, outcome, "")
			n++
		}
	}
	return n
}
