//go:build unix

package agent

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/afar-go/afar/internal/wire"
)

// signals are those that a program may be sent, by the names that this and other
// systems of its kind give them.
var signals = func() map[string]os.Signal {
	all := map[string]os.Signal{}
	for n := syscall.Signal(1); n < 32; n++ {
		all[n.String()] = n
	}
	return all
}()

// endGroup kills the group that a program leads. The program is not reaped.
func endGroup(cmd *exec.Cmd) error {
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // it may be empty
	if err := unix.Kill(cmd.Process.Pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("kill", err)
	}
	return nil
}

// renice sets the niceness of a program's group.
func renice(pid, n int) error {
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return err
	}
	return unix.Setpriority(unix.PRIO_PGRP, pid, niceness(own)+n)
}

func exitOf(state *os.ProcessState) wire.Exit {
	if state == nil {
		return wire.Exit{Code: -1}
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return wire.Exit{Code: -1, Signal: status.Signal().String()}
	}
	return wire.Exit{Code: state.ExitCode()}
}
