package queuetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/afar-go/afar/queue"
)

var stormStories = []story{
	{"StormOfSubmittersAndWorkers", func(s *stage) { newStorm(s.T, s.Backend).rage(true) }},
}

// A storm is submitters and workers that use a queue at the same time, and do all that
// they may do: finish, retry, release and forget tasks, settle them twice and too late.
// Its ledger has what the broker told each of them, and is audited at the end.
type storm struct {
	*testing.T
	*Backend
	ctx                      context.Context
	queue                    string
	submitters, takers, each int // each: tasks of a submitter

	thirds [2]chan struct{} // closed when so many tasks have ended
	over   chan struct{}    // closed when all have

	ledger
}

// ledger is what was said, by task.
type ledger struct {
	mu         sync.Mutex
	deliveries map[string][]stormDelivery
	released   map[string]int                              // deliveries whose release counted
	counted    map[string]map[queue.Lease]queue.Settlement // settlements that gave an outcome
	events     map[string][]queue.Event                    // ends that clients were told of
	ended      int                                         // tasks of which they were
}

// stormDelivery is a delivery, and who got it.
type stormDelivery struct {
	queue.Delivery
	worker string
}

func newStorm(t *testing.T, b *Backend) *storm {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &storm{
		T: t, Backend: b, ctx: ctx, queue: queueName("Storm"), submitters: 3, takers: 6, each: 300,
		thirds: [2]chan struct{}{make(chan struct{}), make(chan struct{})}, over: make(chan struct{}),
		ledger: ledger{
			deliveries: map[string][]stormDelivery{}, released: map[string]int{},
			counted: map[string]map[queue.Lease]queue.Settlement{}, events: map[string][]queue.Event{},
		},
	}
}

// rage lets the storm happen, and audits it. It is calm if nothing hurts the broker:
// then it knows how many attempts there were.
func (s *storm) rage(calm bool) {
	var wait sync.WaitGroup
	for i := range s.submitters {
		client := s.Clients[i%len(s.Clients)]
		wait.Go(func() { s.submit(client, i, calm) })
		wait.Go(func() { s.follow(client, i) })
	}
	for i := range s.takers {
		wait.Go(func() { s.work(s.Clients[i%len(s.Clients)], fmt.Sprint("worker-", i)) })
	}
	wait.Wait()
	if !s.Failed() {
		s.audit(calm)
	}
}

// client is the name of a submitter, whose topic is told of its tasks.
func client(i int) string { return fmt.Sprint("client-", i) }

// submit stores tasks in batches, some of them twice.
func (s *storm) submit(b queue.Broker, i int, calm bool) {
	var tasks []queue.Task
	for k := range s.each {
		t := task(fmt.Sprintf("t%d-%d", i, k))
		t.Client, t.Group, t.Random = client(i), fmt.Sprint("g", k%4), k%2 == 0
		t.Priority = queue.Priority(k%3 - 1)
		tasks = append(tasks, t)
	}
	for len(tasks) > 0 {
		batch := tasks[:min(1+rand.IntN(40), len(tasks))]
		tasks = tasks[len(batch):]
		known, err := b.Submit(s.ctx, s.queue, batch)
		if err != nil || len(known) != len(batch) {
			s.Errorf("Submit: %d answers for %d tasks, %v", len(known), len(batch), err)
			return
		}
		for k := range batch {
			if calm && known[k] {
				s.Errorf("Submit says that %s is known", batch[k].ID)
			}
		}
		s.submitAgain(b, batch)
	}
}

// submitAgain stores those tasks of a batch that others could have stored.
func (s *storm) submitAgain(b queue.Broker, batch []queue.Task) {
	var again []queue.Task
	for _, t := range batch {
		if !t.Random {
			again = append(again, t)
		}
	}
	known, err := b.Submit(s.ctx, s.queue, again)
	if err != nil {
		s.Errorf("Submit: %v", err)
	}
	for k := range known {
		if !known[k] {
			s.Errorf("Submit says that %s is not known", again[k].ID)
		}
	}
}

// follow notes what a client is told, until all its tasks have ended.
func (s *storm) follow(b queue.Broker, i int) {
	cursor := queue.Cursor("")
	for seen := 0; seen < s.each; {
		events, next, err := b.Follow(s.ctx, s.queue, queue.Topic{Client: client(i)}, cursor, long)
		if err != nil {
			s.Errorf("Follow, after %d of %d ends: %v", seen, s.each, err)
			return
		}
		cursor = next
		seen += len(events)
		s.told(events)
	}
}

// told writes down what a client was told.
func (l *storm) told(events []queue.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.submitters * l.each
	for _, e := range events {
		l.events[e.ID] = append(l.events[e.ID], e)
		l.ended++
		switch l.ended {
		case all / 3:
			close(l.thirds[0])
		case 2 * all / 3:
			close(l.thirds[1])
		case all:
			close(l.over)
		}
	}
}

// work takes tasks, until all have ended, and deals with them as it likes.
func (s *storm) work(b queue.Broker, name string) {
	for {
		select {
		case <-s.over:
			return
		case <-s.ctx.Done():
			return
		default:
		}
		r := queue.TakeRequest{Worker: name, Max: 1 + rand.IntN(20), Lease: 2 * brief, Wait: brief}
		deliveries, err := b.Take(s.ctx, s.queue, r)
		if err != nil {
			s.Errorf("Take: %v", err)
			return
		}
		var ends []queue.Settlement
		for _, d := range deliveries {
			ends = append(ends, s.decide(b, stormDelivery{d, name})...)
		}
		if !s.settle(b, ends) {
			return
		}
	}
}

