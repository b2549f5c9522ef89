package ship

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// slowest is how many bytes a second a link passes at least, as far as they are waited for.
	slowest = 64 << 10

	// onTheWay is how many bytes there may be between this end, which has written them, and the far one: ssh alone
	// takes 2 MiB ahead, and the system as many.
	onTheWay = 4 << 20
)

// A clock runs while the far side is waited for. What it prints does not stop it, only its answers do, and bytes that it
// takes.
type clock struct {
	patience time.Duration    // 0: it never runs
	timer    *time.Timer      // nil: it never runs
	over     <-chan time.Time // gets something when the patience is at its end; nil: it never runs

	mu       sync.Mutex
	limit    time.Duration // that the timer was set to
	pending  int64         // bytes that were written since the last answer
	stopped  bool          // nothing is waited for
	starting bool          // a program is started: only its own line counts
}

// newClock returns a clock that runs.
func newClock(patience time.Duration) *clock {
	c := &clock{patience: patience, limit: patience}
	if patience > 0 {
		c.timer = time.NewTimer(patience)
		c.over = c.timer.C
	}
	return c
}

// answered notes an answer, or that from now on one is waited for.
func (c *clock) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending, c.stopped = 0, false
	c.set(c.patience)
}

// wrote notes that bytes were taken by the link: they may need a while yet to the far side.
func (c *clock) wrote(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending += int64(n)
	c.set(c.patience + time.Duration(min(c.pending, onTheWay)/slowest)*time.Second)
}

// start notes that a program is executed. One that was there gets half the time, so that who does not wait longer than
// the patience altogether may see it replaced by one that works.
func (c *clock) start(cached bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.patience
	if cached {
		limit /= 2
	}
	c.set(limit)
	c.starting = true
}

// set sets the clock; c.mu is held.
func (c *clock) set(limit time.Duration) {
	if c.timer != nil && !c.stopped && !c.starting {
		c.limit = limit
		c.timer.Reset(limit)
	}
}

// stop stops it until the next answer.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// err says what was waited for in vain.
func (c *clock) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := fmt.Errorf("%w for %v", ErrSilent, c.limit)
	if c.starting {
		err = fmt.Errorf("%w: %w", errMain, err)
	}
	return err
}

// An outlet is a link that is written to, and a clock that hears of it.
type outlet struct {
	io.Writer
	clock *clock
}

func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if n > 0 {
		o.clock.wrote(n)
	}
	return n, err
}
