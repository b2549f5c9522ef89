package queuetest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/afar-go/afar/queue"
)

var settleStories = []story{
	{"SettleGivesTheOutcome", settleOutcomes},
	{"SettleCountsTheFirstOutcomeOnly", settleFirst},
	{"SettleOfTheSameTwiceIsHeld", settleTwice},
	{"SettleAfterTheLeaseCountsIfItIsTheFirst", settleLate},
	{"SettleAfterTheLeaseCountsWhileTheTaskWaits", settleLateWaiting},
	{"SettleAfterTheLeaseIsLostIfItIsTheSecond", settleTooLate},
	{"RetryIsForWhoHoldsTheLease", settleStale},
	{"RetryCountsAsAnAttempt", settleRetry},
	{"RetryWithADelay", settleRetryDelayed},
	{"ReleaseDoesNotCount", settleRelease},
	{"AttemptsBeforeAreTheLast32", settlePast},
	{"SettleAnswersForEach", settleBatch},
	{"RetentionOf0ForgetsAtOnce", settleForget},
	{"RetentionForgetsAfterIt", settleRetention},
}

func settleOutcomes(s *stage) {
	for _, c := range []struct {
		name  string
		end   queue.Ending
		state queue.State
	}{
		{"done", queue.EndDone, queue.StateDone},
		{"failed", queue.EndFailed, queue.StateFailed},
		{"dead", queue.EndDead, queue.StateDead},
		{"canceled", queue.EndCanceled, queue.StateCanceled},
	} {
		t := task(c.name)
		t.Group, t.Priority, t.Client = "g", queue.Low, "c-"+c.name
		s.submit(t)
		end := ending(s.takeOne(c.name), c.end)
		s.settle(queue.Held, end)
		got := s.state(c.name, c.state)
		if !bytes.Equal(got.Outcome, end.Outcome) || got.Attempt != 1 || got.Worker != "w2" || got.Ended.IsZero() {
			s.Errorf("%s: Inspect reports %+v", c.name, got)
		}
		if got.Label != t.Label || got.Group != t.Group || got.Priority != t.Priority || got.Retention != t.Retention {
			s.Errorf("%s: of the task is left %+v", c.name, got.Task)
		}
		event := s.end(c.name)
		if event.State != c.state || !bytes.Equal(event.Data, end.Outcome) || event.Attempt != 1 || event.Worker != "w2" {
			s.Errorf("%s: its topic ends with %+v", c.name, event)
		}
		told := s.told("c-"+c.name, 1)[0]
		if told.ID != c.name || told.State != c.state || !bytes.Equal(told.Data, end.Outcome) || told.Attempt != 1 || told.Worker != "w2" {
			s.Errorf("%s: the client is told %+v", c.name, told)
		}
	}
	if st := s.stats(); st.Done != 1 || st.Failed != 1 || st.Dead != 1 || st.Canceled != 1 || st.Running != 0 {
		s.Errorf("after one ending of each kind the stats are %+v", *st)
	}
}

func settleFirst(s *stage) {
	t := task("t")
	t.Client = "c"
	s.submit(t, task("other"))
	d := s.takeOne("t")
	first := ending(d, queue.EndDone)
	s.settle(queue.Held, first)
	for _, e := range []queue.Ending{queue.EndFailed, queue.EndDead, queue.EndCanceled, queue.EndRetry, queue.EndRelease} {
		s.settle(queue.Lost, ending(d, e))
	}
	if got := s.state("t", queue.StateDone); !bytes.Equal(got.Outcome, first.Outcome) {
		s.Errorf("the outcome is %q", got.Outcome)
	}
	s.takeOne("other")
	s.takeNone()
	if told := s.told("c", 1); len(told) != 1 {
		s.Errorf("the client is told %d times", len(told))
	}
}

