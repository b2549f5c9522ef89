package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/queue"
)

func deadCommand() *cli.Command {
	return &cli.Command{
		Name: "dead", Usage: "list dead letters, with the errors of all their attempts", ArgsUsage: "[URL#NAME]",
		Description: `A dead letter is a task that no attempt is left for. It stays until it is requeued or
dropped.

   afar queue dead 'redis://host:6379/12#thumbs'
   afar queue dead --json | jq -r 'select(.error | test("no space")) | .id' | xargs afar queue requeue`,
		Flags: queueFlags(), Action: atQueue(listDead),
	}
}

func requeueCommand() *cli.Command {
	return &cli.Command{
		Name: "requeue", Usage: "have dead letters tried again", ArgsUsage: "[URL#NAME] ID… | --all",
		Flags:  queueFlags(&cli.BoolFlag{Name: "all", Usage: "all dead letters of the queue"}),
		Action: atQueue(lettersAction("requeued", (*queue.Queue).Requeue)),
	}
}

func dropCommand() *cli.Command {
	return &cli.Command{
		Name: "drop", Usage: "forget dead letters, or the outcomes of tasks", ArgsUsage: "[URL#NAME] ID… | --all",
		Description: "By its ID any task is forgotten that has ended; --all concerns dead letters only.",
		Flags:       queueFlags(&cli.BoolFlag{Name: "all", Usage: "all dead letters of the queue"}),
		Action:      atQueue(lettersAction("dropped", (*queue.Queue).Drop)),
	}
}

func purgeCommand() *cli.Command {
	return &cli.Command{
		Name: "purge", Usage: "cancel all tasks that no worker has", ArgsUsage: "[URL#NAME]",
		Description: "Those that wait for their time, or for another attempt, are canceled too; those that run go on.",
		Flags:       queueFlags(), Action: atQueue(purge),
	}
}

func pauseCommand() *cli.Command {
	return &cli.Command{
		Name: "pause", Usage: "give out no tasks until resume", ArgsUsage: "[URL#NAME]",
		Description: "Tasks that run go on, and others can be submitted.",
		Flags:       queueFlags(), Action: atQueue(pauseAction(true, (*queue.Queue).Pause)),
	}
}

func resumeCommand() *cli.Command {
	return &cli.Command{
		Name: "resume", Usage: "give out tasks again", ArgsUsage: "[URL#NAME]",
		Flags: queueFlags(), Action: atQueue(pauseAction(false, (*queue.Queue).Resume)),
	}
}

// listDead is afar queue dead.
func listDead(ctx context.Context, d *desk) error {
	if err := d.none(); err != nil {
		return err
	}
	if err := d.exists(ctx); err != nil {
		return err
	}
	for s, err := range answers(ctx, d, d.queue.Dead) {
		if err != nil {
			return err
		}
		if err := d.letter(&outcome{TaskStatus: s}); err != nil {
			return err
		}
	}
	return nil
}

// letter prints a dead letter.
func (d *desk) letter(o *outcome) error {
	if d.Bool("json") {
		return printJSON(d.Command, o.json(d))
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s  %s  %s", o.ID, clean(o.Function), count(o.Attempt, "attempt"))
	if !o.TaskStatus.Ended.IsZero() {
		fmt.Fprintf(&text, ", dead since %s", o.TaskStatus.Ended.Local().Format(time.DateTime))
	}
	text.WriteByte('\n')
	for _, a := range o.Attempts {
		fmt.Fprintf(&text, "    %s\n", indented(failure(a), "    "))
	}
	if len(o.Attempts) == 0 && o.Err != nil {
		fmt.Fprintf(&text, "    %s\n", indented(o.Err.Error(), "    "))
	}
	return d.printf("%s", text.String())
}

// count says how many there are of something.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// lettersAction makes what is done with the letters that are named, or with all.
func lettersAction(done string, do func(*queue.Queue, context.Context, ...string) (int, error)) func(context.Context, *desk) error {
	return func(ctx context.Context, d *desk) error {
		switch {
		case len(d.args) == 0 && !d.Bool("all"):
			return usage("%s needs the IDs of tasks, or --all", d.FullName())
		case len(d.args) > 0 && d.Bool("all"):
			return usage("%s: --all is for no IDs", d.FullName())
		}
		if err := d.exists(ctx); err != nil {
			return err
		}
		var failed []error
		for _, id := range d.args {
			if err := d.fits(ctx, id, done); err != nil {
				failed = append(failed, err)
			}
		}
		if len(failed) > 0 { // nothing is done by halves
			return errors.Join(failed...)
		}
		var n int
		err := d.ask(ctx, func(ctx context.Context) (err error) {
			n, err = do(d.queue, ctx, d.args...)
			return err
		})
		if err != nil {
			return err
		}
		return d.counted(done, n, "task")
	}
}

// fits tells whether something can be done with a task.
func (d *desk) fits(ctx context.Context, id, done string) error {
	s, err := d.status(ctx, id)
	switch {
	case err != nil:
		return err
	case done == "requeued" && s.State != queue.StateDead:
		return &unknownError{fmt.Sprintf("the task %s is no dead letter: it is %s", id, s.State)}
	case !s.State.Ended():
		return &unknownError{fmt.Sprintf("the task %s has not ended: it is %s", id, s.State)}
	}
	return nil
}

// counted says with how many something was done.
func (d *desk) counted(done string, n int, what string) error {
	if d.Bool("json") {
		return printJSON(d.Command, map[string]any{"queue": d.place.name, done: n})
	}
	return d.printf("%s %s\n", count(n, what), done)
}

// purge is afar queue purge.
func purge(ctx context.Context, d *desk) error {
	if err := d.none(); err != nil {
		return err
	}
	if err := d.exists(ctx); err != nil {
		return err
	}
	var n int
	err := d.ask(ctx, func(ctx context.Context) (err error) {
		n, err = d.queue.Purge(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return d.counted("canceled", n, "task")
}

// pauseAction makes pause or resume.
func pauseAction(paused bool, do func(*queue.Queue, context.Context) error) func(context.Context, *desk) error {
	return func(ctx context.Context, d *desk) error {
		if err := d.none(); err != nil {
			return err
		}
		if err := d.exists(ctx); err != nil {
			return err
		}
		if err := d.ask(ctx, func(ctx context.Context) error { return do(d.queue, ctx) }); err != nil {
			return err
		}
		switch {
		case d.Bool("json"):
			return printJSON(d.Command, map[string]any{"queue": d.place.name, "paused": paused})
		case paused:
			return d.printf("%s is paused\n", d.place)
		}
		return d.printf("%s gives out tasks again\n", d.place)
	}
}
