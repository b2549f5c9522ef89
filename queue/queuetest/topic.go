package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/afar-go/afar/queue"
)

var topicStories = []story{
	{"FollowOfATaskGivesItsLogThenItsEnd", followTask},
	{"FollowGoesOnFromItsCursor", followCursor},
	{"FollowWaitsForALogRecord", followWaitsForLog},
	{"FollowWaitsForTheEnd", followWaitsForEnd},
	{"FollowOfAnUnknownTaskIsItsEnd", followUnknown},
	{"FollowOfAClientTellsOfItsTasksOnly", followClient},
	{"FollowOfNewestReturnsAtOnce", followNewest},
	{"FollowEndsWithItsWait", followWaits},
	{"FollowEndsWithItsContext", followCanceled},
	{"FollowMissesNothingThatManyWrite", followMany},
	{"FollowOfALogMissesNothing", followLongLog},
	{"FollowHasSeveralFollowers", followBoth},
	{"FollowKeepsTenThousandEvents", followTenThousand},
	{"FollowOfTheQueueTellsWhatIsToBeCanceled", followQueue},
}

// topic reads a topic from a cursor on, until done says so of all that came.
func (s *stage) topic(t queue.Topic, from queue.Cursor, done func([]queue.Event) bool) ([]queue.Event, queue.Cursor) {
	s.Helper()
	var all []queue.Event
	for !done(all) {
		events, next, err := s.a.Follow(s.ctx, s.queue, t, from, long)
		s.must(err)
		if len(events) == 0 {
			s.Fatalf("topic %+v gives %d events, and then none", t, len(all))
		}
		all, from = append(all, events...), next
	}
	return all, from
}

// ended tells whether the last event is an end.
func ended(events []queue.Event) bool {
	return len(events) > 0 && events[len(events)-1].Kind == queue.EventEnd
}

// atLeast tells whether so many events have come.
func atLeast(n int) func([]queue.Event) bool {
	return func(events []queue.Event) bool { return len(events) >= n }
}

// end follows a task to its end, which it returns.
func (s *stage) end(id string) queue.Event {
	s.Helper()
	events, _ := s.topic(queue.Topic{Task: id}, "", ended)
	last := events[len(events)-1]
	if last.ID != id {
		s.Fatalf("the topic of %q ends with %+v", id, last)
	}
	return last
}

// told returns what is in a client's topic, at least n ends.
func (s *stage) told(client string, n int) []queue.Event {
	s.Helper()
	events, _ := s.topic(queue.Topic{Client: client}, "", atLeast(n))
	for _, e := range events {
		if e.Kind != queue.EventEnd {
			s.Fatalf("in the topic of a client is %+v", e)
		}
	}
	return events
}

// logs returns the records among events.
func logs(events []queue.Event) []string {
	var records []string
	for _, e := range events {
		if e.Kind == queue.EventLog {
			records = append(records, string(e.Data))
		}
	}
	return records
}

// records makes log records from numbers.
func records(from, to int) [][]byte {
	var all [][]byte
	for i := from; i <= to; i++ {
		all = append(all, fmt.Appendf(nil, "record %d", i))
	}
	return all
}

// checkRecords fails the test unless the records are those from 1 to n, in order.
func (s *stage) checkRecords(got []string, n int) {
	s.Helper()
	var want []string
	for _, r := range records(1, n) {
		want = append(want, string(r))
	}
	if !slices.Equal(got, want) {
		s.Fatalf("the log has %d records %.200q, not %d in order", len(got), got, n)
	}
}

func followTask(s *stage) {
	s.submit(task("t"))
	d := s.takeOne("t")
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long, Log: records(1, 3)})
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long, Log: records(4, 4)})
	retry := ending(d, queue.EndRetry)
	retry.Log = records(5, 6)
	s.settle(queue.Held, retry)
	done := ending(s.takeOne("t"), queue.EndDone)
	done.Log = records(7, 8)
	s.settle(queue.Held, done)
	for range 2 { // as often as one likes
		events, _ := s.topic(queue.Topic{Task: "t"}, "", ended)
		s.checkRecords(logs(events), 8)
		if len(events) != 9 || events[8].State != queue.StateDone || events[8].Attempt != 2 || string(events[8].Data) != string(done.Outcome) {
			s.Fatalf("of %d events the last is %+v", len(events), events[len(events)-1])
		}
		for _, e := range events {
			if e.ID != "t" {
				s.Errorf("in the topic of t is %+v", e)
			}
		}
	}
}

