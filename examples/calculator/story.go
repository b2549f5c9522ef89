package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/afar-go/afar/queue"
)

// story is what Understudy's README shows, from one end to the other, with two workers that are
// goroutines here. Between processes it is the same, since nothing of it depends on
// where anybody is.
func (d *desk) story(ctx context.Context) error {
	early, err := d.beforeAnybodyListens(ctx)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	var working sync.WaitGroup
	for _, name := range []string{"ann", "bob"} {
		working.Go(func() {
			if err := d.queue.Work(ctx, queue.WorkConfig{Name: name, Commands: true}); err != nil {
				fmt.Fprintf(d.stderr, "%s: %v\n", name, err)
			}
		})
	}
	defer working.Wait()
	defer end()
	fmt.Fprintln(d.stdout, "- ann and bob begin to listen")
	if err := d.whenItIsDone(ctx, early); err != nil {
		return err
	}
	return d.whileTheyListen(ctx)
}

// beforeAnybodyListens submits a task that is to be done once somebody does.
func (d *desk) beforeAnybodyListens(ctx context.Context) (*queue.Result[int], error) {
	_, err := queue.Submit(ctx, d.queue, adder, terms{0, 0}, queue.RequireWorker())
	if !errors.Is(err, queue.ErrNoWorkers) {
		return nil, fmt.Errorf("somebody listens already, so that the story cannot be told: %w", err)
	}
	fmt.Fprintln(d.stdout, "- we are told at once:", err)
	result, err := queue.Submit(ctx, d.queue, adder, terms{1, 1})
	if err != nil {
		return nil, err
	}
	fmt.Fprint(d.stdout, "- 1 + 1 is submitted all the same, and the sum is there: ")
	return result, d.check(ctx, []string{result.ID()})
}

// whenItIsDone reads a result as often as it likes.
func (d *desk) whenItIsDone(ctx context.Context, result *queue.Result[int]) error {
	fmt.Fprintln(d.stdout, "- its log, live, and the sum:")
	if err := d.log(ctx, result); err != nil {
		return err
	}
	sum, err := result.Wait(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.stdout, sum)
	fmt.Fprintln(d.stdout, "- once more, by its ID:")
	return d.wait(ctx, []string{result.ID()})
}

// whileTheyListen makes calls that wait for what comes of them: a sum, an error, a command.
func (d *desk) whileTheyListen(ctx context.Context) error {
	fmt.Fprint(d.stdout, "- 2 + 3, in a blocking call: ")
	if err := d.add(ctx, []string{"2", "3"}); err != nil {
		return err
	}
	err := d.add(ctx, []string{"9223372036854775807", "1"})
	if !errors.Is(err, errOverflow) { // the error is what it was over there
		return err
	}
	fmt.Fprintln(d.stdout, "- what cannot be added:", err)
	fmt.Fprintln(d.stdout, "- a command, what it prints, and how it ends:")
	here := &desk{queue: d.queue, stdout: d.stdout, stderr: d.stdout}
	err = here.shell(ctx, []string{"echo one; echo two >&2; exit 3"})
	fmt.Fprintln(d.stdout, err)
	return nil
}
