package queuetest

import (
	"fmt"
	"sync"

	"github.com/afar-go/afar/queue"
)

var leaseStories = []story{
	{"LeaseThatEndsIsAnAttemptThatWasLost", leaseLost},
	{"LeaseThatEndsComesBeforeThoseThatWait", leaseFirst},
	{"LeaseIsKeptAliveByRenew", leaseRenewed},
	{"LeaseCanBeMadeShorterByRenew", leaseShortened},
	{"LeaseThatEndedIsNotRenewed", leaseTooLate},
	{"LeaseOfWhatWasNeverGivenIsLost", leaseUnknown},
	{"LeaseEndsManyTimes", leaseMany},
	{"RenewAnswersForEachBeat", renewBatch},
	{"RenewWithoutBeatsIsASignOfLife", renewNothing},
	{"RenewKeepsTheProgress", renewProgress},
}

func leaseLost(s *stage) {
	s.submit(task("t"))
	first := s.takeBriefly("t")
	second := s.takeOne("t")
	if second.Attempt != 2 || second.Token <= first.Token {
		s.Errorf("after a lost lease: attempt %d, token %d after %d", second.Attempt, second.Token, first.Token)
	}
	if len(second.Past) != 1 {
		s.Fatalf("the attempts before are %+v, not one", second.Past)
	}
	if p := second.Past[0]; !p.Lost || p.Worker != "w2" || p.Ended.IsZero() || len(p.Error) != 0 {
		s.Errorf("the attempt before is %+v, not lost by w2", p)
	}
	s.finish(queue.EndDone, second)
}

func leaseFirst(s *stage) {
	s.submit(plain("t", 3)...)
	r := request(1)
	r.Lease = brief
	s.takeAs(r)
	s.await("the lease has ended", func() bool {
		return s.inspect(queue.Query{IDs: []string{"t1"}}).Tasks[0].State == queue.StateWaiting
	})
	s.takeOne("t1")
	s.takeOne("t2")
}

// leaseRenewed renews one of two leases of the same length, and waits for the end of the
// other. A machine that is too busy to renew in time tries again with longer ones.
func leaseRenewed(s *stage) {
	for i, length := 1, brief; ; i, length = i+1, 2*length {
		kept, other := fmt.Sprint("kept", i), fmt.Sprint("other", i)
		s.submit(task(kept), task(other))
		r := request(2)
		r.Lease = length
		ds := s.takeAs(r)
		holds, err := s.b.Renew(s.ctx, s.queue, "w2", []queue.Beat{{Lease: lease(ds[0]), For: long}})
		s.must(err)
		if holds[0] == queue.Lost && length < patience/3 {
			s.finish(queue.EndDone, s.take(2)...)
			continue
		}
		if got := s.takeOne(other); got.Token <= ds[1].Token {
			s.Errorf("the token is %d after %d", got.Token, ds[1].Token)
		}
		s.takeNone()
		s.renew(queue.Held, queue.Beat{Lease: lease(ds[0]), For: long})
		s.finish(queue.EndDone, ds[0])
		return
	}
}

func leaseShortened(s *stage) {
	s.submit(task("t"))
	d := s.takeOne("t")
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: brief})
	if again := s.takeOne("t"); again.Attempt != 2 {
		s.Errorf("after a lost lease it is attempt %d", again.Attempt)
	}
}

func leaseTooLate(s *stage) {
	s.submit(task("t"))
	first := s.takeBriefly("t")
	second := s.takeOne("t")
	s.renew(queue.Lost, queue.Beat{Lease: lease(first), For: long})
	s.renew(queue.Held, queue.Beat{Lease: lease(second), For: long})
	s.finish(queue.EndDone, second)
	s.renew(queue.Lost, queue.Beat{Lease: lease(second), For: long})
	s.state("t", queue.StateDone)
}

func leaseUnknown(s *stage) {
	s.submit(task("t"))
	for _, l := range []queue.Lease{{ID: "nobody", Token: 1}, {ID: "t", Token: 1 << 40}} {
		s.renew(queue.Lost, queue.Beat{Lease: l, For: long})
		for _, e := range []queue.Ending{queue.EndDone, queue.EndRetry, queue.EndRelease} {
			s.settle(queue.Lost, queue.Settlement{Lease: l, Worker: "w2", Ending: e})
		}
	}
	s.state("t", queue.StateWaiting)
}

// leaseMany lets leases of several tasks end again and again, more often than attempts
// are remembered.
func leaseMany(s *stage) {
	const deaths = 4
	s.submit(plain("t", 20)...)
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for range 20 * deaths / 4 {
				r := queue.TakeRequest{Worker: fmt.Sprint("w", i), Max: 1, Lease: brief, Wait: long}
				if deliveries, err := s.Clients[i%2].Take(s.ctx, s.queue, r); err != nil || len(deliveries) != 1 {
					s.Errorf("Take gives %v, %v", ids(deliveries), err)
				}
			}
		})
	}
	wait.Wait()
	for len(s.inspect(queue.Query{State: queue.StateRunning, Limit: 1}).Tasks) > 0 {
		s.pause()
	}
	attempts := 0
	for _, d := range s.take(20) {
		attempts += d.Attempt - 1
		if len(d.Past) != d.Attempt-1 {
			s.Errorf("attempt %d of %s has %d before", d.Attempt, d.ID, len(d.Past))
		}
	}
	if attempts != 20*deaths {
		s.Errorf("%d leases ended, and %d attempts were counted", 20*deaths, attempts)
	}
}

func renewBatch(s *stage) {
	s.submit(plain("t", 3)...)
	ds := s.take(3)
	s.finish(queue.EndDone, ds[0])
	s.change(1, queue.Change{Verb: queue.Cancel, IDs: []string{ds[1].ID}})
	beats := make([]queue.Beat, 3)
	for i, d := range ds {
		beats[i] = queue.Beat{Lease: lease(d), For: long}
	}
	holds, err := s.a.Renew(s.ctx, s.queue, "w2", beats)
	s.must(err)
	if fmt.Sprint(holds) != fmt.Sprint([]queue.Hold{queue.Lost, queue.Unwanted, queue.Held}) {
		s.Errorf("of a task that is done, one that is to be canceled and one that runs, Renew gives %v", holds)
	}
}

func renewNothing(s *stage) {
	holds, err := s.a.Renew(s.ctx, s.queue, "alive", nil)
	s.must(err)
	if len(holds) != 0 {
		s.Errorf("Renew of nothing gives %v", holds)
	}
	if !s.listens("alive") {
		s.Error("a worker that said it is alive does not listen")
	}
}

func renewProgress(s *stage) {
	s.submit(task("t"))
	d := s.takeOne("t")
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long, Progress: [2]int64{3, 10}})
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long}) // nothing new
	if got := s.state("t", queue.StateRunning).Progress; got != [2]int64{3, 10} {
		s.Errorf("the progress is %v", got)
	}
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long, Progress: [2]int64{10, 10}})
	if got := s.state("t", queue.StateRunning).Progress; got != [2]int64{10, 10} {
		s.Errorf("the progress is %v", got)
	}
}
