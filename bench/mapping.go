package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// mapping is a map of the identity over many ints with two workers, results in the inputs' order.
func mapping() experiment {
	return experiment{
		figures: []figure{{
			name: "map", title: "the identity mapped over 1M ints, in order, local:2", unit: "items/s",
			targets: []target{{bound: 2e6}, {over: nameImap256, bound: 1}},
		}},
		contenders: []contender{
			{nameAfar, afarMap},
			{nameRaw, rawMap},
			{nameImap1, pythonMap(pythonRequest{ordered: true, chunk: 1})},
			{nameImap256, pythonMap(pythonRequest{ordered: true, chunk: 256})},
		},
	}
}

// mappingUnordered is the same with results as they come.
func mappingUnordered() experiment {
	return experiment{
		figures: []figure{{
			name: "map-unordered", title: "the identity mapped over 1M ints, results as they come, local:2", unit: "items/s",
			targets: []target{{bound: 2e6}, {over: nameUnordered256, bound: 1}},
		}},
		contenders: []contender{
			{nameAfar, afarMapUnordered},
			{nameRaw, rawMap},
			{nameUnordered1, pythonMap(pythonRequest{chunk: 1})},
			{nameUnordered256, pythonMap(pythonRequest{chunk: 256})},
		},
	}
}

// upTo gives the integers below n, and stops early when ctx ends.
func upTo(ctx context.Context, n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if i%1024 == 0 && ctx.Err() != nil || !yield(i) {
				return
			}
		}
	}
}

// checkOrdered reads the results of mapping the identity over the integers below n. Each must be in its place, and
// all must come.
func checkOrdered(results iter.Seq2[int, error], n int) error {
	next := 0
	for v, err := range results {
		if err != nil {
			return err
		}
		if v != next {
			return fmt.Errorf("result %d is %d", next, v)
		}
		next++
	}
	if next != n {
		return fmt.Errorf("%d of %d results came", next, n)
	}
	return nil
}

// A tally checks that every integer below its size comes once, in whatever order.
type tally struct {
	seen  []bool
	count int
}

func (t *tally) add(v int) error {
	if v < 0 || v >= len(t.seen) || t.seen[v] {
		return fmt.Errorf("result %d came twice or is none", v)
	}
	t.seen[v] = true
	t.count++
	return nil
}

func (t *tally) complete() error {
	if t.count != len(t.seen) {
		return fmt.Errorf("%d of %d results came", t.count, len(t.seen))
	}
	return nil
}

// rawMap sends one half of the ints through each of two processes, in batches.
func rawMap(ctx context.Context, s *session) (*trial, error) {
	var links [2]*link
	for i := range links {
		l, err := openLink(ctx, "raw-echo")
		if err != nil {
			return nil, errors.Join(err, stopLinks(links[:i]))
		}
		links[i] = l
	}
	return &trial{
		measure: func(context.Context) ([]float64, error) {
			begin := time.Now()
			var pumps sync.WaitGroup
			var errs [2]error
			var total atomic.Int64
			half := s.mapItems / 2
			for i, l := range links {
				pumps.Go(func() {
					count := 0
					errs[i] = pump(l, i*half, (i+1)*half, func(int) { count++ })
					total.Add(int64(count))
				})
			}
			pumps.Wait()
			return one(float64(total.Load())/time.Since(begin).Seconds(), errors.Join(errs[:]...))
		},
		close: func() error { return stopLinks(links[:]) },
	}, nil
}

func stopLinks(links []*link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.stop())
	}
	return errors.Join(errs...)
}
