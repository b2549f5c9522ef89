package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/queue"
)

func lsCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Usage: "list the queues of a broker with their numbers", ArgsUsage: "[URL]",
		Description: `   afar queue ls redis://host:6379/12
   afar queue ls --json | jq 'select(.dead > 0)'`,
		Flags: queueFlags(), Action: atBroker(listQueues),
	}
}

func statsCommand() *cli.Command {
	return &cli.Command{
		Name: "stats", Usage: "print the numbers of a queue, and who works for it", ArgsUsage: "[URL#NAME]",
		Description: `   afar queue stats nats://host:4222#calculator

done, failed and canceled are those since the queue came to be.`,
		Flags: queueFlags(), Action: atQueue(queueStats),
	}
}

func watchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "print the numbers of a queue, or of all, again and again", ArgsUsage: "[URL[#NAME]]",
		Description: `On a terminal the numbers stay in their place; elsewhere each time adds lines. It goes
on until it is interrupted, which is no failure, and while the broker is out of reach.

   afar queue watch redis://host:6379/12
   afar queue watch --every 1m --json >>numbers`,
		Flags: queueFlags(
			&cli.DurationFlag{Name: "every", Value: time.Second, Usage: "how often"},
			&cli.IntFlag{Name: "count", Usage: "how many times; 0: until it is interrupted"}),
		Action: atBroker(watchQueues),
	}
}

// numbers are the stats of a queue, for machines.
type numbers struct {
	Time     *time.Time     `json:"time,omitempty"` // of watch
	Queue    string         `json:"queue"`
	Waiting  int64          `json:"waiting"`
	Delayed  int64          `json:"delayed"`
	Running  int64          `json:"running"`
	Dead     int64          `json:"dead"`
	Done     int64          `json:"done"`
	Failed   int64          `json:"failed"`
	Canceled int64          `json:"canceled"`
	Oldest   float64        `json:"oldest_ms"`
	Paused   bool           `json:"paused"`
	Workers  []workerNumber `json:"workers"`

	oldest time.Duration
}

type workerNumber struct {
	Name    string `json:"name"`
	Running int64  `json:"running"`
}

// numbers asks for the stats of a queue.
func (d *desk) numbers(ctx context.Context, name string) (n *numbers, err error) {
	err = d.ask(ctx, func(ctx context.Context) error {
		s, err := queue.New(d.broker, name).Stats(ctx)
		if err != nil {
			return err
		}
		n = &numbers{Queue: name, Waiting: s.Waiting, Delayed: s.Delayed, Running: s.Running, Dead: s.Dead,
			Done: s.Done, Failed: s.Failed, Canceled: s.Canceled, Paused: s.Paused,
			oldest: s.Oldest, Oldest: float64(s.Oldest) / float64(time.Millisecond), Workers: []workerNumber{}}
		for _, w := range s.Workers {
			n.Workers = append(n.Workers, workerNumber(w))
		}
		return nil
	})
	return n, err
}

// all are the numbers of all queues, or of the one that was named.
func (d *desk) all(ctx context.Context, one bool) (all []*numbers, err error) {
	names := []string{d.place.name}
	if !one {
		if names, err = d.names(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		n, err := d.numbers(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func listQueues(ctx context.Context, d *desk) error {
	if err := d.none(); err != nil {
		return err
	}
	all, err := d.all(ctx, false)
	if err != nil {
		return err
	}
	if d.Bool("json") {
		for _, n := range all {
			if err := printJSON(d.Command, n); err != nil {
				return err
			}
		}
		return nil
	}
	return table(d.Root().Writer, all)
}

// table prints a line for each queue.
func table(to io.Writer, all []*numbers) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "QUEUE\tWORKERS\tWAITING\tDELAYED\tRUNNING\tDEAD\tDONE\tFAILED\tCANCELED\tOLDEST\t")
	for _, n := range all {
		paused := ""
		if n.Paused {
			paused = "paused"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", n.Queue, len(n.Workers), n.Waiting, n.Delayed, n.Running, n.Dead,
			n.Done, n.Failed, n.Canceled, age(n.oldest), paused)
	}
	return w.Flush()
}

// age is a duration as people read it.
func age(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func queueStats(ctx context.Context, d *desk) error {
	if err := d.none(); err != nil {
		return err
	}
	if err := d.exists(ctx); err != nil {
		return err
	}
	n, err := d.numbers(ctx, d.place.name)
	if err != nil {
		return err
	}
	if d.Bool("json") {
		return printJSON(d.Command, n)
	}
	w := tabwriter.NewWriter(d.Root().Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "queue\t%s\n", d.place)
	if n.Paused {
		fmt.Fprintf(w, "paused\tyes: nothing is given out until afar queue resume\n")
	}
	for _, line := range []struct {
		what string
		n    int64
	}{{"waiting", n.Waiting}, {"delayed", n.Delayed}, {"running", n.Running}, {"dead", n.Dead},
		{"done", n.Done}, {"failed", n.Failed}, {"canceled", n.Canceled}} {
		fmt.Fprintf(w, "%s\t%d\n", line.what, line.n)
	}
	fmt.Fprintf(w, "oldest\t%s\n", age(n.oldest))
	fmt.Fprintf(w, "workers\t%d\n", len(n.Workers))
	for _, worker := range n.Workers {
		fmt.Fprintf(w, "  %s\t%d running\n", worker.Name, worker.Running)
	}
	return w.Flush()
}

func watchQueues(ctx context.Context, d *desk) error {
	every, left := d.Duration("every"), d.Int("count")
	switch {
	case every <= 0:
		return usage("--every is at least 1ns: %v", every)
	case left < 0:
		return usage("--count is negative: %d", left)
	}
	if err := d.none(); err != nil {
		return err
	}
	if d.place.name != "" {
		if err := d.exists(ctx); err != nil {
			return err
		}
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for done := 1; ; done++ {
		err := d.show(ctx)
		if err != nil || done == left {
			return uninterrupted(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return uninterrupted(context.Cause(ctx))
		}
	}
}

// uninterrupted makes the interruption a good end.
func uninterrupted(err error) error {
	if _, ok := errors.AsType[*interrupted](err); ok {
		return nil
	}
	return err
}

// show prints the numbers as they are now. A broker out of reach may come back.
func (d *desk) show(ctx context.Context) error {
	all, err := d.all(ctx, d.place.name != "")
	if away, ok := errors.AsType[*brokerError](err); ok {
		d.warn("%w; trying again", away)
		return nil
	}
	if err != nil {
		return err
	}
	now := time.Now()
	if d.Bool("json") {
		for _, n := range all {
			n.Time = &now
			if err := printJSON(d.Command, n); err != nil {
				return err
			}
		}
		return nil
	}
	var text strings.Builder
	if terminal(d.Root().Writer) {
		text.WriteString("\x1b[H\x1b[2J") // the cursor at the top, and nothing else there
	}
	fmt.Fprintf(&text, "%s  %s\n", now.Format(time.DateTime), d.place)
	if err := table(&text, all); err != nil {
		return err
	}
	return d.printf("%s", text.String())
}

// terminal tells whether somebody looks.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
