package memq_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
)

// desk is a queue whose time passes only when everybody waits.
type desk struct {
	*testing.T
	ctx    context.Context
	broker *memq.Broker
	began  time.Time
}

// inBubble runs a test in a synctest bubble.
func inBubble(t *testing.T, test func(d *desk)) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{T: t, ctx: t.Context(), broker: memq.New(), began: time.Now()}
		defer func() { _ = d.broker.Close() }()
		test(d)
	})
}

// at checks how much time has passed since the test began.
func (d *desk) at(want time.Duration) {
	d.Helper()
	if got := time.Since(d.began); got != want {
		d.Fatalf("this happened after %v, not %v", got, want)
	}
}

func (d *desk) submit(tasks ...queue.Task) {
	d.Helper()
	if _, err := d.broker.Submit(d.ctx, "q", tasks); err != nil {
		d.Fatal(err)
	}
}

// take waits for a delivery for an hour, with a lease.
func (d *desk) take(lease time.Duration) queue.Delivery {
	d.Helper()
	got, err := d.broker.Take(d.ctx, "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: lease, Wait: time.Hour})
	if err != nil || len(got) != 1 {
		d.Fatalf("Take gives %v, %v", got, err)
	}
	return got[0]
}

func (d *desk) settle(want queue.Hold, l queue.Delivery, e queue.Ending, delay time.Duration) {
	d.Helper()
	holds, err := d.broker.Settle(d.ctx, "q", []queue.Settlement{{
		Lease: queue.Lease{ID: l.ID, Token: l.Token}, Worker: "w", Ending: e, Delay: delay, Outcome: []byte("out"),
	}})
	if err != nil || holds[0] != want {
		d.Fatalf("Settle gives %v, %v, not %d", holds, err, want)
	}
}

func (d *desk) renew(want queue.Hold, l queue.Delivery, lease time.Duration) {
	d.Helper()
	holds, err := d.broker.Renew(d.ctx, "q", "w", []queue.Beat{{Lease: queue.Lease{ID: l.ID, Token: l.Token}, For: lease}})
	if err != nil || holds[0] != want {
		d.Fatalf("Renew gives %v, %v, not %d", holds, err, want)
	}
}

func (d *desk) state(id string) queue.TaskState {
	d.Helper()
	r, err := d.broker.Inspect(d.ctx, "q", queue.Query{IDs: []string{id}})
	if err != nil {
		d.Fatal(err)
	}
	return r.Tasks[0]
}

func (d *desk) stats() *queue.Stats {
	d.Helper()
	r, err := d.broker.Inspect(d.ctx, "q", queue.Query{Stats: true})
	if err != nil {
		d.Fatal(err)
	}
	return r.Stats
}

// wait lets time pass.
func (d *desk) wait(t time.Duration) { <-time.After(t) }

func TestDelayEndsExactly(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.submit(queue.Task{ID: "late", Delay: time.Second}, queue.Task{ID: "later", Delay: 90 * time.Minute}, queue.Task{ID: "soon", Delay: time.Millisecond})
		for _, want := range []struct {
			id string
			at time.Duration
		}{{"soon", time.Millisecond}, {"late", time.Second}} {
			if got := d.take(3 * time.Hour); got.ID != want.id {
				t.Fatalf("Take gives %s, not %s", got.ID, want.id)
			}
			d.at(want.at)
		}
		if got, err := d.broker.Take(d.ctx, "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: time.Hour}); err != nil || len(got) != 0 {
			t.Fatalf("Take gives %v, %v", got, err)
		}
		d.at(time.Hour + time.Second)
		d.take(time.Minute)
		d.at(90 * time.Minute)
	})
}

func TestLeaseEndsExactly(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.submit(queue.Task{ID: "t"})
		first := d.take(10 * time.Second)
		d.wait(9 * time.Second)
		d.renew(queue.Held, first, 10*time.Second)
		d.wait(10*time.Second - 1)
		d.renew(queue.Held, first, time.Second)
		second := d.take(time.Minute)
		d.at(20*time.Second - 1)
		if p := second.Past; len(p) != 1 || !p[0].Lost || !p[0].Ended.Equal(time.Now()) {
			t.Errorf("the attempts before are %+v, at %v", p, time.Now())
		}
		d.wait(time.Minute)
		d.renew(queue.Lost, second, time.Minute) // not even at the very moment
		d.settle(queue.Held, second, queue.EndDone, 0)
	})
}

