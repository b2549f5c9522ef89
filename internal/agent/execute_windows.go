package agent

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/afar-go/afar/internal/wire"
)

var signals = map[string]os.Signal{}

// lead makes a program the leader of a process group.
func lead(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// endGroup ends a program.
func endGroup(cmd *exec.Cmd) error {
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (x *execution) reap() {
	_ = x.cmd.Wait() // the state says it all
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reaped = true
}

func renice(int, int) error { return errors.New("not on Windows") }

func exitOf(state *os.ProcessState) wire.Exit {
	if state == nil {
		return wire.Exit{Code: -1}
	}
	return wire.Exit{Code: state.ExitCode()}
}
