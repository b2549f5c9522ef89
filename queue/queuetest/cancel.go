package queuetest

import (
	"github.com/afar-go/afar/queue"
)

var cancelStories = []story{
	{"CancelEndsATaskThatWaits", cancelWaiting},
	{"CancelEndsATaskThatIsDelayed", cancelDelayed},
	{"CancelMakesATaskThatRunsUnwanted", cancelRunning},
	{"CancelDoesNotStopAnOutcome", cancelDone},
	{"CancelEndsATaskWhoseLeaseEnds", cancelLost},
	{"CancelEndsATaskThatIsRetriedOrReleased", cancelReturned},
	{"CancelDoesNotConcernWhatHasEnded", cancelEnded},
}

// canceled is the outcome that cancellations of the suite give.
const canceled = "nobody wants it"

func cancelOf(ids ...string) queue.Change {
	return queue.Change{Verb: queue.Cancel, IDs: ids, Outcome: []byte(canceled)}
}

// checkCanceled checks that the end of a task is told as it must be.
func (s *stage) checkCanceled(id string, attempts int) {
	s.Helper()
	if got := s.state(id, queue.StateCanceled); string(got.Outcome) != canceled || got.Attempt != attempts {
		s.Errorf("%s was canceled with %q after %d attempts", id, got.Outcome, got.Attempt)
	}
	if e := s.end(id); e.State != queue.StateCanceled || string(e.Data) != canceled || e.Worker != "" || e.Attempt != attempts {
		s.Errorf("the topic of %s ends with %+v", id, e)
	}
	told := s.told(id, 1)
	if len(told) != 1 || told[0].State != queue.StateCanceled || string(told[0].Data) != canceled {
		s.Errorf("the client of %s is told %+v", id, told)
	}
}

// own returns a task whose client has its name.
func own(id string) queue.Task {
	t := task(id)
	t.Client = id
	return t
}

func cancelWaiting(s *stage) {
	s.submit(own("t"), own("tried"), task("other"))
	first := s.takeOne("t")
	second := s.takeOne("tried")
	s.finish(queue.EndRetry, second)
	s.finish(queue.EndRelease, first)
	s.change(2, cancelOf("t", "nobody", "tried"))
	s.checkCanceled("t", 0)
	s.checkCanceled("tried", 1)
	s.takeOne("other")
	s.takeNone()
	if st := s.stats(); st.Canceled != 2 || st.Waiting != 0 {
		s.Errorf("the stats are %+v", *st)
	}
}

func cancelDelayed(s *stage) {
	late, soon := own("late"), own("soon")
	late.Delay, soon.Delay = long, brief
	s.submit(late, soon, task("retried"))
	end := ending(s.takeOne("retried"), queue.EndRetry)
	end.Delay = long
	s.settle(queue.Held, end)
	s.change(3, cancelOf("late", "soon", "retried"))
	s.checkCanceled("late", 0)
	s.checkCanceled("soon", 0)
	s.state("retried", queue.StateCanceled)
	last := task("last")
	last.Delay = 2 * brief // so that the delay of the other is over as well
	s.submit(last)
	s.takeOne("last")
	s.takeNone()
}

func cancelRunning(s *stage) {
	s.submit(own("t"))
	d := s.takeOne("t")
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long})
	s.change(1, cancelOf("t"))
	if !s.state("t", queue.StateRunning).Unwanted {
		s.Error("Inspect does not say that the task is to be canceled")
	}
	s.change(1, cancelOf("t")) // harmless
	s.renew(queue.Unwanted, queue.Beat{Lease: lease(d), For: long})
	s.finish(queue.EndCanceled, d)
	s.state("t", queue.StateCanceled)
	if told := s.told("t", 1); len(told) != 1 || told[0].Worker != "w2" {
		s.Errorf("the client is told %+v", told)
	}
}

func cancelDone(s *stage) {
	s.submit(own("t"))
	d := s.takeOne("t")
	s.change(1, cancelOf("t"))
	s.finish(queue.EndDone, d)
	s.state("t", queue.StateDone)
}

func cancelLost(s *stage) {
	s.submit(own("t"))
	d := s.takeBriefly("t")
	s.change(1, cancelOf("t"))
	if e := s.end("t"); e.State != queue.StateCanceled {
		s.Errorf("it ends with %+v", e)
	}
	s.checkCanceled("t", 1)
	if got := s.state("t", queue.StateCanceled); len(got.Past) != 1 || !got.Past[0].Lost {
		s.Errorf("the attempts before are %+v", got.Past)
	}
	s.settle(queue.Lost, ending(d, queue.EndDone))
	s.takeNone()
}

func cancelReturned(s *stage) {
	for _, e := range []queue.Ending{queue.EndRetry, queue.EndRelease} {
		id := map[queue.Ending]string{queue.EndRetry: "retried", queue.EndRelease: "released"}[e]
		s.submit(own(id))
		d := s.takeOne(id)
		s.change(1, cancelOf(id))
		end := ending(d, e)
		end.Delay = long
		s.settle(queue.Held, end)
		s.settle(queue.Held, end)
		if got := s.state(id, queue.StateCanceled); string(got.Outcome) != canceled {
			s.Errorf("%s has outcome %q", id, got.Outcome)
		}
		if told := s.told(id, 1); len(told) != 1 || told[0].State != queue.StateCanceled {
			s.Errorf("the client is told %+v", told)
		}
		s.takeNone()
	}
}

func cancelEnded(s *stage) {
	s.submit(own("done"), own("dead"))
	ds := s.take(2)
	s.finish(queue.EndDone, ds[0])
	s.finish(queue.EndDead, ds[1])
	s.change(0, cancelOf("done", "dead", "nobody"))
	s.change(0, cancelOf())
	s.state("done", queue.StateDone)
	s.state("dead", queue.StateDead)
	s.submit(task("waits"))
	s.change(1, cancelOf("waits"))
	s.change(0, cancelOf("waits"))
}
