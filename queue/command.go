package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/afar-go/afar"
)

// Command is a program to be run by a worker that allows it (WorkConfig.Commands).
// Submit it with RunCommand:
//
//	queue.Submit(ctx, q, queue.RunCommand, queue.Command{Path: "convert", Args: []string{"a.png", "a.jpg"}})
type Command struct {
	Path  string   // the program's path, or its name to be looked for in the worker's PATH
	Args  []string // without the program's name
	Env   []string // "NAME=value", in addition to the worker's
	Dir   string   // "": the worker's
	Stdin []byte
}

// CommandResult is how a Command has ended.
type CommandResult struct {
	ExitCode int    // -1 if a signal has ended it
	Signal   string // "killed"
	Stdout   []byte
	Stderr   []byte
}

const commandName = "github.com/afar-go/afar/queue.Command"

// RunCommand runs a command. A command that ran and failed is no error: its exit status
// is in the result. When its task is canceled it is killed with the processes
// of its group.
var RunCommand = afar.NamedFunc(commandName, runCommand)

func runCommand(ctx context.Context, c Command) (CommandResult, error) {
	return c.Run(ctx, CommandPlace{Env: append(os.Environ(), c.Env...)})
}

// CommandPlace is where a Command is run by those who have limits of their own for it, as
// nodes have.
type CommandPlace struct {
	Env     []string // all of it
	Adjust  func(*exec.Cmd)
	Started func(pid int)
}

// maxPrinted is how many bytes of each of its streams a command may print.
const maxPrinted = 16 << 20

// Run runs the command, in Dir, with the environment of the place.
func (c Command) Run(ctx context.Context, p CommandPlace) (CommandResult, error) {
	stdout, stderr := &printed{}, &printed{}
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env, cmd.Dir = p.Env, c.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Stdin), stdout, stderr
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	if p.Adjust != nil {
		p.Adjust(cmd)
	}
	err := cmd.Start()
	if err == nil {
		if p.Started != nil {
			p.Started(cmd.Process.Pid)
		}
		err = cmd.Wait()
	}
	r := CommandResult{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	case err == nil:
		return r, nil
	case stdout.over || stderr.over:
		return r, fmt.Errorf("queue: command: it prints more than %d bytes: %w", maxPrinted, afar.ErrTooLarge)
	case errors.As(err, &exit):
		r.ExitCode = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			r.Signal = status.Signal().String()
		}
		return r, nil
	}
	return r, fmt.Errorf("queue: command: %w", err)
}

// printed is what a command prints, up to a bound.
type printed struct {
	bytes.Buffer
	over bool
}

// Write refuses what is beyond the bound. The command finds nobody to print to then.
func (p *printed) Write(b []byte) (int, error) {
	if p.Len()+len(b) > maxPrinted {
		p.over = true
		return 0, afar.ErrTooLarge
	}
	return p.Buffer.Write(b)
}
