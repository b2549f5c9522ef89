package queue

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ear hears of the ends of the tasks that a Queue has submitted, for all who wait for
// them, in one topic. It listens while somebody waits, and until the request is over
// that it made when somebody did.
type ear struct {
	queue  *Queue
	client string // whose topic it is
	cursor Cursor // how far it is; of who listens

	mu        sync.Mutex
	waiting   map[string]*wait
	listening bool
	unheard   int // tasks that were submitted, and whose ends were not heard of
}

// mostUnheard is how many events an ear can be behind and still hear of each: fewer than
// brokers keep, since a task that is requeued has several ends.
const mostUnheard = 8000

// wait is the wait for a task's end.
type wait struct {
	done chan struct{} // closed when event or err is there

	// Guarded by ear.mu until then.
	waiters int
	stored  bool // the broker has the task
	missed  int  // how often it did not know it
	event   Event
	err     error
}

// wait waits for the event.
func (w *wait) wait(ctx context.Context) (Event, error) {
	select {
	case <-w.done:
		return w.event, w.err
	case <-ctx.Done():
		return Event{}, context.Cause(ctx)
	}
}

// earPatience is how long an ear waits for events before it asks what has become of what
// is waited for, so that nobody waits for ever for an event that was not kept.
const earPatience = 5 * time.Second

// mostMissed is how often a task may be unknown to the broker while its event may still come.
const mostMissed = 2

func newEar(q *Queue) *ear {
	return &ear{queue: q, client: rand.Text(), waiting: map[string]*wait{}}
}

// expect begins the wait for a task's end. leave must follow.
func (e *ear) expect(id string, stored bool) *wait {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.waiting[id]
	if w == nil {
		w = &wait{done: make(chan struct{})}
		e.waiting[id] = w
	}
	w.waiters++
	w.stored = w.stored || stored
	if !e.listening {
		e.listening = true
		go e.listen()
	}
	return w
}

// sure tells whether the ear hears of the end of what is submitted now, however far
// behind it may come to be.
func (e *ear) sure() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unheard < mostUnheard
}

// submit counts a task that is about to be submitted.
func (e *ear) submit() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unheard++
}

// submitted says that the broker has the task.
func (e *ear) submitted(w *wait) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.stored = true
}

// leave ends a wait.
func (e *ear) leave(id string, w *wait) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.waiters--; w.waiters == 0 && e.waiting[id] == w {
		delete(e.waiting, id)
	}
}

// listen takes events until nobody waits. What happens then is read, and passed over, when
// it listens again.
func (e *ear) listen() {
	asked := time.Now()
	for e.wanted() {
		events, next, err := e.queue.broker.Follow(context.Background(), e.queue.name, Topic{Client: e.client}, e.cursor, earPatience)
		switch {
		case err != nil:
			e.fail(fmt.Errorf("queue: waiting at %s: %w", e.queue.name, err))
			continue
		default:
			e.hear(events)
		}
		e.cursor = next
		if len(events) == 0 || time.Since(asked) > earPatience { // also while other events come
			asked = time.Now()
			e.ask()
		}
	}
}

// wanted tells whether somebody waits. When nobody does, the listening is over.
func (e *ear) wanted() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listening = len(e.waiting) > 0
	return e.listening
}

// hear passes events on.
func (e *ear) hear(events []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unheard = max(0, e.unheard-len(events))
	for i := range events {
		if w := e.waiting[events[i].ID]; w != nil && events[i].Kind == EventEnd {
			w.event = events[i]
			e.end(events[i].ID, w)
		}
	}
}

// end ends a wait; e.mu is held.
func (e *ear) end(id string, w *wait) {
	delete(e.waiting, id)
	close(w.done)
}

// fail ends all waits with an error.
func (e *ear) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, w := range e.waiting {
		w.err = err
		e.end(id, w)
	}
}

// ask asks the broker for the states of what is waited for.
func (e *ear) ask() {
	for ids := range slices.Chunk(e.stored(), maxBatch) {
		report, err := e.queue.broker.Inspect(context.Background(), e.queue.name, Query{IDs: ids, Limit: len(ids)})
		if err != nil {
			e.fail(fmt.Errorf("queue: waiting at %s: %w", e.queue.name, err))
			return
		}
		e.compare(report.Tasks)
	}
}

// stored lists the tasks that are waited for and that the broker has.
func (e *ear) stored() (ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, w := range e.waiting {
		if w.stored {
			ids = append(ids, id)
		}
	}
	return ids
}

// compare ends the waits for what has ended without an event. A task whose outcome is not
// kept is unknown as soon as its event is there, which one of the next requests brings: only
// who is unknown again and again has been missed.
func (e *ear) compare(tasks []TaskState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range tasks {
		t := &tasks[i]
		w := e.waiting[t.ID]
		if w == nil {
			continue
		}
		if t.State == StateUnknown {
			w.missed++
		}
		if t.State.Ended() || w.missed > mostMissed {
			w.event = endOf(t)
			e.end(t.ID, w)
		}
	}
}

// endOf makes the event of a task's end out of its state.
func endOf(t *TaskState) Event {
	return Event{Kind: EventEnd, ID: t.ID, State: t.State, Data: t.Outcome, Attempt: t.Attempt, Worker: t.Worker}
}
