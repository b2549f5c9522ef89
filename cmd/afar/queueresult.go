package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
)

func resultCommand() *cli.Command {
	return &cli.Command{
		Name: "result", Usage: "print how a task stands, or what it has ended with", ArgsUsage: "[URL#NAME] ID",
		Description: `   afar queue result 'nats://host:4222#calculator' ID
   afar queue result --wait --output ID >file

The output of a function is printed as JSON, with names of fields as they are in Go; bytes
that are no text are in base64. With --output that is all, but for a command: its output,
error output and exit code become those of afar.`,
		Flags: queueFlags(
			&cli.BoolFlag{Name: "wait", Usage: "until the task has ended"},
			&cli.BoolFlag{Name: "output", Usage: "the output alone"}),
		Action: atQueue(result),
	}
}

// outcome is how a task stands, or what it has ended with.
type outcome struct {
	queue.TaskStatus
	command *queue.CommandResult // of a command that is done
	output  any                  // of another function, ready for JSON
	damage  error                // why there is no output of a task that is done
}

// outcome asks for that of a task, and waits until it has ended if that is wanted.
func (d *desk) outcome(ctx context.Context, id string, wait bool) (o *outcome, err error) {
	o = &outcome{}
	if o.TaskStatus, err = d.status(ctx, id); err != nil {
		return nil, err
	}
	if wait && !o.State.Ended() {
		if _, err := queue.Lookup[any](d.queue, id).Wait(ctx); err != nil && ctx.Err() != nil {
			return nil, err
		}
		if o.TaskStatus, err = d.status(ctx, id); err != nil {
			return nil, err
		}
	}
	if o.State != queue.StateDone || o.Err != nil {
		return o, nil
	}
	err = d.ask(ctx, func(ctx context.Context) error {
		if o.Function == queue.RunCommand.Name() {
			var r queue.CommandResult
			r, _, o.damage = queue.Lookup[queue.CommandResult](d.queue, id).Check(ctx)
			o.command = &r
			return ctx.Err()
		}
		var v any
		v, _, o.damage = queue.Lookup[any](d.queue, id).Check(ctx)
		o.output = plain(v)
		return ctx.Err()
	})
	return o, err
}

// plain makes what a function has returned, decoded without its type, something that
// can be JSON. Bytes that are text are a string.
func plain(v any) any {
	switch v := v.(type) {
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
		return base64.StdEncoding.EncodeToString(v)
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = plain(v[i])
		}
		return all
	case map[string]any:
		all := make(map[string]any, len(v))
		for k := range v {
			all[k] = plain(v[k])
		}
		return all
	case map[any]any:
		all := make(map[string]any, len(v))
		for k := range v {
			all[fmt.Sprint(plain(k))] = plain(v[k])
		}
		return all
	}
	if _, err := json.Marshal(v); err != nil {
		return fmt.Sprint(v) // not a number, infinite, or what else JSON has not
	}
	return v
}

// taskJSON is an outcome, for machines.
type taskJSON struct {
	Queue     string        `json:"queue"`
	ID        string        `json:"id"`
	Function  string        `json:"function"`
	State     string        `json:"state"`
	Ended     bool          `json:"ended"`
	Priority  int           `json:"priority"`
	Group     string        `json:"group,omitempty"`
	Attempt   int           `json:"attempt"`
	Worker    string        `json:"worker,omitempty"`
	Submitted *time.Time    `json:"submitted,omitempty"`
	Started   *time.Time    `json:"started,omitempty"`
	EndedAt   *time.Time    `json:"ended_at,omitempty"`
	Progress  *[2]int64     `json:"progress,omitempty"`
	Canceling bool          `json:"canceling,omitempty"`
	Error     string        `json:"error,omitempty"`
	ErrorType string        `json:"error_type,omitempty"`
	Attempts  []attemptJSON `json:"attempts,omitempty"`
	Command   *commandJSON  `json:"command,omitempty"`
	Output    any           `json:"output,omitempty"`
}

// attemptJSON is an attempt that gave the task no outcome, or was its last.
type attemptJSON struct {
	Worker string     `json:"worker"`
	Ended  *time.Time `json:"ended,omitempty"`
	Lost   bool       `json:"lost,omitempty"`
	Error  string     `json:"error,omitempty"`
}

// commandJSON is how a command has ended. Output that is no text is in base64.
type commandJSON struct {
	ExitCode int    `json:"exit_code"`
	Signal   string `json:"signal,omitempty"`
	Stdout   any    `json:"stdout"`
	Stderr   any    `json:"stderr"`
}

// when is nil in place of a time that is not known.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// json makes an outcome one for machines.
func (o *outcome) json(d *desk) *taskJSON {
	t := &taskJSON{Queue: d.place.name, ID: o.ID, Function: o.Function, State: o.State.String(), Ended: o.State.Ended(),
		Priority: int(o.Priority), Group: o.Group, Attempt: o.Attempt, Worker: o.Worker,
		Submitted: when(o.Submitted), Started: when(o.Started), EndedAt: when(o.TaskStatus.Ended), Canceling: o.Canceled, Output: o.output}
	if o.Progress != [2]int64{} {
		t.Progress = &o.Progress
	}
	if o.Err != nil {
		t.Error = o.Err.Error()
	}
	if remote, ok := errors.AsType[*afar.RemoteError](o.Err); ok {
		t.ErrorType = remote.Type
	}
	if c := o.command; c != nil {
		t.Command = &commandJSON{c.ExitCode, c.Signal, plain(c.Stdout), plain(c.Stderr)}
	}
	for _, a := range o.Attempts {
		j := attemptJSON{Worker: a.Worker, Ended: when(a.Ended), Lost: a.Lost}
		if a.Err != nil {
			j.Error = a.Err.Error()
		}
		t.Attempts = append(t.Attempts, j)
	}
	return t
}

