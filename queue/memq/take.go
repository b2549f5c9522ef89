package memq

import (
	"container/list"
	"context"
	"time"

	"github.com/afar-go/afar/queue"
)

// taker is a Take that waits. It is given deliveries by whoever has something to
// give, so that no wake-up can come too late or go to one who does not listen any more.
type taker struct {
	request queue.TakeRequest
	worker  *worker
	place   *list.Element // among the takers; nil once it was served
	served  chan struct{} // closed when deliveries are there
	got     []queue.Delivery
}

// take leases tasks, or waits for one.
func (s *store) take(ctx context.Context, r queue.TakeRequest) ([]queue.Delivery, error) {
	got, t, err := s.tryTake(r)
	if t == nil || err != nil {
		return got, err
	}
	timer := time.NewTimer(r.Wait)
	defer timer.Stop()
	var ended error
	select {
	case <-t.served:
	case <-timer.C:
	case <-ctx.Done():
		ended = ctx.Err()
	case <-s.closed:
		ended = queue.ErrClosed
	}
	return s.giveUp(t, ended)
}

// tryTake leases what there is, or returns a taker that waits, unless r says not to.
func (s *store) tryTake(r queue.TakeRequest) ([]queue.Delivery, *taker, error) {
	defer s.unlock()
	if err := s.lock(); err != nil {
		return nil, nil, err
	}
	s.used = true
	w := s.heard(r.Worker)
	if got := s.lease(r, w); len(got) > 0 || r.Wait == 0 {
		return got, nil, nil
	}
	t := &taker{request: r, worker: w, served: make(chan struct{})}
	t.place = s.takers.PushBack(t)
	w.waiting++
	return nil, t, nil
}

// giveUp ends the waiting of a taker. What it was given meanwhile it has, even if its
// context ended at the same moment.
func (s *store) giveUp(t *taker, ended error) ([]queue.Delivery, error) {
	defer s.unlock()
	if err := s.lock(); err != nil {
		return nil, err
	}
	s.stopsWaiting(t.worker)
	if t.place != nil {
		s.takers.Remove(t.place)
		return nil, ended
	}
	return t.got, nil
}

// serve gives what can be taken to those who have waited longest.
func (s *store) serve() {
	for s.takers.Len() > 0 {
		t := s.takers.Front().Value.(*taker)
		if t.got = s.lease(t.request, t.worker); len(t.got) == 0 {
			return
		}
		s.takers.Remove(t.place)
		t.place = nil
		close(t.served)
	}
}

// lease leases as many tasks to a worker as there are, up to r.Max.
func (s *store) lease(r queue.TakeRequest, w *worker) []queue.Delivery {
	n := min(r.Max, s.states[queue.StateWaiting].n)
	if n == 0 || s.paused {
		return nil
	}
	got := make([]queue.Delivery, n)
	for i := range got {
		t := s.lines.next()
		s.begin(t, w, r.Lease)
		got[i] = queue.Delivery{Task: copyTask(&t.Task), Token: t.token, Attempt: t.attempt, Past: copyPast(t.seldom().past)}
	}
	return got
}
