package dispatch

import "context"

// Source is where the calls of one map come from. It pulls its next input only
// when the call can be placed soon, so a slow pool leaves inputs where they are.
type Source struct {
	d      *Dispatcher
	spec   *Spec
	queued int
	spare  int // calls that may be added before room is asked again
	waits  bool
	wake   chan struct{}
	err    error // why it has ended
}

// Source returns a source of calls with that spec. Leave must follow.
func (d *Dispatcher) Source(spec *Spec) *Source {
	s := &Source{d: d, spec: spec, wake: make(chan struct{}, 1)}
	d.mu.Lock()
	d.sources[s] = struct{}{}
	d.mu.Unlock()
	return s
}

// room returns how many more calls of the source may be queued. d.mu is held.
func (s *Source) room() int {
	d := s.d
	if d.failed != nil || s.spec.Lane != nil && s.spec.Lane.err != nil || d.closing && s.spec.Depth == 0 || s.err != nil {
		return 1 // to be told so
	}
	room, lanes := 0, 0
	for _, l := range d.lanes {
		if !l.retired && (s.spec.Lane == nil || s.spec.Lane == l.seat) {
			room += l.idleSlots()
			lanes++
		}
	}
	if p := d.pace(s.spec); p.quick() && !s.spec.exact() {
		room += 2 * p.chunk() * lanes
	}
	return room - s.queued
}

// feed wakes the sources that have room. d.mu is held.
func (d *Dispatcher) feed() {
	for s := range d.sources {
		if s.waits && s.room() > 0 {
			s.waits = false
			s.wake <- struct{}{}
		}
	}
}

// Ready waits until the source may add a call.
func (s *Source) Ready(ctx context.Context) error {
	s.d.mu.Lock()
	if s.room() > 0 {
		s.d.mu.Unlock()
		return nil
	}
	s.waits = true
	s.d.mu.Unlock()
	select {
	case <-s.wake:
		return nil
	case <-ctx.Done():
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if !s.waits { // the token is on its way
		<-s.wake
	}
	s.waits = false
	return context.Cause(ctx)
}

// Add submits a call and tells whether another one may follow at once;
// otherwise Ready says when.
func (s *Source) Add(c *Call) (more bool) {
	d := s.d
	d.mu.Lock()
	c.state = idle
	c.source = s
	d.open++
	err := d.refusal(c)
	if s.err != nil {
		err = s.err
	}
	if err == nil {
		d.enqueue(c)
		if s.spare--; s.spare > 0 && !s.placeable() {
			d.mu.Unlock()
			return true
		}
	}
	w := works.Get().(*work)
	if err != nil {
		d.end(w, c, Outcome{Err: err})
		d.unlock(w)
		return true
	}
	d.place(w, false)
	if s.spare = s.room(); s.spare <= 0 {
		d.place(w, true)
		s.spare = s.room()
	}
	more = s.spare > 0
	d.unlock(w)
	return more
}

// placeable tells whether placing calls might do anything now. d.mu is held.
func (s *Source) placeable() bool {
	d := s.d
	return d.idle || s.spec.Lane != nil || d.ahead && 2*d.queue.count >= d.pace(s.spec).chunk()
}

// Leave cancels the source's calls that have not ended; those that it still
// adds end with cause.
func (s *Source) Leave(cause error) {
	d := s.d
	w := d.lock()
	defer d.unlock(w)
	if s.err == nil {
		s.err = cause
	}
	delete(d.sources, s)
	if s.waits {
		s.waits = false
		s.wake <- struct{}{}
	}
	d.purge(w, d.queueOf(&Call{Spec: s.spec}), s)
	for c := range d.resting {
		if c.source == s {
			c.abandoned = true
			d.rouse(c)
			d.settle(w, c)
		}
	}
	for _, l := range d.lanes {
		for _, ch := range l.chunks {
			l.leave(w, ch, s, cause)
		}
		for _, ch := range l.held {
			l.leave(w, ch, s, cause)
		}
	}
}

// purge ends the calls of a source that wait.
func (d *Dispatcher) purge(w *work, q *queue, s *Source) {
	for i := range q.levels {
		l := &q.levels[i]
		for n := l.n; n > 0; n-- {
			c := l.front()
			l.popFront()
			if c.state == queued && c.source == s {
				c.abandoned = true
				q.left(c)
				d.settle(w, c)
			} else if c.state == queued {
				l.pushBack(c)
			}
		}
		l.dead = 0
	}
}
