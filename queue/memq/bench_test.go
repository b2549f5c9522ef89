package memq_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
)

// batch is how many tasks go at a time in the benchmarks.
const batch = 256

// BenchmarkPipeline has a submitter, a taker and a settler, each a goroutine, and says
// how many tasks go through all three in a second.
func BenchmarkPipeline(b *testing.B) {
	for _, stored := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("stored=%d", stored), func(b *testing.B) { pipeline(b, stored) })
	}
}

// pipeline is measured with other tasks there, which are delayed.
func pipeline(b *testing.B, stored int) {
	broker := memq.New()
	defer func() { _ = broker.Close() }()
	ctx := b.Context()
	body := make([]byte, 100)
	store(b, broker, stored, body)
	ids := names("t", b.N)
	b.ReportAllocs()
	b.ResetTimer()
	ahead := make(chan struct{}, 32) // batches that were submitted and not yet taken
	go func() {
		for rest := ids; len(rest) > 0; rest = rest[min(batch, len(rest)):] {
			tasks := make([]queue.Task, 0, batch)
			for _, id := range rest[:min(batch, len(rest))] {
				tasks = append(tasks, queue.Task{ID: id, Body: body, Client: "c", Random: true})
			}
			ahead <- struct{}{}
			must(b, func() error { _, err := broker.Submit(ctx, "q", tasks); return err })
		}
	}()
	taken := make(chan []queue.Settlement, 16)
	go func() {
		defer close(taken)
		for n := 0; n < len(ids); {
			got, err := broker.Take(ctx, "q", queue.TakeRequest{Worker: "w", Max: batch, Lease: time.Minute, Wait: time.Minute})
			must(b, func() error { return err })
			ends := make([]queue.Settlement, len(got))
			for i, d := range got {
				ends[i] = queue.Settlement{Lease: queue.Lease{ID: d.ID, Token: d.Token}, Worker: "w", Ending: queue.EndDone, Outcome: body}
			}
			taken <- ends
			for before := n / batch; before < (n+len(got))/batch; before++ {
				<-ahead
			}
			n += len(got)
		}
	}()
	for ends := range taken {
		must(b, func() error { _, err := broker.Settle(ctx, "q", ends); return err })
	}
	b.ReportMetric(float64(len(ids))/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkSubmit, BenchmarkTake, BenchmarkRenew and BenchmarkSettle measure one
// operation each, in batches, by one goroutine.
func BenchmarkSubmit(b *testing.B) {
	broker := memq.New()
	defer func() { _ = broker.Close() }()
	each(b, func() { store(b, broker, b.N, make([]byte, 100)) })
}

func BenchmarkTake(b *testing.B) {
	broker := memq.New()
	defer func() { _ = broker.Close() }()
	waiting(b, broker, b.N)
	each(b, func() { takeAll(b, broker, b.N) })
}

func BenchmarkRenew(b *testing.B) {
	broker := memq.New()
	defer func() { _ = broker.Close() }()
	waiting(b, broker, b.N)
	deliveries := takeAll(b, broker, b.N)
	each(b, func() {
		for len(deliveries) > 0 {
			beats := make([]queue.Beat, 0, batch)
			for _, d := range deliveries[:min(batch, len(deliveries))] {
				beats = append(beats, queue.Beat{Lease: queue.Lease{ID: d.ID, Token: d.Token}, For: 2 * time.Hour})
			}
			deliveries = deliveries[len(beats):]
			must(b, func() error { _, err := broker.Renew(b.Context(), "q", "w", beats); return err })
		}
	})
}

func BenchmarkSettle(b *testing.B) {
	broker := memq.New()
	defer func() { _ = broker.Close() }()
	waiting(b, broker, b.N)
	deliveries := takeAll(b, broker, b.N)
	each(b, func() {
		for len(deliveries) > 0 {
			ends := make([]queue.Settlement, 0, batch)
			for _, d := range deliveries[:min(batch, len(deliveries))] {
				ends = append(ends, queue.Settlement{Lease: queue.Lease{ID: d.ID, Token: d.Token}, Worker: "w", Ending: queue.EndDone})
			}
			deliveries = deliveries[len(ends):]
			must(b, func() error { _, err := broker.Settle(b.Context(), "q", ends); return err })
		}
	})
}

// each reports how many tasks a second something deals with.
func each(b *testing.B, something func()) {
	b.ReportAllocs()
	b.ResetTimer()
	something()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// names makes n IDs.
func names(name string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(name, i)
	}
	return all
}

// store submits n tasks that are delayed.
func store(b *testing.B, broker *memq.Broker, n int, body []byte) {
	submit(b, broker, n, queue.Task{Body: body, Delay: time.Hour, Retention: time.Hour})
}

// waiting submits n tasks that wait.
func waiting(b *testing.B, broker *memq.Broker, n int) {
	submit(b, broker, n, queue.Task{Body: make([]byte, 100), Retention: time.Hour})
}

func submit(b *testing.B, broker *memq.Broker, n int, like queue.Task) {
	tasks := make([]queue.Task, 0, batch)
	for i := range n {
		like.ID = fmt.Sprint("stored", i)
		if tasks = append(tasks, like); len(tasks) == batch || i == n-1 {
			must(b, func() error { _, err := broker.Submit(context.Background(), "q", tasks); return err })
			tasks = tasks[:0]
		}
	}
}

// takeAll takes n tasks in batches.
func takeAll(b *testing.B, broker *memq.Broker, n int) []queue.Delivery {
	all := make([]queue.Delivery, 0, n)
	for len(all) < n {
		got, err := broker.Take(b.Context(), "q", queue.TakeRequest{Worker: "w", Max: batch, Lease: time.Hour})
		must(b, func() error { return err })
		all = append(all, got...)
	}
	return all
}

func must(b *testing.B, f func() error) {
	if err := f(); err != nil {
		b.Error(err)
	}
}
