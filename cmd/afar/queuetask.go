package main

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/queue"
)

func logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "print what a task has logged", ArgsUsage: "[URL#NAME] ID",
		Description: `   afar queue logs 'redis://host:6379/12#thumbs' ID
   afar queue logs -f --json ID

The records of all attempts are printed, each with its worker and attempt. What a command
prints is no log, but its output.`,
		Flags:  queueFlags(&cli.BoolFlag{Name: "f", Aliases: []string{"follow"}, Usage: "print what comes, too, until the task has ended"}),
		Action: atQueue(logs),
	}
}

func cancelCommand() *cli.Command {
	return &cli.Command{
		Name: "cancel", Usage: "stop tasks that wait or run", ArgsUsage: "[URL#NAME] ID…",
		Description: `A task that waits ends at once. The worker of one that runs is told to stop it. A
task that has ended otherwise cannot be canceled, which is a failure.

   afar queue cancel 'redis://host:6379/12#thumbs' ID`,
		Flags: queueFlags(), Action: atQueue(cancelTasks),
	}
}

// logs is afar queue logs.
func logs(ctx context.Context, d *desk) error {
	id, err := d.id()
	if err != nil {
		return err
	}
	if _, err := d.status(ctx, id); err != nil {
		return err
	}
	r := queue.Lookup[any](d.queue, id)
	if d.Bool("f") {
		return d.records(ctx, r.Log(ctx))
	}
	return d.records(ctx, answers(ctx, d, r.Logged))
}

// records prints records. Those that cannot be read are told of.
func (d *desk) records(ctx context.Context, all iter.Seq2[queue.LogRecord, error]) error {
	h := recordHandler(d.Root().Writer, d.Bool("json"))
	var last error
	for rec, err := range all {
		if last != nil {
			d.warn("%w", last)
		}
		if last = err; err != nil {
			continue
		}
		r := slog.NewRecord(rec.Time, rec.Level, rec.Message, 0)
		r.AddAttrs(rec.Attrs...)
		r.AddAttrs(slog.String("worker", rec.Worker), slog.Int("attempt", rec.Attempt))
		if err := h.Handle(ctx, r); err != nil {
			return err
		}
	}
	return last
}

// recordHandler prints records of all levels.
func recordHandler(w io.Writer, json bool) slog.Handler {
	all := &slog.HandlerOptions{Level: slog.Level(-1 << 30)}
	if json {
		return slog.NewJSONHandler(w, all)
	}
	return slog.NewTextHandler(w, all)
}

// canceled is what became of a task that was to be canceled, for machines.
type canceled struct {
	Queue  string `json:"queue"`
	ID     string `json:"id"`
	State  string `json:"state"`
	Worker string `json:"worker,omitempty"` // who was told
}

// cancelTasks is afar queue cancel.
func cancelTasks(ctx context.Context, d *desk) error {
	if len(d.args) == 0 {
		return usage("%s needs the IDs of tasks", d.FullName())
	}
	var failed []error
	for _, id := range d.args {
		if err := d.cancel(ctx, id); err != nil {
			failed = append(failed, err)
			if ctx.Err() != nil {
				break
			}
		}
	}
	return errors.Join(failed...)
}

// cancel cancels a task, and says what has become of it.
func (d *desk) cancel(ctx context.Context, id string) error {
	if _, err := d.status(ctx, id); err != nil {
		return err
	}
	err := d.ask(ctx, func(ctx context.Context) error { return queue.Lookup[any](d.queue, id).Cancel(ctx) })
	if err != nil {
		return err
	}
	s, err := d.status(ctx, id)
	if _, gone := errors.AsType[*unknownError](err); gone { // its outcome was not to be kept
		s, err = queue.TaskStatus{State: queue.StateCanceled}, nil
	}
	switch {
	case err != nil:
		return err
	case s.State.Ended() && s.State != queue.StateCanceled:
		return &endedError{id, s.State}
	case d.Bool("json"):
		return printJSON(d.Command, canceled{d.place.name, id, s.State.String(), s.Worker})
	case s.State == queue.StateCanceled:
		return d.printf("%s is canceled\n", id)
	}
	return d.printf("%s is to be canceled: %s runs it\n", id, s.Worker)
}

// endedError means that a task cannot be canceled any more.
type endedError struct {
	id    string
	state queue.State
}

func (e *endedError) Error() string {
	return "the task " + e.id + " was not canceled: it has ended before, " + e.state.String()
}