func TestRetryComesBackExactly(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.submit(queue.Task{ID: "t", Retention: time.Hour})
		d.settle(queue.Held, d.take(time.Minute), queue.EndRetry, 7*time.Second)
		got := d.take(time.Minute)
		d.at(7 * time.Second)
		d.settle(queue.Held, got, queue.EndRelease, 3*time.Second)
		got = d.take(time.Minute)
		d.at(10 * time.Second)
		if got.Attempt != 2 {
			t.Errorf("it is attempt %d", got.Attempt)
		}
		d.wait(time.Second)
		d.settle(queue.Held, got, queue.EndDone, 0)
		s := d.state("t")
		if s.Submitted.Sub(d.began) != 0 || s.Started.Sub(d.began) != 10*time.Second || s.Ended.Sub(d.began) != 11*time.Second {
			t.Errorf("submitted %v, started %v, ended %v", s.Submitted, s.Started, s.Ended)
		}
	})
}

func TestRetentionEndsExactly(t *testing.T) {
	inBubble(t, func(d *desk) {
		for i := range 3 {
			d.submit(queue.Task{ID: fmt.Sprint("t", i), Retention: time.Duration(i+1) * time.Hour})
			d.settle(queue.Held, d.take(time.Minute), queue.EndDone, 0)
		}
		d.submit(queue.Task{ID: "dead", Retention: time.Hour})
		d.settle(queue.Held, d.take(time.Minute), queue.EndDead, 0)
		for hour := 1; hour <= 3; hour++ {
			d.wait(time.Hour - 1)
			if s := d.state(fmt.Sprint("t", hour-1)); s.State != queue.StateDone {
				t.Errorf("before %d hours it is in state %d", hour, s.State)
			}
			d.wait(1)
			if s := d.state(fmt.Sprint("t", hour-1)); s.State != queue.StateUnknown {
				t.Errorf("after %d hours it is in state %d", hour, s.State)
			}
		}
		if s := d.state("dead"); s.State != queue.StateDead {
			t.Errorf("the dead task is in state %d", s.State)
		}
	})
}

func TestFollowerOfAForgottenTaskIsTold(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.submit(queue.Task{ID: "t", Retention: time.Minute})
		d.settle(queue.Held, d.take(time.Minute), queue.EndDone, 0)
		_, next, err := d.broker.Follow(d.ctx, "q", queue.Topic{Task: "t"}, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		events, _, err := d.broker.Follow(d.ctx, "q", queue.Topic{Task: "t"}, next, time.Hour)
		d.at(time.Minute)
		if err != nil || len(events) != 1 || events[0].State != queue.StateUnknown {
			t.Errorf("Follow gives %+v, %v", events, err)
		}
	})
}

