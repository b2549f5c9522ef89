package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const nameSerial = "the caller alone"

// scaling is tasks that only compute, spread over two workers.
func scaling() experiment {
	return experiment{
		figures: []figure{{
			name: "scaling", title: "tasks of 1 ms of SHA-256, local:2 against a loop in the caller", unit: "tasks/s",
			targets: []target{{over: nameSerial, bound: 1.9}},
		}},
		contenders: []contender{
			{nameAfar, afarScaling},
			{nameSerial, serialScaling},
			{nameRaw, rawScaling(0)},
			{"raw, a task at a time", rawScaling(1)},
		},
	}
}

// A task is a piece of work of known size. Its result depends on its seed.
type task struct {
	Seed   uint64
	Rounds int // how often to hash
}

// work does the task: a chain of hashes, which nothing can shorten.
func (t task) work() uint64 {
	var block [sha256.Size]byte
	binary.LittleEndian.PutUint64(block[:], t.Seed)
	for range t.Rounds {
		block = sha256.Sum256(block[:])
	}
	return binary.LittleEndian.Uint64(block[:])
}

// taskTime is how long a task should take one undisturbed core.
const taskTime = time.Millisecond

// calibrate finds the number of rounds that fill taskTime: by the fastest of many trials, because a disturbance
// only ever makes one slower.
var calibrate = sync.OnceValue(func() int {
	const probe = 1000
	fastest := time.Hour
	for range 200 {
		begin := time.Now()
		task{Rounds: probe}.work()
		fastest = min(fastest, time.Since(begin))
	}
	return max(1, int(probe*taskTime/fastest))
})

// tasksOf gives n tasks, and their results, computed here.
func tasksOf(n int) (tasks []task, results []uint64) {
	for i := range n {
		t := task{Seed: uint64(i), Rounds: calibrate()}
		tasks = append(tasks, t)
		results = append(results, t.work())
	}
	return tasks, results
}

// checkResult compares a task's result with what it must be.
func checkResult(i int, got, want uint64) error {
	if got != want {
		return fmt.Errorf("task %d gave %#x, not %#x", i, got, want)
	}
	return nil
}

// serialScaling does all the work in the caller.
func serialScaling(_ context.Context, s *session) (*trial, error) {
	tasks, results := tasksOf(s.tasks)
	return &trial{measure: func(context.Context) ([]float64, error) {
		begin := time.Now()
		for i, t := range tasks {
			if err := checkResult(i, t.work(), results[i]); err != nil {
				return nil, err
			}
		}
		return one(float64(len(tasks))/time.Since(begin).Seconds(), nil)
	}}, nil
}

// A workOrder is a run of tasks that a bare process does at one go: first seed, number of tasks, rounds of each.
type workOrder [3]uint64

// serveWork does orders, and answers each with the exclusive or of its results.
func serveWork(l *link) error {
	for {
		var order workOrder
		if err := binary.Read(l, binary.LittleEndian, &order); err != nil {
			return err
		}
		var sum uint64
		for i := range order[1] {
			sum ^= task{Seed: order[0] + i, Rounds: int(order[2])}.work()
		}
		if err := binary.Write(l, binary.LittleEndian, sum); err != nil {
			return err
		}
	}
}

// rawScaling lets each of two processes do one half of the tasks, chunk at a time: 0 is all at one go. Each has one
// order more than it works on.
func rawScaling(chunk int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		tasks, results := tasksOf(s.tasks)
		half := len(tasks) / 2
		size := chunk
		if size == 0 {
			size = len(tasks)
		}
		var links [2]*link
		for i := range links {
			l, err := openLink(ctx, "raw-work")
			if err != nil {
				return nil, errors.Join(err, stopLinks(links[:i]))
			}
			links[i] = l
		}
		return &trial{
			measure: func(context.Context) ([]float64, error) {
				begin := time.Now()
				var callers sync.WaitGroup
				var errs [2]error
				callers.Go(func() { errs[0] = orderWork(links[0], 0, results[:half], size) })
				callers.Go(func() { errs[1] = orderWork(links[1], half, results[half:], size) })
				callers.Wait()
				return one(float64(len(tasks))/time.Since(begin).Seconds(), errors.Join(errs[:]...))
			},
			close: func() error { return stopLinks(links[:]) },
		}, nil
	}
}

// orderWork has the tasks from first on done through l, size in one order, and compares the answers with results.
func orderWork(l *link, first int, results []uint64, size int) error {
	ordered, answered := 0, 0
	order := func() error {
		n := min(size, len(results)-ordered)
		if n == 0 {
			return nil
		}
		o := workOrder{uint64(first + ordered), uint64(n), uint64(calibrate())}
		ordered += n
		return binary.Write(l, binary.LittleEndian, o)
	}
	if err := order(); err != nil {
		return err
	}
	for answered < len(results) {
		if err := order(); err != nil {
			return err
		}
		n := min(size, len(results)-answered)
		if err := readWork(l, first+answered, results[answered:answered+n]); err != nil {
			return err
		}
		answered += n
	}
	return nil
}

// readWork reads the answer to an order and compares it with the results, the first of which is task first's.
func readWork(r io.Reader, first int, results []uint64) error {
	var got, want uint64
	if err := binary.Read(r, binary.LittleEndian, &got); err != nil {
		return err
	}
	for _, v := range results {
		want ^= v
	}
	return checkResult(first, got, want)
}
