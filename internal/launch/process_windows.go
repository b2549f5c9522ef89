package launch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// killedSignal is Exit.Signal after Kill, which Windows itself does not tell from an exit.
const killedSignal = "killed"

func enlarge(*os.File) {}

// lead makes a command the leader of a process group.
func lead(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// attach hands the worker its end of the link, and returns the handles' numbers, which are the same there.
func attach(cmd *exec.Cmd, read, write, _ *os.File) string {
	handles := []syscall.Handle{syscall.Handle(read.Fd()), syscall.Handle(write.Fd())}
	for _, h := range handles {
		// A handle that cannot be inherited makes the start fail, which reports it.
		_ = windows.SetHandleInformation(windows.Handle(h), windows.HANDLE_FLAG_INHERIT, windows.HANDLE_FLAG_INHERIT)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		AdditionalInheritedHandles: handles,
		CreationFlags:              windows.CREATE_NEW_PROCESS_GROUP,
	}
	return fmt.Sprintf("%d,%d", handles[0], handles[1])
}

// signal terminates the worker. The caller holds mu, and the worker is not reaped.
func (p *process) signal() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *process) reap() {
	_ = p.cmd.Wait() // The state says it all.
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
}

func exitOf(state *os.ProcessState, killed bool) Exit {
	switch {
	case state == nil:
		return Exit{Code: -1}
	case killed && state.ExitCode() == 1: // what Process.Kill makes it
		return Exit{Code: -1, Signal: killedSignal}
	}
	return Exit{Code: state.ExitCode()}
}

// sweep has nothing to do: a pipe here has no deadline that could pass.
func (o *output) sweep() {}

func dying(int) bool { return false }

func residentBytes(int) int64 { return 0 }
