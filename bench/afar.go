package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/afar-go/afar"
)

// What the workers run.
var (
	echoText  = afar.Func(echoTextFunc)
	echoBlock = afar.Func(echoBlockFunc)
	identity  = afar.Func(identityFunc)
	doTask    = afar.Func(doTaskFunc)
)

func echoTextFunc(_ context.Context, s string) (string, error)  { return s, nil }
func echoBlockFunc(_ context.Context, b []byte) ([]byte, error) { return b, nil }
func identityFunc(_ context.Context, v int) (int, error)        { return v, nil }
func doTaskFunc(_ context.Context, t task) (uint64, error)      { return t.work(), nil }

// trialOn gives a trial on a new pool, which is closed with it.
func trialOn(ctx context.Context, c afar.Config, target string, make func(p *afar.Pool) *trial) (*trial, error) {
	p, err := c.Open(ctx, target)
	if err != nil {
		return nil, err
	}
	t := make(p)
	t.close = p.Close
	return t, nil
}

// afarCalls lets n goroutines call one worker that runs so many calls at a time; 0 is afar's default, one.
func afarCalls(n, concurrency int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		return trialOn(ctx, afar.Config{Concurrency: concurrency}, "local:1", func(p *afar.Pool) *trial {
			newCall := textEcho(echoText.On(p))
			return &trial{measure: func(ctx context.Context) ([]float64, error) {
				return one(callRate(ctx, n, s.span, newCall))
			}}
		})
	}
}

// afarBulk echoes blocks.
func afarBulk(ctx context.Context, s *session) (*trial, error) {
	return trialOn(ctx, afar.Config{}, "local:1", func(p *afar.Pool) *trial {
		echo := echoBlock.On(p)
		return &trial{measure: blockRate(s, func(ctx context.Context, block []byte) error {
			reply, err := echo(ctx, block)
			if err != nil {
				return err
			}
			if !bytes.Equal(reply, block) {
				return errWrongReply
			}
			return nil
		})}
	})
}

// afarMap maps in order.
func afarMap(ctx context.Context, s *session) (*trial, error) {
	return trialOn(ctx, afar.Config{}, "local:2", func(p *afar.Pool) *trial {
		return &trial{measure: func(ctx context.Context) ([]float64, error) {
			begin := time.Now()
			err := checkOrdered(identity.Map(ctx, p, upTo(ctx, s.mapItems)), s.mapItems)
			return one(float64(s.mapItems)/time.Since(begin).Seconds(), err)
		}}
	})
}

// afarMapUnordered takes results as they come.
func afarMapUnordered(ctx context.Context, s *session) (*trial, error) {
	return trialOn(ctx, afar.Config{}, "local:2", func(p *afar.Pool) *trial {
		return &trial{measure: func(ctx context.Context) ([]float64, error) {
			t := tally{seen: make([]bool, s.mapItems)}
			begin := time.Now()
			for o := range identity.MapUnordered(ctx, p, upTo(ctx, s.mapItems)) {
				if o.Err != nil {
					return nil, o.Err
				}
				if o.Index != o.Out || o.In != o.Out {
					return nil, fmt.Errorf("input %d, number %d, gave %d", o.In, o.Index, o.Out)
				}
				if err := t.add(o.Out); err != nil {
					return nil, err
				}
			}
			return one(float64(s.mapItems)/time.Since(begin).Seconds(), t.complete())
		}}
	})
}

// afarScaling maps the tasks over two workers.
func afarScaling(ctx context.Context, s *session) (*trial, error) {
	tasks, results := tasksOf(s.tasks)
	return trialOn(ctx, afar.Config{}, "local:2", func(p *afar.Pool) *trial {
		return &trial{measure: func(ctx context.Context) ([]float64, error) {
			begin := time.Now()
			done := 0
			for got, err := range doTask.Map(ctx, p, slices.Values(tasks)) {
				if err == nil && done == len(results) {
					err = errors.New("more results came than tasks went")
				}
				if err == nil {
					err = checkResult(done, got, results[done])
				}
				if err != nil {
					return nil, err
				}
				done++
			}
			if done != len(tasks) {
				return nil, fmt.Errorf("%d of %d results came", done, len(tasks))
			}
			return one(float64(done)/time.Since(begin).Seconds(), nil)
		}}
	})
}

// afarHeap watches the caller during a long map.
func afarHeap(ctx context.Context, s *session) (*trial, error) {
	return trialOn(ctx, afar.Config{}, "local:2", func(p *afar.Pool) *trial {
		return &trial{measure: func(ctx context.Context) ([]float64, error) {
			w := newHeapWatch(s.heapItems)
			watched := func(yield func(int, error) bool) {
				for v, err := range identity.Map(ctx, p, upTo(ctx, s.heapItems)) {
					w.pass()
					if !yield(v, err) {
						return
					}
				}
			}
			if err := checkOrdered(watched, s.heapItems); err != nil {
				return nil, err
			}
			return w.figures()
		}}
	})
}
