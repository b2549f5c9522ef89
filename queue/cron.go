package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/adhocore/gronx"

	"github.com/afar-go/afar"
)

// Cron says when a task is to be submitted.
type Cron struct {
	// Name is a part of the tasks' IDs: 1 to 100 bytes of printable ASCII without spaces.
	Name string
	// Expression is a cron expression: minute, hour, day of the month, month and day of the
	// week, with seconds in front if there are six fields. "@daily" and its kin are known too.
	Expression string
	// Location is the time zone of the expression. nil: UTC.
	Location *time.Location
}

// Periodic is a task that is submitted again and again: see Every and Schedule.
type Periodic struct {
	cron   Cron
	bad    error
	submit func(ctx context.Context, q *Queue, id string) error // headers are in ctx
}

// Every returns a task that Schedule submits at the times of c, with f, in and the options of
// Submit, but for ID, Delay and At. What is wrong with them is an error of Schedule.
func Every[In, Out any](c Cron, f *afar.Function[In, Out], in In, opts ...SubmitOption) *Periodic {
	p := &Periodic{cron: c, bad: c.check()}
	if s, err := newSubmission(opts); err != nil {
		p.bad = err
	} else if s.id != "" || s.delay != 0 {
		p.bad = errors.New("queue: a periodic task cannot have the options ID, Delay and At")
	}
	p.submit = func(ctx context.Context, q *Queue, id string) error {
		_, err := Submit(ctx, q, f, in, append(opts[:len(opts):len(opts)], ID(id))...)
		return err
	}
	return p
}

func (c *Cron) check() error {
	if err := checkName("Cron.Name", c.Name); err != nil {
		return err
	}
	if len(c.Name) > 100 {
		return fmt.Errorf("queue: Cron.Name has %d bytes; 100 are the most", len(c.Name))
	}
	if _, err := c.next(time.Now()); err != nil {
		return fmt.Errorf("queue: Cron %s: %q: %w", c.Name, c.Expression, err)
	}
	return nil
}

// next is the first time after t.
func (c *Cron) next(t time.Time) (time.Time, error) {
	location := c.Location
	if location == nil {
		location = time.UTC
	}
	return gronx.NextTickAfter(c.Expression, t.In(location), false)
}

// clockStep is after how long at most a scheduler looks at the clock again, which may have
// been set.
const clockStep = 30 * time.Second

// Schedule submits periodic tasks at their times, until ctx ends; it returns nil then. Any
// number of programs may do so for the same queue: the ID of a task is made of its name
// and its time, so it is submitted once, if their clocks agree within its Retention. Of
// times that passed while this host slept only the last is made up for, of
// those at which no scheduler ran none. An error of the broker ends it.
func (q *Queue) Schedule(ctx context.Context, tasks ...*Periodic) error {
	next := make([]time.Time, len(tasks))
	for i, p := range tasks {
		if p.bad != nil {
			return p.bad
		}
		next[i], _ = p.cron.next(time.Now())
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now().Round(0) // the time of day, which may jump, and not how long ago something was
		wait := clockStep
		for i, p := range tasks {
			if !next[i].After(now) {
				if err := p.fire(ctx, q, &next[i], now); err != nil {
					return scheduleError(ctx, err)
				}
			}
			wait = min(wait, max(next[i].Sub(now), 0))
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// fire submits the task of the last time from due on, and makes due the next one.
func (p *Periodic) fire(ctx context.Context, q *Queue, due *time.Time, now time.Time) (err error) {
	at := p.cron.latest(*due, now)
	if *due, err = p.cron.next(at); err != nil {
		return fmt.Errorf("queue: Cron %s: %q: %w", p.cron.Name, p.cron.Expression, err)
	}
	return p.submit(afar.WithHeader(ctx, headerDue, at.UTC().Format(time.RFC3339)), q, p.ID(at))
}

func scheduleError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// ID returns the ID of the task that is submitted for a time: Lookup has its outcome.
func (p *Periodic) ID(at time.Time) string {
	return "cron-" + p.cron.Name + "-" + at.UTC().Format("20060102T150405Z")
}

// latest is the last time from due on that is not after now.
func (c *Cron) latest(due, now time.Time) time.Time {
	for {
		next, err := c.next(due)
		if err != nil || next.After(now) {
			return due
		}
		due = next
	}
}
