package memq

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/afar-go/afar/queue"
)

// pageSize is how many tasks are reported at a time by default.
const pageSize = 100

// inspect reports what is stored.
func (s *store) inspect(q queue.Query) (*queue.Report, error) {
	defer s.unlock()
	if err := s.lock(); err != nil {
		return nil, err
	}
	r := &queue.Report{}
	switch {
	case q.IDs != nil:
		r.Tasks = make([]queue.TaskState, len(q.IDs))
		for i, id := range q.IDs {
			r.Tasks[i] = s.report(id)
		}
	case q.State != queue.StateUnknown:
		s.page(r, q)
	}
	if q.Stats {
		r.Stats = s.stats()
	}
	return r, nil
}

// page reports tasks in a state.
func (s *store) page(r *queue.Report, q queue.Query) {
	limit := q.Limit
	if limit == 0 {
		limit = pageSize
	}
	t := s.beyond(q)
	for ; t != nil && len(r.Tasks) < limit; t = t.links[byState].next {
		r.Tasks = append(r.Tasks, s.report(t.ID))
		r.Next = t.ID + " " + strconv.FormatUint(t.number, 10)
	}
	if t == nil {
		r.Next = ""
	}
}

// beyond returns the first task of a page. The page before ended with an ID, and the
// number of its place, so that others can be found when that task is gone.
func (s *store) beyond(q queue.Query) *task {
	first := s.states[q.State].head
	if q.After == "" {
		return first
	}
	id, number, _ := strings.Cut(q.After, " ")
	place, err := strconv.ParseUint(number, 10, 64)
	t := s.tasks[id]
	if t != nil && t.state == q.State && (err != nil || t.number == place) {
		return t.links[byState].next
	}
	if err != nil {
		return nil
	}
	for first != nil && first.number <= place {
		first = first.links[byState].next
	}
	return first
}

// report is what is known of a task.
func (s *store) report(id string) queue.TaskState {
	t := s.tasks[id]
	if t == nil {
		return queue.TaskState{Task: queue.Task{ID: id}}
	}
	r := t.seldom()
	return queue.TaskState{
		Task: copyTask(&t.Task), State: t.state, Attempt: t.attempt, Worker: t.lastWork,
		Submitted: s.began.Add(t.submitted), Started: s.wall(t.started), Ended: s.wall(t.ended),
		Progress: r.progress, Outcome: bytes.Clone(t.outcome), Past: copyPast(r.past), Unwanted: r.unwanted,
	}
}

// stats are the queue's numbers.
func (s *store) stats() *queue.Stats {
	n := func(state queue.State) int64 { return int64(s.states[state].n) }
	st := &queue.Stats{
		Waiting: n(queue.StateWaiting), Delayed: n(queue.StateDelayed), Running: n(queue.StateRunning), Dead: n(queue.StateDead),
		Done: s.ever.done, Failed: s.ever.failed, Canceled: s.ever.canceled,
		Paused: s.paused, Workers: s.listening(),
	}
	if first := s.states[queue.StateWaiting].head; first != nil {
		st.Oldest = s.now - first.since
	}
	return st
}
