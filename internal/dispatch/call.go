// Package dispatch decides where and when calls run: it queues them, puts them
// on lanes in chunks, keeps a bounded number under way, and sees each through
// loss, retry, timeout and cancel to exactly one outcome.
//
// A lane is a link to a worker. The same dispatcher serves both sides: a pool
// has a lane for each worker, and a function that makes calls of its own has
// one lane, back to its caller.
//
// # Attribution
//
// A lane's worker begins chunks in the order in which they were sent, as many
// at a time as it has slots, and sends the results of one before it begins the
// next. So the first slots' worth of unanswered chunks are those that may have
// begun, and nothing has to be said about it. When a worker is lost, the calls
// of those chunks have used up an attempt; if there were several in one chunk,
// they are sent one by one from then on, so that the call that kills its
// workers is found out and its neighbours are not blamed twice.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// Defaults of a Spec.
const (
	DefaultMaxAttempts = 3
	DefaultGrace       = time.Second
)

// Errors that calls end with besides the function's own, a *peer.Fault.
var (
	// ErrClosed ends calls of a dispatcher that was closed.
	ErrClosed = peer.ErrClosed
	// ErrTimeout ends calls that ran longer than their Timeout.
	ErrTimeout error = timeout{}
	// ErrUnknownFunction ends calls of functions that the worker does not have.
	ErrUnknownFunction = registry.ErrUnknown
)

// Spec is what calls have in common. It is immutable once used, and used with
// one dispatcher.
type Spec struct {
	Name        string // of the function, for people
	Key         string // of the function
	Timeout     time.Duration
	Grace       time.Duration
	MaxAttempts int
	Backoff     func(attempt int) time.Duration
	RetryError  func(error) bool
	Deadline    time.Time // zero: none
	Header      map[string]string
	LogLevel    int
	NoLog       bool
	Log         func(worker string, c *Call, r *peer.Record) // nil: the lane's
	Progress    func(worker string, done, total int64)       // nil: nobody asks
	Depth       int
	Parent      wire.Place // when Depth > 0
	Lane        *Seat      // nil: any lane

	pace  *pace // of the function, once looked up; guarded by the mutex of paced
	paced *Dispatcher
}

// timeout is also a context.DeadlineExceeded, and a timeout in the sense of
// package net.
type timeout struct{}

// Error returns the message.
func (timeout) Error() string { return "afar: timeout" }

// Is makes it a context.DeadlineExceeded.
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }

// Timeout is always true.
func (timeout) Timeout() bool { return true }

func (s *Spec) maxAttempts() int {
	if s.MaxAttempts > 0 {
		return s.MaxAttempts
	}
	return DefaultMaxAttempts
}

func (s *Spec) grace() time.Duration {
	if s.Grace > 0 {
		return s.Grace
	}
	return DefaultGrace
}

// exact tells whether it must be known for certain which call a lost worker
// had begun, because none may begin twice.
func (s *Spec) exact() bool { return s.maxAttempts() == 1 }

// Call is one call on its way. After Submit it belongs to the dispatcher until
// its outcome is delivered, or it is canceled.
type Call struct {
	Spec  *Spec
	Input []byte
	Index int    // free for the caller's use
	ID    uint64 // tells calls apart in logs
	To    Sink   // gets the outcome

	source    *Source
	state     state
	attempts  int  // that may have begun and did not end
	solo      bool // send it in a chunk of its own
	timedOut  bool
	stopped   time.Time // when it was canceled or had timed out; zero: neither
	abandoned bool      // nobody wants the outcome
	chunk     *chunk
	at        int // position in chunk
	done      int64
	total     int64
}

// Renew readies a call that has ended to be submitted again, with another input.
func (c *Call) Renew(input []byte, id uint64) {
	c.Input, c.ID = input, id
	c.attempts, c.solo, c.timedOut, c.abandoned = 0, false, false, false
	c.stopped = time.Time{}
	c.done, c.total = 0, 0
}

type state uint8

const (
	idle state = iota
	queued
	placed
	resting // waits for its backoff
	ended
)

// Attempt counts from 1.
func (c *Call) Attempt() int { return c.attempts + 1 }

// label is what log handlers see of a call, which may end and be used again
// while they run.
func (c *Call) label() *Call {
	return &Call{Spec: c.Spec, Index: c.Index, ID: c.ID, attempts: c.attempts, state: ended}
}

