package memq

import "time"

// ringer is something to which something happens at a time.
type ringer interface {
	// ring is called when its time has come, and may set an alarm again.
	ring(s *store)
}

// An alarm is what a ringer has in a heap; the zero alarm is not set.
type alarm struct {
	place int // in the heap, from 1 on
}

// alarms is a heap of times at which something happens, the next one first. Those of
// the same time ring in the order in which they were set.
type alarms struct {
	heap []setting
	sets uint64
}

type setting struct {
	at    time.Duration
	order uint64
	alarm *alarm
	owner ringer
}

func (s *setting) before(o *setting) bool {
	return s.at < o.at || s.at == o.at && s.order < o.order
}

// next returns the time of the next alarm, if there is one.
func (a *alarms) next() (time.Duration, bool) {
	if len(a.heap) == 0 {
		return 0, false
	}
	return a.heap[0].at, true
}

// set sets an alarm, or sets it anew.
func (a *alarms) set(al *alarm, owner ringer, at time.Duration) {
	a.sets++
	entry := setting{at, a.sets, al, owner}
	if al.place == 0 {
		a.heap = append(a.heap, entry)
		al.place = len(a.heap)
		a.up(entry, al.place-1)
		return
	}
	a.fix(entry, al.place-1)
}

// unset takes an alarm out, if it is set.
func (a *alarms) unset(al *alarm) {
	if al.place == 0 {
		return
	}
	i, last := al.place-1, len(a.heap)-1
	moved := a.heap[last]
	a.heap[last] = setting{}
	a.heap = a.heap[:last]
	al.place = 0
	if i != last {
		a.fix(moved, i)
	}
}

// pop takes the next alarm out, and returns whose it was.
func (a *alarms) pop() ringer {
	owner := a.heap[0].owner
	a.unset(a.heap[0].alarm)
	return owner
}

// fix puts an entry where it belongs, at place i or above or below.
func (a *alarms) fix(entry setting, i int) {
	if i > 0 && entry.before(&a.heap[(i-1)/2]) {
		a.up(entry, i)
	} else {
		a.down(entry, i)
	}
}

func (a *alarms) up(entry setting, i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !entry.before(&a.heap[parent]) {
			break
		}
		a.put(a.heap[parent], i)
		i = parent
	}
	a.put(entry, i)
}

func (a *alarms) down(entry setting, i int) {
	for {
		child := 2*i + 1
		if child >= len(a.heap) {
			break
		}
		if child+1 < len(a.heap) && a.heap[child+1].before(&a.heap[child]) {
			child++
		}
		if !a.heap[child].before(&entry) {
			break
		}
		a.put(a.heap[child], i)
		i = child
	}
	a.put(entry, i)
}

func (a *alarms) put(entry setting, i int) {
	a.heap[i] = entry
	entry.alarm.place = i + 1
}
