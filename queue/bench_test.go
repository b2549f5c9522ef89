package queue_test

import (
	"syscall"
	"testing"

	"github.com/afar-go/afar/queue"
)

// BenchmarkMap is tasks end to end in one process: what package queue costs beside a broker.
func BenchmarkMap(b *testing.B) {
	q, work := open(b)
	work(queue.WorkConfig{Concurrency: 8})
	in := func(yield func(int) bool) {
		for i := range b.N {
			if !yield(i) {
				return
			}
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime(b)
	for _, err := range double.Map(b.Context(), q, in) {
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

func processorTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
