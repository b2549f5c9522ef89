package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"time"
)

// offered is how many bytes are offered in each direction of what nobody reads.
const offered = 10_000_000_000

// unread is what bytes that nobody reads do to both processes, and to calls over the same link.
func unread() experiment {
	return experiment{
		figures: []figure{
			{
				name: "unread-caller", title: "10 GB offered each way and not read, growth of the caller's resident set, local:1",
				unit: "MiB", less: true, targets: []target{{bound: 10, atMost: true}},
			},
			{
				name: "unread-worker", title: "the same, growth of the worker's resident set",
				unit: "MiB", less: true, targets: []target{{bound: 10, atMost: true}},
			},
			{
				name: "unread-taken", title: "the same, how much of it the caller could send",
				unit: "MiB", less: true, targets: []target{{bound: 4, atMost: true}},
			},
			{
				name: "unread-latency", title: "the same, latency of serial calls over that link against the idle link's",
				unit: "×", less: true, targets: []target{{bound: 1.25, atMost: true}},
			},
			{
				name: "unread-p99", title: "the same, the 99th percentile of their latency against the idle link's",
				unit: "×", less: true,
			},
		},
		contenders: []contender{
			{nameAfar, strained(afarStrain)},
			{nameRaw, strained(rawStrain)},
			{"yamux, two streams", strained(yamuxStrain)},
		},
	}
}

// A strain is a link that carries calls, and over which something unread can be offered.
type strain struct {
	pid  int // of the far side
	call func(ctx context.Context) error
	// begin starts to offer bytes in both directions. It gives a function that says how many of this side's were taken
	// until now.
	begin func(ctx context.Context) (taken func() int64, err error)
	close func() error // ends the offering too
}

// strained measures a strain, a new one each round, because what a process has held once it may keep.
func strained(open func(ctx context.Context) (*strain, error)) opener {
	return func(_ context.Context, s *session) (*trial, error) {
		// The times have room from the start, lest they count as growth.
		times := make([]float64, 1<<18)
		clear(times)
		return &trial{measure: func(ctx context.Context) (values []float64, err error) {
			st, err := open(ctx)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, st.close()) }()
			return st.measure(ctx, s.span, times)
		}}, nil
	}
}

// measure gives the values of unread's figures.
func (st *strain) measure(ctx context.Context, span time.Duration, times []float64) ([]float64, error) {
	// What was used before and is free would be used again without being seen.
	debug.FreeOSMemory()
	idle, err := timeCalls(ctx, st.call, span, times)
	if err != nil {
		return nil, err
	}
	watch, err := watchResident(os.Getpid(), st.pid)
	if err != nil {
		return nil, err
	}
	defer watch.stop()
	taken, err := st.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := standstill(taken); err != nil {
		return nil, err
	}
	busy, err := timeCalls(ctx, st.call, span, times)
	if err != nil {
		return nil, err
	}
	growth := watch.stop()
	return []float64{
		growth[0], growth[1], float64(taken()) / mebibyte, busy.mean / idle.mean, busy.p99 / idle.p99,
	}, nil
}

// callTimes are how long calls took, in seconds.
type callTimes struct{ mean, p99 float64 }

// timeCalls calls for span, or until there is no room for more times.
func timeCalls(
	ctx context.Context, call func(context.Context) error, span time.Duration, room []float64,
) (callTimes, error) {
	times := room[:0]
	begin := time.Now()
	last := begin
	for len(times) == 0 || len(times) < len(room) && last.Sub(begin) < span {
		if err := call(ctx); err != nil {
			return callTimes{}, err
		}
		now := time.Now()
		times = append(times, now.Sub(last).Seconds())
		last = now
	}
	slices.Sort(times)
	return callTimes{
		mean: last.Sub(begin).Seconds() / float64(len(times)),
		p99:  times[len(times)*99/100],
	}, nil
}

// standstill waits until no more is taken. That must be soon, since most of what is offered must stay where it is.
func standstill(taken func() int64) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		before := taken()
		time.Sleep(20 * time.Millisecond)
		if n := taken(); n > 0 && n == before {
			return nil
		}
	}
	return fmt.Errorf("after %v, %d bytes that nobody reads were taken, and there is no end", patience, taken())
}

// offer writes blocks until all that is offered was taken, and calls each with the size of every one.
func offer(w io.Writer, each func(n int)) error {
	block := make([]byte, largeFlow.size)
	for sent := 0; sent < offered; {
		n, err := w.Write(block)
		if err != nil {
			return err
		}
		sent += n
		each(n)
	}
	return nil
}
