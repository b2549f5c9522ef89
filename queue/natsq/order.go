package natsq

import "container/heap"

// The orders that an entry is in, each a list.
const (
	byState = iota // of the tasks in its state, in which they came into it
	byBase         // of all tasks, in which the log has them
	byLine         // of its line, in which they are given out
	orders
)

// link is an entry's place in a list.
type link struct {
	prev, next *entry
	in         *chain
}

// chain is a list of entries, which are in one of each order at a time.
type chain struct {
	order      int
	head, tail *entry
	n          int
}

// push adds an entry at the end, and takes it out of where it was.
func (l *chain) push(e *entry) {
	if was := e.links[l.order].in; was != nil {
		was.remove(e)
	}
	e.links[l.order] = link{prev: l.tail, in: l}
	if l.tail != nil {
		l.tail.links[l.order].next = e
	} else {
		l.head = e
	}
	l.tail = e
	l.n++
}

func (l *chain) remove(e *entry) {
	at := e.links[l.order]
	if at.in != l {
		return
	}
	if at.prev != nil {
		at.prev.links[l.order].next = at.next
	} else {
		l.head = at.next
	}
	if at.next != nil {
		at.next.links[l.order].prev = at.prev
	} else {
		l.tail = at.prev
	}
	e.links[l.order] = link{}
	l.n--
}

// after returns the entry that follows.
func (l *chain) after(e *entry) *entry { return e.links[l.order].next }

// timers are entries, the first of which is at the top of the heap. An entry is in one
// heap at a time.
type timers struct {
	items []*entry
	less  func(a, b *entry) bool
}

func byDue(a, b *entry) bool { return a.due < b.due }

func (t *timers) Len() int           { return len(t.items) }
func (t *timers) Less(i, j int) bool { return t.less(t.items[i], t.items[j]) }
func (t *timers) Swap(i, j int) {
	t.items[i], t.items[j] = t.items[j], t.items[i]
	t.items[i].index, t.items[j].index = i, j
}

// Push is for package heap.
func (t *timers) Push(x any) {
	e := x.(*entry)
	e.index, e.heap = len(t.items), t
	t.items = append(t.items, e)
}

// Pop is for package heap.
func (t *timers) Pop() any {
	last := len(t.items) - 1
	e := t.items[last]
	t.items[last] = nil
	t.items = t.items[:last]
	e.heap = nil
	return e
}

// set puts an entry where its time belongs, and takes it out of where it was.
func (t *timers) set(e *entry) {
	if e.heap == t {
		heap.Fix(t, e.index)
		return
	}
	unset(e)
	heap.Push(t, e)
}

// unset takes an entry out of the heap that it is in.
func unset(e *entry) {
	if e.heap != nil {
		heap.Remove(e.heap, e.index)
	}
}

// top is the first entry, nil if there is none.
func (t *timers) top() *entry {
	if len(t.items) == 0 {
		return nil
	}
	return t.items[0]
}
