package natsq

import (
	"slices"
	"strconv"

	"github.com/afar-go/afar/queue"
)

// unknownCursor is beyond the only event of a task that is not known.
const unknownCursor queue.Cursor = "-"

// cursorAt is the cursor beyond an event.
func cursorAt(number uint64) queue.Cursor { return queue.Cursor(strconv.FormatUint(number, 36)) }

// follow answers with the events that are there, or lets the client wait for some.
func (k *keeper) follow(r *request) error {
	if r.after == queue.Newest {
		k.answer(r, &answer{next: cursorAt(k.ledger.mark)})
		return nil
	}
	if told, err := k.follows(r); told || err != nil {
		return err
	}
	r.until = k.now() + r.wait
	if r.after == "" {
		r.after = cursorAt(0)
	}
	if k.followers == nil {
		k.followers = map[queue.Topic][]*request{}
	}
	waiting := slices.DeleteFunc(k.followers[r.topic], func(other *request) bool {
		return other.session == r.session && other.number == r.number
	})
	k.followers[r.topic] = append(waiting, r)
	k.waits(r)
	return nil
}

// tell answers those who wait for events of topics to which something was added.
func (k *keeper) tell() error {
	if len(k.ledger.touched) == 0 {
		return nil
	}
	for t := range k.ledger.touched {
		waiting := k.followers[t]
		var left []*request
		for _, r := range waiting {
			told, err := k.follows(r)
			if err != nil {
				return err
			}
			if !told {
				left = append(left, r)
			}
		}
		if len(left) > 0 {
			k.followers[t] = left
		} else if waiting != nil {
			delete(k.followers, t)
		}
	}
	clear(k.ledger.touched)
	return nil
}

// follows answers with the events that are there, if there are some.
func (k *keeper) follows(r *request) (bool, error) {
	var events []queue.Event
	next := r.after
	var err error
	switch {
	case r.topic.Task != "":
		events, next, err = k.taskEvents(r.topic.Task, r.after)
	case r.topic.Client != "":
		if t := k.ledger.clients[r.topic.Client]; t != nil {
			events, next, err = k.events(t.events, r.after)
		}
	default:
		events, next, err = k.events(k.ledger.all.events, r.after)
	}
	if err != nil || len(events) == 0 {
		return false, err
	}
	k.answer(r, &answer{events: events, next: next})
	return true, nil
}

// isCursor tells whether something can be one.
func isCursor(c queue.Cursor) bool {
	_, err := strconv.ParseUint(string(c), 36, 64)
	return err == nil || c == "" || c == queue.Newest || c == unknownCursor
}

// numberOf reads a cursor. One that is not understood is the beginning.
func numberOf(c queue.Cursor) uint64 {
	n, err := strconv.ParseUint(string(c), 36, 64)
	if err != nil {
		return 0
	}
	return n
}

// taskEvents are those of a task.
func (k *keeper) taskEvents(id string, from queue.Cursor) ([]queue.Event, queue.Cursor, error) {
	e := k.ledger.entries[id]
	if g := k.ledger.gone[id]; e == nil && g != nil && g.life != nil && g.life.told > numberOf(from) {
		e = g // it has ended in this turn, and its outcome is not kept
	}
	if e == nil {
		if from == unknownCursor {
			return nil, from, nil
		}
		return []queue.Event{{Kind: queue.EventEnd, ID: id}}, unknownCursor, nil
	}
	if e.life == nil {
		return nil, from, nil
	}
	events, next, err := k.events(e.life.log, from)
	last := len(e.life.log) == 0 || next == cursorAt(e.life.log[len(e.life.log)-1].number) || len(events) == 0
	if err != nil || !last || e.life.told <= numberOf(from) || e.life.told == 0 {
		return events, next, err
	}
	end := queue.Event{Kind: queue.EventEnd, ID: id, State: e.state, Attempt: e.tries, Worker: e.life.settler}
	end.Data, err = k.bytes(e.life.outcome)
	return append(events, end), cursorAt(e.life.told), err
}

// maxEvents is how many events there are in an answer.
const maxEvents = 4096

// events returns those beyond a cursor, as many as fit into an answer.
func (k *keeper) events(all []event, from queue.Cursor) (events []queue.Event, next queue.Cursor, err error) {
	next = from
	size := 0
	for _, e := range after(all, numberOf(from)) {
		if size > maxAnswer || len(events) == maxEvents {
			break
		}
		told := queue.Event{Kind: e.kind, ID: e.id, State: e.state, Attempt: e.attempt, Worker: e.worker}
		if told.Data, err = k.bytes(e.data); err != nil {
			return nil, from, err
		}
		size += 64 + len(told.Data)
		events = append(events, told)
		next = cursorAt(e.number)
	}
	return events, next, nil
}
