package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/trust"
)

// stdinFlag is what says where a command's input comes from.
const stdinFlag = "stdin"

func submitCommand() *cli.Command {
	return &cli.Command{
		Name: "submit", Usage: "have a worker run a command", ArgsUsage: "[URL#NAME] -- COMMAND [ARGUMENT…]",
		Description: `It prints the ID of the task, whose command is run by a worker that allows commands. If
you have a key, the task is signed, as nodes want it. With --wait the command's output,
error output and exit code become those of afar; with --json too it is one object. Who
interrupts the wait leaves the task as it is.

   afar queue submit 'redis://host:6379/12#thumbs' -- convert a.png a.jpg
   afar queue submit --wait --stdin - --env LANG=C -- sort -n <numbers
   afar queue submit --id nightly-2026-12-31 --at 03:00 --attempts 5 --backoff 1m -- ./backup

A task of an --id that the queue knows is not submitted again: it is the one that is
there. Without --attempts only a worker that is lost costs an attempt, of 3.`,
		DisableSliceFlagSeparator: true, // --env A=b,c
		Flags: queueFlags(
			&cli.StringFlag{Name: "id", Usage: "of the task; none: one made at random"},
			&cli.DurationFlag{Name: "delay", Usage: "before a worker may have it"},
			&cli.StringFlag{Name: "at", Usage: "when a worker may have it: 15:04, '2006-01-02 15:04', or RFC 3339"},
			&cli.StringFlag{Name: "priority", Value: "normal", Usage: "low, normal or high"},
			&cli.StringFlag{Name: "group", Usage: "that takes turns with others"},
			&cli.DurationFlag{Name: "timeout", Usage: "of an attempt; 0: none"},
			&cli.IntFlag{Name: "attempts", Usage: "until there is none left, for errors and timeouts too; an exit code is no error"},
			&cli.DurationFlag{Name: "backoff", Usage: "the pause after the first attempt, doubled after each"},
			&cli.DurationFlag{Name: "retention", Value: queue.DefaultRetention, Usage: "how long the outcome is kept"},
			&cli.StringSliceFlag{Name: "env", Usage: "NAME=value, any number of times"},
			&cli.StringFlag{Name: "dir", Usage: "the worker's directory to run in"},
			&cli.StringFlag{Name: stdinFlag, Usage: "file that is the command's input; -: that of this command"},
			&cli.StringFlag{Name: "key", Usage: "file of your key, which signs the task for nodes; none: ~/.config/afar/key, if it is there", Sources: cli.EnvVars(trust.KeyVariable)},
			&cli.BoolFlag{Name: "require-worker", Usage: "fail if nobody listens"},
			&cli.BoolFlag{Name: "wait", Usage: "until it has ended, and end in the same way"}),
		Action: submitAction,
	}
}

// submitAction sees to mistakes before it bothers a broker.
func submitAction(ctx context.Context, c *cli.Command) error {
	options, err := submitOptions(c)
	if err != nil {
		return err
	}
	return atQueue(func(ctx context.Context, d *desk) error { return submit(ctx, d, options) })(ctx, c)
}

// submitOptions are what the flags say.
func submitOptions(c *cli.Command) ([]queue.SubmitOption, error) {
	options := []queue.SubmitOption{queue.ID(c.String("id")), queue.Delay(c.Duration("delay")), queue.Group(c.String("group")),
		queue.Timeout(c.Duration("timeout")), queue.Retention(c.Duration("retention"))}
	switch p := c.String("priority"); p {
	case "low":
		options = append(options, queue.Low)
	case "normal":
	case "high":
		options = append(options, queue.High)
	default:
		return nil, usage("--priority is low, normal or high, not %q", p)
	}
	for _, name := range []string{"delay", "timeout", "backoff"} {
		if v := c.Duration(name); v < 0 {
			return nil, usage("--%s is negative: %v", name, v)
		}
	}
	if r := c.Duration("retention"); r < time.Second {
		return nil, usage("--retention is at least 1s: %v", r)
	}
	if c.IsSet("attempts") {
		if n := c.Int("attempts"); n < 1 {
			return nil, usage("--attempts is at least 1: %d", n)
		}
		options = append(options, queue.MaxAttempts(c.Int("attempts")))
	}
	if c.IsSet("backoff") {
		options = append(options, queue.Backoff{First: c.Duration("backoff")})
	}
	if c.Bool("require-worker") {
		options = append(options, queue.RequireWorker())
	}
	for _, v := range c.StringSlice("env") {
		if strings.Index(v, "=") < 1 {
			return nil, usage("--env is NAME=value, not %q", v)
		}
	}
	text := c.String("at")
	if text == "" {
		return options, nil
	}
	at, err := moment(text, time.Now())
	if err == nil && c.IsSet("delay") {
		err = usage("both --at and --delay")
	}
	return append(options, queue.At(at)), err
}

// moment reads a time. A mere time of day is the next one.
func moment(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{"15:04", time.TimeOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			y, m, d := now.Date()
			at := time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			if !at.After(now) {
				at = time.Date(y, m, d+1, t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			}
			return at, nil
		}
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return now, usage("--at is a time like 15:04, '2006-01-02 15:04' or 2006-01-02T15:04:05Z, not %q", text)
}

// submit is afar queue submit.
func submit(ctx context.Context, d *desk, options []queue.SubmitOption) error {
	if len(d.args) == 0 {
		return usage("%s needs a command, behind --", d.FullName())
	}
	input, err := stdin(d)
	if err != nil {
		return err
	}
	to, err := signed(d)
	if err != nil {
		return err
	}
	command := queue.Command{Path: d.args[0], Args: slices.Clone(d.args[1:]), Env: d.StringSlice("env"), Dir: d.String("dir"), Stdin: input}
	var r *queue.Result[queue.CommandResult]
	err = d.ask(ctx, func(ctx context.Context) error {
		r, err = queue.Submit(ctx, to, queue.RunCommand, command, options...)
		return err
	})
	if err != nil {
		return err
	}
	if !d.Bool("wait") {
		if d.Bool("json") {
			return printJSON(d.Command, map[string]string{"queue": d.place.name, "id": r.ID()})
		}
		return d.printf("%s\n", r.ID())
	}
	o, err := d.outcome(ctx, r.ID(), true)
	if err != nil {
		return d.goesOn(ctx, r.ID(), err)
	}
	return o.pass(d)
}

// signed is the queue for tasks that are signed, if there is a key.
func signed(d *desk) (*queue.Queue, error) {
	files, err := filesOf(d.Command)
	if err != nil {
		return d.queue, nil // there is no home
	}
	key, err := trust.LoadKey(files.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.String("key") == "":
		return d.queue, nil
	case err != nil:
		return nil, err
	}
	return d.queue.Sign(queue.Signing{Key: key}), nil
}

// goesOn says where to find a task that nobody waits for any more.
func (d *desk) goesOn(ctx context.Context, id string, err error) error {
	if ctx.Err() != nil {
		d.warn("the task goes on; its outcome: afar queue result '%s' %s", d.place, id)
	}
	return err
}

// stdin reads what is to be the command's input.
func stdin(d *desk) ([]byte, error) {
	file := d.String(stdinFlag)
	switch {
	case !d.IsSet(stdinFlag):
		return nil, nil
	case file == "-":
		return io.ReadAll(cmp.Or[io.Reader](d.Root().Reader, os.Stdin))
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", stdinFlag, err)
	}
	return b, nil
}
