package memq

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/afar-go/afar/queue"
)

// Bounds of topics.
const (
	keptEvents    = 10_000    // of a topic at least, twice as many at most
	keptFor       = time.Hour // events of a client, or of the queue
	eventsAtATime = 1000
	bytesAtATime  = 8 << 20
)

// topic is a sequence of events. That of a task does not have its end, which the task
// knows itself.
type topic struct {
	name      string // of the client, if it is one's
	entries   []entry
	bell      bell
	followers int   // that wait
	oldest    alarm // when the oldest entry is old enough, for topics of clients
}

// entry is an event at its place.
type entry struct {
	place uint64
	at    time.Duration
	queue.Event
}

// add appends an event.
func (t *topic) add(e entry) {
	if len(t.entries) >= 2*keptEvents {
		t.cut(len(t.entries) - keptEvents + 1)
	}
	t.entries = append(t.entries, e)
	t.bell.ring()
}

// cut drops the first n entries.
func (t *topic) cut(n int) {
	t.entries = slices.Delete(t.entries, 0, n)
}

// after returns the entries beyond a place.
func (t *topic) after(place uint64) []entry {
	return t.entries[sort.Search(len(t.entries), func(i int) bool { return t.entries[i].place > place }):]
}

// say adds an event to the topic of a client, or of the queue.
func (s *store) say(client string, e queue.Event) {
	t := s.topic(client)
	t.add(entry{s.number(), s.now, e})
	if len(t.entries) == 1 {
		s.setAlarm(&t.oldest, t, keptFor)
	}
}

// topic returns that of a client, or of the queue.
func (s *store) topic(client string) *topic {
	t := s.topics[client]
	if t == nil {
		t = &topic{name: client}
		s.topics[client] = t
	}
	return t
}

// ring drops what is old enough. It does so for a minute's events at a time.
func (t *topic) ring(s *store) {
	old := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].at > s.now-keptFor })
	t.cut(old)
	if len(t.entries) > 0 {
		s.alarms.set(&t.oldest, t, max(t.entries[0].at+keptFor, s.after(time.Minute)))
		return
	}
	s.dropTopic(t)
}

// dropTopic forgets a topic of which there is nothing to know.
func (s *store) dropTopic(t *topic) {
	if len(t.entries) == 0 && t.followers == 0 {
		delete(s.topics, t.name)
	}
}

// logs adds records to what a task has said.
func (s *store) logs(t *task, records [][]byte) {
	for _, r := range records {
		t.more().log.add(entry{s.number(), s.now, queue.Event{Kind: queue.EventLog, ID: t.ID, Data: bytes.Clone(r)}})
	}
}

// follow returns the events after a cursor, or waits for one.
func (s *store) follow(ctx context.Context, of queue.Topic, after queue.Cursor, wait time.Duration) ([]queue.Event, queue.Cursor, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		f, err := s.read(of, after, wait > 0)
		if err != nil || len(f.events) > 0 || f.more == nil {
			return f.events, f.next, err
		}
		select {
		case <-f.more:
		case <-timer.C:
			wait = 0 // what came at the same moment is read
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.closed:
			err = queue.ErrClosed
		}
		s.waited(f.topic)
		if err != nil {
			return nil, after, err
		}
	}
}

// following is what is to be told of a topic.
type following struct {
	events []queue.Event
	next   queue.Cursor
	more   <-chan struct{} // closed when there is something new; nil: do not wait
	topic  *topic          // that is waited for
}

// read reads a topic. If there is nothing, it is waited for, if so wished.
func (s *store) read(of queue.Topic, after queue.Cursor, wait bool) (following, error) {
	nothing := following{next: after}
	defer s.unlock()
	if err := s.lock(); err != nil {
		return nothing, err
	}
	t := s.tasks[of.Task]
	if of.Task != "" && t == nil {
		nothing.events = []queue.Event{{Kind: queue.EventEnd, ID: of.Task, State: queue.StateUnknown}}
		return nothing, nil
	}
	if after == queue.Newest {
		return following{next: cursorAt(s.last)}, nil
	}
	place, err := placeOf(after)
	if err != nil {
		return nothing, err
	}
	f := following{next: after}
	if t == nil {
		f.topic = s.topic(of.Client)
		f.read(f.topic.after(place))
	} else {
		f.topic = &t.more().log
		f.readTask(t, place)
	}
	f.topic.followers++
	if len(f.events) == 0 && wait {
		f.more = f.topic.bell.wait()
		return f, nil
	}
	s.unfollow(f.topic)
	return f, nil
}

// read takes as many entries as are given at a time.
func (f *following) read(entries []entry) {
	size := 0
	for _, e := range entries {
		if len(f.events) == eventsAtATime || size > bytesAtATime {
			return
		}
		size += len(e.Data)
		e.Data = bytes.Clone(e.Data)
		f.events, f.next = append(f.events, e.Event), cursorAt(e.place)
	}
}

// readTask takes the entries of a task's topic, and its end after the last one.
func (f *following) readTask(t *task, place uint64) {
	entries := f.topic.after(place)
	f.read(entries)
	if t.endPlace > place && len(f.events) == len(entries) {
		end := t.event()
		end.Data = bytes.Clone(end.Data)
		f.events, f.next = append(f.events, end), cursorAt(t.endPlace)
	}
}

// waited notes that a topic is waited for no more.
func (s *store) waited(t *topic) {
	defer s.unlock()
	if s.lock() == nil {
		s.unfollow(t)
	}
}

func (s *store) unfollow(t *topic) {
	t.followers--
	if s.topics[t.name] == t {
		s.dropTopic(t)
	}
}

// cursorAt is the cursor of a place.
func cursorAt(place uint64) queue.Cursor { return queue.Cursor(strconv.FormatUint(place, 10)) }

// placeOf is the place of a cursor.
func placeOf(c queue.Cursor) (uint64, error) {
	if c == "" {
		return 0, nil
	}
	place, err := strconv.ParseUint(string(c), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.80q is not a cursor of this broker", c)
	}
	return place, nil
}

// bell wakes all who wait for it.
type bell struct{ rung chan struct{} }

// wait returns what is closed at the next ring.
func (b *bell) wait() <-chan struct{} {
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}