func followCursor(s *stage) {
	s.submit(task("t"))
	d := s.takeOne("t")
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long, Log: records(1, 3)})
	first, cursor := s.topic(queue.Topic{Task: "t"}, "", atLeast(3))
	events, same, err := s.b.Follow(s.ctx, s.queue, queue.Topic{Task: "t"}, cursor, 0)
	s.must(err)
	if len(events) != 0 {
		s.Fatalf("after the last event come %+v", events)
	}
	end := ending(d, queue.EndDone)
	end.Log = records(4, 5)
	s.settle(queue.Held, end)
	rest, last := s.topic(queue.Topic{Task: "t"}, same, ended)
	s.checkRecords(logs(append(first, rest...)), 5)
	if again, _ := s.topic(queue.Topic{Task: "t"}, cursor, ended); len(again) != 3 {
		s.Errorf("from the same cursor come %d events, not 3", len(again))
	}
	events, _, err = s.b.Follow(s.ctx, s.queue, queue.Topic{Task: "t"}, last, 0)
	s.must(err)
	if len(events) != 0 {
		s.Errorf("after the end come %+v", events)
	}
}

// followed is what a Follow in another goroutine gave.
type followed struct {
	events []queue.Event
	err    error
}

// following starts a Follow by the second client.
func (s *stage) following(t queue.Topic, from queue.Cursor) <-chan followed {
	result := make(chan followed, 1)
	go func() {
		events, _, err := s.b.Follow(s.ctx, s.queue, t, from, long)
		result <- followed{events, err}
	}()
	return result
}

func followWaitsForLog(s *stage) {
	s.submit(task("t"))
	d := s.takeOne("t")
	result := s.following(queue.Topic{Task: "t"}, "")
	s.pause()
	s.renew(queue.Held, queue.Beat{Lease: lease(d), For: long, Log: records(1, 1)})
	got := <-result
	s.must(got.err)
	s.checkRecords(logs(got.events), 1)
}

func followWaitsForEnd(s *stage) {
	t := task("t")
	t.Client = "c"
	s.submit(t)
	ofTask, ofClient := s.following(queue.Topic{Task: "t"}, ""), s.following(queue.Topic{Client: "c"}, "")
	d := s.takeOne("t")
	s.pause()
	s.finish(queue.EndDone, d)
	for _, result := range []<-chan followed{ofTask, ofClient} {
		got := <-result
		s.must(got.err)
		if !ended(got.events) || got.events[0].ID != "t" || got.events[0].State != queue.StateDone {
			s.Errorf("who waits for the end is told %+v", got.events)
		}
	}
}

func followUnknown(s *stage) {
	check := func(id string) {
		s.Helper()
		events, _, err := s.a.Follow(s.ctx, s.queue, queue.Topic{Task: id}, "", long)
		s.must(err)
		if len(events) != 1 || events[0].Kind != queue.EventEnd || events[0].ID != id || events[0].State != queue.StateUnknown {
			s.Errorf("of a task that is not known come %+v", events)
		}
	}
	check("never-there")
	t := task("forgotten")
	t.Retention = 0
	s.submit(t)
	s.finish(queue.EndDone, s.takeOne("forgotten"))
	check("forgotten")
}

func followClient(s *stage) {
	tasks := plain("t", 20)
	for i := range tasks {
		tasks[i].Client = fmt.Sprint("c", i%2)
	}
	s.submit(tasks...)
	for _, d := range s.take(20) {
		end := ending(d, queue.EndDone)
		end.Log = records(1, 1)
		s.settle(queue.Held, end)
	}
	for c := range 2 {
		told := s.told(fmt.Sprint("c", c), 10)
		if len(told) != 10 {
			s.Errorf("client %d is told of %d tasks", c, len(told))
		}
		for i, e := range told {
			if want := fmt.Sprint("t", 2*i+c+1); e.ID != want {
				s.Errorf("client %d is told of %s, not of %s", c, e.ID, want)
			}
		}
	}
}

func followNewest(s *stage) {
	finish := func(id string) {
		t := task(id)
		t.Client = "c"
		s.submit(t)
		s.finish(queue.EndDone, s.takeOne(id))
	}
	newest := func() queue.Cursor {
		s.Helper()
		events, next, err := s.a.Follow(s.ctx, s.queue, queue.Topic{Client: "c"}, queue.Newest, long)
		s.must(err)
		if len(events) != 0 {
			s.Fatalf("after the newest come %+v", events)
		}
		return next
	}
	empty := newest()
	finish("t1")
	after1 := newest()
	finish("t2")
	for _, c := range []struct {
		from queue.Cursor
		want string
		n    int
	}{{empty, "t1", 2}, {after1, "t2", 1}, {"", "t1", 2}} {
		events, _ := s.topic(queue.Topic{Client: "c"}, c.from, atLeast(c.n))
		if len(events) != c.n || events[0].ID != c.want {
			s.Errorf("from cursor %q come %+v", c.from, events)
		}
	}
}

func followWaits(s *stage) {
	s.submit(task("t"))
	for _, t := range []queue.Topic{{}, {Client: "c"}, {Task: "t"}} {
		for _, wait := range []time.Duration{0, 30 * time.Millisecond} {
			events, next, err := s.a.Follow(s.ctx, s.queue, t, "", wait)
			s.must(err)
			if len(events) != 0 {
				s.Errorf("topic %+v gives %+v", t, events)
			}
			_, _, err = s.a.Follow(s.ctx, s.queue, t, next, 0)
			s.must(err)
		}
	}
}

