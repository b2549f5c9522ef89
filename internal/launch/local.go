package launch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/afar-go/afar/internal/ring"
)

// errNotRemembered stops a program whose copies would not know that they are workers, and would start copies of
// themselves without end.
var errNotRemembered = errors.New("afar: call afar.Main() first in main (or in TestMain)")

// Local starts this very program again as a worker process. The worker gets no arguments but os.Args[0], and finds
// its end of the link with Inherit. Local returns when the program was started; whether it speaks on its link is for
// the caller to find out. With Spec.Path it starts another program, which is to call Inherit as well.
//
// RememberImage must have been called. On an error nothing was started and nothing is left open.
func Local(spec Spec) (*Worker, error) {
	if !remembered.Load() {
		return nil, errNotRemembered
	}
	if err := spec.check(); err != nil {
		return nil, err
	}
	id, err := spec.imageID()
	if err != nil {
		return nil, err
	}
	pl, err := layPipes()
	if err != nil {
		return nil, fmt.Errorf("afar: start a worker: %w", err)
	}
	pl.share()
	link, err := newFileLink(pl.in, pl.out, pl.memory)
	if err != nil {
		pl.close()
		return nil, fmt.Errorf("afar: start a worker: %w", err)
	}
	path, name := spec.Path, os.Args[:min(len(os.Args), 1)]
	if path == "" {
		path = ownImage().executable(pl.null, pl.print, pl.print, pl.read, pl.write, pl.shared)
	} else {
		name = []string{path}
	}
	cmd := &exec.Cmd{
		Path:   path,
		Args:   name,
		Dir:    spec.Dir,
		Stdin:  pl.null,
		Stdout: pl.print,
		Stderr: pl.print,
	}
	base := cmd.Environ() // with PWD for Dir
	cmd.Env = spec.environment(base, id, attach(cmd, pl.read, pl.write, pl.shared))
	if spec.Adjust != nil {
		spec.Adjust(cmd)
	}
	memory := watchMemory()
	if err := cmd.Start(); err != nil {
		memory.close()
		pl.close()
		return nil, fmt.Errorf("afar: start a worker: %w", err)
	}
	pl.closeChilds()
	return newProcess(cmd, link, newOutput(pl.printed, spec.Output), memory), nil
}

// pipes are what connects a worker with its parent.
type pipes struct {
	null, print, read, write *os.File // the worker's: standard input; output and error; its end of the link
	in, out, printed         *os.File // the parent's: its end of the link; what the worker prints

	memory *ring.Memory // beside the link; nil where there is none
	shared *os.File     // the worker's: by which it finds the memory
}

// layPipes opens them all, or none.
func layPipes() (*pipes, error) {
	pl := &pipes{}
	if err := pl.lay(); err != nil {
		pl.close()
		return nil, err
	}
	enlarge(pl.out)
	enlarge(pl.in)
	return pl, nil
}

// share adds memory to the pipes. Without it everything goes through them.
func (pl *pipes) share() {
	if memory, file, err := ring.New(); err == nil {
		pl.memory, pl.shared = memory, file
	}
}

func (pl *pipes) lay() (err error) {
	if pl.null, err = os.Open(os.DevNull); err != nil {
		return err
	}
	if pl.read, pl.out, err = os.Pipe(); err != nil {
		return err
	}
	if pl.in, pl.write, err = os.Pipe(); err != nil {
		return err
	}
	pl.printed, pl.print, err = os.Pipe()
	return err
}

func (pl *pipes) close() {
	pl.closeChilds()
	closeAll(pl.in, pl.out, pl.printed)
	if pl.memory != nil {
		pl.memory.Close()
	}
}

// closeChilds closes the worker's ends, which the worker itself has by now.
func (pl *pipes) closeChilds() { closeAll(pl.null, pl.print, pl.read, pl.write, pl.shared) }

// closeAll closes those files that are open.
func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close() // Of a nil file it only says that it is nil.
	}
}
