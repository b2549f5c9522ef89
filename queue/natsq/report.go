package natsq

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/afar-go/afar/queue"
)

// defaultLimit is how many tasks a page of a report has unless it is said.
const defaultLimit = 100

// inspect reports what is stored. Reports wait for a record, so that they are of who is
// the keeper, and of nothing that is not certain.
func (k *keeper) inspect(r *request) error {
	q := &r.query
	rep := &queue.Report{}
	size := 0
	add := func(e *entry) (bool, error) {
		t, err := k.taskState(e)
		rep.Tasks = append(rep.Tasks, t)
		size += taskStateSize(&t)
		return size < maxAnswer, err
	}
	err := k.listed(q, add, rep)
	if err == nil && len(q.IDs) == 0 && q.State != queue.StateUnknown {
		err = k.page(q, add, rep)
	}
	if err != nil {
		return err
	}
	if q.Stats {
		rep.Stats = k.stats()
	}
	k.confirm = true
	k.answer(r, &answer{report: rep})
	return nil
}

// listed reports the tasks that were asked for, or as many as fit; the client asks for the
// others.
func (k *keeper) listed(q *queue.Query, add func(*entry) (bool, error), rep *queue.Report) error {
	for _, id := range q.IDs {
		e := k.ledger.entries[id]
		if e == nil {
			rep.Tasks = append(rep.Tasks, unknown(id))
			continue
		}
		if more, err := add(e); !more || err != nil {
			return err
		}
	}
	return nil
}

// unknown is what is reported of a task that is not known.
func unknown(id string) queue.TaskState {
	return queue.TaskState{Task: queue.Task{ID: id}}
}

// page reports tasks in a state, from where the page before ended.
func (k *keeper) page(q *queue.Query, add func(*entry) (bool, error), rep *queue.Report) error {
	in := &k.ledger.states[q.State]
	e := in.head
	if q.After != "" {
		e = k.beyond(in, q.After)
	}
	limit := cmp.Or(q.Limit, defaultLimit)
	for ; e != nil; e = in.after(e) {
		more, err := add(e)
		if err != nil {
			return err
		}
		if (!more || len(rep.Tasks) >= limit) && in.after(e) != nil {
			rep.Next = strconv.FormatUint(e.stamp, 36) + " " + e.id
			return nil
		}
	}
	return nil
}

// beyond finds where a page begins. It is quick unless the last task of the page
// before has left the state.
func (k *keeper) beyond(in *chain, after string) *entry {
	text, id, _ := strings.Cut(after, " ")
	stamp, err := strconv.ParseUint(text, 36, 64)
	if err != nil {
		return nil
	}
	if e := k.ledger.entries[id]; e != nil && e.stamp == stamp && e.links[byState].in == in {
		return in.after(e)
	}
	e := in.head
	for e != nil && e.stamp <= stamp {
		e = in.after(e)
	}
	return e
}

// taskState reports a task.
func (k *keeper) taskState(e *entry) (t queue.TaskState, err error) {
	t = queue.TaskState{Task: e.task(), State: e.state, Attempt: e.attempts(), Submitted: at(e.submitted)}
	if t.Body, err = k.bytes(e.body); err != nil || e.life == nil {
		return t, err
	}
	l := e.life
	t.Worker, t.Started, t.Ended, t.Progress, t.Unwanted = l.worker, at(l.started), at(l.ended), l.progress, l.unwanted
	if t.Outcome, err = k.bytes(l.outcome); err != nil {
		return t, err
	}
	t.Past, err = k.past(e)
	return t, err
}

func taskStateSize(t *queue.TaskState) int {
	n := 256 + len(t.Label) + len(t.Body) + len(t.Outcome)
	for _, b := range t.Blobs {
		n += len(b)
	}
	for i := range t.Past {
		n += 64 + len(t.Past[i].Error)
	}
	return n
}

// stats are the queue's numbers.
func (k *keeper) stats() *queue.Stats {
	l, now := k.ledger, k.now()
	s := &queue.Stats{
		Waiting: l.count(queue.StateWaiting), Delayed: l.count(queue.StateDelayed), Running: l.count(queue.StateRunning),
		Dead: l.count(queue.StateDead), Done: l.done[queue.StateDone], Failed: l.done[queue.StateFailed],
		Canceled: l.done[queue.StateCanceled], Paused: l.paused,
	}
	if e := l.states[queue.StateWaiting].head; e != nil {
		s.Oldest = time.Duration(max(0, now-e.since))
	}
	running := map[string]int64{}
	in := &l.states[queue.StateRunning]
	for e := in.head; e != nil; e = in.after(e) {
		running[e.life.worker]++
	}
	for name, until := range k.workers {
		if until < now {
			delete(k.workers, name)
			continue
		}
		s.Workers = append(s.Workers, queue.WorkerStats{Name: name, Running: running[name]})
	}
	slices.SortFunc(s.Workers, func(a, b queue.WorkerStats) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

func (l *ledger) count(s queue.State) int64 { return int64(l.states[s].n) }
