package launch

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// linkPipeBytes is the size that is asked for the link's pipes. The kernel's default of 64 KiB costs bulk transfers
// a good part of their speed.
const linkPipeBytes = 256 << 10

// enlarge makes a pipe of the link larger. It may fail, since a user's pipes are limited in all.
func enlarge(pipe *os.File) {
	if conn, err := pipe.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, linkPipeBytes) })
	}
}

// attach hands the worker its end of the link, and returns the descriptors' numbers there. It makes the worker the
// leader of a process group.
//
// The signal at its parent's death is SIGCONT, for this reason: the worker ends itself and its group when its link
// reaches the end of file, which the kernel brings about however the parent dies. Only a stopped worker cannot see
// that, and SIGCONT wakes it. The signal also comes, spuriously, when the thread that started the worker ends
// (go.dev/issue/27505); SIGCONT is harmless then, whereas SIGKILL would kill a healthy worker and leave its
// grandchildren behind.
func attach(cmd *exec.Cmd, read, write, shared *os.File) string {
	cmd.ExtraFiles = []*os.File{read, write}
	numbers := "3,4"
	if shared != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, shared)
		numbers = "3,4,5"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGCONT}
	return numbers
}

// lead makes a command the leader of a process group. It is told of its caller's death by the end of its standard input,
// and since it is not one of ours, which heed that, by SIGTERM as well: at the end of the thread that starts it.
func lead(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// reap waits for the worker's death, kills what is left of its group, and only then lets the kernel forget the
// worker: until then no other process can get the number of the group.
func (p *process) reap() {
	known := awaitDeath(p.worker.pid)
	if known {
		p.memory.atDeath(p.worker.pid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known {
		_ = p.signal() // What cannot be killed is not ours any more.
	}
	_ = p.cmd.Wait() // The state says it all.
	p.reaped = true
}

// awaitDeath waits until the child is dead and leaves it to be reaped. It is false when somebody else reaped it.
func awaitDeath(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// exitingFlag is the kernel's PF_EXITING: the process is beyond the reach of signals. It is set before the kernel
// closes the process' descriptors, so whoever saw the end of a worker's link finds it.
const exitingFlag = 0x4

// dying reports whether a process that is not reaped is ending or has ended.
func dying(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// "pid (name) state ppid pgrp session tty tpgid flags …"; the name may contain anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && flags&exitingFlag != 0
}

// residentBytes reads the resident memory of a process that is not reaped.
func residentBytes(pid int) int64 {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(statm) // size, resident, … in pages
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
