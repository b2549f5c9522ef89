package afar

import (
	"context"
	"fmt"
	"time"
)

// Policy says how calls are limited and tried again. The zero value is the
// default: no timeout, three attempts when workers are lost.
type Policy struct {
	// Timeout is how long one attempt may run, from when it is first in line in
	// its worker: on a machine that is too busy to begin it, waiting counts.
	// At the timeout the function's context is canceled; after Grace its worker's
	// process group is killed. Either way the call ends with ErrTimeout, once the
	// function has ended. 0 means no timeout.
	Timeout time.Duration
	// Grace is how long a function may go on after its context was canceled,
	// because of the timeout or because nobody wants the result any more, before
	// its worker is killed. 0 means one second.
	Grace time.Duration
	// MaxAttempts is how often a call may begin. A call whose worker is lost while
	// it may have been running is tried again so often: at least once. 1 means at
	// most once, and makes the pool send calls one by one. 0 means 3.
	MaxAttempts int
	// Backoff is the pause after an attempt, which counts from 1. nil means none.
	// Like RetryError it is called by who reads the link, so it must not block.
	Backoff func(attempt int) time.Duration
	// RetryError decides whether a call that ended with an error of the function,
	// or with ErrTimeout, is tried again, within MaxAttempts. nil means never: an
	// error is an answer. It must be safe for concurrent use.
	RetryError func(error) bool
}

func (p *Policy) check() error {
	switch {
	case p.Timeout < 0:
		return fmt.Errorf("afar: Policy.Timeout is negative: %v", p.Timeout)
	case p.Grace < 0:
		return fmt.Errorf("afar: Policy.Grace is negative: %v", p.Grace)
	case p.MaxAttempts < 0:
		return fmt.Errorf("afar: Policy.MaxAttempts is negative: %d", p.MaxAttempts)
	}
	return nil
}

// merge returns a with the fields that are set in b.
func merge(a, b Policy) Policy {
	if b.Timeout != 0 {
		a.Timeout = b.Timeout
	}
	if b.Grace != 0 {
		a.Grace = b.Grace
	}
	if b.MaxAttempts != 0 {
		a.MaxAttempts = b.MaxAttempts
	}
	if b.Backoff != nil {
		a.Backoff = b.Backoff
	}
	if b.RetryError != nil {
		a.RetryError = b.RetryError
	}
	return a
}

// With returns r under a policy. Fields that are zero in p are left as r has
// them.
func With(r Runner, p Policy) Runner { return &withPolicy{r, p} }

type withPolicy struct {
	to     Runner
	policy Policy
}

// Run runs the call under the policy, unless the call has its own.
func (w *withPolicy) Run(ctx context.Context, c *Call) (*Reply, error) {
	if w.to == nil {
		return noRunner{}.Run(ctx, c)
	}
	under := *c
	under.Policy = merge(w.policy, c.Policy)
	return w.to.Run(ctx, &under)
}

func (w *withPolicy) route() *route {
	inner := routeFor(w.to)
	if inner.foreign != nil {
		return &route{foreign: w}
	}
	over := *inner
	over.policy = merge(inner.policy, w.policy)
	return &over
}