func TestTopicKeepsAnHour(t *testing.T) {
	inBubble(t, func(d *desk) {
		told := func(id string) int {
			events, _, err := d.broker.Follow(d.ctx, "q", queue.Topic{Client: id}, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			return len(events)
		}
		for i := range 3 {
			d.submit(queue.Task{ID: fmt.Sprint("t", i), Client: "c"})
			d.settle(queue.Held, d.take(time.Minute), queue.EndDone, 0)
			d.wait(20 * time.Minute)
		}
		for i, want := range []int{2, 1, 0} { // 60, 80, 100 minutes
			if got := told("c"); got != want {
				t.Errorf("of the ends %d are kept after %d minutes, not %d", got, 60+20*i, want)
			}
			d.wait(20 * time.Minute)
		}
		d.empty()
	})
}

// empty checks that a queue holds nothing but the workers that it has heard of.
func (d *desk) empty() {
	d.Helper()
	d.wait(time.Minute) // until they listen no more
	d.stats()
	for what, n := range d.broker.Size("q") {
		if n != 0 {
			d.Errorf("%d %s are left", n, what)
		}
	}
}

func TestWorkerListensForAWhile(t *testing.T) {
	inBubble(t, func(d *desk) {
		listens := func() bool { return len(d.stats().Workers) > 0 }
		if _, err := d.broker.Take(d.ctx, "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: time.Hour}); err != nil {
			t.Fatal(err)
		}
		for _, sign := range []func() error{
			func() error { return nil }, // its Take, which has just ended
			func() error { _, err := d.broker.Renew(d.ctx, "q", "w", nil); return err },
		} {
			if err := sign(); err != nil {
				t.Fatal(err)
			}
			d.wait(15*time.Second - 1)
			if !listens() {
				t.Error("it does not listen after 15 s")
			}
			d.wait(1)
			if listens() {
				t.Error("it listens for more than 15 s")
			}
		}
		go func() {
			r := queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: time.Hour}
			if _, err := d.broker.Take(d.ctx, "q", r); err != nil {
				t.Error(err)
			}
		}()
		d.wait(30 * time.Minute)
		if !listens() {
			t.Error("it does not listen while its Take waits")
		}
		if _, err := d.broker.Change(d.ctx, "q", queue.Change{Verb: queue.Leave, Worker: "w"}); err != nil {
			t.Error(err)
		}
		if listens() {
			t.Error("it listens after it has left")
		}
		d.wait(30 * time.Minute)
		synctest.Wait()
		if listens() {
			t.Error("a Take that ends after a worker has left brings it back")
		}
		d.empty()
	})
}

func TestOldestTaskHasWaited(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.submit(queue.Task{ID: "late", Delay: time.Minute})
		d.wait(time.Minute + 5*time.Second)
		d.submit(queue.Task{ID: "t"})
		d.wait(5 * time.Second)
		for _, want := range []time.Duration{10 * time.Second, 5 * time.Second, 0} {
			if got := d.stats().Oldest; got != want {
				t.Errorf("the oldest task has waited for %v, not %v", got, want)
			}
			if want > 0 {
				d.take(time.Minute)
			}
		}
	})
}

func TestBlobsAreKeptExactly(t *testing.T) {
	inBubble(t, func(d *desk) {
		data := []byte("blob")
		sum := sha256.Sum256(data)
		hash := hex.EncodeToString(sum[:])
		blobs := d.broker.Blobs("q")
		put := func(keep time.Duration) {
			t.Helper()
			if err := blobs.Put(d.ctx, hash, int64(len(data)), bytes.NewReader(data), keep); err != nil {
				t.Fatal(err)
			}
		}
		lasts := func(want time.Duration) {
			t.Helper()
			d.wait(want - 1)
			if _, err := blobs.Get(d.ctx, hash); err != nil {
				t.Errorf("before %v: %v", want, err)
			}
			d.wait(1)
			if _, err := blobs.Get(d.ctx, hash); !errors.Is(err, queue.ErrNoBlob) {
				t.Errorf("after %v: %v", want, err)
			}
		}
		put(time.Hour)
		lasts(time.Hour)
		put(time.Hour)
		put(time.Minute)
		if there, err := blobs.Keep(d.ctx, hash, 2*time.Hour); err != nil || !there {
			t.Errorf("Keep gives %v, %v", there, err)
		}
		lasts(2 * time.Hour)
		d.submit(queue.Task{ID: "t", Blobs: []string{hash}})
		put(time.Hour)
		d.wait(5 * time.Hour)
		d.settle(queue.Held, d.take(time.Minute), queue.EndDone, 0)
		lasts(time.Hour)
		d.empty()
	})
}

func TestDelaysWithoutEnd(t *testing.T) {
	inBubble(t, func(d *desk) {
		const never = 1<<63 - 1
		d.submit(queue.Task{ID: "never", Delay: never}, queue.Task{ID: "t", Retention: never})
		got := d.take(never)
		d.renew(queue.Held, got, never)
		d.settle(queue.Held, got, queue.EndDone, 0)
		d.wait(1000 * time.Hour)
		if s := d.state("t"); s.State != queue.StateDone {
			t.Errorf("an outcome that is kept for ever is in state %d", s.State)
		}
		if s := d.state("never"); s.State != queue.StateDelayed {
			t.Errorf("a task that is delayed for ever is in state %d", s.State)
		}
	})
}
