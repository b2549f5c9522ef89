package agent

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// lead makes a program the leader of a process group, which dies with the thread
// that starts it.
func lead(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// reap waits for the program's death, kills what is left of its group, and only then
// lets the kernel forget it: until then nobody else can get the group's number.
func (x *execution) reap() {
	pid := x.cmd.Process.Pid
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	_ = endGroup(x.cmd)
	_ = x.cmd.Wait() // the state says it all
	x.reaped = true
}

// niceness makes one of what the system call gives.
func niceness(n int) int { return 20 - n }
