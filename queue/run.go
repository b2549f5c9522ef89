package queue

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/afar-go/afar"
)

// runRetention is how long the outcome of a call is kept whose caller waits for it.
const runRetention = time.Minute

// inFlight is how many calls a map has under way at a queue.
const inFlight = 1024

// InFlight is how many calls afar.Function.Map has under way at a queue.
func (q *Queue) InFlight() int { return inFlight }

// Run submits the call and waits for its outcome: it is what On and Map of a function do with
// a queue. When ctx ends, the task is canceled. The call's policy goes with the
// task, and its RetryError stays here: a call that is to be tried again is
// submitted again. Its Grace is that of the workers' pool.
func (q *Queue) Run(ctx context.Context, call *afar.Call) (*afar.Reply, error) {
	s, err := newSubmission(nil)
	if err != nil {
		return nil, err
	}
	s.retention = runRetention
	return q.retrying(ctx, call, s)
}

// Batch returns a Runner whose calls have names made of the batch's, of the function and of
// the input, so that a batch that was interrupted goes on where it was when the same is run
// again, by whichever program: what is done is not done again while its outcome is
// kept, for DefaultRetention unless an option says otherwise. Equal inputs are one
// task. When a caller goes, its tasks go on. Options may not be ID or RequireWorker.
func (q *Queue) Batch(name string, opts ...SubmitOption) afar.Runner {
	b := &batch{queue: q, name: name, opts: opts}
	s, err := newSubmission(opts)
	switch {
	case err != nil:
		b.bad = err
	case s.id != "" || s.required:
		b.bad = errors.New("queue: a Batch cannot have the options ID and RequireWorker")
	default:
		b.bad = checkName("the name of the batch", name)
	}
	return b
}

// batch is a Runner whose calls have names.
type batch struct {
	queue *Queue
	name  string
	opts  []SubmitOption
	bad   error
}

// InFlight is as that of a Queue.
func (b *batch) InFlight() int { return inFlight }

// Run submits the call, unless the queue knows it, and waits for its outcome.
func (b *batch) Run(ctx context.Context, call *afar.Call) (*afar.Reply, error) {
	if b.bad != nil {
		return nil, b.bad
	}
	s, err := newSubmission(b.opts)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(b.name), []byte(call.Key), call.Input} {
		fmt.Fprintf(h, "%d ", len(part))
		_, _ = h.Write(part)
	}
	s.id = "batch-" + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	return b.queue.through(ctx, call, s)
}

// retrying makes the call as often as its policy's RetryError wants.
func (q *Queue) retrying(ctx context.Context, call *afar.Call, s *submission) (*afar.Reply, error) {
	p := call.Policy
	if p.MaxAttempts < 0 || p.Timeout < 0 {
		return nil, fmt.Errorf("queue: the policy of %s is negative: MaxAttempts %d, Timeout %v", call.Function, p.MaxAttempts, p.Timeout)
	}
	s.timeout, s.attempts = p.Timeout, p.MaxAttempts
	most := cmp.Or(p.MaxAttempts, DefaultMaxAttempts)
	if p.Backoff != nil {
		for i := range min(most-1, maxPauses) {
			s.pauses = append(s.pauses, p.Backoff(i+1))
		}
	}
	for attempt := 1; ; attempt++ {
		reply, err := q.once(ctx, call, s)
		if err == nil || p.RetryError == nil || attempt >= most || ctx.Err() != nil || !p.RetryError(err) {
			return reply, err
		}
		if p.Backoff != nil {
			s.delay = p.Backoff(attempt)
		}
	}
}

// once submits the call under an ID of its own, waits for its outcome, and cancels the task
// when nobody waits any more.
func (q *Queue) once(ctx context.Context, call *afar.Call, s *submission) (*afar.Reply, error) {
	s.id = rand.Text()
	s.random = true
	reply, err := q.through(ctx, call, s)
	if err != nil && ctx.Err() != nil {
		q.abandon(ctx, s.id)
	}
	return reply, err
}

// through submits the call and waits for its outcome.
func (q *Queue) through(ctx context.Context, call *afar.Call, s *submission) (*afar.Reply, error) {
	w := q.ear.expect(s.id, false) // before there is anything to hear
	defer q.ear.leave(s.id, w)
	known, err := q.submit(ctx, call, s)
	if err != nil {
		return nil, fmt.Errorf("queue: %s was not submitted to %s: %w", call.Function, q.name, err)
	}
	q.ear.submitted(w)
	var end Event
	if known {
		end, err = q.end(ctx, s.id)
	} else {
		end, err = w.wait(ctx)
	}
	if err != nil {
		return nil, err
	}
	output, err := q.output(ctx, end)
	if err != nil {
		return nil, err
	}
	return &afar.Reply{Output: output, Worker: end.Worker, Attempt: end.Attempt}, nil
}

// abandonPatience is how long a caller that goes tries to cancel its task.
const abandonPatience = 5 * time.Second

// abandon cancels a task whose caller does not want it any more.
func (q *Queue) abandon(ctx context.Context, id string) {
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonPatience)
		defer cancel()
		_ = q.cancel(ctx, id) // its outcome is nobody's
	}()
}
