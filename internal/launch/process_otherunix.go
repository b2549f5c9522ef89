//go:build unix && !linux

package launch

import (
	"os"
	"os/exec"
	"syscall"
)

func enlarge(*os.File) {}

// attach hands the worker its end of the link, and returns the descriptors' numbers there. It makes the worker the
// leader of a process group.
func attach(cmd *exec.Cmd, read, write, _ *os.File) string {
	cmd.ExtraFiles = []*os.File{read, write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return "3,4"
}

// lead makes a command the leader of a process group.
func lead(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// reap waits for the worker's end and kills what is left of its group at once. A group keeps its number as long as
// it has members; only an empty one could be another's by now, in the moment between these two lines.
func (p *process) reap() {
	_ = p.cmd.Wait() // The state says it all.
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	_ = syscall.Kill(-p.worker.pid, syscall.SIGKILL)
}

func dying(int) bool { return false }

func residentBytes(int) int64 { return 0 }
