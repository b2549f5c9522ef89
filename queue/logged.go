package queue

import (
	"context"
	"fmt"
	"iter"
)

// Logged returns what the task's function has logged until now, of all attempts. It is Log
// that does not wait for what comes.
func (r *Result[Out]) Logged(ctx context.Context) iter.Seq2[LogRecord, error] {
	return func(yield func(LogRecord, error) bool) {
		q := r.queue
		if q.bad != nil {
			yield(LogRecord{}, q.bad)
			return
		}
		for cursor := Cursor(""); ; {
			events, next, err := q.broker.Follow(ctx, q.name, Topic{Task: r.id}, cursor, 0)
			if err != nil {
				yield(LogRecord{}, cause(ctx, err))
				return
			}
			for _, e := range events {
				if e.Kind == EventEnd {
					if e.State == StateUnknown {
						yield(LogRecord{}, fmt.Errorf("%w: %s in %s", ErrUnknownTask, r.id, q.name))
					}
					return
				}
				if !yield(parseLog(e.Data)) {
					return
				}
			}
			if len(events) == 0 {
				return
			}
			cursor = next
		}
	}
}
