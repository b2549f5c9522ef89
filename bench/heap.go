package main

import (
	"context"
	"errors"
	"runtime"
	"runtime/metrics"
	"slices"
)

// heapSamples is how many times the heap is looked at in one map.
const heapSamples = 40

// heap is what a long map holds in the caller.
func heap() experiment {
	return experiment{
		figures: []figure{
			{
				name: "heap", title: "live heap of the caller, the most during a map over 10M ints, local:2",
				unit: "MiB", less: true,
			},
			{
				name: "heap-growth", title: "the same, live heap near input 10M over that near input 1M", unit: "×", less: true,
				targets: []target{{bound: 1.25, atMost: true}},
			},
		},
		contenders: []contender{
			{nameAfar, afarHeap},
			{nameRaw, rawHeap},
		},
	}
}

// A heapWatch samples the live heap as inputs pass.
type heapWatch struct {
	every   int
	passed  int
	samples []float64 // MiB, after input every, 2·every, …
	metric  [1]metrics.Sample
}

func newHeapWatch(inputs int) *heapWatch {
	w := &heapWatch{every: max(1, inputs/heapSamples), samples: make([]float64, 0, heapSamples+1)}
	w.metric[0].Name = "/gc/heap/live:bytes"
	return w
}

// pass counts one result, and collects garbage and looks at what is left when a sample is due.
func (w *heapWatch) pass() {
	w.passed++
	if w.passed%w.every != 0 {
		return
	}
	runtime.GC()
	metrics.Read(w.metric[:])
	w.samples = append(w.samples, float64(w.metric[0].Value.Uint64())/(1<<20))
}

// figures gives the most, and the growth between the first tenth and the end. The medians of neighbouring samples
// stand for both, because how much is in flight at the instant of one sample is chance.
func (w *heapWatch) figures() ([]float64, error) {
	if len(w.samples) < heapSamples {
		return nil, errors.New("too few results came")
	}
	tenth := heapSamples / 10
	early, _ := median(w.samples[tenth-2 : tenth+1])
	// The very last sample is left out: the map is running empty there.
	late, _ := median(w.samples[heapSamples-4 : heapSamples-1])
	return []float64{slices.Max(w.samples), late / early}, nil
}

// rawHeap sends the ints through one bare process.
func rawHeap(ctx context.Context, s *session) (*trial, error) {
	return trialOver(ctx, "raw-echo", func(l *link) (*trial, error) {
		return &trial{measure: func(context.Context) ([]float64, error) {
			w := newHeapWatch(s.heapItems)
			if err := pump(l, 0, s.heapItems, func(int) { w.pass() }); err != nil {
				return nil, err
			}
			return w.figures()
		}}, nil
	})
}
