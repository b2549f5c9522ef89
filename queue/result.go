package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/afar-go/afar"
)

// Result is the handle on a task's outcome. It holds nothing but a name: the outcome is
// read from the broker, as often as one likes, until it is forgotten. It may be used
// concurrently.
type Result[Out any] struct {
	queue *Queue
	id    string
}

// Lookup returns the Result of a task that was submitted by whomever, wherever. Whether there is
// such a task is found out when the Result is asked for something: ErrUnknownTask.
func Lookup[Out any](q *Queue, id string) *Result[Out] { return &Result[Out]{queue: q, id: id} }

// ID returns the ID of the task.
func (r *Result[Out]) ID() string { return r.id }

// Check returns the outcome of a task that has ended: done is true, and err is the task's
// error if it has one. Of another it returns zero, false and nil. It does not wait.
func (r *Result[Out]) Check(ctx context.Context) (out Out, done bool, err error) {
	t, err := r.queue.state(ctx, r.id)
	if err != nil || !t.State.Ended() {
		return out, false, err
	}
	out, err = outcome[Out](ctx, r.queue, endOf(t))
	return out, true, err
}

// Wait waits until the task has ended, and returns what its function has returned. The
// error is an *afar.RemoteError, an *afar.WorkerLostError, or one that is an
// afar.ErrTimeout, ErrDead, context.Canceled if the task was canceled, ErrUnknownTask, ctx's
// own, or one of the broker's. The task goes on when ctx ends.
func (r *Result[Out]) Wait(ctx context.Context) (out Out, err error) {
	end, err := r.queue.end(ctx, r.id)
	if err != nil {
		return out, err
	}
	return outcome[Out](ctx, r.queue, end)
}

// end waits for the end of a task that may have ended, or be somebody else's. This queue's
// ear hears of its own; others have a topic each.
func (q *Queue) end(ctx context.Context, id string) (Event, error) {
	for {
		w := q.ear.expect(id, true)
		t, err := q.state(ctx, id)
		var e Event
		switch {
		case err != nil:
		case t.State.Ended():
			e = endOf(t)
		case t.Client == q.ear.client:
			// What it hears may be old: a dead task has ended before, if it was requeued since.
			if e, err = w.wait(ctx); err == nil && e.State == StateDead {
				q.ear.leave(id, w)
				continue
			}
		default:
			e, err = q.follow(ctx, id, func(Event) bool { return true })
		}
		q.ear.leave(id, w)
		return e, err
	}
}

// follow gives the events of a task's topic to a function until it returns false, and
// returns the end if that came.
func (q *Queue) follow(ctx context.Context, id string, each func(Event) bool) (Event, error) {
	for cursor := Cursor(""); ; {
		events, next, err := q.broker.Follow(ctx, q.name, Topic{Task: id}, cursor, followPatience)
		if err != nil {
			return Event{}, cause(ctx, err)
		}
		for _, e := range events {
			if e.Kind == EventEnd {
				return e, nil
			}
			if !each(e) {
				return Event{}, nil
			}
		}
		cursor = next
	}
}

// followPatience is how long one request for events waits.
const followPatience = 30 * earPatience

// cause prefers the reason for which a context has ended.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// outcome is what a task has ended with.
func outcome[Out any](ctx context.Context, q *Queue, e Event) (out Out, err error) {
	output, err := q.output(ctx, e)
	if err != nil {
		return out, err
	}
	return decode[Out](output)
}

// output is the encoded output of a task that has ended, or its error.
func (q *Queue) output(ctx context.Context, e Event) ([]byte, error) {
	if e.State == StateUnknown {
		return nil, fmt.Errorf("%w: %s in %s", ErrUnknownTask, e.ID, q.name)
	}
	a, err := parseAnswer(e.Data)
	switch {
	case err != nil:
		return nil, err
	case len(a.Fault) > 0 && e.State == StateDead:
		return nil, &deadError{decodeError(a.Fault)}
	case len(a.Fault) > 0:
		return nil, decodeError(a.Fault)
	case a.Blob == "":
		return a.Output, nil
	}
	return q.get(ctx, a.Blob)
}

// get reads a blob.
func (q *Queue) get(ctx context.Context, hash string) ([]byte, error) {
	r, err := q.broker.Blobs(q.name).Get(ctx, hash)
	if err != nil {
		return nil, fmt.Errorf("queue: blob %.12s of %s: %w", hash, q.name, err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("queue: blob %.12s of %s: %w", hash, q.name, err)
	}
	return b, nil
}

// Log returns what the task's function logs, of all attempts: what there is, and then what
// comes, until the task has ended. A record that cannot be read is an error, after which
// the others follow; any other error is the last.
func (r *Result[Out]) Log(ctx context.Context) iter.Seq2[LogRecord, error] {
	return func(yield func(LogRecord, error) bool) {
		end, err := r.queue.follow(ctx, r.id, func(e Event) bool { return yield(parseLog(e.Data)) })
		if err == nil && end.Kind == EventEnd && end.State == StateUnknown {
			err = fmt.Errorf("%w: %s in %s", ErrUnknownTask, r.id, r.queue.name)
		}
		if err != nil {
			yield(LogRecord{}, err)
		}
	}
}

// Cancel stops the task: if it waits, it ends at once; the context of a function that runs is
// canceled, and its worker killed if it does not heed that. Wait returns
// an error that is context.Canceled then. Cancel does not wait for it, and does nothing
// to a task that has ended.
func (r *Result[Out]) Cancel(ctx context.Context) error { return r.queue.cancel(ctx, r.id) }

// cancel stops a task.
func (q *Queue) cancel(ctx context.Context, id string) error {
	n, err := q.change(ctx, Change{Verb: Cancel, IDs: []string{id}, Outcome: canceled()})
	if err == nil && n == 0 {
		_, err = q.state(ctx, id) // it has ended, or there is none
	}
	return err
}

// canceled is the outcome of a task that was stopped before it ran.
func canceled() []byte {
	return (&answer{Fault: encodeError(fmt.Errorf("queue: the task was canceled: %w", context.Canceled))}).append(nil)
}

// Status says how the task stands.
func (r *Result[Out]) Status(ctx context.Context) (TaskStatus, error) {
	t, err := r.queue.state(ctx, r.id)
	if err != nil {
		return TaskStatus{}, err
	}
	return statusOf(t), nil
}

// state asks the broker for a task's state. That of an unknown one is an error.
func (q *Queue) state(ctx context.Context, id string) (*TaskState, error) {
	if q.bad != nil {
		return nil, q.bad
	}
	t, err := q.states.ask(ctx, id)
	if err != nil {
		return nil, cause(ctx, err)
	}
	if t.State == StateUnknown {
		return nil, fmt.Errorf("%w: %s in %s", ErrUnknownTask, id, q.name)
	}
	return &t, nil
}

var _ afar.Runner = (*Queue)(nil)
