// Thumbnails makes small pictures of large ones, as the tasks of a queue.
//
//	go run ./examples/thumbnails -make 20 pictures    # draws some to try it on; one of them is damaged
//	go run ./examples/thumbnails pictures             # makes the thumbnails, in worker processes of its own
//
// With a broker, workers are programs that are started as often as one likes, wherever the same
// files can be seen. One that is killed costs nothing but its lease: what it had is done by another.
//
//	go run ./examples/thumbnails -broker redis://localhost -work
//	go run ./examples/thumbnails -broker redis://localhost pictures
//
// What cannot be done is tried three times, and is a dead letter then, which keeps what was wrong
// each time. Once the cause is gone, such tasks are handed out again:
//
//	go run ./examples/thumbnails -broker redis://localhost -dead
//	go run ./examples/thumbnails -broker redis://localhost -requeue
//
// A run that is interrupted goes on where it was when the same is run again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
	"github.com/afar-go/afar/queue/redisq"
)

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "thumbnails:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	broker        string
	work          bool
	lease         time.Duration
	dead, requeue bool
	make          int
	dir           string
}

// run is the program: everything but the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.make > 0 {
		return makePictures(o.dir, o.make)
	}
	q, end, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer end()
	s := &studio{queue: q, stdout: stdout}
	switch {
	case o.work:
		fmt.Fprintln(stdout, "listening to", q.Name())
		return q.Work(ctx, queue.WorkConfig{Lease: o.lease})
	case o.requeue:
		return s.requeue(ctx)
	case o.dead:
		_, err := s.dead(ctx)
		return err
	}
	return s.shrink(ctx, o.dir)
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("thumbnails", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.broker, "broker", "", "the `URL` of a Redis server (default the memory of this process, and workers of its own)")
	flags.BoolVar(&o.work, "work", false, "listen to the queue until interrupted")
	flags.DurationVar(&o.lease, "lease", queue.DefaultLease, "for how long this worker may be silent before its tasks are given to others")
	flags.BoolVar(&o.dead, "dead", false, "list the dead letters")
	flags.BoolVar(&o.requeue, "requeue", false, "hand the dead letters out again, and wait for them")
	flags.IntVar(&o.make, "make", 0, "draw `n` pictures in the directory")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.dir = flags.Arg(0)
	switch {
	case (o.work || o.dead || o.requeue) && o.broker == "":
		return o, errors.New("-work, -dead and -requeue are about other processes, and need a -broker")
	case !o.work && !o.dead && !o.requeue && flags.NArg() != 1:
		return o, errors.New("name one directory of pictures")
	}
	return o, nil
}

// open returns the queue. One in memory has workers here: processes of this program, as many as
// there are cores.
func open(ctx context.Context, o options) (q *queue.Queue, end func(), err error) {
	if o.broker != "" {
		b, err := redisq.Open(ctx, o.broker)
		if err != nil {
			return nil, nil, err
		}
		return queue.New(b, queueName), func() { _ = b.Close() }, nil
	}
	pool, err := afar.Open(ctx, "local:"+strconv.Itoa(runtime.GOMAXPROCS(0)))
	if err != nil {
		return nil, nil, err
	}
	q, stop := inMemory(ctx, pool)
	return q, func() {
		stop()
		_ = pool.Close()
	}, nil
}

// inMemory returns a queue of this process, for which a pool works.
func inMemory(ctx context.Context, pool *afar.Pool) (q *queue.Queue, stop func()) {
	b := memq.New()
	q = queue.New(b, queueName)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- q.Work(ctx, queue.WorkConfig{Pool: pool}) }()
	return q, func() {
		cancel()
		<-ended // nil: a broker in memory does not fail
		_ = b.Close()
	}
}

const queueName = "thumbnails"
