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
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env, cmd.Dir = append(os.Environ(), c.Env...), c.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Stdin), &stdout, &stderr
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	err := cmd.Run()
	r := CommandResult{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	case err == nil:
		return r, nil
	case errors.As(err, &exit):
		r.ExitCode = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			r.Signal = status.Signal().String()
		}
		return r, nil
	}
	return r, fmt.Errorf("queue: command: %w", err)
}