func settleTwice(s *stage) {
	for _, e := range []queue.Ending{queue.EndDone, queue.EndFailed, queue.EndDead, queue.EndCanceled} {
		id := fmt.Sprint("end", e)
		t := task(id)
		t.Client = id
		s.submit(t)
		end := ending(s.takeOne(id), e)
		for range 3 {
			s.settle(queue.Held, end)
		}
		if told := s.told(id, 1); len(told) != 1 {
			s.Errorf("after ending %d three times the client is told %d times", e, len(told))
		}
	}
	for _, e := range []queue.Ending{queue.EndRetry, queue.EndRelease} {
		id := fmt.Sprint("end", e)
		s.submit(task(id))
		end := ending(s.takeOne(id), e)
		end.Delay = brief
		s.settle(queue.Held, end)
		s.settle(queue.Held, end) // while it is delayed
		d := s.takeOne(id)
		s.settle(queue.Held, end) // while another has it
		if n := len(d.Past); n > 1 {
			s.Errorf("ending %d twice was counted %d times", e, n)
		}
		s.finish(queue.EndDone, d)
		s.takeNone()
	}
}

func settleLate(s *stage) {
	t := task("t")
	t.Client = "c"
	s.submit(t)
	first := s.takeBriefly("t")
	second := s.takeOne("t")
	end := ending(first, queue.EndDone)
	end.Worker = "w1"
	s.settle(queue.Held, end)
	s.settle(queue.Held, end)
	s.renew(queue.Lost, queue.Beat{Lease: lease(second), For: long})
	s.settle(queue.Lost, ending(second, queue.EndDone))
	s.settle(queue.Lost, ending(second, queue.EndRetry))
	if got := s.state("t", queue.StateDone); !bytes.Equal(got.Outcome, end.Outcome) || got.Worker != "w1" {
		s.Errorf("the outcome is %q, of %s", got.Outcome, got.Worker)
	}
	if told := s.told("c", 1); len(told) != 1 || !bytes.Equal(told[0].Data, end.Outcome) {
		s.Errorf("the client is told %+v", told)
	}
	s.takeNone()
	if st := s.stats(); st.Running != 0 || st.Waiting != 0 || st.Done != 1 {
		s.Errorf("the stats are %+v", *st)
	}
}

func settleLateWaiting(s *stage) {
	s.submit(task("t"), task("other"))
	d := s.takeBriefly("t")
	s.await("the lease has ended", func() bool {
		return s.inspect(queue.Query{IDs: []string{"t"}}).Tasks[0].State == queue.StateWaiting
	})
	s.finish(queue.EndDone, d)
	s.takeOne("other")
	s.takeNone()
	s.state("t", queue.StateDone)
}

func settleTooLate(s *stage) {
	s.submit(task("t"))
	first := s.takeBriefly("t")
	second := s.takeOne("t")
	s.finish(queue.EndDone, second)
	s.settle(queue.Lost, ending(first, queue.EndDone))
	s.settle(queue.Lost, ending(first, queue.EndFailed))
	if got := s.state("t", queue.StateDone); !bytes.Equal(got.Outcome, ending(second, queue.EndDone).Outcome) {
		s.Errorf("the outcome is %q", got.Outcome)
	}
}

func settleStale(s *stage) {
	s.submit(task("t"))
	first := s.takeBriefly("t")
	second := s.takeOne("t")
	s.settle(queue.Lost, ending(first, queue.EndRetry))
	s.settle(queue.Lost, ending(first, queue.EndRelease))
	s.takeNone()
	s.renew(queue.Held, queue.Beat{Lease: lease(second), For: long})
	s.finish(queue.EndDone, second)
}

func settleRetry(s *stage) {
	s.submit(task("t"))
	for attempt := 1; attempt <= 5; attempt++ {
		d := s.takeOne("t")
		if d.Attempt != attempt || len(d.Past) != attempt-1 {
			s.Fatalf("delivery %d is attempt %d, after %d others", attempt, d.Attempt, len(d.Past))
		}
		for i, p := range d.Past {
			want := fmt.Sprint("error ", i+1)
			if p.Lost || string(p.Error) != want || p.Worker != fmt.Sprint("worker", i+1) || p.Ended.IsZero() {
				s.Errorf("attempt %d was %+v", i+1, p)
			}
		}
		end := ending(d, queue.EndRetry)
		end.Error, end.Worker = fmt.Appendf(nil, "error %d", attempt), fmt.Sprint("worker", attempt)
		s.settle(queue.Held, end)
		s.state("t", queue.StateWaiting)
	}
}

