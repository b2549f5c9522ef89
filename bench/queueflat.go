package main

import (
	"context"
	"errors"
)

// queueFlat is what memory does while tasks pass.
func queueFlat() experiment {
	flat := []target{{bound: 1.1, atMost: true}}
	return experiment{
		figures: []figure{
			{name: "queue-flat", title: "what Redis keeps (used_memory), the second half of 1M tasks over the first", unit: "×", less: true, targets: flat},
			{name: "queue-flat-redis", title: "the same, its resident set", unit: "×", less: true, targets: flat},
			{name: "queue-flat-worker", title: "the same, the worker's resident set", unit: "×", less: true, targets: flat},
		},
		contenders: []contender{
			{nameAfar, flatness(redisqCrew(false), func(s *session) int { return s.flatTasks })},
			{nameRaw, flatness(rawCrew(false), func(s *session) int { return s.flatTasks })},
		},
	}
}

// queueRetained is what it costs to keep a result.
func queueRetained() experiment {
	return experiment{
		figures: []figure{{name: "queue-retained", title: "what Redis keeps (used_memory) of a task of 64 B that is done, with its result; raw is SET with an expiry", unit: "B", less: true}},
		contenders: []contender{
			{nameAfar, retained(redisqCrew(false))},
			{nameRaw, retained(rawKeeper)},
			{nameAsynq, retained(asynqCrew(false, asynqEager))},
		},
	}
}

// flatSamples is how often memory is looked at in one round.
const flatSamples = 40

// flatness looks at memory between portions of the tasks. A fresh worker has to grow first: the first tenth counts
// for nothing.
func flatness(open muster, count func(*session) int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		c, err := open(ctx, s)
		if err != nil {
			return nil, err
		}
		portion := max(1, count(s)/flatSamples)
		return &trial{
			measure: func(ctx context.Context) ([]float64, error) {
				samples := make([][]float64, 3)
				for range flatSamples {
					if err := c.pass(ctx, portion); err != nil {
						return nil, err
					}
					now, err := c.memory(ctx)
					if err != nil {
						return nil, err
					}
					for i, v := range now {
						samples[i] = append(samples[i], v)
					}
				}
				var values []float64
				for _, s := range samples {
					values = append(values, secondHalf(s))
				}
				return values, nil
			},
			close: c.close,
		}, nil
	}
}

// secondHalf is the median of the second half of samples over that of the first, without its first fifth.
func secondHalf(samples []float64) float64 {
	half := len(samples) / 2
	before, _ := median(samples[half/5 : half])
	after, _ := median(samples[half:])
	return after / before
}

// memory is what Redis keeps, what it has, and what the worker has.
func (c *crew) memory(ctx context.Context) ([]float64, error) {
	used, err := c.redis.used(ctx)
	broker, err2 := residentBytes(c.redis.pid)
	worker, err3 := residentBytes(c.worker)
	return []float64{used, float64(broker), float64(worker)}, errors.Join(err, err2, err3)
}

// retained measures what is left when tasks are done.
func retained(open muster) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		c, err := open(ctx, s)
		if err != nil {
			return nil, err
		}
		n := queueSlowItems(s)
		return &trial{
			measure: func(ctx context.Context) ([]float64, error) {
				client := c.redis.client
				if err := client.Do(ctx, client.B().Flushall().Sync().Build()).Error(); err != nil {
					return nil, err
				}
				// The queue's own things come to be.
				if err := c.keep(ctx, 1); err != nil {
					return nil, err
				}
				before, err := c.redis.used(ctx)
				if err != nil {
					return nil, err
				}
				if err := c.keep(ctx, n); err != nil {
					return nil, err
				}
				after, err := c.redis.used(ctx)
				return one((after-before)/float64(n), err)
			},
			close: c.close,
		}, nil
	}
}
