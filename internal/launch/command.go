package launch

import (
	"errors"
	"fmt"
	"os/exec"
)

// Order is a command to run whose standard input and output are a link.
type Order struct {
	// Argv is the program, looked up in PATH, and its arguments.
	Argv []string
	// Dir is the working directory; "" is the caller's.
	Dir string
	// Env holds KEY=VALUE entries that are added to the caller's environment or override it.
	Env []string
	// Output is called in order with every line that the command prints to its standard error, as Spec.Output is.
	Output func(line []byte)
}

// Command runs a command. The worker's Link is the command's standard input and output, and Exit.Stderr the last of what
// it printed to its standard error. Like a worker of this program it leads a process group, which ends with it.
//
// On an error nothing was started and nothing is left open.
func Command(o Order) (*Worker, error) {
	if len(o.Argv) == 0 || o.Argv[0] == "" {
		return nil, errors.New("afar: a command without a name")
	}
	pl, err := layPipes()
	if err != nil {
		return nil, fmt.Errorf("afar: run %s: %w", o.Argv[0], err)
	}
	link, err := newFileLink(pl.in, pl.out, nil)
	if err != nil {
		pl.close()
		return nil, fmt.Errorf("afar: run %s: %w", o.Argv[0], err)
	}
	cmd := exec.Command(o.Argv[0], o.Argv[1:]...)
	cmd.Dir = o.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pl.read, pl.write, pl.print
	cmd.Env = append(cmd.Environ(), o.Env...)
	lead(cmd)
	memory := watchMemory()
	if err := cmd.Start(); err != nil {
		memory.close()
		pl.close()
		return nil, fmt.Errorf("afar: run %s: %w", o.Argv[0], err)
	}
	pl.closeChilds()
	return newProcess(cmd, link, newOutput(pl.printed, o.Output), memory), nil
}

// Standard returns a link over this process' own standard input and output, and leaves the null device and the standard
// error in their places, so that what the program prints cannot get between. It is for a process whose standard streams
// are somebody's Command.
func Standard() (Link, error) {
	in, out, err := takeStandard()
	if err != nil {
		return nil, err
	}
	return newFileLink(in, out, nil)
}
