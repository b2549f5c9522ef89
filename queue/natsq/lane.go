package natsq

// lane holds the waiting tasks of one priority, in a line for each group. Groups take
// turns.
type lane struct {
	lines map[string]*line
	turns []*line // lines that have tasks, or had; the next first
	n     int
}

// line holds the waiting tasks of one group: those that come back, and then the others,
// each in the order in which they came to wait.
type line struct {
	group       string
	back, fresh chain
	turn        bool // it is among the turns
}

func newLane() *lane { return &lane{lines: map[string]*line{}} }

// add puts a task into its line.
func (l *lane) add(e *entry) {
	at := l.lines[e.group]
	if at == nil {
		at = &line{group: e.group, back: chain{order: byLine}, fresh: chain{order: byLine}}
		l.lines[e.group] = at
	}
	if e.back {
		at.back.push(e)
	} else {
		at.fresh.push(e)
	}
	if !at.turn {
		at.turn = true
		l.turns = append(l.turns, at)
	}
	l.n++
}

// remove takes a task out of its line, if it is in one.
func (l *lane) remove(e *entry) {
	in := e.links[byLine].in
	if in == nil {
		return
	}
	in.remove(e)
	l.n--
	if l.n == 0 { // groups that are over are forgotten
		clear(l.lines)
		l.turns = nil
	}
}

// next returns the task whose turn it is, and makes it that of the next group. The task
// stays until it is removed.
func (l *lane) next() *entry {
	for len(l.turns) > 0 {
		at := l.turns[0]
		l.turns = l.turns[1:]
		e := at.first()
		if e == nil {
			at.turn = false
			delete(l.lines, at.group)
			continue
		}
		l.turns = append(l.turns, at)
		return e
	}
	return nil
}

// first is the task of the line that goes first, nil if there is none.
func (l *line) first() *entry {
	if l.back.head != nil {
		return l.back.head
	}
	return l.fresh.head
}