// decide chooses what becomes of a delivery. Nothing stands for a worker that dies.
func (s *storm) decide(b queue.Broker, d stormDelivery) []queue.Settlement {
	end := func(d stormDelivery, e queue.Ending) queue.Settlement {
		settlement := ending(d.Delivery, e)
		settlement.Worker = d.worker
		settlement.Outcome = fmt.Appendf(nil, "%s/%d/%d/%s", d.ID, d.Token, e, d.worker)
		return settlement
	}
	var ends []queue.Settlement
	if before, ok := s.took(d); ok && rand.IntN(2) == 0 {
		ends = append(ends, end(before, queue.EndDone)) // one who comes too late
	}
	done := end(d, []queue.Ending{queue.EndDone, queue.EndDone, queue.EndFailed, queue.EndCanceled}[rand.IntN(4)])
	switch choice := rand.IntN(100); {
	case choice < 4:
		return ends
	case choice < 14:
		return append(ends, end(d, queue.EndRetry))
	case choice < 24:
		return append(ends, end(d, queue.EndRelease))
	case choice < 34:
		return append(ends, done, done)
	case choice < 37:
		return append(ends, done, end(d, queue.EndRetry))
	case choice < 42:
		if _, err := b.Renew(s.ctx, s.queue, d.worker, []queue.Beat{{Lease: lease(d.Delivery), For: 2 * brief, Log: records(1, 2)}}); err != nil {
			s.Errorf("Renew: %v", err)
		}
	}
	return append(ends, done)
}

// took writes a delivery down, and returns the one before if that was lost.
func (s *storm) took(d stormDelivery) (stormDelivery, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append(s.deliveries[d.ID], d)
	s.deliveries[d.ID] = all
	if len(all) < 2 || len(d.Past) == 0 || !d.Past[len(d.Past)-1].Lost {
		return stormDelivery{}, false
	}
	return all[len(all)-2], true
}

// settle ends deliveries, and writes down what counted.
func (s *storm) settle(b queue.Broker, ends []queue.Settlement) bool {
	if len(ends) == 0 {
		return true
	}
	holds, err := b.Settle(s.ctx, s.queue, ends)
	if err != nil || len(holds) != len(ends) {
		s.Errorf("Settle: %d answers for %d, %v", len(holds), len(ends), err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range holds {
		switch e := ends[i]; {
		case h != queue.Held:
		case e.Ending == queue.EndRelease:
			s.released[e.ID]++
		case e.Ending != queue.EndRetry:
			if s.counted[e.ID] == nil {
				s.counted[e.ID] = map[queue.Lease]queue.Settlement{}
			}
			s.counted[e.ID][e.Lease] = e
		}
	}
	return true
}

// audit compares what was said about each task.
func (s *storm) audit(calm bool) {
	var all []string
	for i := range s.submitters {
		for k := range s.each {
			all = append(all, fmt.Sprintf("t%d-%d", i, k))
		}
	}
	report, err := s.Clients[0].Inspect(s.ctx, s.queue, queue.Query{IDs: all, Stats: true})
	if err != nil || len(report.Tasks) != len(all) {
		s.Fatalf("Inspect: %v", err)
	}
	for _, t := range report.Tasks {
		if n, m := len(s.counted[t.ID]), len(s.events[t.ID]); n != 1 || m != 1 {
			s.Errorf("%s: %d settlements gave the outcome, and the client was told %d times", t.ID, n, m)
			continue
		}
		s.auditOutcome(t)
		s.auditAttempts(t, calm)
	}
	st := report.Stats
	if int(st.Done+st.Failed+st.Canceled) != len(all) || st.Waiting != 0 || st.Delayed != 0 || st.Running != 0 || st.Dead != 0 {
		s.Errorf("after %d tasks the stats are %+v", len(all), *st)
	}
}

// auditOutcome checks that all tell of the same outcome.
func (s *storm) auditOutcome(t queue.TaskState) {
	for _, e := range s.counted[t.ID] {
		told := s.events[t.ID][0]
		if string(told.Data) != string(e.Outcome) || string(t.Outcome) != string(e.Outcome) || told.Worker != e.Worker {
			s.Errorf("%s: the outcome that counted is %q, the client was told %q, and %q is kept", t.ID, e.Outcome, told.Data, t.Outcome)
		}
		if told.State != t.State || told.Attempt != t.Attempt {
			s.Errorf("%s: the client was told of state %d, attempt %d; Inspect reports %d, %d", t.ID, told.State, told.Attempt, t.State, t.Attempt)
		}
	}
}

// auditAttempts checks that deliveries, attempts and tokens go together.
func (s *storm) auditAttempts(t queue.TaskState, calm bool) {
	tokens := map[uint64]bool{}
	for _, d := range s.deliveries[t.ID] {
		if tokens[d.Token] {
			s.Errorf("%s: two deliveries have token %d", t.ID, d.Token)
		}
		tokens[d.Token] = true
		if d.Attempt <= 32 && len(d.Past) != d.Attempt-1 {
			s.Errorf("%s: attempt %d comes after %d others", t.ID, d.Attempt, len(d.Past))
		}
		for _, later := range s.deliveries[t.ID] {
			if later.Token > d.Token && later.Attempt < d.Attempt {
				s.Errorf("%s: after attempt %d comes attempt %d", t.ID, d.Attempt, later.Attempt)
			}
		}
	}
	if n := len(s.deliveries[t.ID]) - s.released[t.ID]; calm && n != t.Attempt {
		s.Errorf("%s: there were %d attempts, and %d are counted", t.ID, n, t.Attempt)
	}
}
