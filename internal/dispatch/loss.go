package dispatch

// Lose ends a lane whose worker is gone, and says why. Calls that had not
// begun are queued again unharmed; those that may have begun are attempted
// again or end.
func (l *Lane) Lose(lost Lost) {
	d := l.d
	w := d.lock()
	defer d.unlock(w)
	if l.gone {
		return
	}
	l.gone = true
	l.settle()
	for i, other := range d.lanes {
		if other == l {
			d.lanes = append(d.lanes[:i:i], d.lanes[i+1:]...)
			break
		}
	}
	lost.Worker = l.name
	// Backwards, since each goes to the front of the queue.
	for i := len(l.chunks) - 1; i >= 0; i-- {
		l.loseChunk(w, l.chunks[i], lost)
	}
	for _, c := range l.incoming {
		d.cancel(w, c, ErrClosed)
	}
	d.place(w, true)
}

func (l *Lane) loseChunk(w *work, ch *chunk, lost Lost) {
	ch.stop()
	begun := ch.running || ch.parked
	suspects := ch.left
	for i := len(ch.calls) - 1; i >= 0; i-- {
		c := ch.calls[i]
		if c == nil || c.chunk != ch {
			continue
		}
		ch.calls[i] = c.label() // for log records that are still to be handled
		switch {
		case c.abandoned:
			l.d.settle(w, c)
		case c.timedOut:
			l.done++
			l.failed++
			l.d.ask(w, c, Outcome{Err: ErrTimeout, Worker: l.name})
		case !begun:
			l.back(w, c)
		case l.killed != "" && !c.Spec.exact():
			// We killed the worker for another call's sake.
			c.solo = c.solo || suspects > 1
			l.back(w, c)
		default:
			c.solo = c.solo || suspects > 1
			l.lose(w, c, lost)
		}
	}
}

// lose counts an attempt of a call that was lost.
func (l *Lane) lose(w *work, c *Call, lost Lost) {
	d := l.d
	c.chunk = nil
	c.attempts++
	switch {
	case d.failed != nil:
		c.attempts--
		d.end(w, c, Outcome{Err: d.failed, Worker: l.name})
	case c.attempts >= c.Spec.maxAttempts():
		lost.Attempt = c.attempts
		lost.Function = c.Spec.Name
		l.done++
		l.failed++
		d.end(w, c, Outcome{Err: &lost, Worker: l.name, Attempt: c.attempts})
	default:
		d.again(w, c)
	}
}