func followCanceled(s *stage) {
	s.submit(task("t"))
	for _, t := range []queue.Topic{{}, {Client: "c"}, {Task: "t"}} {
		ctx, cancel := context.WithTimeout(s.ctx, 30*time.Millisecond)
		_, _, err := s.a.Follow(ctx, s.queue, t, "", long)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("Follow whose context ends gives %v", err)
		}
		s.namesQueue(err)
	}
}

// followMany follows a client's topic while many write to it, in several ways.
func followMany(s *stage) {
	const writers, each = 4, 100
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			client := s.Clients[w%2]
			for i := range each {
				t := task(fmt.Sprintf("t%d-%d", w, i))
				t.Client, t.Group = "c", fmt.Sprint(w)
				if _, err := client.Submit(s.ctx, s.queue, []queue.Task{t}); err != nil {
					s.Errorf("Submit: %v", err)
				}
				ds, err := client.Take(s.ctx, s.queue, queue.TakeRequest{Worker: "w", Max: 1, Lease: long, Wait: long})
				if err != nil || len(ds) != 1 {
					s.Errorf("Take: %v, %v", ids(ds), err)
					return
				}
				if _, err := client.Settle(s.ctx, s.queue, []queue.Settlement{ending(ds[0], queue.EndDone)}); err != nil {
					s.Errorf("Settle: %v", err)
				}
			}
		})
	}
	events, _ := s.topic(queue.Topic{Client: "c"}, "", atLeast(writers*each))
	wait.Wait()
	seen := map[string]int{}
	for _, e := range events {
		seen[e.ID]++
	}
	if len(seen) != writers*each || len(events) != writers*each {
		s.Errorf("%d events tell of %d of %d tasks", len(events), len(seen), writers*each)
	}
	again, _ := s.topic(queue.Topic{Client: "c"}, "", atLeast(writers*each))
	for i := range again {
		if again[i].ID != events[i].ID {
			s.Fatalf("event %d is of %s for one who reads later, and was of %s", i, again[i].ID, events[i].ID)
		}
	}
}

func followLongLog(s *stage) {
	const beats, each = 50, 20
	s.submit(task("t"))
	d := s.takeOne("t")
	done := make(chan error, 1)
	go func() {
		for i := range beats {
			beat := queue.Beat{Lease: lease(d), For: long, Log: records(i*each+1, (i+1)*each)}
			if _, err := s.b.Renew(s.ctx, s.queue, "w2", []queue.Beat{beat}); err != nil {
				done <- err
				return
			}
		}
		_, err := s.b.Settle(s.ctx, s.queue, []queue.Settlement{ending(d, queue.EndDone)})
		done <- err
	}()
	events, _ := s.topic(queue.Topic{Task: "t"}, "", ended)
	s.must(<-done)
	s.checkRecords(logs(events), beats*each)
}

func followBoth(s *stage) {
	t := task("t")
	t.Client = "c"
	s.submit(t)
	var results []<-chan followed
	for range 5 {
		results = append(results, s.following(queue.Topic{Task: "t"}, ""), s.following(queue.Topic{Client: "c"}, ""))
	}
	s.finish(queue.EndDone, s.takeOne("t"))
	for _, result := range results {
		got := <-result
		s.must(got.err)
		if len(got.events) != 1 {
			s.Errorf("a follower got %+v", got.events)
		}
	}
}

func followTenThousand(s *stage) {
	const events, batch = 10_000, 1000
	for i := range events / batch {
		tasks := plain(fmt.Sprint("t", i, "-"), batch)
		for k := range tasks {
			tasks[k].Client, tasks[k].Retention = "c", 0
		}
		s.submit(tasks...)
		var ends []queue.Settlement
		for _, d := range s.take(batch) {
			ends = append(ends, ending(d, queue.EndDone))
		}
		_, err := s.b.Settle(s.ctx, s.queue, ends)
		s.must(err)
	}
	got, _ := s.topic(queue.Topic{Client: "c"}, "", atLeast(events))
	seen := map[string]bool{}
	for _, e := range got {
		seen[e.ID] = true
	}
	if len(got) != events || len(seen) != events {
		s.Errorf("%d events tell of %d of %d tasks", len(got), len(seen), events)
	}
}

func followQueue(s *stage) {
	s.submit(task("runs"), task("waits"))
	d := s.takeOne("runs")
	_, now, err := s.a.Follow(s.ctx, s.queue, queue.Topic{}, queue.Newest, 0)
	s.must(err)
	result := s.following(queue.Topic{}, now)
	s.change(2, queue.Change{Verb: queue.Cancel, IDs: []string{"runs", "waits"}})
	got := <-result
	s.must(got.err)
	if len(got.events) != 1 || got.events[0].Kind != queue.EventCancel || got.events[0].ID != "runs" {
		s.Errorf("to all workers is said %+v", got.events)
	}
	s.finish(queue.EndCanceled, d)
}
