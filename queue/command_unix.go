//go:build unix

package queue

import (
	"os/exec"
	"syscall"
)

// ownGroup gives a command a process group, and has the whole of it killed.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
