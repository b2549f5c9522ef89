package queuetest

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
)

// Durations of the suite. None of them is asserted: a lease or a delay that is short
// ends while a test waits for what follows from that. Whoever waits does so for longer
// than a test may take, so that what has to wake it up is not made up for by its waiting
// being over.
const (
	brief    = 250 * time.Millisecond // leases and delays that are to end
	long     = 10 * time.Minute       // those that must not, and waiting
	patience = 90 * time.Second       // a test
)

// A story shows one thing that the contract says.
type story struct {
	name string
	tell func(s *stage)
}

// A stage is where a story takes place: a queue of its own, and two clients. What
// the methods do not expect ends the test, so they belong to its goroutine.
type stage struct {
	*testing.T
	*Backend
	ctx   context.Context
	a, b  queue.Broker // clients of the store
	queue string
}

// stages counts them, so that each has a queue of its own.
var stages atomic.Int64

func newStage(t *testing.T, b *Backend) *stage {
	t.Helper()
	if len(b.Clients) < 2 {
		t.Fatalf("the backend has %d clients, not at least 2", len(b.Clients))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &stage{T: t, Backend: b, ctx: ctx, a: b.Clients[0], b: b.Clients[1], queue: queueName(t.Name())}
}

// queueName makes a name that no other queue of the store has, and that says whose it is.
func queueName(test string) string {
	last := test[strings.LastIndex(test, "/")+1:]
	return fmt.Sprintf("%s-%d", last, stages.Add(1))
}

// task returns a plain task.
func task(id string) queue.Task {
	return queue.Task{ID: id, Label: "label of " + id, Body: []byte("body of " + id), Retention: long}
}

// plain returns plain tasks, named from 1 on.
func plain(name string, n int) []queue.Task {
	tasks := make([]queue.Task, n)
	for i := range tasks {
		tasks[i] = task(fmt.Sprintf("%s%d", name, i+1))
	}
	return tasks
}

// submit stores tasks which the queue must not know.
func (s *stage) submit(tasks ...queue.Task) {
	s.Helper()
	known, err := s.a.Submit(s.ctx, s.queue, tasks)
	s.must(err)
	if len(known) != len(tasks) {
		s.Fatalf("Submit of %d tasks tells of %d", len(tasks), len(known))
	}
	for i, k := range known {
		if k {
			s.Fatalf("Submit says that %q is known", tasks[i].ID)
		}
	}
}

// request is one of worker w2 with a lease that does not end during a test.
func request(limit int) queue.TakeRequest {
	return queue.TakeRequest{Worker: "w2", Max: limit, Lease: long}
}

// try returns what can be taken at once, by the second client.
func (s *stage) try(r queue.TakeRequest) []queue.Delivery {
	s.Helper()
	deliveries, err := s.b.Take(s.ctx, s.queue, r)
	s.must(err)
	if len(deliveries) > r.Max {
		s.Fatalf("Take of at most %d gives %d", r.Max, len(deliveries))
	}
	return deliveries
}

// takeAs waits for deliveries until it has as many as the request says.
func (s *stage) takeAs(r queue.TakeRequest) []queue.Delivery {
	s.Helper()
	var all []queue.Delivery
	for want := r.Max; len(all) < want; {
		r.Max, r.Wait = want-len(all), long
		more := s.try(r)
		if len(more) == 0 {
			s.Fatalf("Take gives %d of %d tasks, and then none", len(all), want)
		}
		all = append(all, more...)
	}
	return all
}

// take waits for n deliveries.
func (s *stage) take(n int) []queue.Delivery {
	s.Helper()
	return s.takeAs(request(n))
}

// takeOne waits for a delivery, which must be of this task.
func (s *stage) takeOne(id string) queue.Delivery {
	s.Helper()
	d := s.take(1)[0]
	if d.ID != id {
		s.Fatalf("Take gives %q, not %q", d.ID, id)
	}
	return d
}

// takeBriefly is takeOne with a lease that ends.
func (s *stage) takeBriefly(id string) queue.Delivery {
	s.Helper()
	r := request(1)
	r.Lease = brief
	d := s.takeAs(r)[0]
	if d.ID != id {
		s.Fatalf("Take gives %q, not %q", d.ID, id)
	}
	return d
}

// takeNone checks that nothing is to be had.
func (s *stage) takeNone() {
	s.Helper()
	if deliveries := s.try(request(1)); len(deliveries) != 0 {
		s.Fatalf("Take gives %q, not nothing", deliveries[0].ID)
	}
}

// lease names the delivery.
func lease(d queue.Delivery) queue.Lease { return queue.Lease{ID: d.ID, Token: d.Token} }

// ending is a plain settlement of a delivery.
func ending(d queue.Delivery, e queue.Ending) queue.Settlement {
	s := queue.Settlement{Lease: lease(d), Worker: "w2", Ending: e}
	switch e {
	case queue.EndRetry:
		s.Error = fmt.Appendf(nil, "error of %s/%d", d.ID, d.Token)
	case queue.EndRelease:
	case queue.EndDead:
		s.Error = fmt.Appendf(nil, "error of %s/%d", d.ID, d.Token)
		s.Outcome = fmt.Appendf(nil, "outcome of %s/%d", d.ID, d.Token)
	default:
		s.Outcome = fmt.Appendf(nil, "outcome of %s/%d", d.ID, d.Token)
	}
	return s
}

// settle ends one delivery, and checks what the broker says of its lease.
func (s *stage) settle(want queue.Hold, end queue.Settlement) {
	s.Helper()
	holds, err := s.b.Settle(s.ctx, s.queue, []queue.Settlement{end})
	s.must(err)
	if len(holds) != 1 || holds[0] != want {
		s.Fatalf("Settle of %q, token %d, with ending %d gives holds %v, not [%d]", end.ID, end.Token, end.Ending, holds, want)
	}
}

// finish settles deliveries that are held.
func (s *stage) finish(e queue.Ending, deliveries ...queue.Delivery) {
	s.Helper()
	for _, d := range deliveries {
		s.settle(queue.Held, ending(d, e))
	}
}

// renew sends one beat, and checks what the broker says of the lease.
func (s *stage) renew(want queue.Hold, beat queue.Beat) {
	s.Helper()
	holds, err := s.b.Renew(s.ctx, s.queue, "w2", []queue.Beat{beat})
	s.must(err)
	if len(holds) != 1 || holds[0] != want {
		s.Fatalf("Renew of %q, token %d, gives holds %v, not [%d]", beat.ID, beat.Token, holds, want)
	}
}

// change does what an operator asks for, and checks how many tasks it concerned.
func (s *stage) change(want int, c queue.Change) {
	s.Helper()
	n, err := s.a.Change(s.ctx, s.queue, c)
	s.must(err)
	if n != want {
		s.Fatalf("Change %d of %v concerned %d tasks, not %d", c.Verb, c.IDs, n, want)
	}
}

// inspect returns a report.
func (s *stage) inspect(q queue.Query) *queue.Report {
	s.Helper()
	report, err := s.a.Inspect(s.ctx, s.queue, q)
	s.must(err)
	return report
}

// state returns what is known of a task, which must be in the state.
func (s *stage) state(id string, want queue.State) queue.TaskState {
	s.Helper()
	report := s.inspect(queue.Query{IDs: []string{id}})
	if len(report.Tasks) != 1 || report.Tasks[0].ID != id {
		s.Fatalf("Inspect of %q reports %v", id, report.Tasks)
	}
	if got := report.Tasks[0].State; got != want {
		s.Fatalf("%q is in state %d, not %d", id, got, want)
	}
	return report.Tasks[0]
}

// stats returns the queue's numbers.
func (s *stage) stats() *queue.Stats {
	s.Helper()
	report := s.inspect(queue.Query{Stats: true})
	if report.Stats == nil {
		s.Fatal("Inspect of the stats reports none")
	}
	return report.Stats
}

// await looks at the queue until it is as it must become. It is for what no method
// waits for, such as the end of a retention.
func (s *stage) await(what string, done func() bool) {
	s.Helper()
	for !done() {
		if s.ctx.Err() != nil {
			s.Fatalf("it was never so that %s", what)
		}
		s.pause()
	}
}

// pause lets the broker be for a moment: a Follow of a topic to which nothing comes.
func (s *stage) pause() {
	s.Helper()
	_, _, err := s.a.Follow(s.ctx, s.queue, queue.Topic{Client: "nobody-at-all"}, queue.Newest, 0)
	s.must(err)
	_, _, err = s.a.Follow(s.ctx, s.queue, queue.Topic{Client: "nobody-at-all"}, "", 20*time.Millisecond)
	s.must(err)
}

// must ends the test if there was an error.
func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// ids of deliveries.
func ids(deliveries []queue.Delivery) []string {
	names := make([]string, len(deliveries))
	for i, d := range deliveries {
		names[i] = d.ID
	}
	return names
}
