package agent

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/afar-go/afar/internal/ship"
)

// An agent that is a command of a process on this host would be told by the kernel to end when its caller dies, as
// package launch orders it for every command, before it could end what it has started. It is told by the end of its
// link; if it is stopped, the signal wakes it for that. The order is one of the first thread, which only this early is
// sure to be the one that runs.
func init() {
	if os.Getenv(ship.AgentVariable) != "" {
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
	}
}

// adopt makes this process the parent of what its descendants leave behind, such as
// daemons that have left their process group on purpose.
func adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// endAdopted kills the children that are left, and theirs, which become children when
// their parents die. It is for when everything has ended that was started: nobody
// else waits for children then.
func endAdopted() {
	for {
		pids := children()
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		for _, pid := range pids {
			for {
				if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
					break
				}
			}
		}
		if len(pids) == 0 {
			return
		}
	}
}

// children lists the children of this process.
func children() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && parentOf(pid) == os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parentOf returns the parent of a process, 0 when the process is gone.
func parentOf(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	if fields := strings.Fields(rest); len(fields) > 1 {
		parent, _ := strconv.Atoi(fields[1])
		return parent
	}
	return 0
}
