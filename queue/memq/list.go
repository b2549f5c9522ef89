package memq

// A task is in at most one list of each kind.
const (
	byState = iota // of all tasks in a state
	byLine         // of those of a group that wait
	lists          // how many there are
)

// link is a task's place in a list.
type link struct{ prev, next *task }

// taskList is a list of tasks through their links.
type taskList struct {
	kind       int // byState or byLine
	head, tail *task
	n          int
}

// push appends a task.
func (l *taskList) push(t *task) {
	t.links[l.kind] = link{prev: l.tail}
	if l.tail == nil {
		l.head = t
	} else {
		l.tail.links[l.kind].next = t
	}
	l.tail = t
	l.n++
}

// remove takes out a task that is in the list.
func (l *taskList) remove(t *task) {
	at := t.links[l.kind]
	if at.prev == nil {
		l.head = at.next
	} else {
		at.prev.links[l.kind].next = at.next
	}
	if at.next == nil {
		l.tail = at.prev
	} else {
		at.next.links[l.kind].prev = at.prev
	}
	t.links[l.kind] = link{}
	l.n--
}
