package natsq_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/natsq"
)

// passThrough has tasks submitted, taken, settled and heard of, n altogether, in batches.
func passThrough(t testing.TB, b queue.Broker, name string, n, batch int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, cursor, err := b.Follow(ctx, name, queue.Topic{Client: "c"}, queue.Newest, 0)
	must(t, err)
	var wait sync.WaitGroup
	const submitters, workers = 2, 2
	body := make([]byte, 64)
	for s := range submitters {
		wait.Go(func() {
			tasks := make([]queue.Task, batch)
			for i := 0; i < n/submitters; i += batch {
				for k := range tasks {
					tasks[k] = queue.Task{ID: fmt.Sprintf("task-%d-%012d", s, i+k), Body: body, Client: "c", Random: true}
				}
				if _, err := b.Submit(ctx, name, tasks[:min(batch, n/submitters-i)]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range workers {
		wait.Go(func() { workOff(ctx, t, b, name, fmt.Sprint("w", w), batch) })
	}
	seen := 0
	for seen < n/submitters*submitters {
		events, next, err := b.Follow(ctx, name, queue.Topic{Client: "c"}, cursor, time.Minute)
		if err != nil || len(events) == 0 {
			t.Errorf("after %d events: %v", seen, err)
			break
		}
		seen, cursor = seen+len(events), next
	}
	cancel()
	wait.Wait()
}

// workOff finishes tasks until ctx ends.
func workOff(ctx context.Context, t testing.TB, b queue.Broker, name, worker string, batch int) {
	for {
		r := queue.TakeRequest{Worker: worker, Max: batch, Lease: time.Minute, Wait: time.Minute}
		ds, err := b.Take(ctx, name, r)
		if err != nil {
			return
		}
		ends := make([]queue.Settlement, len(ds))
		for i, d := range ds {
			ends[i] = queue.Settlement{
				Lease: queue.Lease{ID: d.ID, Token: d.Token}, Worker: worker, Ending: queue.EndDone, Outcome: d.Body,
			}
		}
		if _, err := b.Settle(context.Background(), name, ends); err != nil {
			t.Error(err)
			return
		}
	}
}

// End to end, an operation being one task: go test -bench . -run '^$'.
func BenchmarkTasks(b *testing.B) {
	for _, c := range []struct {
		name   string
		config natsq.Config
	}{{"default", natsq.Config{}}, {"sync", natsq.Config{SyncAlways: true}}} {
		for _, batch := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/batch%d", c.name, batch), func(b *testing.B) {
				broker := embedded(b, c.config)
				b.ResetTimer()
				passThrough(b, broker, "q", max(2, b.N), batch)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
			})
		}
	}
}

// BenchmarkPickUp is the time from a Submit to the Take that waits for it.
func BenchmarkPickUp(b *testing.B) {
	broker := embedded(b, natsq.Config{})
	ctx := context.Background()
	for i := range b.N {
		done := make(chan error, 1)
		go func() {
			ds, err := broker.Take(ctx, "q", queue.TakeRequest{Worker: "w", Max: 1, Lease: time.Minute, Wait: time.Minute})
			if err == nil && len(ds) != 1 {
				err = fmt.Errorf("%d deliveries", len(ds))
			}
			done <- err
		}()
		runtime.Gosched()
		if _, err := broker.Submit(ctx, "q", []queue.Task{{ID: fmt.Sprint(i), Random: true}}); err != nil {
			b.Fatal(err)
		}
		must(b, <-done)
	}
}
