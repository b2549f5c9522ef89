package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/afar-go/afar/queue"
)

var inspectStories = []story{
	{"InspectReportsIDsInTheirOrder", inspectIDs},
	{"InspectReportsEveryState", inspectStates},
	{"InspectReportsPageByPage", inspectPages},
	{"InspectReportsThePageAfterATaskThatIsGone", inspectGone},
	{"InspectReportsTimes", inspectTimes},
	{"InspectReportsStats", inspectStats},
	{"InspectReportsTheOldestTask", inspectOldest},
	{"InspectReportsWhoListens", inspectWorkers},
	{"InspectReportsTheNamesOfQueues", inspectQueues},
	{"InspectOfAnEmptyQueue", inspectEmpty},
	{"InspectAndChangeHeedTheirContext", inspectCanceled},
}

func inspectIDs(s *stage) {
	s.submit(plain("t", 3)...)
	want := []string{"t3", "nobody", "t1", "t3"}
	report := s.inspect(queue.Query{IDs: want})
	var got []string
	for _, t := range report.Tasks {
		got = append(got, t.ID)
		if (t.State == queue.StateUnknown) != (t.ID == "nobody") {
			s.Errorf("%s is in state %d", t.ID, t.State)
		}
	}
	if !slices.Equal(got, want) {
		s.Errorf("asked for %v, Inspect reports %v", want, got)
	}
	if report.Stats != nil || report.Queues != nil {
		s.Error("Inspect reports what was not asked for")
	}
}

func inspectStates(s *stage) {
	late := task("delayed")
	late.Delay = long
	s.submit(late)
	for _, c := range []struct {
		id  string
		end queue.Ending
	}{{"done", queue.EndDone}, {"failed", queue.EndFailed}, {"dead", queue.EndDead}, {"canceled", queue.EndCanceled}} {
		s.submit(task(c.id))
		s.finish(c.end, s.takeOne(c.id))
	}
	s.submit(task("running"))
	s.takeOne("running")
	s.submit(task("waiting"))
	for state, id := range map[queue.State]string{
		queue.StateDelayed: "delayed", queue.StateWaiting: "waiting", queue.StateRunning: "running", queue.StateDone: "done",
		queue.StateFailed: "failed", queue.StateDead: "dead", queue.StateCanceled: "canceled",
	} {
		report := s.inspect(queue.Query{State: state})
		if len(report.Tasks) != 1 || report.Tasks[0].ID != id || report.Tasks[0].State != state || report.Next != "" {
			s.Errorf("in state %d Inspect reports %+v, next %q", state, report.Tasks, report.Next)
		}
	}
	if tasks := s.inspect(queue.Query{}).Tasks; len(tasks) != 0 {
		s.Errorf("in no state Inspect reports %+v", tasks)
	}
}

// pages reads all tasks in a state.
func (s *stage) pages(state queue.State, limit int) []string {
	s.Helper()
	var all []string
	for after := ""; ; {
		report := s.inspect(queue.Query{State: state, After: after, Limit: limit})
		if limit > 0 && len(report.Tasks) > limit {
			s.Fatalf("Inspect of %d tasks reports %d", limit, len(report.Tasks))
		}
		for _, t := range report.Tasks {
			all = append(all, t.ID)
		}
		if after = report.Next; after == "" {
			return all
		}
		if len(all) > 10_000 {
			s.Fatal("the pages do not end")
		}
	}
}

func inspectPages(s *stage) {
	const n = 250
	var want []string
	for _, t := range plain("t", n) {
		s.submit(t)
		want = append(want, t.ID)
	}
	for _, limit := range []int{0, 1, 7, 125, n, n + 1} {
		if got := s.pages(queue.StateWaiting, limit); !slices.Equal(got, want) {
			s.Errorf("in pages of %d are %d tasks, or in another order: %.300q", limit, len(got), got)
		}
	}
	if tasks := s.inspect(queue.Query{State: queue.StateWaiting}).Tasks; len(tasks) > 100 {
		s.Errorf("without a limit a page has %d tasks", len(tasks))
	}
	s.finish(queue.EndDead, s.take(n)...)
	if got := s.pages(queue.StateDead, 40); !slices.Equal(got, want) {
		s.Errorf("of the dead tasks are reported %d, or in another order: %.300q", len(got), got)
	}
}

// inspectGone drops what a page has shown, as one who clears up does.
func inspectGone(s *stage) {
	s.submit(plain("t", 30)...)
	for i, d := range s.take(30) {
		if want := fmt.Sprint("t", i+1); d.ID != want {
			s.Fatalf("delivery %d is %s, not %s", i, d.ID, want)
		}
		s.finish(queue.EndDead, d)
	}
	var all []string
	for q := (queue.Query{State: queue.StateDead, Limit: 7}); ; {
		report := s.inspect(q)
		var page []string
		for _, t := range report.Tasks {
			page = append(page, t.ID)
		}
		all = append(all, page...)
		if q.After = report.Next; q.After == "" {
			break
		}
		s.change(len(page), queue.Change{Verb: queue.Drop, IDs: page})
	}
	if len(all) != 30 || all[0] != "t1" || all[29] != "t30" {
		s.Errorf("page by page are reported %v", all)
	}
}

