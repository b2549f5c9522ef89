package launch

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
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
// it printed to its standard error. Like a worker of this program it leads a process group, which ends with it. When this
// process dies, however it does, the command finds the end of its input, and on Linux it gets SIGTERM.
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
	w, err := begin(cmd, func() *process { return takeOver(cmd, link, newOutput(pl.printed, o.Output), memory) })
	if err != nil {
		memory.close()
		pl.close()
		return nil, fmt.Errorf("afar: run %s: %w", o.Argv[0], err)
	}
	pl.closeChilds()
	return w, nil
}

// begin starts a command in a goroutine that has its thread for itself until the command has ended: at the end of the
// thread the kernel would send what lead has ordered for the end of this process.
func begin(cmd *exec.Cmd, takeOver func() *process) (*Worker, error) {
	var p *process
	begun := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			begun <- err
			return
		}
		p = takeOver()
		begun <- nil
		p.wait()
	}()
	if err := <-begun; err != nil {
		return nil, err
	}
	return &p.worker, nil
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
