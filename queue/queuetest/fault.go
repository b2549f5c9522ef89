package queuetest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
)

// A fault is something that is done to a store while it is used.
type fault struct {
	name  string
	field string // of Backend
	of    func(b *Backend) func()
	// durable says that only a Durable store survives it.
	durable bool
}

var faults = []fault{
	{name: "DroppedConnections", field: "DropConnections", of: func(b *Backend) func() { return b.DropConnections }},
	{name: "Restart", field: "Restart", of: func(b *Backend) func() { return b.Restart }},
	{name: "Kill", field: "Kill", of: func(b *Backend) func() { return b.Kill }, durable: true},
}

// hurtAll shows what survives the faults, each in a store of its own.
func hurtAll(t *testing.T, open func(t *testing.T) *Backend) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			b := open(t)
			hurt := f.of(b)
			b.need(t, f.field, hurt != nil)
			if f.durable && !b.Durable {
				t.Skip("the store is not Durable")
			}
			t.Run("LosesNothing", func(t *testing.T) { survive(newStage(t, b), hurt) })
			t.Run("EndsNoWait", func(t *testing.T) { keepWaiting(newStage(t, b), hurt) })
			t.Run("Storm", func(t *testing.T) { hurtStorm(t, b, f.field, hurt) })
		})
	}
	t.Run("SlowConnections", func(t *testing.T) {
		b := open(t)
		b.need(t, "Slow", b.Slow != nil)
		b.Slow(2 * time.Millisecond)
		defer b.Slow(0)
		s := newStorm(t, b)
		s.each = 60
		s.rage(false)
	})
}

// need skips a test of what the backend cannot do, unless it must.
func (b *Backend) need(t *testing.T, field string, there bool) {
	t.Helper()
	switch {
	case there:
	case b.Durable:
		t.Fatalf("the backend is Durable, and has no %s", field)
	default:
		t.Skipf("the backend has no %s", field)
	}
}

// hurtStorm hurts a store while it is used: connections all the time, a server twice.
func hurtStorm(t *testing.T, b *Backend, field string, hurt func()) {
	s := newStorm(t, b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if field == "DropConnections" {
			s.hurtOften(hurt)
			return
		}
		for _, third := range s.thirds {
			select {
			case <-third:
				hurt()
			case <-s.ctx.Done():
			}
		}
	}()
	s.rage(false)
	<-done
}

// hurtOften hurts a store every few milliseconds, and lets it recover now and then.
func (s *storm) hurtOften(hurt func()) {
	for i := 1; ; i++ {
		gap := 5 * time.Millisecond
		if i%10 == 0 {
			gap = 100 * time.Millisecond
		}
		select {
		case <-s.over:
			return
		case <-s.ctx.Done():
			return
		case <-time.After(gap):
			hurt()
		}
	}
}

// everything is what a queue has of each kind, to be found again.
type everything struct {
	blob           []byte
	dead, done     queue.Settlement
	runs, unwanted queue.Delivery
	cursor         queue.Cursor // after the end of the task that is done
}

// furnish gives a queue something of everything.
func (s *stage) furnish() (e everything) {
	s.Helper()
	e.blob = noise(300 << 10)
	s.put(e.blob, long)
	e.dead = s.bury(own("dead"), 2)
	s.submit(own("done"))
	e.done = ending(s.takeOne("done"), queue.EndDone)
	e.done.Log = records(1, 3)
	s.settle(queue.Held, e.done)
	_, e.cursor = s.topic(queue.Topic{Client: "done"}, "", atLeast(1))
	s.submit(own("runs"))
	e.runs = s.takeOne("runs")
	s.renew(queue.Held, queue.Beat{Lease: lease(e.runs), For: long, Log: records(1, 2), Progress: [2]int64{1, 2}})
	s.submit(own("unwanted"))
	e.unwanted = s.takeOne("unwanted")
	s.change(1, cancelOf("unwanted"))
	late, needs := own("late"), own("needs")
	late.Delay, needs.Group, needs.Blobs = long, "needs", []string{hashOf(e.blob)}
	s.submit(late, own("first"), needs)
	return e
}

