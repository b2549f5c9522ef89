//go:build unix && !linux

package agent

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// lead makes a program the leader of a process group.
func lead(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// reap waits for the program's end and kills what is left of its group at once. A
// group keeps its number as long as it has members.
func (x *execution) reap() {
	_ = x.cmd.Wait() // the state says it all
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reaped = true
	_ = unix.Kill(-x.cmd.Process.Pid, unix.SIGKILL)
}

func niceness(n int) int { return n }