func settleRetryDelayed(s *stage) {
	s.submit(task("t"))
	end := ending(s.takeOne("t"), queue.EndRetry)
	end.Delay = brief
	s.settle(queue.Held, end)
	if d := s.takeOne("t"); d.Attempt != 2 {
		s.Errorf("after a retry it is attempt %d", d.Attempt)
	}
	s.submit(task("u"))
	end = ending(s.takeOne("u"), queue.EndRetry)
	end.Delay = long
	s.settle(queue.Held, end)
	s.takeNone()
	if got := s.state("u", queue.StateDelayed); len(got.Past) != 1 || string(got.Past[0].Error) != string(end.Error) {
		s.Errorf("the attempts before are %+v", got.Past)
	}
}

func settleRelease(s *stage) {
	s.submit(task("t"))
	s.finish(queue.EndRetry, s.takeOne("t"))
	for range 3 {
		d := s.takeOne("t")
		if d.Attempt != 2 || len(d.Past) != 1 {
			s.Errorf("after releases it is attempt %d, after %d others", d.Attempt, len(d.Past))
		}
		s.finish(queue.EndRelease, d)
	}
	if got := s.state("t", queue.StateWaiting); got.Attempt != 1 {
		s.Errorf("a task that was tried once and then released had %d attempts", got.Attempt)
	}
	d := s.takeOne("t")
	end := ending(d, queue.EndRelease)
	end.Delay = long
	s.settle(queue.Held, end)
	s.state("t", queue.StateDelayed)
	s.takeNone()
}

func settlePast(s *stage) {
	s.submit(task("t"))
	const attempts = 40
	for i := 1; i <= attempts; i++ {
		end := ending(s.takeOne("t"), queue.EndRetry)
		end.Error = fmt.Appendf(nil, "error %d", i)
		s.settle(queue.Held, end)
	}
	d := s.takeOne("t")
	if d.Attempt != attempts+1 || len(d.Past) != 32 {
		s.Fatalf("it is attempt %d, with %d others before", d.Attempt, len(d.Past))
	}
	for i, p := range d.Past {
		if want := fmt.Sprintf("error %d", attempts-32+i+1); string(p.Error) != want {
			s.Fatalf("attempt %d before has error %q, not %q", i, p.Error, want)
		}
	}
}

func settleBatch(s *stage) {
	s.submit(plain("t", 4)...)
	ds := s.take(4)
	ends := []queue.Settlement{
		ending(ds[0], queue.EndDone), ending(ds[1], queue.EndFailed), ending(ds[0], queue.EndFailed),
		{Lease: queue.Lease{ID: "nobody", Token: 1}, Worker: "w2", Ending: queue.EndDone},
		ending(ds[2], queue.EndRetry), ending(ds[2], queue.EndRelease), ending(ds[0], queue.EndDone),
	}
	holds, err := s.a.Settle(s.ctx, s.queue, ends)
	s.must(err)
	want := []queue.Hold{queue.Held, queue.Held, queue.Lost, queue.Lost, queue.Held, queue.Lost, queue.Held}
	if !slices.Equal(holds, want) {
		s.Errorf("Settle gives %v, not %v", holds, want)
	}
	s.state("t1", queue.StateDone)
	s.state("t2", queue.StateFailed)
	s.takeOne("t3")
	s.takeNone()
	holds, err = s.a.Settle(s.ctx, s.queue, nil)
	s.must(err)
	if len(holds) != 0 {
		s.Errorf("Settle of nothing gives %v", holds)
	}
}

func settleForget(s *stage) {
	t := task("t")
	t.Retention, t.Client = 0, "c"
	s.submit(t)
	end := ending(s.takeOne("t"), queue.EndDone)
	s.settle(queue.Held, end)
	if told := s.told("c", 1)[0]; told.ID != "t" || told.State != queue.StateDone || !bytes.Equal(told.Data, end.Outcome) {
		s.Errorf("the client is told %+v", told)
	}
	s.state("t", queue.StateUnknown)
	s.submit(task("t")) // its ID is free
	s.takeOne("t")
}

func settleRetention(s *stage) {
	t := task("t")
	t.Retention = brief
	s.submit(t, task("kept"))
	s.finish(queue.EndDone, s.take(2)...)
	s.await("the outcome is forgotten", func() bool {
		return s.inspect(queue.Query{IDs: []string{"t"}}).Tasks[0].State == queue.StateUnknown
	})
	s.state("kept", queue.StateDone)
	s.submit(task("t"))
}
