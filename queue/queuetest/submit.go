package queuetest

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/afar-go/afar/queue"
)

var submitStories = []story{
	{"SubmitBeforeAnyWorkerExists", submitFirst},
	{"SubmitKeepsEveryFieldOfATask", submitFields},
	{"SubmitStoresAnIDOnce", submitOnce},
	{"SubmitOfTheSameBatchTwice", submitBatchTwice},
	{"SubmitWithDuplicatesInOneBatch", submitDuplicates},
	{"SubmitOfNothing", submitNothing},
	{"SubmitOfAThousandTasks", submitThousand},
	{"SubmitOfTheLargestTasks", submitLargest},
	{"SubmitKeepsNoBytesOfTheCaller", submitCopies},
	{"SubmitKnowsAnIDUntilItsOutcomeIsForgotten", submitKnown},
	{"SubmitKnowsNoIDOfAnotherQueue", submitElsewhere},
	{"SubmitWithADelay", submitDelayed},
}

func submitFirst(s *stage) {
	s.submit(task("t"))
	if d := s.takeOne("t"); d.Attempt != 1 || d.Token == 0 || len(d.Past) != 0 {
		s.Errorf("the first delivery has attempt %d, token %d and %d attempts before", d.Attempt, d.Token, len(d.Past))
	}
	s.takeNone()
}

func submitFields(s *stage) {
	want := queue.Task{
		ID: "!t~1", Label: "größer, with spaces", Body: []byte{0, 1, '\n', 255}, Priority: queue.High, Group: "g", Client: "c",
		Random: true, Retention: 90 * time.Minute, Blobs: []string{hashOf([]byte("x"))},
	}
	s.submit(want)
	got := s.takeOne(want.ID).Task
	if got.Label != want.Label || !bytes.Equal(got.Body, want.Body) || got.Priority != want.Priority || got.Group != want.Group ||
		got.Client != want.Client || got.Retention != want.Retention || !slices.Equal(got.Blobs, want.Blobs) {
		s.Errorf("Take gives\n%+v, not\n%+v", got, want)
	}
}

func submitOnce(s *stage) {
	s.submit(task("t"))
	other := task("t")
	other.Body = []byte("another body")
	for _, client := range s.Clients {
		known, err := client.Submit(s.ctx, s.queue, []queue.Task{other})
		s.must(err)
		if !slices.Equal(known, []bool{true}) {
			s.Fatalf("a second Submit tells %v, not that the task is known", known)
		}
	}
	if d := s.takeOne("t"); !bytes.Equal(d.Body, task("t").Body) {
		s.Errorf("the second Submit changed the body to %q", d.Body)
	}
	s.takeNone()
}

func submitBatchTwice(s *stage) {
	tasks := plain("t", 100)
	s.submit(tasks[20:60]...)
	known, err := s.b.Submit(s.ctx, s.queue, tasks)
	s.must(err)
	for i, k := range known {
		if k != (i >= 20 && i < 60) {
			s.Errorf("of %s Submit says known: %v", tasks[i].ID, k)
		}
	}
	seen := map[string]bool{}
	for _, d := range s.take(100) {
		if seen[d.ID] {
			s.Errorf("%s is there twice", d.ID)
		}
		seen[d.ID] = true
	}
	s.takeNone()
}

func submitDuplicates(s *stage) {
	first, second := task("t"), task("t")
	second.Body = []byte("another body")
	known, err := s.a.Submit(s.ctx, s.queue, []queue.Task{first, task("u"), second, first})
	s.must(err)
	if !slices.Equal(known, []bool{false, false, true, true}) {
		s.Errorf("Submit of t, u, t, t tells %v", known)
	}
	for _, d := range s.take(2) {
		if !bytes.Equal(d.Body, task(d.ID).Body) {
			s.Errorf("%s has body %q", d.ID, d.Body)
		}
	}
	s.takeNone()
}

func submitNothing(s *stage) {
	known, err := s.a.Submit(s.ctx, s.queue, nil)
	s.must(err)
	if len(known) != 0 {
		s.Errorf("Submit of nothing tells %v", known)
	}
}

