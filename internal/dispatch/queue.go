package dispatch

// queue holds calls that wait for a lane. Calls within calls go before the
// others, the deepest first: a tree of calls is then worked off depth first, and
// the number of calls that wait for their own stays small.
type queue struct {
	levels []deque // by depth
	top    int     // no level above it has calls
	count  int
}

func (q *queue) level(c *Call) *deque {
	depth := c.Spec.Depth
	for len(q.levels) <= depth {
		q.levels = append(q.levels, deque{})
	}
	q.top = max(q.top, depth)
	return &q.levels[depth]
}

func (q *queue) push(c *Call) {
	c.state = queued
	q.level(c).pushBack(c)
	q.count++
	if c.source != nil {
		c.source.queued++
	}
}

// pushFront puts calls that come back before all others.
func (q *queue) pushFront(c *Call) {
	c.state = queued
	q.level(c).pushFront(c)
	q.count++
	if c.source != nil {
		c.source.queued++
	}
}

// first returns the next call without taking it, nil when there is none.
func (q *queue) first() *Call {
	for ; len(q.levels) > 0; q.top-- {
		for l := &q.levels[q.top]; l.n > 0; l.popFront() {
			if c := l.front(); c.state == queued {
				return c
			}
			l.dead-- // it was canceled meanwhile
		}
		if q.top == 0 {
			break
		}
	}
	return nil
}

func (q *queue) pop() *Call {
	c := q.first()
	if c == nil {
		return nil
	}
	q.level(c).popFront()
	q.left(c)
	return c
}

// drop takes a call out that has ended. Its place in the ring stays until it
// is met there, or until half of the ring's calls are such.
func (q *queue) drop(c *Call) {
	q.left(c)
	l := q.level(c)
	if l.dead++; l.dead > 32 && 2*l.dead > l.n {
		l.sweep()
	}
}

// left counts a call that leaves the queue.
func (q *queue) left(c *Call) {
	q.count--
	if c.source != nil {
		c.source.queued--
	}
}

// deque is a ring of calls.
type deque struct {
	ring []*Call // its length is a power of two
	head int
	n    int
	dead int // of them: calls that have ended meanwhile, about
}

// sweep drops the calls that have ended.
func (d *deque) sweep() {
	for n := d.n; n > 0; n-- {
		c := d.front()
		d.popFront()
		if c.state == queued {
			d.pushBack(c)
		}
	}
	d.dead = 0
}

func (d *deque) grow() {
	if d.n < len(d.ring) {
		return
	}
	ring := make([]*Call, max(8, 2*len(d.ring)))
	for i := range d.n {
		ring[i] = d.ring[(d.head+i)&(len(d.ring)-1)]
	}
	d.ring, d.head = ring, 0
}

func (d *deque) pushBack(c *Call) {
	d.grow()
	d.ring[(d.head+d.n)&(len(d.ring)-1)] = c
	d.n++
}

func (d *deque) pushFront(c *Call) {
	d.grow()
	d.head = (d.head - 1) & (len(d.ring) - 1)
	d.ring[d.head] = c
	d.n++
}

func (d *deque) front() *Call { return d.ring[d.head] }

func (d *deque) popFront() {
	d.ring[d.head] = nil
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
}
