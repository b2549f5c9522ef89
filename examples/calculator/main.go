// Calculator is the README of Understudy as a Go program: numbers are added by whoever listens
// to the queue "calculator", whether that is somebody now or later.
//
//	go run ./examples/calculator                     # the whole story, in one process
//	go run ./examples/calculator -broker ./tasks     # the same, with tasks that are kept in a directory
//
// With a broker that several processes can reach, those who add and those who want to know are
// programs of their own, in any order and on any hosts. Give each the -broker:
//
//	go run ./examples/calculator -broker redis://localhost -work                 # as often as you like
//	go run ./examples/calculator -broker redis://localhost add 1 2               # adds, and waits
//	go run ./examples/calculator -broker redis://localhost submit 1 2            # prints the ID of the task
//	go run ./examples/calculator -broker redis://localhost -required submit 1 2  # fails if nobody listens
//	go run ./examples/calculator -broker redis://localhost check ID              # the sum if it is there
//	go run ./examples/calculator -broker redis://localhost wait ID               # the log, live, and the sum
//	go run ./examples/calculator -broker redis://localhost shell 'uname -a'      # a command, for workers with -commands
//
// A broker is redis://…, rediss://…, nats://…, or a directory. A directory has one process at a time,
// and what one has submitted is there for the next; unless that process lets others join:
//
//	go run ./examples/calculator -broker ./tasks -listen localhost:4333 -work
//	go run ./examples/calculator -broker nats://localhost:4333 add 1 2
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
)

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "calculator:", err)
		os.Exit(1)
	}
}

// run is the program: everything but the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("calculator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	place := flags.String("broker", "", "a `URL` of Redis or NATS, or a directory (default the memory of this process)")
	listen := flags.String("listen", "", "the `address` at which others can join, if the broker is a directory")
	work := flags.Bool("work", false, "listen to the queue until interrupted")
	name := flags.String("name", "", "what this worker is called (default host, process and a number)")
	commands := flags.Bool("commands", false, "this worker runs shell commands for anybody who can submit")
	required := flags.Bool("required", false, "submit only if somebody listens")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := open(ctx, *place, *listen)
	if err != nil {
		return err
	}
	defer b.Close()
	if *listen != "" {
		invite(b, stdout)
	}
	d := &desk{queue: queue.New(b, "calculator"), stdout: stdout, stderr: stderr, required: *required}
	switch {
	case *work:
		fmt.Fprintln(stdout, "listening to", d.queue.Name())
		return d.queue.Work(ctx, queue.WorkConfig{Name: *name, Commands: *commands})
	case flags.NArg() == 0:
		return d.story(ctx)
	}
	return d.ask(ctx, flags.Args())
}

// desk is where those come who want something added.
type desk struct {
	queue          *queue.Queue
	stdout, stderr io.Writer
	required       bool
}

// ask does what one command line asks for.
func (d *desk) ask(ctx context.Context, args []string) error {
	verb, args := args[0], args[1:]
	for _, v := range []struct {
		name string
		args int
		do   func(context.Context, []string) error
	}{
		{"add", 2, d.add},
		{"submit", 2, d.submit},
		{"check", 1, d.check},
		{"wait", 1, d.wait},
		{"shell", 1, d.shell},
	} {
		if v.name == verb && v.args == len(args) {
			return v.do(ctx, args)
		}
	}
	return fmt.Errorf("%s with %d arguments: want add X Y, submit X Y, check ID, wait ID or shell COMMAND", verb, len(args))
}

// add is a blocking call. What is called has the signature of the function add itself, which
// does not know that it runs elsewhere.
func (d *desk) add(ctx context.Context, args []string) error {
	t, err := parse(args)
	if err != nil {
		return err
	}
	sum, err := adder.On(d.queue)(ctx, t)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.stdout, sum)
	return nil
}

// submit leaves a task behind, whether or not anybody listens, and prints its ID. The ID is all
// that is needed to come back for the result.
func (d *desk) submit(ctx context.Context, args []string) error {
	t, err := parse(args)
	if err != nil {
		return err
	}
	var opts []queue.SubmitOption
	if d.required {
		opts = append(opts, queue.RequireWorker())
	}
	result, err := queue.Submit(ctx, d.queue, adder, t, opts...)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.stdout, result.ID())
	return nil
}

// check looks whether a sum is there, and does not wait for it.
func (d *desk) check(ctx context.Context, args []string) error {
	sum, done, err := queue.Lookup[int](d.queue, args[0]).Check(ctx)
	switch {
	case err != nil:
		return err
	case !done:
		fmt.Fprintln(d.stdout, "not yet")
	default:
		fmt.Fprintln(d.stdout, sum)
	}
	return nil
}

// wait waits for a sum, and prints meanwhile what is logged. Of a task that has ended that is the
// same, at once.
func (d *desk) wait(ctx context.Context, args []string) error {
	result := queue.Lookup[int](d.queue, args[0])
	if err := d.log(ctx, result); err != nil {
		return err
	}
	sum, err := result.Wait(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.stdout, sum)
	return nil
}

// log prints what a task logs until it has ended.
func (d *desk) log(ctx context.Context, result *queue.Result[int]) error {
	for record, err := range result.Log(ctx) {
		if err != nil {
			return err
		}
		fmt.Fprintf(d.stdout, "%s: %s", record.Worker, record.Message)
		for _, a := range record.Attrs {
			fmt.Fprintf(d.stdout, " %v", a)
		}
		fmt.Fprintln(d.stdout)
	}
	return nil
}

// shell has a worker run a command, and passes on what comes of it.
func (d *desk) shell(ctx context.Context, args []string) error {
	c := queue.Command{Path: "sh", Args: []string{"-c", args[0]}}
	r, err := queue.RunCommand.On(d.queue)(ctx, c)
	if err != nil {
		return err
	}
	_, _ = d.stdout.Write(r.Stdout)
	_, _ = d.stderr.Write(r.Stderr)
	if r.ExitCode != 0 {
		return fmt.Errorf("the command ended with exit status %d", r.ExitCode)
	}
	return nil
}

func parse(args []string) (t terms, err error) {
	x, errX := strconv.Atoi(args[0])
	y, errY := strconv.Atoi(args[1])
	return terms{x, y}, errors.Join(errX, errY)
}
