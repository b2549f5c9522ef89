package queuetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/afar-go/afar/queue"
)

var takeStories = []story{
	{"TakeOfAnEmptyQueueIsNoError", takeEmpty},
	{"TakeGivesATaskToOneOnly", takeOnce},
	{"TakeGivesNoMoreThanMax", takeMax},
	{"TakeDoesNotWaitForMore", takeSome},
	{"TakeEndsWithItsWait", takeWaits},
	{"TakeEndsWithItsContext", takeCanceled},
	{"TakeOfAContextThatHasEndedTakesNothing", takeTooLate},
	{"TakeOfAPausedQueueGivesNone", takePaused},
	{"TakeMakesTheTokenGrow", takeTokens},
}

func takeEmpty(s *stage) { s.takeNone() }

func takeOnce(s *stage) {
	tasks := plain("t", 200)
	s.submit(tasks...)
	type took struct {
		deliveries []queue.Delivery
		err        error
	}
	const takers = 8
	results := make(chan took, takers)
	for i := range takers {
		go func() {
			var all took
			for {
				r := queue.TakeRequest{Worker: fmt.Sprint("w", i), Max: 1 + i%4, Lease: long}
				more, err := s.Clients[i%2].Take(s.ctx, s.queue, r)
				all.deliveries = append(all.deliveries, more...)
				if all.err = err; err != nil || len(more) == 0 {
					results <- all
					return
				}
			}
		}()
	}
	seen := map[string]int{}
	for range takers {
		got := <-results
		s.must(got.err)
		for _, d := range got.deliveries {
			seen[d.ID]++
		}
	}
	for _, t := range tasks {
		if seen[t.ID] > 1 {
			s.Errorf("%s was taken %d times", t.ID, seen[t.ID])
		}
	}
	// Takers that asked at the same moment may have found nothing each.
	if rest := len(tasks) - len(seen); rest > 0 {
		s.take(rest)
	}
	s.takeNone()
}

func takeMax(s *stage) {
	s.submit(plain("t", 10)...)
	if n := len(s.try(request(3))); n > 3 {
		s.Errorf("Take of 3 gives %d", n)
	}
}

func takeSome(s *stage) {
	s.submit(plain("t", 2)...)
	r := request(50)
	r.Wait = long
	if n := len(s.try(r)); n == 0 {
		s.Error("Take gives nothing")
	}
}

func takeWaits(s *stage) {
	r := request(1)
	r.Wait = 50 * time.Millisecond
	if deliveries := s.try(r); len(deliveries) != 0 {
		s.Errorf("Take of an empty queue gives %v", ids(deliveries))
	}
	s.submit(task("t"))
	s.takeOne("t")
}

func takeCanceled(s *stage) {
	ctx, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
	defer cancel()
	r := request(1)
	r.Wait = long
	deliveries, err := s.b.Take(ctx, s.queue, r)
	if len(deliveries) != 0 || !errors.Is(err, context.DeadlineExceeded) {
		s.Fatalf("Take whose context ends gives %v, %v", ids(deliveries), err)
	}
	s.namesQueue(err)
	s.submit(task("t"))
	s.takeOne("t") // the taker that gave up has no part in it
}

func takeTooLate(s *stage) {
	s.submit(task("t"))
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	deliveries, err := s.b.Take(ctx, s.queue, request(1))
	if len(deliveries) != 0 || !errors.Is(err, context.Canceled) {
		s.Fatalf("Take with a context that has ended gives %v, %v", ids(deliveries), err)
	}
	s.takeOne("t")
}

func takePaused(s *stage) {
	s.submit(plain("t", 3)...)
	running := s.takeOne("t1")
	s.change(0, queue.Change{Verb: queue.Pause})
	s.takeNone()
	if !s.stats().Paused {
		s.Error("the stats do not say that the queue is paused")
	}
	s.submit(task("t4"))
	s.takeNone()
	s.renew(queue.Held, queue.Beat{Lease: lease(running), For: long})
	s.finish(queue.EndDone, running)
	s.change(0, queue.Change{Verb: queue.Pause})
	s.takeNone()
	s.change(0, queue.Change{Verb: queue.Resume})
	if s.stats().Paused {
		s.Error("the stats say that a queue which was resumed is paused")
	}
	s.take(3)
}

func takeTokens(s *stage) {
	s.submit(task("t"))
	last := uint64(0)
	for i, e := range []queue.Ending{queue.EndRetry, queue.EndRelease, queue.EndRetry, queue.EndDone} {
		d := s.takeOne("t")
		if d.Token <= last {
			s.Errorf("the token of delivery %d is %d, after %d", i+1, d.Token, last)
		}
		last = d.Token
		s.finish(e, d)
	}
}
