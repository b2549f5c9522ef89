package queue

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// TaskStatus is a snapshot of a task. Times are by the broker's clock, and zero if they
// are not known.
type TaskStatus struct {
	ID        string
	Label     string // as the option Label has it; the function's name without it
	Function  string // its name, as far as the broker knows it
	State     State
	Priority  Priority
	Group     string
	Attempt   int    // the one that runs, or how many there were
	Worker    string // who has it, or had it last
	Submitted time.Time
	Started   time.Time // the last attempt
	Ended     time.Time
	Progress  [2]int64 // done and total, as afar.Progress reported them
	Canceled  bool     // it is to be canceled, but runs
	Err       error    // that it has ended with
	Attempts  []AttemptStatus
}

// AttemptStatus is an attempt that gave the task no outcome, or was its last.
type AttemptStatus struct {
	Worker string
	Ended  time.Time
	Lost   bool  // the worker did not renew its lease
	Err    error // of a lost one it is an afar.ErrWorkerLost
}

// statusOf is what users see of a task's state.
func statusOf(t *TaskState) TaskStatus {
	s := TaskStatus{ID: t.ID, Label: t.Label, Function: functionOf(t), State: t.State, Priority: t.Priority, Group: t.Group, Attempt: t.Attempt,
		Worker: t.Worker, Submitted: t.Submitted, Started: t.Started, Ended: t.Ended, Progress: t.Progress, Canceled: t.Unwanted}
	if t.State.Ended() {
		if a, err := parseAnswer(t.Outcome); err != nil {
			s.Err = err
		} else if len(a.Fault) > 0 {
			s.Err = decodeError(a.Fault)
		}
	}
	for _, past := range t.Past {
		a := AttemptStatus{Worker: past.Worker, Ended: past.Ended, Lost: past.Lost}
		a.Err = lostError(&past)
		s.Attempts = append(s.Attempts, a)
	}
	return s
}

// functionOf is the name of a task's function.
func functionOf(t *TaskState) string {
	if o := orderIn(t.Body); o != nil {
		return o.Function
	}
	return t.Label
}

var stateNames = [...]string{StateUnknown: "unknown", StateDelayed: "delayed", StateWaiting: "waiting", StateRunning: "running",
	StateDone: "done", StateFailed: "failed", StateDead: "dead", StateCanceled: "canceled"}

// String returns the state's name.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Stats returns the queue's numbers. They may be a moment old.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	if q.bad != nil {
		return Stats{}, q.bad
	}
	report, err := q.broker.Inspect(ctx, q.name, Query{Stats: true})
	if err != nil {
		return Stats{}, cause(ctx, err)
	}
	return *report.Stats, nil
}

// Tasks returns the tasks in a state, oldest first. Tasks that end, or come, meanwhile may be
// missing. An error is the last.
func (q *Queue) Tasks(ctx context.Context, s State) iter.Seq2[TaskStatus, error] {
	return func(yield func(TaskStatus, error) bool) {
		for after := ""; ; {
			report, err := q.inspect(ctx, Query{State: s, After: after})
			if err != nil {
				yield(TaskStatus{}, err)
				return
			}
			for i := range report.Tasks {
				if !yield(statusOf(&report.Tasks[i]), nil) {
					return
				}
			}
			if after = report.Next; after == "" {
				return
			}
		}
	}
}

func (q *Queue) inspect(ctx context.Context, query Query) (*Report, error) {
	if q.bad != nil {
		return nil, q.bad
	}
	report, err := q.broker.Inspect(ctx, q.name, query)
	if err != nil {
		return nil, cause(ctx, err)
	}
	return report, nil
}

// Dead returns the dead letters: tasks that no attempt is left for, with the errors of all
// of them. They stay until they are requeued or dropped.
func (q *Queue) Dead(ctx context.Context) iter.Seq2[TaskStatus, error] {
	return q.Tasks(ctx, StateDead)
}

// Requeue has dead letters tried again, as if they had never been: those with the IDs, or all.
// It returns how many.
func (q *Queue) Requeue(ctx context.Context, ids ...string) (int, error) {
	return q.change(ctx, Change{Verb: Requeue, IDs: ids})
}

// Drop forgets dead letters: all, or those with the IDs; with IDs also other tasks that have
// ended. It returns how many.
func (q *Queue) Drop(ctx context.Context, ids ...string) (int, error) {
	return q.change(ctx, Change{Verb: Drop, IDs: ids})
}

// Purge cancels all tasks that no worker has. It returns how many; who waits for
// them gets an error that is context.Canceled.
func (q *Queue) Purge(ctx context.Context) (int, error) {
	return q.change(ctx, Change{Verb: Purge, Outcome: canceled()})
}

// Pause has the queue give out no tasks until Resume. Tasks that run go on, and others can
// be submitted.
func (q *Queue) Pause(ctx context.Context) error {
	_, err := q.change(ctx, Change{Verb: Pause})
	return err
}

// Resume ends a Pause.
func (q *Queue) Resume(ctx context.Context) error {
	_, err := q.change(ctx, Change{Verb: Resume})
	return err
}

func (q *Queue) change(ctx context.Context, c Change) (int, error) {
	if q.bad != nil {
		return 0, q.bad
	}
	n, err := q.broker.Change(ctx, q.name, c)
	return n, cause(ctx, err)
}
