package memq_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
)

// TestTakeThatGivesUpLeavesNothingBehind ends the context of a Take that waits when a
// task comes: it has the task, or the task still waits, but never is it leased to
// somebody who was told of an error.
func TestTakeThatGivesUpLeavesNothingBehind(t *testing.T) {
	inBubble(t, func(d *desk) {
		type result struct {
			got []queue.Delivery
			err error
		}
		served := 0
		for i, id := range names("t", 200) {
			ctx, cancel := context.WithCancel(d.ctx)
			results := make(chan result)
			go func() {
				got, err := d.broker.Take(ctx, "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: time.Hour})
				results <- result{got, err}
			}()
			d.wait(time.Second) // until it waits
			if i%2 == 0 {
				cancel()
				d.submit(queue.Task{ID: id})
			} else {
				d.submit(queue.Task{ID: id})
				cancel()
			}
			r := <-results
			if r.err == nil && len(r.got) == 1 {
				served++
				continue
			}
			if !errors.Is(r.err, context.Canceled) || len(r.got) != 0 {
				t.Fatalf("Take gives %v, %v", r.got, r.err)
			}
			if s := d.state(id); s.State != queue.StateWaiting {
				t.Fatalf("nobody has %s, which is in state %d", id, s.State)
			}
			d.take(time.Minute)
		}
		t.Logf("%d of 200 were served", served)
	})
}
