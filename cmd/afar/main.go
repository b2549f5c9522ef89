// Command afar is the daemon that starts workers for others, and what goes with it:
// keys, ping, and running a Go program somewhere else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/reach"
	"github.com/afar-go/afar/internal/ship"
)

// Exit codes, which `afar --help` explains.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitUnreachable
)

const manual = `afar runs parts of a Go program in other processes and on other machines.
This is its daemon, and what goes with it.

On a host that is to run workers:      afar key new; afar node --listen :7227
On a caller's, once:                   afar key new; afar key trust host:7227
On the host, with the caller's key:    afar key authorize --workers 8 'afar-ed25519 AAAA… me@here'
Is it there?                           afar ping tcp://host:7227
Run a program there:                   afar run --on tcp://host:7227 ./cmd/hello -- --name world
Keep queues for programs:              afar broker --dir /var/lib/afar/broker
What do the queues do?                 afar queue ls nats://host:4222

Flags may begin with one dash or two.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the target, or one of several, is out
of reach. afar run ends with the program's own code, or 128 and the number of the
signal that has ended it. afar queue --help has those of its own.`

func main() {
	afar.Main()
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run does what a command line says, and returns the exit code.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	root := &cli.Command{
		Name: "afar", Usage: "run parts of Go programs elsewhere", Description: manual,
		Commands: []*cli.Command{nodeCommand(), keyCommand(), pingCommand(), runCommand(), queueCommand(), brokerCommand(), versionCommand()},
		Reader:   in, Writer: out, ErrWriter: errs,
		EnableShellCompletion: true, Suggest: true, HideVersion: true,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // the code is ours
	}
	var nothing error // of help on what is not there, which returns no error
	root.ConfigureShellCompletionCommand = func(c *cli.Command) {
		c.Hidden = false
		settle(c, &nothing)
	}
	settle(root, &nothing)
	err := root.Run(context.Background(), args)
	if err == nil {
		err = nothing
	}
	code := exitCode(err)
	var silent programExit
	if err != nil && !errors.As(err, &silent) {
		fmt.Fprintln(errs, "afar:", strings.TrimPrefix(clean(err.Error()), "afar: "))
	}
	return code
}

// settle has a command, and those in it, tell mistakes of its user from others. One
// that only holds others needs the name of one of them; nothing is set when it is
// asked for help on what is none of them.
func settle(c *cli.Command, nothing *error) {
	c.OnUsageError = func(_ context.Context, c *cli.Command, err error, _ bool) error {
		return usage("%w; see %s --help", err, c.FullName())
	}
	c.CommandNotFound = func(_ context.Context, c *cli.Command, name string) { *nothing = unknown(c, name) }
	if c.Action == nil {
		c.Action = func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return unknown(c, c.Args().First())
			}
			_ = cli.ShowSubcommandHelp(c)
			return usage("%s needs a command", c.FullName())
		}
	}
	for _, inner := range c.Commands {
		settle(inner, nothing)
	}
}

func unknown(c *cli.Command, name string) error {
	return usage("unknown command %q; see %s --help", name, c.FullName())
}

// usageError is a mistake of the user.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// programExit is the end of a program that was run, which has said itself what
// there was to say.
type programExit int

func (e programExit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func exitCode(err error) int {
	var wrong usageError
	var unreachable *reach.Error
	var target *afar.TargetError
	var program programExit
	var broker *brokerError
	var unknown *unknownError
	var stopped *interrupted
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &program):
		return int(program)
	case errors.As(err, &wrong):
		return exitUsage
	case errors.As(err, &unreachable), errors.As(err, &target), errors.As(err, &broker):
		return exitUnreachable
	case errors.As(err, &unknown):
		return exitUnknown
	case errors.As(err, &stopped):
		return 128 + signalNumber(stopped.signal.String())
	}
	return exitFailed
}

// none refuses arguments.
func none(c *cli.Command) error {
	if c.Args().Present() {
		return usage("%q is one argument too many; see %s --help", c.Args().First(), c.FullName())
	}
	return nil
}

// timeout is the flag of that name. Without any time nothing can be done.
func timeout(c *cli.Command) (time.Duration, error) {
	d := c.Duration("timeout")
	if d <= 0 {
		return 0, usage("--timeout is more than 0, as in 10s, not %s", d)
	}
	return d, nil
}

// version is this program's, as the go command has recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version",
		Action: func(_ context.Context, c *cli.Command) error {
			if err := none(c); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.Root().Writer, "afar %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// itself finds this program for other systems: it is the agent on hosts without a node.
func itself() *ship.Source {
	_, file, _, _ := runtime.Caller(0)
	return ship.Own(launch.Executable(), file, nil)
}
