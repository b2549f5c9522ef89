package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/wire"
)

// Execution is a program to be run with standard streams of its own.
type Execution struct {
	Path   string
	Args   []string // without its name
	Dir    string   // "" is this process's
	Env    []string // all of it
	Nice   int      // added to this process's niceness
	Adjust func(*exec.Cmd)
}

// Execute starts a program. It leads a process group, which ends with it; on Linux
// it ends with this process too. Of its standard streams Stdin is to be closed.
func Execute(e Execution) (*Program, error) {
	x := &execution{ended: make(chan struct{})}
	cmd := exec.Command(e.Path, e.Args...)
	cmd.Dir, cmd.Env = e.Dir, e.Env
	x.cmd = cmd
	lead(cmd)
	if e.Adjust != nil {
		e.Adjust(cmd)
	}
	theirs, err := x.connect()
	if err != nil {
		return nil, err
	}
	begun := make(chan error)
	go x.live(begun)
	err = <-begun
	for _, f := range theirs {
		_ = f.Close()
	}
	if err == nil && e.Nice != 0 {
		if err = renice(cmd.Process.Pid, e.Nice); err != nil {
			err = fmt.Errorf("nice %d: %w", e.Nice, err)
			x.kill()
			<-x.ended
		}
	}
	if err != nil {
		x.close()
		return nil, err
	}
	return &Program{Stdin: x.in, Stdout: x.out, Stderr: x.err, PID: cmd.Process.Pid, Signal: x.signal, Wait: x.wait}, nil
}

// execution is a program that runs.
type execution struct {
	cmd      *exec.Cmd
	in       *os.File
	out, err *outlet
	ended    chan struct{} // closed when it is gone

	mu     sync.Mutex // orders signals against reaping
	reaped bool
}

// connect makes the standard streams, and returns the program's ends.
func (x *execution) connect() (theirs []*os.File, err error) {
	var ours []*os.File
	for n := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			for _, f := range append(ours, theirs...) {
				_ = f.Close()
			}
			return nil, err
		}
		if n == 0 {
			r, w = w, r
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	x.in, x.out, x.err = ours[0], &outlet{file: ours[1]}, &outlet{file: ours[2]}
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	return theirs, nil
}

// live starts the program and is there until it has ended. The thread stays the
// same: at its end the kernel would send what is meant for this process's.
func (x *execution) live(begun chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(x.ended)
	if err := x.cmd.Start(); err != nil {
		begun <- notStarted(x.cmd, err)
		return
	}
	begun <- nil
	x.reap()
	x.out.last()
	x.err.last()
}

// notStarted says what a program was not started for: of a working directory that is not there, the operating system says
// that the program is not there.
func notStarted(cmd *exec.Cmd, err error) error {
	if cmd.Dir == "" {
		return err
	}
	info, missing := os.Stat(cmd.Dir)
	switch {
	case missing != nil:
		return fmt.Errorf("working directory of the program: %w", missing)
	case !info.IsDir():
		return fmt.Errorf("working directory of the program: %s is not a directory", cmd.Dir)
	}
	return fmt.Errorf("in %s: %w", cmd.Dir, err)
}

// signal sends a signal to the program; the one that kills goes to its group.
func (x *execution) signal(name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.reaped:
		return nil
	case name == os.Kill.String():
		return endGroup(x.cmd)
	}
	signal, ok := signals[name]
	if !ok {
		return fmt.Errorf("unknown signal %q", name)
	}
	return x.cmd.Process.Signal(signal)
}

func (x *execution) kill() { _ = x.signal(os.Kill.String()) }

// wait returns how the program has ended, and closes what is left of its streams.
func (x *execution) wait() wire.Exit {
	<-x.ended
	x.close()
	return exitOf(x.cmd.ProcessState)
}

func (x *execution) close() {
	_ = x.in.Close()
	_ = x.out.file.Close()
	_ = x.err.file.Close()
}

// outlet is what a program writes. A process that has left the program's group may
// keep it open for ever; so once the program has ended, silence is its end.
type outlet struct {
	file *os.File
	over atomic.Bool
}

// silence is how long.
const silence = time.Second

func (o *outlet) last() {
	o.over.Store(true)
	_ = o.file.SetReadDeadline(time.Now().Add(silence))
}

// Read reads on, until there is nothing more.
func (o *outlet) Read(p []byte) (int, error) {
	if o.over.Load() {
		_ = o.file.SetReadDeadline(time.Now().Add(silence))
	}
	n, err := o.file.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}
