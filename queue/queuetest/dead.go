package queuetest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/afar-go/afar/queue"
)

var deadStories = []story{
	{"DeadTasksAreKeptWithEverything", deadKept},
	{"DeadTasksAreKeptBeyondTheirRetention", deadBeyondRetention},
	{"RequeueLetsADeadTaskWaitAgain", requeued},
	{"RequeueTakesTheEndOutOfTheTopic", requeuedTopic},
	{"RequeueOfAllDeadTasks", requeuedAll},
	{"RequeueConcernsDeadTasksOnly", requeuedOthers},
	{"DropForgetsTasksThatHaveEnded", dropped},
	{"DropOfAllThatAreDead", droppedAll},
	{"PurgeEndsAllThatWait", purged},
	{"ChangesOfManyTasks", changedMany},
}

// bury submits a task and makes it dead after some retries.
func (s *stage) bury(t queue.Task, retries int) queue.Settlement {
	s.Helper()
	s.submit(t)
	for range retries {
		s.finish(queue.EndRetry, s.takeOne(t.ID))
	}
	end := ending(s.takeOne(t.ID), queue.EndDead)
	s.settle(queue.Held, end)
	return end
}

func deadKept(s *stage) {
	want := own("t")
	want.Group, want.Priority, want.Blobs = "g", queue.High, []string{hashOf([]byte("x"))}
	end := s.bury(want, 2)
	got := s.state("t", queue.StateDead)
	if !bytes.Equal(got.Body, want.Body) || got.Label != want.Label || got.Group != want.Group || got.Priority != want.Priority ||
		got.Client != want.Client || got.Retention != want.Retention || !slices.Equal(got.Blobs, want.Blobs) {
		s.Errorf("of the dead task is kept\n%+v, not\n%+v", got.Task, want)
	}
	if len(got.Past) != 3 || got.Attempt != 3 || !bytes.Equal(got.Past[2].Error, end.Error) || !bytes.Equal(got.Outcome, end.Outcome) {
		s.Errorf("of the dead task is known %+v", got)
	}
	for _, p := range got.Past {
		if p.Worker != "w2" || p.Lost || len(p.Error) == 0 {
			s.Errorf("an attempt was %+v", p)
		}
	}
	if told := s.told("t", 1); len(told) != 1 || told[0].State != queue.StateDead || !bytes.Equal(told[0].Data, end.Outcome) {
		s.Errorf("the client is told %+v", told)
	}
}

func deadBeyondRetention(s *stage) {
	dead, forgotten, done := task("dead"), task("forgotten"), task("done")
	dead.Retention, forgotten.Retention, done.Retention = brief, 0, brief
	s.bury(dead, 0)
	s.bury(forgotten, 0)
	s.submit(done)
	s.finish(queue.EndDone, s.takeOne("done"))
	s.await("the outcome of another task is forgotten", func() bool {
		return s.inspect(queue.Query{IDs: []string{"done"}}).Tasks[0].State == queue.StateUnknown
	})
	s.state("dead", queue.StateDead)
	s.state("forgotten", queue.StateDead)
	known, err := s.a.Submit(s.ctx, s.queue, []queue.Task{task("dead"), task("forgotten")})
	s.must(err)
	if !slices.Equal(known, []bool{true, true}) {
		s.Errorf("Submit of IDs of dead tasks tells %v", known)
	}
}

func requeued(s *stage) {
	s.bury(own("t"), 2)
	s.change(1, queue.Change{Verb: queue.Requeue, IDs: []string{"t"}})
	if got := s.state("t", queue.StateWaiting); got.Attempt != 0 || len(got.Past) != 0 || len(got.Outcome) != 0 {
		s.Errorf("of a task that was requeued is known %+v", got)
	}
	if st := s.stats(); st.Dead != 0 || st.Waiting != 1 {
		s.Errorf("the stats are %+v", *st)
	}
	d := s.takeOne("t")
	if d.Attempt != 1 || len(d.Past) != 0 || !bytes.Equal(d.Body, task("t").Body) {
		s.Errorf("the task is delivered as %+v", d)
	}
	s.finish(queue.EndDone, d)
	s.state("t", queue.StateDone)
	if told := s.told("t", 2); len(told) != 2 || told[1].State != queue.StateDone {
		s.Errorf("the client is told %+v", told)
	}
}

func requeuedTopic(s *stage) {
	s.submit(task("t"))
	d := s.takeOne("t")
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long, Log: records(1, 2)})
	s.finish(queue.EndDead, d)
	s.end("t")
	s.change(1, queue.Change{Verb: queue.Requeue, IDs: []string{"t"}})
	before, next := s.topic(queue.Topic{Task: "t"}, "", atLeast(2))
	s.checkRecords(logs(before), 2)
	if len(before) != 2 {
		s.Errorf("after the records of a task that waits again come %+v", before[2:])
	}
	end := ending(s.takeOne("t"), queue.EndDone)
	end.Log = records(3, 3)
	s.settle(queue.Held, end)
	after, _ := s.topic(queue.Topic{Task: "t"}, next, ended)
	s.checkRecords(logs(append(before, after...)), 3)
	if last := after[len(after)-1]; last.State != queue.StateDone || len(after) != 2 {
		s.Errorf("then come %+v", after)
	}
}

