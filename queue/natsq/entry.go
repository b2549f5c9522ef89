package natsq

import (
	"slices"

	"github.com/afar-go/afar/queue"
)

const (
	maxPast      = 32        // attempts of a task that are remembered
	maxPastBytes = 256 << 10 // of what they said, together
	maxLog       = 10_000    // records of a task's topic that are kept at least
)

// entry is a task as its ledger has it. Times are of the queue's clock.
type entry struct {
	num   uint64 // its place in the order of submission
	base  uint64 // the record from which on everything about it is
	stamp uint64 // its place in the order in which tasks came into its state

	id, label, group, client string
	body                     data
	blobs                    []string
	retention                int64
	submitted                int64
	since                    int64  // when it came into its state
	due                      int64  // when it leaves it by itself
	birth, token             uint64 // tokens of its deliveries are greater than birth, and at most token
	tries                    int    // deliveries that have ended and count
	priority                 queue.Priority
	state                    queue.State
	random                   bool
	back                     bool  // it was given out before
	life                     *life // nil until it was given out, or canceled

	links [orders]link
	heap  *timers // it is in
	index int     // in a heap
}

// life is what has happened to a task.
type life struct {
	worker   string
	lease    int64
	spared   bool // its lease was begun anew by a keeper, and not renewed since
	started  int64
	ended    int64
	progress [2]int64
	past     []attempt
	unwanted bool
	reason   data // the outcome when it is canceled
	outcome  data
	settler  string   // who settled it
	counted  []count  // the last settlements that counted
	needs    []string // blobs of the outcome
	log      []event
	told     uint64 // the number of the event of its end
}

// count is a settlement that counted. It counts no second time.
type count struct {
	token  uint64
	ending queue.Ending
}

// maxCounted is how many of them are known of a task.
const maxCounted = 48

// attempt is a delivery that has ended.
type attempt struct {
	worker string
	ended  int64
	lost   bool
	said   data
}

// lived returns the entry's life, which begins if it has none.
func (e *entry) lived() *life {
	if e.life == nil {
		e.life = &life{}
	}
	return e.life
}

// attempts is how many there were, with the one that runs.
func (e *entry) attempts() int {
	if e.state == queue.StateRunning {
		return e.tries + 1
	}
	return e.tries
}

// remember adds an attempt. The oldest are forgotten, beyond what the contract asks for also
// when they have said so much that no message could hold it.
func (e *entry) remember(a attempt) {
	l := e.lived()
	l.past = append(l.past, a)
	size := 0
	for i := len(l.past) - 1; i >= 0; i-- {
		size += l.past[i].said.size()
		if len(l.past)-i > maxPast || size > maxPastBytes && i < len(l.past)-1 {
			l.past = append([]attempt(nil), l.past[i+1:]...)
			return
		}
	}
}

// given tells whether there was a delivery with this token.
func (e *entry) given(token uint64) bool { return token > e.birth && token <= e.token }

// holds tells whether the delivery with this token is the one that runs.
func (e *entry) holds(token uint64) bool {
	return e.state == queue.StateRunning && e.token == token
}

// repeated tells whether a delivery has been settled in just this way, so that a
// settlement counts though it comes twice.
func (e *entry) repeated(token uint64, ending queue.Ending) bool {
	return e.life != nil && slices.Contains(e.life.counted, count{token, ending})
}

// count notes that a settlement counted.
func (e *entry) count(token uint64, ending queue.Ending) {
	l := e.lived()
	if len(l.counted) == maxCounted {
		l.counted = slices.Delete(l.counted, 0, 1)
	}
	l.counted = append(l.counted, count{token, ending})
}

// size is about how many bytes of the log it takes.
func (e *entry) size() int64 {
	n := 96 + len(e.id) + len(e.label) + len(e.group) + len(e.client) + e.body.size()
	if l := e.life; l != nil {
		n += l.outcome.size() + l.reason.size()
		for i := range l.past {
			n += 40 + l.past[i].said.size()
		}
	}
	return int64(n)
}

// code is all of an entry but its log.
func (e *entry) code(c *codec) {
	integer(c, &e.num)
	c.text(&e.id)
	c.text(&e.label)
	c.text(&e.group)
	c.text(&e.client)
	c.data(&e.body)
	c.texts(&e.blobs)
	for _, n := range []*int64{&e.retention, &e.submitted, &e.since, &e.due} {
		integer(c, n)
	}
	integer(c, &e.stamp)
	integer(c, &e.birth)
	integer(c, &e.token)
	integer(c, &e.tries)
	integer(c, &e.priority)
	integer(c, &e.state)
	c.bool(&e.random)
	c.bool(&e.back)
	optional(c, &e.life, codeLife)
}

func codeLife(c *codec, l *life) {
	c.text(&l.worker)
	c.bool(&l.spared)
	for _, n := range []*int64{&l.lease, &l.started, &l.ended, &l.progress[0], &l.progress[1]} {
		integer(c, n)
	}
	list(c, &l.past, func(c *codec, a *attempt) {
		c.text(&a.worker)
		integer(c, &a.ended)
		c.bool(&a.lost)
		c.data(&a.said)
	})
	c.bool(&l.unwanted)
	c.data(&l.reason)
	c.data(&l.outcome)
	c.text(&l.settler)
	list(c, &l.counted, func(c *codec, n *count) {
		integer(c, &n.token)
		integer(c, &n.ending)
	})
	c.texts(&l.needs)
	integer(c, &l.told)
}
