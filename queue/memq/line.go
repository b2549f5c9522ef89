package memq

import "github.com/afar-go/afar/queue"

// lines are the tasks that wait, in the order in which they leave.
type lines [queue.High - queue.Low + 1]line

// line is the tasks of one priority. Its groups are in a ring, and only those that
// have tasks.
type line struct {
	groups map[string]*group
	turn   *group // whose turn it is; nil: there is none
}

// group is the tasks of one group and priority.
type group struct {
	name       string
	back       taskList // those that came back, which go first
	fresh      taskList
	prev, next *group // in the ring
}

// add puts a task at the end of its line, or of those that came back.
func (q *lines) add(t *task, back bool) {
	l := &q[queue.High-t.Priority]
	g := l.groups[t.Group]
	if g == nil {
		g = l.join(t.Group)
	}
	t.group = g
	t.back = back
	g.half(back).push(t)
}

// next takes out the task that leaves next; there must be one.
func (q *lines) next() *task {
	for i := range q {
		l := &q[i]
		if l.turn == nil {
			continue
		}
		g := l.turn
		t := g.back.head
		if t == nil {
			t = g.fresh.head
		}
		l.turn = g.next
		q.remove(t)
		return t
	}
	panic("memq: a task that waits is in no line")
}

// remove takes out a task that waits.
func (q *lines) remove(t *task) {
	g := t.group
	t.group = nil
	g.half(t.back).remove(t)
	if g.back.n+g.fresh.n == 0 {
		q[queue.High-t.Priority].leave(g)
	}
}

// half returns one of the group's lists.
func (g *group) half(back bool) *taskList {
	if back {
		return &g.back
	}
	return &g.fresh
}

// join makes a group, whose turn comes after that of all others.
func (l *line) join(name string) *group {
	g := &group{name: name, back: taskList{kind: byLine}, fresh: taskList{kind: byLine}}
	if l.groups == nil {
		l.groups = map[string]*group{}
	}
	l.groups[name] = g
	if l.turn == nil {
		g.prev, g.next = g, g
		l.turn = g
		return g
	}
	g.prev, g.next = l.turn.prev, l.turn
	g.prev.next, g.next.prev = g, g
	return g
}

// leave takes out a group that has no tasks.
func (l *line) leave(g *group) {
	delete(l.groups, g.name)
	if g.next == g {
		l.turn = nil
		return
	}
	g.prev.next, g.next.prev = g.next, g.prev
	if l.turn == g {
		l.turn = g.next
	}
}
