package dispatch

import "time"

// rest is a call's pause between two attempts. It outlives nothing: the end of
// the call, however it comes, ends it.
type rest struct{ timer *time.Timer }

// begin lets a call rest. d.mu is held.
func (d *Dispatcher) begin(c *Call) *rest {
	r := &rest{}
	c.state, c.chunk = resting, nil
	d.resting[c] = r
	return r
}

// rouse ends a call's rest. d.mu is held.
func (d *Dispatcher) rouse(c *Call) {
	if r := d.resting[c]; r != nil && r.timer != nil {
		r.timer.Stop()
	}
	delete(d.resting, c)
}

// decide ends a call that has an outcome, or has it tried again. d.mu is held.
func (d *Dispatcher) decide(w *work, c *Call, out Outcome, retry bool) {
	if retry && !c.abandoned && c.Attempt() < c.Spec.maxAttempts() {
		c.attempts++
		d.again(w, c)
		return
	}
	d.end(w, c, out)
}

// ask has the policy decide about an error that a call got under the mutex.
// d.mu is held.
func (d *Dispatcher) ask(w *work, c *Call, out Outcome) {
	retry := c.Spec.RetryError
	if retry == nil || c.abandoned || c.Attempt() >= c.Spec.maxAttempts() {
		d.end(w, c, out)
		return
	}
	r := d.begin(c)
	w.after = append(w.after, func() {
		again := retry(out.Err)
		w := d.lock()
		defer d.unlock(w)
		if d.resting[c] != r {
			return // it was canceled meanwhile
		}
		d.rouse(c)
		d.decide(w, c, out, again)
		d.place(w, true)
	})
}

// again queues a call for another attempt, after its backoff. d.mu is held.
func (d *Dispatcher) again(w *work, c *Call) {
	c.chunk = nil
	c.timedOut, c.stopped = false, time.Time{}
	if err := d.verdict(c); err != nil {
		d.end(w, c, Outcome{Err: err})
		return
	}
	if c.Spec.Backoff == nil {
		d.queueOf(c).pushFront(c)
		return
	}
	r := d.begin(c)
	backoff, attempt := c.Spec.Backoff, c.attempts
	w.after = append(w.after, func() {
		pause := backoff(attempt)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.resting[c] == r {
			r.timer = time.AfterFunc(pause, func() { d.wakeUp(c, r) })
		}
	})
}

func (d *Dispatcher) wakeUp(c *Call, r *rest) {
	w := d.lock()
	defer d.unlock(w)
	if d.resting[c] != r {
		return
	}
	d.rouse(c)
	d.queueOf(c).pushFront(c)
	d.place(w, true)
}

// failResting ends the resting calls that can never be placed. d.mu is held.
func (d *Dispatcher) failResting(w *work) {
	for c := range d.resting {
		if err := d.verdict(c); err != nil {
			d.rouse(c)
			d.end(w, c, Outcome{Err: err})
		}
	}
}
