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

// runRetention is how long the outcome of a call is kept whose caller waits for it, unless it
// is sure to hear of it: then it is not kept, which is several times as quick.
const runRetention = time.Minute

// inFlight is how many calls a map has under way at a queue.
const inFlight = 1024

// InFlight is how many calls afar.Function.Map has under way at a queue.
func (q *Queue) InFlight() int { return inFlight }

// Run submits the call and waits for its outcome: it is what On and Map of a function do with
// a queue. Log and progress of the function come as from a pool. When ctx ends, the
// task is canceled. The call's policy goes with the task, and its RetryError stays here: a
// call that is to be tried again is submitted again. Its Grace is that of the
// workers' pool. A dead letter is not left behind.
func (q *Queue) Run(ctx context.Context, call *afar.Call) (*afar.Reply, error) {
	return (&calls{queue: q}).Run(ctx, call)
}

// With returns a Runner whose calls are submitted with options, such as Group, RequireWorker
// or a priority. Options may not be ID.
func (q *Queue) With(opts ...SubmitOption) afar.Runner {
	c := &calls{queue: q, opts: opts}
	if s, err := newSubmission(opts); err != nil {
		c.bad = err
	} else if s.id != "" {
		c.bad = errors.New("queue: calls cannot have one ID; Batch gives each its own")
	}
	return c
}

// Batch returns a Runner whose calls have IDs made of the batch's name, of the function and of
// the input, so that a batch that was interrupted goes on where it was when the same is run
// again, by whichever program: what has succeeded is not done again while its outcome is
// kept, for DefaultRetention unless an option says otherwise; what has failed is. Equal
// inputs are one task. When a caller goes, its tasks go on. Options may not be ID.
func (q *Queue) Batch(name string, opts ...SubmitOption) afar.Runner {
	b := &batch{name: name, calls: *q.With(opts...).(*calls)}
	if err := checkName("the name of the batch", name); err != nil {
		b.bad = err
	}
	return b
}

// calls is a Runner whose tasks end with their callers.
type calls struct {
	queue *Queue
	opts  []SubmitOption
	bad   error
}

// InFlight is as that of a Queue.
func (c *calls) InFlight() int { return inFlight }

// Run makes the call as often as its policy's RetryError wants, and again when the broker does
// not know any more what became of it.
func (c *calls) Run(ctx context.Context, call *afar.Call) (*afar.Reply, error) {
	s, err := c.submission(call)
	if err != nil {
		return nil, err
	}
	p := call.Policy
	most := cmp.Or(s.attempts, DefaultMaxAttempts)
	for attempt := 1; ; attempt++ {
		reply, err := c.queue.once(ctx, call, s)
		switch {
		case err == nil, attempt >= most, ctx.Err() != nil:
			return reply, err
		case errors.Is(err, ErrUnknownTask): // the broker has lost it, or its end
		case p.RetryError == nil, !p.RetryError(err):
			return reply, err
		}
		if p.Backoff != nil {
			s.delay = p.Backoff(attempt)
		}
	}
}

// submission is what a call is submitted as.
func (c *calls) submission(call *afar.Call) (*submission, error) {
	if c.bad != nil {
		return nil, c.bad
	}
	s, err := newSubmission(c.opts)
	if err != nil {
		return nil, err
	}
	if !s.kept {
		if s.retention = runRetention; call.Log == nil && call.Progress == nil && c.queue.ear.sure() {
			s.retention = 0
		}
	}
	p := call.Policy
	if p.MaxAttempts < 0 || p.Timeout < 0 {
		return nil, fmt.Errorf("queue: the policy of %s is negative: MaxAttempts %d, Timeout %v", call.Function, p.MaxAttempts, p.Timeout)
	}
	s.timeout, s.attempts = cmp.Or(p.Timeout, s.timeout), cmp.Or(p.MaxAttempts, s.attempts)
	if p.Backoff != nil {
		s.pauses = nil
		for i := range min(cmp.Or(s.attempts, DefaultMaxAttempts)-1, maxPauses) {
			s.pauses = append(s.pauses, p.Backoff(i+1))
		}
	}
	return s, nil
}

// batch is a Runner whose calls have names.
type batch struct {
	calls
	name string
}

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
	if err := b.queue.forget(ctx, s.id); err != nil {
		return nil, err
	}
	return b.queue.through(ctx, call, s)
}

// forget drops a task that has failed, so that it can be submitted again.
func (q *Queue) forget(ctx context.Context, id string) error {
	t, err := q.state(ctx, id)
	switch {
	case errors.Is(err, ErrUnknownTask):
		return nil
	case err != nil:
		return err
	case t.State == StateFailed, t.State == StateDead, t.State == StateCanceled:
		_, err = q.Drop(ctx, id)
	}
	return err
}

// once submits the call under an ID of its own, waits for its outcome, and cancels the task
// when nobody waits any more.
func (q *Queue) once(ctx context.Context, call *afar.Call, s *submission) (*afar.Reply, error) {
	s.id = rand.Text()
	s.random = true
	reply, err := q.through(ctx, call, s)
	switch {
	case err != nil && ctx.Err() != nil:
		q.abandon(ctx, s.id)
	case errors.Is(err, ErrDead):
		_, _ = q.Drop(ctx, s.id) // its reader has read it
	}
	return reply, err
}

// through submits the call and waits for its outcome.
func (q *Queue) through(ctx context.Context, call *afar.Call, s *submission) (*afar.Reply, error) {
	w := q.ear.expect(s.id, false) // before there is anything to hear
	defer q.ear.leave(s.id, w)
	end, err := q.pass(ctx, call, s, w)
	if err != nil {
		return nil, err
	}
	output, err := q.output(ctx, end)
	if err != nil {
		return nil, err
	}
	return &afar.Reply{Output: output, Worker: end.Worker, Attempt: end.Attempt}, nil
}

// pass submits the call and waits for its task's end.
func (q *Queue) pass(ctx context.Context, call *afar.Call, s *submission, w *wait) (Event, error) {
	known, err := q.submit(ctx, call, s)
	if err != nil {
		return Event{}, notSubmitted(q, call.Function, err)
	}
	q.ear.submitted(w)
	switch {
	case call.Log != nil || call.Progress != nil:
		return q.attend(ctx, call, s.id)
	case known && !s.random: // a random one is known to nobody else: w hears of it
		return q.end(ctx, s.id)
	}
	return w.wait(ctx)
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
