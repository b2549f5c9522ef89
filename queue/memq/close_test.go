package memq_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
)

// TestCloseEndsEverything has somebody wait in every way there is.
func TestCloseEndsEverything(t *testing.T) {
	inBubble(t, func(d *desk) {
		d.submit(queue.Task{ID: "t", Delay: time.Hour})
		r := queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: 30 * time.Minute}
		waits := []func() error{
			func() error { _, err := d.broker.Take(d.ctx, "q", r); return err },
			func() error { _, err := d.broker.Take(d.ctx, "other", r); return err },
			func() error { _, _, err := d.broker.Follow(d.ctx, "q", queue.Topic{}, "", time.Hour); return err },
			func() error {
				_, _, err := d.broker.Follow(d.ctx, "q", queue.Topic{Client: "c"}, "", time.Hour)
				return err
			},
			func() error {
				_, _, err := d.broker.Follow(d.ctx, "q", queue.Topic{Task: "t"}, "", time.Hour)
				return err
			},
		}
		ends := make(chan error)
		for _, wait := range waits {
			go func() { ends <- wait() }()
		}
		synctest.Wait()
		for range 2 {
			if err := d.broker.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for range waits {
			if err := <-ends; !errors.Is(err, queue.ErrClosed) || !strings.Contains(err.Error(), `queue "`) {
				t.Errorf("who waits is told %v", err)
			}
		}
		d.at(0)
		checkClosed(d)
	})
}

// checkClosed calls every method of a closed broker.
func checkClosed(d *desk) {
	b := d.broker
	_, submit := b.Submit(d.ctx, "q", nil)
	_, take := b.Take(d.ctx, "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute})
	_, renew := b.Renew(d.ctx, "q", "w", nil)
	_, settle := b.Settle(d.ctx, "new", nil)
	_, _, follow := b.Follow(d.ctx, "q", queue.Topic{}, "", 0)
	_, inspect := b.Inspect(d.ctx, "q", queue.Query{Queues: true})
	_, change := b.Change(d.ctx, "q", queue.Change{Verb: queue.Pause})
	_, get := b.Blobs("q").Get(d.ctx, strings.Repeat("0", 64))
	put := b.Blobs("q").Put(d.ctx, strings.Repeat("0", 64), 0, strings.NewReader(""), 0)
	for i, err := range []error{submit, take, renew, settle, follow, inspect, change, get, put} {
		if !errors.Is(err, queue.ErrClosed) {
			d.Errorf("method %d of a closed broker gives %v", i, err)
		}
	}
}

// TestNothingIsLeftOver counts what a queue holds when all its tasks are forgotten.
func TestNothingIsLeftOver(t *testing.T) {
	inBubble(t, func(d *desk) {
		endings := []queue.Ending{queue.EndDone, queue.EndFailed, queue.EndCanceled, queue.EndRetry, queue.EndRelease, queue.EndDead}
		for i := range 600 {
			d.submit(queue.Task{
				ID: names("t", i+1)[i], Group: names("g", 50)[i%50], Priority: queue.Priority(i%3 - 1), Client: names("c", 7)[i%7],
				Retention: time.Duration(i%2) * time.Hour, Blobs: []string{strings.Repeat("0", 64)}, Delay: time.Duration(i%5) * time.Second,
			})
		}
		for i := range 500 {
			got := d.take(time.Minute)
			if i%7 != 0 {
				d.settle(queue.Held, got, endings[i%6], time.Duration(i%3)*time.Second)
			}
		}
		for _, verb := range []queue.Verb{queue.Drop, queue.Purge} {
			if _, err := d.broker.Change(d.ctx, "q", queue.Change{Verb: verb}); err != nil {
				t.Fatal(err)
			}
		}
		d.wait(5 * time.Minute) // the last leases end
		if _, err := d.broker.Change(d.ctx, "q", queue.Change{Verb: queue.Purge}); err != nil {
			t.Fatal(err)
		}
		d.wait(3 * time.Hour)
		d.empty()
	})
}

// TestQueuesAreThoseThatWereUsed looks at a queue, which does not make it one.
func TestQueuesAreThoseThatWereUsed(t *testing.T) {
	b := memq.New()
	defer func() { _ = b.Close() }()
	ctx := t.Context()
	if _, err := b.Inspect(ctx, "looked-at", queue.Query{Stats: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Submit(ctx, "used", []queue.Task{{ID: "t"}}); err != nil {
		t.Fatal(err)
	}
	r, err := b.Inspect(ctx, "", queue.Query{Queues: true})
	if err != nil || len(r.Queues) != 1 || r.Queues[0] != "used" {
		t.Errorf("Inspect reports %+v, %v", r, err)
	}
}
