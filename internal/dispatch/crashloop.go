package dispatch

import (
	"fmt"
	"time"
)

// CrashLoop notices workers that die one after the other without having ended
// a single call.
type CrashLoop struct {
	deaths int // in a row
	weight int // of them
	last   error
}

// A worker that dies without having begun a call counts callWeight times as
// much as one that a call has killed: the call may be to blame for that, and is
// told so.
const (
	callWeight = 6
	maxWeight  = 30
	// steady is how long a worker must have lived for its death not to be one of
	// a row, unless a call has killed it.
	steady = time.Second
)

// Died notes the end of a worker that has lived so long; err says it to users.
func (c *CrashLoop) Died(s State, lost Lost, lived time.Duration, err error) {
	if s.Ended > 0 || s.Calls == 0 && lived >= steady {
		*c = CrashLoop{}
	}
	c.deaths++
	c.last = err
	if s.Calls > 0 || lost.Signal == "killed" && !lost.OutOfMemory {
		c.weight++ // a call or somebody outside may be to blame
	} else {
		c.weight += callWeight
	}
}

// Failed notes that a worker could not be started.
func (c *CrashLoop) Failed(err error) {
	c.deaths++
	c.weight += callWeight
	c.last = err
}

// Pause is how long to wait before the next worker is started.
func (c *CrashLoop) Pause() time.Duration {
	if c.deaths < 2 {
		return 0
	}
	return min(time.Second, 5*time.Millisecond<<min(c.deaths-2, 10))
}

// Err returns why no other worker is to be started, or nil.
func (c *CrashLoop) Err(id string) error {
	if c.weight < maxWeight {
		return nil
	}
	return fmt.Errorf("afar: crash loop: worker %s died %d times in a row without ending a call; the last time: %w", id, c.deaths, c.last)
}