func submitThousand(s *stage) {
	tasks := plain("t", 1000)
	for i := range tasks {
		tasks[i].Random = i%2 == 0
	}
	s.submit(tasks...)
	deliveries := s.take(1000)
	ends := make([]queue.Settlement, len(deliveries))
	for i, d := range deliveries {
		if d.ID != tasks[i].ID {
			s.Fatalf("delivery %d is %s: the order is not that of the batch", i, d.ID)
		}
		ends[i] = ending(d, queue.EndDone)
	}
	holds, err := s.b.Settle(s.ctx, s.queue, ends)
	s.must(err)
	for i, h := range holds {
		if h != queue.Held {
			s.Fatalf("settlement %d of a large batch gives hold %d", i, h)
		}
	}
	if st := s.stats(); st.Done != 1000 || st.Waiting != 0 || st.Running != 0 {
		s.Errorf("after a thousand tasks the stats are %+v", *st)
	}
}

func submitLargest(s *stage) {
	tasks := plain("t", 8)
	for i := range tasks {
		tasks[i].Label = ""
		tasks[i].Body = bytes.Repeat([]byte{byte(i)}, maxTask-len(tasks[i].ID))
	}
	s.submit(tasks...)
	for i, d := range s.take(8) {
		if !bytes.Equal(d.Body, tasks[i].Body) {
			s.Fatalf("the body of %s was changed", d.ID)
		}
		end := ending(d, queue.EndDone)
		end.Outcome = d.Body[:maxTask-64]
		s.settle(queue.Held, end)
		if got := s.state(d.ID, queue.StateDone); !bytes.Equal(got.Outcome, end.Outcome) {
			s.Fatalf("the outcome of %s was changed", d.ID)
		}
	}
}

func submitCopies(s *stage) {
	t := task("t")
	s.submit(t)
	clear(t.Body)
	d := s.takeOne("t")
	if !bytes.Equal(d.Body, task("t").Body) {
		s.Fatalf("the caller's slice is what is stored: %q", d.Body)
	}
	clear(d.Body)
	end := ending(d, queue.EndRetry)
	s.settle(queue.Held, end)
	clear(end.Error)
	if d := s.takeOne("t"); !bytes.Equal(d.Body, task("t").Body) || d.Past[0].Error[0] == 0 {
		s.Errorf("slices that were given out are what is stored: %q, %q", d.Body, d.Past[0].Error)
	}
}

func submitKnown(s *stage) {
	known := func(want bool, when string) {
		s.Helper()
		got, err := s.a.Submit(s.ctx, s.queue, []queue.Task{task("t")})
		s.must(err)
		if got[0] != want {
			s.Fatalf("an ID %s is known: %v", when, got[0])
		}
	}
	known(false, "that is new")
	d := s.takeOne("t")
	known(true, "of a task that runs")
	s.finish(queue.EndDone, d)
	known(true, "of a task whose outcome is kept")
	s.change(1, queue.Change{Verb: queue.Drop, IDs: []string{"t"}})
	known(false, "of a task whose outcome is forgotten")
	again := s.takeOne("t")
	if again.Attempt != 1 || len(again.Past) != 0 {
		s.Errorf("the new task has attempt %d and %d attempts before", again.Attempt, len(again.Past))
	}
	s.finish(queue.EndDone, again)
}

func submitElsewhere(s *stage) {
	s.submit(task("t"))
	here := s.queue
	s.queue = queueName("Elsewhere")
	s.takeNone()
	s.submit(task("t"))
	s.finish(queue.EndDone, s.takeOne("t"))
	s.queue = here
	s.state("t", queue.StateWaiting)
}

func submitDelayed(s *stage) {
	late := task("late")
	late.Delay = brief
	later := task("later")
	later.Delay = long
	s.submit(later, late, task("now"))
	got := ids(append(s.take(1), s.take(1)...))
	slices.Sort(got)
	if !slices.Equal(got, []string{"late", "now"}) {
		s.Errorf("Take gives %v", got)
	}
	s.takeNone()
	s.state("later", queue.StateDelayed)
	if st := s.stats(); st.Delayed != 1 || st.Running != 2 || st.Waiting != 0 {
		s.Errorf("with two tasks that run and one that is delayed the stats are %s", fmt.Sprintf("%+v", *st))
	}
}
