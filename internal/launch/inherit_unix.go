//go:build unix

package launch

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/afar-go/afar/internal/ring"
)

// takeLink makes the inherited pipes the worker's own, known to the runtime's poller. A thread that waits in a read
// instead would have a little less latency, but also keep the runtime's monitor awake, which takes a tenth of a
// processor from the functions that run meanwhile.
func takeLink(read, write, shared uintptr) (Link, error) {
	for _, fd := range []int{int(read), int(write)} {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, os.NewSyscallError("fstat", err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return nil, fmt.Errorf("descriptor %d is not a pipe", fd)
		}
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
	}
	memory := takeMemory(shared)
	closeInherited()
	takeName()
	endOnHangup()
	return newFileLink(os.NewFile(read, "link"), os.NewFile(write, "link"), memory)
}

// takeMemory maps the memory that is beside the pipes, if there is one. Where that fails
// the link does without: nothing is put there before the worker says that it looks.
func takeMemory(fd uintptr) *ring.Memory {
	if fd == 0 {
		return nil
	}
	defer unix.Close(int(fd))
	memory, err := ring.Open(fd)
	if err != nil {
		return nil
	}
	return memory
}

// renice adds n to the niceness of the whole process: by the process group, which is this process alone so early in
// its life, because PRIO_PROCESS means a single thread on Linux.
func renice(n int) error {
	current, err := niceness()
	if err != nil {
		return os.NewSyscallError("getpriority", err)
	}
	return os.NewSyscallError("setpriority", unix.Setpriority(unix.PRIO_PGRP, 0, current+n))
}

// endOnHangup has SIGHUP end the whole group and not this process alone. The kernel sends it when the group is stopped
// and its caller dies, which leaves it orphaned; it arrives before the end of the link is read.
func endOnHangup() {
	if signal.Ignored(unix.SIGHUP) { // nohup
		return
	}
	go func() { // so that the worker's start does not wait for it
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, unix.SIGHUP)
		<-hangup
		endGroup()
		signal.Reset(unix.SIGHUP)
		_ = unix.Kill(unix.Getpid(), unix.SIGHUP)
	}()
}

// endGroup kills the process group that this process leads.
//
// First it tries to step over to its parent's group, so that it survives the old one for a moment and its parent
// gets the exit code. A parent in another session is not the one that started it: that one is dead, the code
// interests nobody, and the process dies with its group.
func endGroup() {
	pid := unix.Getpid()
	if unix.Getpgrp() != pid {
		return
	}
	if group, err := unix.Getpgid(unix.Getppid()); err == nil && group != pid {
		_ = unix.Setpgid(0, group) // If it fails the next line ends this process too.
	}
	_ = unix.Kill(-pid, unix.SIGKILL) // It fails when the group is empty by now.
}
