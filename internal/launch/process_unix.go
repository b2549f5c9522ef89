//go:build unix

package launch

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killedSignal is Exit.Signal after a SIGKILL.
var killedSignal = unix.SIGKILL.String()

// sweepBytes is more than a pipe for output holds; a grandchild that goes on writing does not hold up the end.
const sweepBytes = 1 << 20

// signal sends SIGKILL to the worker's process group. The caller holds mu, and the worker is not reaped.
func (p *process) signal() error {
	// An error of the first call is no news: the group is empty, or dead but not reaped, or the second call has the
	// same error. The second is for a worker that has left its group.
	_ = unix.Kill(-p.worker.pid, unix.SIGKILL)
	if err := unix.Kill(p.worker.pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("kill", err)
	}
	return nil
}

// exitOf translates what the wait gave; state is nil when another part of the program reaped the worker.
func exitOf(state *os.ProcessState, _ bool) Exit {
	if state == nil {
		return Exit{Code: -1}
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return Exit{Code: -1, Signal: status.Signal().String()}
	}
	return Exit{Code: state.ExitCode()}
}

// sweep delivers what is in the pipe now, without waiting for more.
func (o *output) sweep() {
	if o.file.SetReadDeadline(time.Time{}) != nil {
		return
	}
	conn, err := o.file.SyscallConn()
	if err != nil {
		return
	}
	for total := 0; total < sweepBytes; {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			n, _ = unix.Read(int(fd), o.lines.space())
			return true // never wait
		})
		if err != nil || n <= 0 {
			return
		}
		o.lines.filled(n)
		total += n
	}
}