// survive hurts a store that has something of everything.
func survive(s *stage, hurt func()) {
	e := s.furnish()
	hurt()
	if st := s.stats(); st.Waiting != 2 || st.Delayed != 1 || st.Running != 2 || st.Dead != 1 || st.Done != 1 {
		s.Errorf("the stats are %+v", *st)
	}
	s.renew(queue.Unwanted, queue.Beat{Lease: lease(e.unwanted), For: long})
	s.renew(queue.Held, queue.Beat{Lease: lease(e.runs), For: long, Log: records(3, 4)})
	s.settle(queue.Held, e.done)
	s.keepsWhatEnded(e)
	known, err := s.a.Submit(s.ctx, s.queue, []queue.Task{own("done"), own("dead"), own("late"), own("runs")})
	s.must(err)
	if !slices.Equal(known, []bool{true, true, true, true}) {
		s.Errorf("Submit of tasks that are there tells %v", known)
	}
	if got, err := s.get(hashOf(e.blob)); err != nil || !bytes.Equal(got, e.blob) {
		s.Errorf("a blob is read as %d bytes, %v", len(got), err)
	}
	for _, d := range s.take(2) {
		if d.Attempt != 1 || !bytes.Equal(d.Body, task(d.ID).Body) {
			s.Errorf("%s is delivered as %+v", d.ID, d)
		}
		s.finish(queue.EndDone, d)
	}
	s.finish(queue.EndDone, e.runs)
	events, _ := s.topic(queue.Topic{Task: "runs"}, "", ended)
	s.checkRecords(logs(events), 4)
	s.takeNone()
}

// keepsWhatEnded checks that outcomes and topics are what they were.
func (s *stage) keepsWhatEnded(e everything) {
	s.Helper()
	if got := s.state("done", queue.StateDone); !bytes.Equal(got.Outcome, e.done.Outcome) {
		s.Errorf("the outcome is %q", got.Outcome)
	}
	events, _ := s.topic(queue.Topic{Task: "done"}, "", ended)
	s.checkRecords(logs(events), 3)
	again, _, err := s.a.Follow(s.ctx, s.queue, queue.Topic{Client: "done"}, e.cursor, 0)
	s.must(err)
	if len(again) != 0 {
		s.Errorf("after the cursor come %+v", again)
	}
	if got := s.state("dead", queue.StateDead); len(got.Past) != 3 || !bytes.Equal(got.Outcome, e.dead.Outcome) || len(got.Body) == 0 {
		s.Errorf("of the dead task is left %+v", got)
	}
}

// keepWaiting hurts a store while others wait for it, who notice nothing but time. An
// answer that is lost may cost the lease that it told of, so leases are brief; and a
// task may be known because Submit was carried out twice.
func keepWaiting(s *stage, hurt func()) {
	for _, id := range []string{"t1", "t2", "t3"} {
		took := s.waitingFor(s.ctx, "waits", 2*brief)
		told := s.following(queue.Topic{Client: id}, "")
		hurt()
		_, err := s.a.Submit(s.ctx, s.queue, []queue.Task{own(id)})
		s.must(err)
		s.finish(queue.EndDone, s.gets(took, id))
		got := <-told
		s.must(got.err)
		if !ended(got.events) || got.events[0].ID != id {
			s.Errorf("the client is told %+v", got.events)
		}
		s.change(0, queue.Change{Verb: queue.Leave, Worker: "waits"})
	}
	data := noise(2 << 20)
	hurtWhilePut := io.MultiReader(bytes.NewReader(data[:1<<20]), &trigger{hurt: hurt}, bytes.NewReader(data[1<<20:]))
	err := s.a.Blobs(s.queue).Put(s.ctx, hashOf(data), int64(len(data)), hurtWhilePut, long)
	s.must(err)
	if got, err := s.get(hashOf(data)); err != nil || !bytes.Equal(got, data) {
		s.Errorf("a blob is read as %d bytes, %v", len(got), err)
	}
	s.change(0, queue.Change{Verb: queue.Pause})
	hurt()
	_, err = s.a.Submit(s.ctx, s.queue, []queue.Task{task("paused")})
	s.must(err)
	s.takeNone()
	if _, err := s.get(hashOf([]byte("nowhere"))); !errors.Is(err, queue.ErrNoBlob) {
		s.Errorf("Get of what is not there gives %v", err)
	}
}

// trigger is an empty reader that hurts somebody when it is read.
type trigger struct{ hurt func() }

func (t *trigger) Read([]byte) (int, error) {
	if t.hurt != nil {
		t.hurt()
		t.hurt = nil
	}
	return 0, io.EOF
}
