package queuetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/afar-go/afar/queue"
)

var waitStories = []story{
	{"WaitIsEndedBySubmit", waitSubmit},
	{"WaitIsEndedByADelayThatEnds", waitDelay},
	{"WaitIsEndedByALeaseThatEnds", waitLease},
	{"WaitIsEndedByRelease", func(s *stage) { waitSettle(s, queue.EndRelease, 0) }},
	{"WaitIsEndedByRetry", func(s *stage) { waitSettle(s, queue.EndRetry, 0) }},
	{"WaitIsEndedByTheEndOfARetrysDelay", func(s *stage) { waitSettle(s, queue.EndRetry, brief) }},
	{"WaitIsEndedByTheEndOfAReleasesDelay", func(s *stage) { waitSettle(s, queue.EndRelease, brief) }},
	{"WaitIsEndedByResume", waitResume},
	{"WaitIsEndedByRequeue", waitRequeue},
	{"WaitLosesNoWakeUp", waitMany},
	{"WaitOfOneWhoGivesUpLosesNoTask", waitGivenUp},
}

// taken is what a Take in another goroutine gave.
type taken struct {
	deliveries []queue.Delivery
	err        error
}

// waiting starts a Take by the second client, and returns when the broker knows of it.
func (s *stage) waiting(ctx context.Context, worker string) <-chan taken {
	s.Helper()
	return s.waitingFor(ctx, worker, long)
}

// waitingFor is waiting for deliveries with a lease.
func (s *stage) waitingFor(ctx context.Context, worker string, lease time.Duration) <-chan taken {
	s.Helper()
	result := make(chan taken, 1)
	go func() {
		deliveries, err := s.b.Take(ctx, s.queue, queue.TakeRequest{Worker: worker, Max: 1, Lease: lease, Wait: long})
		result <- taken{deliveries, err}
	}()
	s.await("a worker that waits is among those who listen", func() bool { return s.listens(worker) })
	return result
}

// listens tells whether the stats name the worker.
func (s *stage) listens(worker string) bool {
	for _, w := range s.stats().Workers {
		if w.Name == worker {
			return true
		}
	}
	return false
}

// gets checks that a Take in another goroutine gave this task.
func (s *stage) gets(result <-chan taken, id string) queue.Delivery {
	s.Helper()
	got := <-result
	s.must(got.err)
	if len(got.deliveries) != 1 || got.deliveries[0].ID != id {
		s.Fatalf("a waiting Take gives %v, not %s", ids(got.deliveries), id)
	}
	return got.deliveries[0]
}

// namesQueue checks that an error says what it is about.
func (s *stage) namesQueue(err error) {
	s.Helper()
	if err == nil || !strings.Contains(err.Error(), s.queue) {
		s.Errorf("the error %q does not name the queue %q", err, s.queue)
	}
}

func waitSubmit(s *stage) {
	result := s.waiting(s.ctx, "w")
	s.submit(task("t"))
	s.gets(result, "t")
}

func waitDelay(s *stage) {
	late := task("t")
	late.Delay = brief
	s.submit(late)
	s.gets(s.waiting(s.ctx, "w"), "t")
}

func waitLease(s *stage) {
	s.submit(task("t"))
	s.takeBriefly("t")
	if d := s.gets(s.waiting(s.ctx, "w"), "t"); len(d.Past) != 1 || !d.Past[0].Lost {
		s.Errorf("the attempts before are %+v, not one that was lost", d.Past)
	}
}

func waitSettle(s *stage, e queue.Ending, delay time.Duration) {
	s.submit(task("t"))
	d := s.takeOne("t")
	result := s.waiting(s.ctx, "w")
	end := ending(d, e)
	end.Delay = delay
	s.settle(queue.Held, end)
	s.gets(result, "t")
}

func waitResume(s *stage) {
	s.change(0, queue.Change{Verb: queue.Pause})
	s.submit(task("t"))
	result := s.waiting(s.ctx, "w")
	s.change(0, queue.Change{Verb: queue.Resume})
	s.gets(result, "t")
}

func waitRequeue(s *stage) {
	s.submit(task("t"))
	s.finish(queue.EndDead, s.takeOne("t"))
	result := s.waiting(s.ctx, "w")
	s.change(1, queue.Change{Verb: queue.Requeue, IDs: []string{"t"}})
	s.gets(result, "t")
}

// waitMany has takers that wait for exactly as many tasks as come, one at a time: a
// single wake-up that is lost leaves one of them waiting.
func waitMany(s *stage) {
	const takers, rounds = 12, 15
	results := make(chan taken, takers)
	for i := range takers {
		go func() {
			var all taken
			for range rounds {
				r := queue.TakeRequest{Worker: fmt.Sprint("w", i), Max: 1, Lease: long, Wait: long}
				more, err := s.Clients[i%2].Take(s.ctx, s.queue, r)
				all.deliveries = append(all.deliveries, more...)
				if all.err = err; err != nil || len(more) != 1 {
					break
				}
			}
			results <- all
		}()
	}
	var submitting sync.WaitGroup
	defer submitting.Wait()
	for i := range 3 {
		submitting.Go(func() {
			for _, t := range plain(fmt.Sprint("t", i, "-"), takers*rounds/3) {
				if _, err := s.Clients[i%2].Submit(s.ctx, s.queue, []queue.Task{t}); err != nil {
					s.Errorf("Submit: %v", err)
				}
			}
		})
	}
	seen := map[string]bool{}
	for range takers {
		got := <-results
		s.must(got.err)
		for _, d := range got.deliveries {
			seen[d.ID] = true
		}
	}
	if len(seen) != takers*rounds {
		s.Errorf("%d takers got %d of %d tasks: a wake-up was lost", takers, len(seen), takers*rounds)
	}
}

// waitGivenUp ends waits while tasks come: what was leased to one who gives up is
// given to him, or to another.
func waitGivenUp(s *stage) {
	const n = 40
	all := make(chan []queue.Delivery, n)
	for i := range n {
		ctx, cancel := context.WithCancel(s.ctx)
		result := make(chan taken, 1)
		go func() {
			r := queue.TakeRequest{Worker: "w", Max: 1, Lease: brief, Wait: long}
			deliveries, err := s.b.Take(ctx, s.queue, r)
			result <- taken{deliveries, err}
		}()
		go cancel()
		s.submit(task(fmt.Sprint("t", i)))
		all <- (<-result).deliveries
	}
	close(all)
	seen := map[string]bool{}
	for deliveries := range all {
		for _, d := range deliveries {
			seen[d.ID] = true
		}
	}
	for len(seen) < n {
		r := request(n)
		r.Wait = long
		deliveries := s.try(r)
		if len(deliveries) == 0 {
			s.Fatalf("%d of %d tasks are lost", n-len(seen), n)
		}
		for _, d := range deliveries {
			seen[d.ID] = true
		}
	}
}