// Outcome is how a call ended: with an output or an error.
type Outcome struct {
	Output  []byte
	Err     error
	Worker  string
	Attempt int
	whole   []byte // the buffer that holds nothing but Output
}

// Free gives the output's memory back, once it is decoded.
func (o *Outcome) Free() {
	mux.Free(o.whole)
	o.whole, o.Output = nil, nil
}

// Delivery is a call and its outcome.
type Delivery struct {
	Call *Call
	Outcome
}

// Sink takes outcomes. Deliver must not block; the slice is valid only during
// the call.
type Sink interface{ Deliver([]Delivery) }

// Lost is the error of a call whose worker was lost as often as the call may
// be attempted.
type Lost struct {
	Worker      string
	Host        string
	PID         int
	ExitCode    int
	Signal      string
	OutOfMemory bool
	Stderr      string
	Attempt     int
	Function    string
	Reason      string // how the link ended
}

// Error says what is known about the end of the worker.
func (l *Lost) Error() string {
	if l.Function == "" {
		return fmt.Sprintf("worker %s (pid %d on %s) lost: %s", l.Worker, l.PID, l.Host, l.Cause())
	}
	return fmt.Sprintf("worker %s (pid %d on %s) lost while running %s, attempt %d: %s",
		l.Worker, l.PID, l.Host, l.Function, l.Attempt, l.Cause())
}

// Cause says how the worker ended.
func (l *Lost) Cause() string {
	text := l.Reason
	switch {
	case l.OutOfMemory && l.Signal != "":
		text = "out of memory, signal: " + l.Signal
	case l.OutOfMemory:
		text = fmt.Sprintf("out of memory, exit status %d", l.ExitCode)
	case l.Signal != "":
		text = "signal: " + l.Signal
	case l.ExitCode >= 0:
		text = fmt.Sprintf("exit status %d", l.ExitCode)
	}
	if l.Reason != "" && l.Reason != text {
		text += " (" + l.Reason + ")"
	}
	if l.Stderr != "" {
		text += "; last output:\n" + l.Stderr
	}
	return text
}

// Pending is a call that somebody waits for. It is used again and again.
type Pending struct {
	Call
	Buf   []byte // for the input
	out   Outcome
	done  chan struct{} // one token: out is set
	ended bool
}

var pendings = sync.Pool{New: func() any { return new(Pending) }}

// maxKept is the largest input buffer that is used again: larger ones are given
// away to the link.
const maxKept = 16 << 10

// NewPending returns a call to be given to Do; Put gives it back.
func NewPending() *Pending {
	p := pendings.Get().(*Pending)
	// The channel is not used again: tests under testing/synctest must not
	// share channels.
	p.done = make(chan struct{}, 1)
	p.ended = true
	return p
}

// Put gives the call back for later use, if it has ended.
func (p *Pending) Put() {
	if !p.ended {
		return // the dispatcher still has it
	}
	if cap(p.Buf) > maxKept {
		p.Buf = nil
	}
	p.Call, p.out, p.done = Call{}, Outcome{}, nil
	pendings.Put(p)
}

// Deliver wakes who waits; it is the call's sink.
func (p *Pending) Deliver(ds []Delivery) {
	p.out = ds[0].Outcome
	p.done <- struct{}{}
}

// Waiter is told when somebody waits for a call, and no longer: a call that
// waits for calls of its own gives up its slot for that time.
type Waiter interface {
	Park()
	Unpark()
}

// Do submits a call and waits for its outcome. When ctx ends first, the call is
// canceled and Do returns at once; a function that goes on nevertheless is
// stopped in the background after its grace. by may be nil.
func (d *Dispatcher) Do(ctx context.Context, p *Pending, by Waiter) Outcome {
	p.To, p.ended = p, false
	d.Submit(&p.Call)
	if by != nil {
		by.Park()
		defer by.Unpark()
	}
	if p.ended = d.await(ctx, p); !p.ended {
		return Outcome{Err: CtxError(ctx), Attempt: 1}
	}
	return p.out
}

// await waits for the outcome, or cancels the call, which it tells by false.
func (d *Dispatcher) await(ctx context.Context, p *Pending) bool {
	if ctx.Done() == nil {
		<-p.done
		return true
	}
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
	}
	if d.Cancel(&p.Call, context.Cause(ctx)) {
		return false
	}
	<-p.done // it ended in this moment
	return true
}

// CtxError is ctx's error together with its cause.
func CtxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		if cause != nil {
			return cause
		}
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
