// Nightly writes a report on a directory every night, once, however many hosts see to it.
//
//	go run ./examples/nightly -cron '*/5 * * * * *' . reports    # every five seconds, to see something
//	go run ./examples/nightly . reports                          # every night at three, UTC
//
// Alone it is two such hosts in one process. With a broker, run it on as many as you like, which see the same
// files: each is a scheduler and a worker. As long as one is up there are reports, and never two of a night.
//
//	go run ./examples/nightly -broker redis://localhost . reports
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
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
	err := run(ctx, os.Args[1:], os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "nightly:", err)
		os.Exit(1)
	}
}

// run is the program: everything but the process around it.
func run(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("nightly", flag.ContinueOnError)
	flags.SetOutput(stderr)
	url := flags.String("broker", "", "the `URL` of a Redis server (default the memory of this process)")
	cron := flags.String("cron", "0 3 * * *", "when: a cron `expression`, with seconds in front if it has six fields")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New("name a directory, and another one for the reports")
	}
	o, err := newOrder(flags.Arg(0), flags.Arg(1))
	if err != nil {
		return err
	}
	if *url == "" {
		b := memq.New()
		defer b.Close()
		return hosts(ctx, queue.New(b, "reports"), *cron, o, 2)
	}
	b, err := redisq.Open(ctx, *url)
	if err != nil {
		return err
	}
	defer b.Close()
	return hosts(ctx, queue.New(b, "reports"), *cron, o, 1)
}

// drain is how long a report may still take when the program is interrupted. One that takes longer
// is left to others.
const drain = 10 * time.Second

// hosts does what n hosts do, until ctx ends or one of them fails: each schedules the report, and
// writes those that it gets. That each schedules it does not make it more than one: what it submits
// is named after the report and its time, and so the others have submitted it already.
func hosts(ctx context.Context, q *queue.Queue, cron string, o order, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Without a Location the expression is in UTC, whatever the time zones of the hosts.
	nightly := queue.Cron{Name: "nightly", Expression: cron}
	ended := make(chan error)
	for range n {
		go func() {
			ended <- q.Schedule(ctx, queue.Every(nightly, report, o, queue.MaxAttempts(3), queue.Backoff{First: time.Second}))
		}()
		go func() { ended <- q.Work(ctx, queue.WorkConfig{Drain: drain}) }()
	}
	var err error
	for range 2 * n {
		err = errors.Join(err, <-ended)
		cancel() // they end together
	}
	return err
}

// order asks for a report.
type order struct{ Of, Into string }

// newOrder makes sure that there is a directory for reports.
func newOrder(of, into string) (order, error) {
	of, errOf := filepath.Abs(of) // the workers may be elsewhere
	into, errInto := filepath.Abs(into)
	return order{of, into}, errors.Join(errOf, errInto, os.MkdirAll(into, 0o755))
}