// end is how the command ends that has shown an outcome.
func (o *outcome) end() error {
	switch {
	case o.damage != nil:
		return o.damage
	case o.State == queue.StateDone:
		return nil
	case o.State.Ended():
		return programExit(exitFailed)
	}
	return programExit(exitPending)
}

// result is afar queue result.
func result(ctx context.Context, d *desk) error {
	id, err := d.id()
	if err != nil {
		return err
	}
	o, err := d.outcome(ctx, id, d.Bool("wait"))
	switch {
	case err != nil:
		return err
	case d.Bool("output"):
		return o.pass(d)
	case d.Bool("json"):
		err = printJSON(d.Command, o.json(d))
	default:
		err = o.print(d)
	}
	if err != nil {
		return err
	}
	return o.end()
}

// id is the one ID that is the argument.
func (d *desk) id() (string, error) {
	if len(d.args) != 1 {
		return "", usage("%s needs the ID of one task", d.FullName())
	}
	return d.args[0], nil
}

// pass makes a task's end that of this command.
func (o *outcome) pass(d *desk) error {
	switch {
	case o.damage != nil:
		return o.damage
	case d.Bool("json"):
		if err := printJSON(d.Command, o.json(d)); err != nil {
			return err
		}
		if o.command == nil {
			return o.end()
		}
		return o.exit()
	case !o.State.Ended():
		d.warn("the task %s has not ended: it is %s", o.ID, o.State)
		return o.end()
	case o.State != queue.StateDone:
		d.warn("the task %s has ended %s: %w", o.ID, o.State, o.Err)
		return o.end()
	case o.command == nil:
		return printJSON(d.Command, o.output)
	}
	if _, err := d.Root().Writer.Write(o.command.Stdout); err != nil {
		return err
	}
	if _, err := d.Root().ErrWriter.Write(o.command.Stderr); err != nil {
		return err
	}
	if s := o.command.Signal; s != "" {
		d.warn("signal: %s", s)
	}
	return o.exit()
}

// exit ends as a command has ended.
func (o *outcome) exit() error {
	switch c := o.command; {
	case c.Signal != "":
		return programExit(128 + signalNumber(c.Signal))
	case c.ExitCode != 0:
		return programExit(c.ExitCode)
	}
	return nil
}

// print prints an outcome for people.
func (o *outcome) print(d *desk) error {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, indented(fmt.Sprintf(format, args...), "\t"))
	}
	moment := func(name string, t time.Time) {
		if !t.IsZero() {
			line(name, "%s", t.Local().Format("2006-01-02 15:04:05.000"))
		}
	}
	line("task", "%s", o.ID)
	line("function", "%s", o.Function)
	line("state", "%s", o.state())
	if o.Group != "" {
		line("group", "%s", o.Group)
	}
	if o.Attempt > 0 {
		line("attempt", "%d", o.Attempt)
	}
	if o.Worker != "" {
		line("worker", "%s", o.Worker)
	}
	moment("submitted", o.Submitted)
	moment("started", o.Started)
	moment("ended", o.TaskStatus.Ended)
	if o.Progress != [2]int64{} && !o.State.Ended() {
		line("progress", "%d of %d", o.Progress[0], o.Progress[1])
	}
	for _, a := range o.Attempts {
		line("failed", "%s", failure(a))
	}
	if o.Err != nil {
		line("error", "%v", o.Err)
	}
	switch {
	case o.damage != nil:
	case o.command != nil:
		line("exit code", "%s", exitText(o.command))
		line("stdout", "%s", o.command.Stdout)
		line("stderr", "%s", o.command.Stderr)
	case o.State == queue.StateDone:
		b, err := json.Marshal(o.output)
		if err != nil {
			return err
		}
		line("output", "%s", b)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return d.printf("%s", text.String())
}

// state says what becomes of the task, too.
func (o *outcome) state() string {
	if o.Canceled && !o.State.Ended() {
		return o.State.String() + ", to be canceled"
	}
	return o.State.String()
}

// failure says how an attempt has ended.
func failure(a queue.AttemptStatus) string {
	why := "no reason given"
	switch {
	case a.Err != nil:
		why = a.Err.Error()
	case a.Lost:
		why = "the worker was lost: it did not renew its lease"
	}
	if a.Ended.IsZero() {
		return fmt.Sprintf("on %s: %s", a.Worker, why)
	}
	return fmt.Sprintf("%s on %s: %s", a.Ended.Local().Format(time.DateTime), a.Worker, why)
}

// exitText says how a command has ended.
func exitText(c *queue.CommandResult) string {
	if c.Signal != "" {
		return "none, signal: " + c.Signal
	}
	return fmt.Sprint(c.ExitCode)
}
