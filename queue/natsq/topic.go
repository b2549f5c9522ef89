package natsq

import (
	"cmp"
	"slices"
	"time"

	"github.com/afar-go/afar/queue"
)

const (
	// maxTold is how many events of a client's topic are kept: more than the contract asks
	// for, since a broker is quick and a client may be slow.
	maxTold = 1 << 16
	// toldFor is for how long they are kept.
	toldFor = int64(time.Hour)
)

// event is one of a topic.
type event struct {
	number  uint64 // grows along the queue's log: what cursors are made of
	base    uint64 // the record that has it
	at      int64
	kind    queue.EventKind
	state   queue.State
	attempt int
	id      string
	worker  string
	data    data
}

func codeTold(c *codec, e *event) {
	integer(c, &e.number)
	integer(c, &e.at)
	integer(c, &e.kind)
	integer(c, &e.state)
	integer(c, &e.attempt)
	c.text(&e.id)
	c.text(&e.worker)
	c.data(&e.data)
	e.base = c.record
}

func (e *event) size() int64 { return int64(24 + len(e.id) + len(e.worker) + e.data.size()) }

// topic are the events of a client, or those for all workers.
type topic struct {
	events []event
	size   int64
}

// add adds an event, and forgets those that are too many or too old.
func (t *topic) add(e event) {
	t.events = append(t.events, e)
	t.size += e.size()
	if n := len(t.events); n > maxTold+maxTold/4 {
		t.drop(n - maxTold)
	}
}

// expire forgets what is too old.
func (t *topic) expire(now int64) {
	n := 0
	for n < len(t.events) && t.events[n].at < now-toldFor {
		n++
	}
	t.drop(n)
}

func (t *topic) drop(n int) {
	if n == 0 {
		return
	}
	for i := range t.events[:n] {
		t.size -= t.events[i].size()
	}
	t.events = slices.Clone(t.events[n:])
}

// after returns the events beyond a number.
func after(events []event, number uint64) []event {
	i, _ := slices.BinarySearchFunc(events, number, func(e event, n uint64) int {
		if e.number <= n {
			return -1
		}
		return 1
	})
	return events[i:]
}

// merge adds events that are told again, in place of those with the same numbers.
func merge(events, again []event) []event {
	all := append(events, again...)
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.number, b.number) })
	n := 0
	for i := range all { // the last of each number is the newest
		if i+1 < len(all) && all[i+1].number == all[i].number {
			continue
		}
		all[n] = all[i]
		n++
	}
	clear(all[n:])
	return all[:n]
}
