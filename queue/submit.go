package queue

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/codec"
)

// Defaults of tasks.
const (
	// DefaultMaxAttempts is how often a task is attempted whose workers are lost.
	DefaultMaxAttempts = 3
	// DefaultRetention is how long the outcome of a submitted task is kept.
	DefaultRetention = 24 * time.Hour
)

// SubmitOption says something about one task. Those that contradict each other, and
// values out of their range, are errors of Submit.
type SubmitOption interface{ apply(*submission) }

// submission is a task that is about to be submitted.
type submission struct {
	id, group string
	label     string
	random    bool // the ID
	insist    bool // errors cost attempts
	delay     time.Duration
	at        time.Time
	priority  Priority
	timeout   time.Duration
	attempts  int
	backoff   Backoff
	pauses    []time.Duration
	retention time.Duration
	kept      bool // retention was asked for
	required  bool // a worker
}

type option func(*submission)

func (o option) apply(s *submission) { o(s) }

// ID names the task. Submitting again under the same ID, by whomever and from wherever,
// submits nothing while the queue knows the task: the Result is that of the first.
// Without it the task gets an ID made at random.
func ID(id string) SubmitOption { return option(func(s *submission) { s.id = id }) }

// Delay is how long the task waits before a worker may have it.
func Delay(d time.Duration) SubmitOption { return option(func(s *submission) { s.delay = d }) }

// At is a Delay until then, by this host's clock now.
func At(t time.Time) SubmitOption { return option(func(s *submission) { s.at = t }) }

// Label is what lists call the task, in place of its function's name: at most 256 bytes.
func Label(text string) SubmitOption { return option(func(s *submission) { s.label = text }) }

// Group puts the task into a group. The groups of a queue take turns, so that one who
// submits much does not keep others waiting.
func Group(name string) SubmitOption { return option(func(s *submission) { s.group = name }) }

// Timeout is how long an attempt may run: see afar.Policy.
func Timeout(d time.Duration) SubmitOption { return option(func(s *submission) { s.timeout = d }) }

// MaxAttempts is how often the task is attempted until it succeeds: an error, a timeout
// and a lost worker each cost an attempt, and after the last one the task is a dead
// letter, if it was more than one. Without it errors and timeouts are answers, and
// attempts are for lost workers: DefaultMaxAttempts.
func MaxAttempts(n int) SubmitOption {
	return option(func(s *submission) { s.attempts, s.insist = n, true })
}

// Retention is how long the outcome is kept. It is at least a second, and
// DefaultRetention without this option. Dead letters are kept until somebody drops them.
func Retention(d time.Duration) SubmitOption {
	return option(func(s *submission) { s.retention, s.kept = d, true })
}

// RequireWorker has Submit fail with ErrNoWorkers when nobody listens to the queue.
func RequireWorker() SubmitOption { return option(func(s *submission) { s.required = true }) }

func (p Priority) apply(s *submission) { s.priority = p }

// Backoff is a SubmitOption: the pause after an attempt. It starts with First, and each
// is Factor times the one before, up to Max.
type Backoff struct {
	First  time.Duration
	Factor float64       // 0: 2
	Max    time.Duration // 0: an hour
}

func (b Backoff) apply(s *submission) { s.backoff = b }

// maxPauses is how many different pauses a task has; the last one is repeated.
const maxPauses = 32

// pauses are those after the first attempts.
func (b Backoff) pauses() []time.Duration {
	if b.First <= 0 {
		return nil
	}
	most, factor := float64(cmp.Or(b.Max, time.Hour)), cmp.Or(b.Factor, 2)
	var all []time.Duration
	for pause := float64(b.First); len(all) < maxPauses; pause *= factor {
		all = append(all, time.Duration(min(pause, most)))
		if pause >= most || factor == 1 {
			break
		}
	}
	return all
}

func (b Backoff) check() error {
	switch {
	case b.First < 0 || b.Max < 0:
		return fmt.Errorf("queue: a negative Backoff: %+v", b)
	case math.IsNaN(b.Factor) || b.Factor != 0 && b.Factor < 1:
		return fmt.Errorf("queue: Backoff.Factor is %v: pauses would become shorter", b.Factor)
	case b.Max > 0 && b.Max < b.First:
		return fmt.Errorf("queue: Backoff.Max is less than First: %v < %v", b.Max, b.First)
	}
	return nil
}

