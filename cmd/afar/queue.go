package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar/queue"
)

// Exit codes of afar queue, beside those of all commands.
const (
	exitPending = iota + exitUnreachable + 1
	exitUnknown
)

const queueManual = `A queue is named by the URL of its broker and its name: redis://host:6379/12#thumbs,
nats://host:4222#calculator. Where no queue is given, it is that of the environment
variable AFAR_QUEUE; '#name' is another one at the same broker. Passwords belong there
rather than on a command line, which others can see; no output has them in it.

   export AFAR_QUEUE='redis://host:6379/12#thumbs'
   afar queue ls
   afar queue submit --wait -- convert a.png a.jpg
   afar queue dead
   afar queue requeue --all

With --json each answer, or each line of a list, is one JSON object. The commands wait
for an answer of the broker for --within, and the waiting ones then as long as it takes.

Exit codes: 0 done; 1 failed, or the task has; 2 wrong usage; 3 the broker is out of
reach, or refuses; 4 the task has not ended; 5 there is no such queue, task or dead
letter; 128 and the number of the signal that has interrupted the command. submit --wait
and result --output of a command end with its exit code, or 128 and its signal.`

func queueCommand() *cli.Command {
	return &cli.Command{
		Name: "queue", Usage: "see what queues do, give them tasks, and look after these", Description: queueManual,
		Commands: []*cli.Command{
			lsCommand(), statsCommand(), watchCommand(),
			submitCommand(), resultCommand(), logsCommand(), cancelCommand(),
			deadCommand(), requeueCommand(), dropCommand(), purgeCommand(), pauseCommand(), resumeCommand(),
		},
	}
}

// desk is what a command about queues works with.
type desk struct {
	*cli.Command
	place  *place
	broker opened
	queue  *queue.Queue
	args   []string // that follow the queue
	within time.Duration
}

// queueFlags are those of a command about queues.
func queueFlags(flags ...cli.Flag) []cli.Flag {
	return append(flags,
		&cli.DurationFlag{Name: "within", Value: 10 * time.Second, Usage: "how long the broker may take to answer; 0: no limit"},
		&cli.BoolFlag{Name: "json", Usage: "print JSON"})
}

// atQueue makes an action of what is done with a queue.
func atQueue(do func(context.Context, *desk) error) cli.ActionFunc {
	return atBroker(func(ctx context.Context, d *desk) error {
		if d.place.name == "" {
			return usage("which queue of %s? Its name is written behind the URL, as in %s#name", d.place.shown, d.place.shown)
		}
		d.queue = queue.New(d.broker, d.place.name)
		return do(ctx, d)
	})
}

// atBroker makes an action of what is done with a broker. A signal ends its context.
func atBroker(do func(context.Context, *desk) error) cli.ActionFunc {
	return func(ctx context.Context, c *cli.Command) (err error) {
		d := &desk{Command: c, within: c.Duration("within")}
		if d.within < 0 {
			return usage("--within is negative: %v", d.within)
		}
		if d.place, d.args, err = placeOf(c.Args().Slice()); err != nil {
			return err
		}
		ctx, stop := interruptible(ctx)
		defer stop()
		err = d.ask(ctx, func(ctx context.Context) error {
			d.broker, err = d.place.open(ctx)
			return err
		})
		if err == nil {
			err = do(ctx, d)
			err = cmp.Or(err, d.broker.Close())
		}
		return d.place.discreet(err)
	}
}

// ask does something that the broker is to answer in time.
func (d *desk) ask(ctx context.Context, do func(context.Context) error) error {
	inner := ctx
	if d.within > 0 {
		var cancel context.CancelFunc
		inner, cancel = context.WithTimeoutCause(ctx, d.within, d.late())
		defer cancel()
	}
	err := do(inner)
	if err != nil && inner.Err() != nil {
		return context.Cause(inner)
	}
	return err
}

// late is why a context ends that waits for an answer.
func (d *desk) late() error {
	return &brokerError{d.place.shown, fmt.Errorf("no answer within %v: %w", d.within, context.DeadlineExceeded)}
}

// answers are those of the broker, each of which has to come in time. What is done with
// them may take as long as it likes.
func answers[T any](ctx context.Context, d *desk, all func(context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		wait := func() func() bool {
			if d.within == 0 {
				return func() bool { return true }
			}
			return time.AfterFunc(d.within, func() { cancel(d.late()) }).Stop
		}
		stop := wait()
		for v, err := range all(ctx) {
			stop()
			if !yield(v, err) {
				return
			}
			stop = wait()
		}
		stop()
	}
}

// none refuses arguments behind the queue.
func (d *desk) none() error {
	if len(d.args) > 0 {
		return usage("%q is one argument too many; see %s --help", d.args[0], d.FullName())
	}
	return nil
}

// printf prints for people.
func (d *desk) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(d.Root().Writer, format, args...)
	return err
}

// warn tells people something beside the answer.
func (d *desk) warn(format string, args ...any) {
	fmt.Fprintln(d.Root().ErrWriter, "afar:", clean(d.place.discreet(fmt.Errorf(format, args...)).Error()))
}

// names lists the broker's queues.
func (d *desk) names(ctx context.Context) (names []string, err error) {
	err = d.ask(ctx, func(ctx context.Context) error {
		report, err := d.broker.Inspect(ctx, "-", queue.Query{Queues: true})
		if err == nil {
			names = report.Queues
		}
		return err
	})
	return names, err
}

// exists refuses a queue that the broker does not have.
func (d *desk) exists(ctx context.Context) error {
	names, err := d.names(ctx)
	if err != nil || slices.Contains(names, d.place.name) {
		return err
	}
	return &unknownError{fmt.Sprintf("there is no queue %q at %s; %s", d.place.name, d.place.shown, some(names))}
}

// some says which queues there are.
func some(names []string) string {
	const most = 10
	switch n := len(names); {
	case n == 0:
		return "it has none"
	case n > most:
		return fmt.Sprintf("it has %s and %d more", strings.Join(names[:most], ", "), n-most)
	default:
		return "it has " + strings.Join(names, ", ")
	}
}

// status asks for a task's state.
func (d *desk) status(ctx context.Context, id string) (s queue.TaskStatus, err error) {
	err = d.ask(ctx, func(ctx context.Context) error {
		s, err = queue.Lookup[any](d.queue, id).Status(ctx)
		return err
	})
	if errors.Is(err, queue.ErrUnknownTask) {
		if missing := d.exists(ctx); missing != nil {
			return s, missing
		}
		err = &unknownError{fmt.Sprintf("%s has no task %q, or has forgotten its outcome", d.place, id)}
	}
	return s, err
}

// unknownError means that something is not there.
type unknownError struct{ text string }

func (e *unknownError) Error() string { return e.text }

// interrupted means that a signal has ended a command.
type interrupted struct{ signal os.Signal }

func (e *interrupted) Error() string { return "interrupted: " + e.signal.String() }

// interruptible returns a context that ends with a signal; its cause is interrupted. The second
// signal does what signals do.
func interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer signal.Stop(signals)
		select {
		case s := <-signals:
			cancel(&interrupted{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-over
	}
}

// clean is text of others as people may see it on a terminal: control characters are
// written out, but for the ends of lines and tabs.
func clean(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	ok := func(r rune) bool { return r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) }
	if strings.IndexFunc(text, func(r rune) bool { return !ok(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if ok(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x%02x`, r)
		}
	}
	return b.String()
}

// indented is text whose further lines begin below its first one.
func indented(text, by string) string {
	return strings.ReplaceAll(strings.TrimRight(clean(text), "\n"), "\n", "\n"+by)
}