func requeuedAll(s *stage) {
	s.submit(plain("t", 20)...)
	for i, d := range s.take(20) {
		s.finish([]queue.Ending{queue.EndDead, queue.EndFailed}[i%2], d)
	}
	s.change(10, queue.Change{Verb: queue.Requeue})
	for _, d := range s.take(10) {
		if d.Attempt != 1 {
			s.Errorf("%s is attempt %d", d.ID, d.Attempt)
		}
	}
	s.takeNone()
	s.change(0, queue.Change{Verb: queue.Requeue})
}

func requeuedOthers(s *stage) {
	s.submit(plain("t", 3)...)
	ds := s.take(2)
	s.finish(queue.EndDone, ds[0])
	s.change(0, queue.Change{Verb: queue.Requeue, IDs: []string{"t1", "t2", "t3", "nobody"}})
	s.state("t1", queue.StateDone)
	s.state("t2", queue.StateRunning)
	s.takeOne("t3")
	s.takeNone()
}

func dropped(s *stage) {
	for i, e := range []queue.Ending{queue.EndDone, queue.EndFailed, queue.EndCanceled, queue.EndDead} {
		id := fmt.Sprint("ended", i)
		s.submit(task(id))
		s.finish(e, s.takeOne(id))
	}
	s.submit(task("runs"), task("waits"))
	s.takeOne("runs")
	all := []string{"ended0", "ended1", "ended2", "ended3", "runs", "waits", "nobody"}
	s.change(4, queue.Change{Verb: queue.Drop, IDs: all})
	for _, id := range all[:4] {
		s.state(id, queue.StateUnknown)
	}
	s.state("runs", queue.StateRunning)
	s.state("waits", queue.StateWaiting)
	s.change(0, queue.Change{Verb: queue.Drop, IDs: all})
	if e := s.end("ended0"); e.State != queue.StateUnknown {
		s.Errorf("the topic of a task that was dropped ends with %+v", e)
	}
	if st := s.stats(); st.Dead != 0 || st.Done != 1 || st.Failed != 1 || st.Canceled != 1 {
		s.Errorf("the stats are %+v", *st)
	}
}

func droppedAll(s *stage) {
	for _, t := range plain("t", 5) {
		s.bury(t, 0)
	}
	s.submit(task("done"))
	s.finish(queue.EndDone, s.takeOne("done"))
	s.change(5, queue.Change{Verb: queue.Drop})
	s.state("t1", queue.StateUnknown)
	s.state("done", queue.StateDone)
	s.change(0, queue.Change{Verb: queue.Drop})
	s.submit(task("t1"))
}

func purged(s *stage) {
	late, urgent, grouped := own("late"), own("urgent"), own("grouped")
	late.Delay, urgent.Priority, grouped.Group = long, queue.High, "g"
	s.submit(own("runs"))
	running := s.takeOne("runs")
	s.submit(own("released"))
	s.finish(queue.EndRelease, s.takeOne("released"))
	s.submit(late, urgent, grouped, own("waits"))
	s.change(5, queue.Change{Verb: queue.Purge, Outcome: []byte(canceled)})
	for _, id := range []string{"late", "urgent", "grouped", "waits", "released"} {
		s.checkCanceled(id, 0)
	}
	s.takeNone()
	s.renew(queue.Held, queue.Beat{Lease: lease(running), For: long})
	s.finish(queue.EndDone, running)
	s.change(0, queue.Change{Verb: queue.Purge})
	if st := s.stats(); st.Canceled != 5 || st.Waiting != 0 || st.Delayed != 0 || st.Done != 1 {
		s.Errorf("the stats are %+v", *st)
	}
}

func changedMany(s *stage) {
	const n = 2500
	var all []string
	for i := range 5 {
		tasks := plain(fmt.Sprint("t", i, "-"), n/5)
		for _, t := range tasks {
			all = append(all, t.ID)
		}
		s.submit(tasks...)
	}
	s.change(1000, cancelOf(all[:1000]...))
	var ends []queue.Settlement
	for _, d := range s.take(1000) {
		ends = append(ends, ending(d, queue.EndDead))
	}
	_, err := s.b.Settle(s.ctx, s.queue, ends)
	s.must(err)
	s.change(1000, queue.Change{Verb: queue.Requeue})
	s.change(1500, queue.Change{Verb: queue.Purge})
	s.change(n, queue.Change{Verb: queue.Drop, IDs: all})
	if st := s.stats(); st.Canceled != n || st.Waiting != 0 || st.Dead != 0 {
		s.Errorf("the stats are %+v", *st)
	}
}