func newSubmission(opts []SubmitOption) (*submission, error) {
	s := &submission{retention: DefaultRetention}
	for _, o := range opts {
		if o != nil {
			o.apply(s)
		}
	}
	if !s.at.IsZero() {
		if s.delay != 0 {
			return nil, fmt.Errorf("queue: both Delay and At")
		}
		s.delay = max(0, time.Until(s.at))
	}
	s.pauses = s.backoff.pauses()
	return s, s.check()
}

func (s *submission) check() error {
	switch {
	case s.delay < 0:
		return fmt.Errorf("queue: the Delay is negative: %v", s.delay)
	case s.priority < Low || s.priority > High:
		return fmt.Errorf("queue: no such Priority: %d", s.priority)
	case len(s.label) > maxLabel:
		return fmt.Errorf("queue: the Label has %d bytes; %d are the most", len(s.label), maxLabel)
	case s.timeout < 0:
		return fmt.Errorf("queue: the Timeout is negative: %v", s.timeout)
	case s.attempts < 0, s.insist && s.attempts == 0:
		return fmt.Errorf("queue: MaxAttempts is %d: at least 1", s.attempts)
	case s.retention < time.Second:
		return fmt.Errorf("queue: a Retention of %v is less than a second", s.retention)
	}
	if s.group != "" {
		if err := checkName("the group", s.group); err != nil {
			return err
		}
	}
	if s.id != "" {
		if err := checkName("the ID", s.id); err != nil {
			return err
		}
	}
	return s.backoff.check()
}

// maxLabel is how long a label may be at a broker.
const maxLabel = 256

// maxName is how long names may be.
const maxName = 128

// checkName tells what is wrong with a name of something.
func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("queue: %s is empty", what)
	}
	if len(name) > maxName {
		return fmt.Errorf("queue: %s has %d bytes; %d are the most: %.40q…", what, len(name), maxName, name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("queue: %s has a character that is not printable ASCII, or a space: %q", what, name)
		}
	}
	return nil
}

// Submit hands a task to the queue: f is to run with in. When it returns, the task is as
// durable as the broker makes things, and outlives this program. Headers of
// [afar.WithHeader] go with it. When it returns an error, the task may have been stored
// all the same; submitting it again under an ID is harmless.
func Submit[In, Out any](ctx context.Context, q *Queue, f *afar.Function[In, Out], in In, opts ...SubmitOption) (*Result[Out], error) {
	s, err := newSubmission(opts)
	if err != nil {
		return nil, err
	}
	call, err := callOf(ctx, f, in)
	if err != nil {
		return nil, err
	}
	if s.random = s.id == ""; s.random {
		s.id = rand.Text()
	}
	if _, err := q.submit(ctx, call, s); err != nil {
		return nil, notSubmitted(q, f.Name(), err)
	}
	return Lookup[Out](q, s.id), nil
}

// notSubmitted says of an error what it kept from being submitted.
func notSubmitted(q *Queue, function string, err error) error {
	return fmt.Errorf("%w (submitting %s to %s)", err, function, q.name)
}

// callOf is a call of a function.
func callOf[In, Out any](ctx context.Context, f *afar.Function[In, Out], in In) (*afar.Call, error) {
	var call *afar.Call
	_, err := f.On(runner(func(_ context.Context, c *afar.Call) (*afar.Reply, error) {
		call = c
		return nil, errCaught
	}))(ctx, in)
	if call == nil {
		return nil, err
	}
	return call, nil
}

// runner is a Runner that is a function.
type runner func(context.Context, *afar.Call) (*afar.Reply, error)

func (r runner) Run(ctx context.Context, c *afar.Call) (*afar.Reply, error) { return r(ctx, c) }

// decode decodes an output.
func decode[Out any](output []byte) (out Out, err error) {
	c, err := codec.For[Out]()
	if err != nil {
		return out, fmt.Errorf("queue: the output: %w", err)
	}
	if out, err = c.Decode(output); err != nil {
		return out, fmt.Errorf("queue: the output: %w", err)
	}
	return out, nil
}