func inspectTimes(s *stage) {
	s.submit(task("t"))
	submitted := s.state("t", queue.StateWaiting)
	d := s.takeOne("t")
	running := s.state("t", queue.StateRunning)
	if running.Worker != "w2" || running.Attempt != 1 || running.Started.IsZero() || !running.Ended.IsZero() {
		s.Errorf("of a task that runs is reported %+v", running)
	}
	s.finish(queue.EndDone, d)
	done := s.state("t", queue.StateDone)
	if !submitted.Submitted.IsZero() && running.Started.Before(submitted.Submitted) || done.Ended.Before(running.Started) {
		s.Errorf("submitted %v, started %v, ended %v", submitted.Submitted, running.Started, done.Ended)
	}
	if off := time.Since(done.Ended); off > time.Hour || off < -time.Hour {
		s.Errorf("the time of the end is %v away", off)
	}
}

func inspectStats(s *stage) {
	tasks := plain("t", 8)
	tasks[7].Delay = long
	s.submit(tasks...)
	ds := s.take(5)
	s.finish(queue.EndDone, ds[0], ds[1])
	s.finish(queue.EndFailed, ds[2])
	s.finish(queue.EndDead, ds[3])
	s.change(1, cancelOf("t6"))
	got := *s.stats()
	got.Oldest, got.Workers = 0, nil
	want := queue.Stats{Waiting: 1, Delayed: 1, Running: 1, Dead: 1, Done: 2, Failed: 1, Canceled: 1}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		s.Errorf("the stats are\n%+v, not\n%+v", got, want)
	}
	s.change(3, queue.Change{Verb: queue.Drop, IDs: []string{"t1", "t3", "t6"}})
	if st := s.stats(); st.Done != 2 || st.Failed != 1 || st.Canceled != 1 {
		s.Errorf("what was ever done is less after it is forgotten: %+v", *st)
	}
}

func inspectOldest(s *stage) {
	if st := s.stats(); st.Oldest != 0 {
		s.Errorf("in an empty queue a task has waited for %v", st.Oldest)
	}
	s.submit(task("t1"))
	var first time.Duration
	s.await("a task has waited for some time", func() bool { first = s.stats().Oldest; return first > 0 })
	s.submit(task("t2"))
	s.await("it has waited longer", func() bool { return s.stats().Oldest > first })
	s.take(2)
	if st := s.stats(); st.Oldest != 0 {
		s.Errorf("when all tasks run one has waited for %v", st.Oldest)
	}
}

func inspectWorkers(s *stage) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.submit(task("t"))
	s.takeOne("t")
	result := s.waiting(ctx, "a-worker")
	want := []queue.WorkerStats{{Name: "a-worker"}, {Name: "w2", Running: 1}}
	if got := s.stats().Workers; !slices.Equal(got, want) {
		s.Errorf("%+v listen, not %+v", got, want)
	}
	cancel()
	if got := <-result; !errors.Is(got.err, context.Canceled) {
		s.Errorf("Take whose context ends gives %+v", got)
	}
	s.change(0, queue.Change{Verb: queue.Leave, Worker: "a-worker"})
	s.change(0, queue.Change{Verb: queue.Leave, Worker: "nobody"})
	if s.listens("a-worker") {
		s.Error("a worker that has left listens")
	}
	s.change(0, queue.Change{Verb: queue.Leave, Worker: "w2"})
	if s.listens("w2") {
		s.Error("a worker that has left listens, because it has a lease")
	}
	s.takeNone()
	if !s.listens("w2") {
		s.Error("a worker that has come back does not listen")
	}
}

func inspectQueues(s *stage) {
	first, second := queueName("Queues"), queueName("Queues")
	for _, name := range []string{second, first} {
		_, err := s.a.Submit(s.ctx, name, []queue.Task{task("t")})
		s.must(err)
	}
	for _, about := range []string{s.queue, first} {
		report, err := s.b.Inspect(s.ctx, about, queue.Query{Queues: true})
		s.must(err)
		if !slices.Contains(report.Queues, first) || !slices.Contains(report.Queues, second) || !slices.IsSorted(report.Queues) {
			s.Errorf("Inspect reports queues %v", report.Queues)
		}
	}
}

func inspectEmpty(s *stage) {
	if st := s.stats(); fmt.Sprintf("%+v", *st) != fmt.Sprintf("%+v", queue.Stats{}) {
		s.Errorf("the stats of an empty queue are %+v", *st)
	}
	for state := queue.StateDelayed; state <= queue.StateCanceled; state++ {
		if r := s.inspect(queue.Query{State: state}); len(r.Tasks) != 0 || r.Next != "" {
			s.Errorf("in state %d an empty queue has %+v", state, r.Tasks)
		}
	}
	if r := s.inspect(queue.Query{IDs: []string{"t"}}); len(r.Tasks) != 1 || r.Tasks[0].State != queue.StateUnknown {
		s.Errorf("of a task that is not known is reported %+v", r.Tasks)
	}
}

func inspectCanceled(s *stage) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, submit := s.a.Submit(ctx, s.queue, plain("t", 1))
	_, inspect := s.a.Inspect(ctx, s.queue, queue.Query{Stats: true})
	_, change := s.a.Change(ctx, s.queue, queue.Change{Verb: queue.Pause})
	_, renew := s.a.Renew(ctx, s.queue, "w", nil)
	_, settle := s.a.Settle(ctx, s.queue, []queue.Settlement{{Lease: queue.Lease{ID: "t", Token: 1}, Worker: "w", Ending: queue.EndDone}})
	_, _, follow := s.a.Follow(ctx, s.queue, queue.Topic{Task: "t"}, "", 0)
	_, keep := s.a.Blobs(s.queue).Keep(ctx, hashOf(nil), 0)
	for i, err := range []error{submit, inspect, change, renew, settle, follow, keep} {
		if !errors.Is(err, context.Canceled) {
			s.Errorf("method %d with a context that has ended gives %v", i, err)
		}
		s.namesQueue(err)
	}
}
