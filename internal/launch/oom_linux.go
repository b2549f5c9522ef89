package launch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// memoryWatch answers whether the kernel killed a worker for want of memory. It is asked only when a SIGKILL that
// this process did not send ended the worker. The evidence, in this order, the first that is conclusive decides:
//
//  1. The oom_kill counter of /proc/vmstat counts every such kill on the machine, before the signal is sent. If it
//     did not rise during the worker's life, the answer is no.
//  2. The kernel's log names the process IDs it killed. Where it can be read, and speaks of the same process IDs as
//     this process, a record about the worker, written during its life, means yes, and none means no.
//  3. The oom_kill counter of the worker's memory cgroup: risen means yes, else no, unless the worker was moved to
//     another cgroup.
//  4. The counter of /proc/vmstat alone: risen means yes.
//
// The kernel counts first, then signals, then writes to its log; so after 1 the record may have to be waited for.
type memoryWatch struct {
	kills int64 // vmstat's counter at the start, or unknownCount
	log   int   // descriptor of the kernel's log, at the records since the start, or -1

	group      memoryGroup // used only without the log
	groupKills int64       // its counter at the start, or unknownCount
}

const (
	vmstatPath   = "/proc/vmstat"
	unknownCount = -1

	// kernelLogDelay is how long a record may be behind the signal that it is about.
	kernelLogDelay = 50 * time.Millisecond
	kernelLogMax   = 8 << 10 // bytes of the largest record
)

// firstPIDNamespace is the fixed inode of the initial namespace of process IDs, whose numbers the log has.
const firstPIDNamespace = "pid:[4026531836]"

var inFirstNamespace = sync.OnceValue(func() bool {
	name, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && name == firstPIDNamespace
})

// watchMemory takes the counters as they are before a worker starts. It has to be closed.
func watchMemory() *memoryWatch {
	w := &memoryWatch{kills: oomKills(vmstatPath), log: -1, groupKills: unknownCount}
	if inFirstNamespace() {
		w.log = openKernelLog()
	}
	if w.log < 0 {
		w.group = memoryGroupOf("self")
		w.groupKills = oomKills(w.group.counter())
	}
	return w
}

func (w *memoryWatch) close() {
	if w.log >= 0 {
		_ = unix.Close(w.log)
		w.log = -1
	}
}

// atDeath is called when the worker is dead and not yet reaped. Only then can it be known that it was moved.
func (w *memoryWatch) atDeath(pid int) {
	if w.groupKills == unknownCount || !w.group.unified {
		return // Version 1 shows the root for every dead process.
	}
	if memoryGroupOf(strconv.Itoa(pid)) != w.group {
		w.groupKills = unknownCount
	}
}

// blames weighs the evidence about the worker with this process ID.
func (w *memoryWatch) blames(pid int) bool {
	now := oomKills(vmstatPath)
	rose := now > w.kills && w.kills != unknownCount
	if now == w.kills && now != unknownCount {
		return false
	}
	if named, certain := w.logNames(pid); named || certain {
		return named
	}
	if w.groupKills != unknownCount {
		if kills := oomKills(w.group.counter()); kills != unknownCount {
			return kills > w.groupKills
		}
	}
	return rose
}

func openKernelLog() int {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd)
		return -1
	}
	return fd
}

// logNames reads the kernel's log since the worker's start. It is certain unless the log cannot be read or has lost
// records meanwhile.
func (w *memoryWatch) logNames(pid int) (named, certain bool) {
	if w.log < 0 {
		return false, false
	}
	record := make([]byte, kernelLogMax)
	deadline := time.Now().Add(kernelLogDelay)
	certain = true
	for {
		n, err := unix.Read(w.log, record)
		switch {
		case err == unix.EINTR:
		case err == unix.EPIPE: // Older records were overwritten; the next read goes on behind them.
			certain = false
		case err == unix.EAGAIN:
			left := time.Until(deadline)
			if left <= 0 {
				return false, certain
			}
			ready := []unix.PollFd{{Fd: int32(w.log), Events: unix.POLLIN}}
			_, _ = unix.Poll(ready, int(left.Milliseconds())+1)
		case err != nil:
			return false, false
		case namesVictim(record[:n], pid):
			return true, true
		}
	}
}

// namesVictim reports whether a record of the kernel's log, "priority,sequence,time,flags;text", says that the
// process was killed for want of memory.
func namesVictim(record []byte, pid int) bool {
	header, text, _ := bytes.Cut(record, []byte(";"))
	priority, _, _ := bytes.Cut(header, []byte(","))
	// The rest of the priority is the facility: 0 is the kernel, and no program can write as the kernel.
	if n, err := strconv.Atoi(string(priority)); err != nil || n>>3 != 0 {
		return false
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	line := string(text)
	if strings.HasPrefix(line, "oom-kill:") {
		return strings.Contains(line+",", fmt.Sprintf(",pid=%d,", pid))
	}
	return strings.Contains(line, fmt.Sprintf("Killed process %d ", pid))
}

// memoryGroup is the cgroup that limits a process' memory.
type memoryGroup struct {
	name    string // as in /proc/PID/cgroup; "" is unknown
	unified bool   // of version 2
}

// memoryGroupOf reads the cgroup of a process ("self" or a process ID).
func memoryGroupOf(process string) memoryGroup {
	content, err := os.ReadFile("/proc/" + process + "/cgroup")
	if err != nil {
		return memoryGroup{}
	}
	return parseMemoryGroup(string(content))
}

// parseMemoryGroup understands lines "number:controllers:name"; version 2 has number 0 and no controllers, and
// leaves memory to version 1 where that has it.
func parseMemoryGroup(content string) memoryGroup {
	var group memoryGroup
	for line := range strings.Lines(content) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			if controller == "memory" {
				return memoryGroup{name: parts[2]}
			}
		}
		if parts[0] == "0" && parts[1] == "" {
			group = memoryGroup{name: parts[2], unified: true}
		}
	}
	return group
}

// counter is the file with the group's oom_kill counter.
func (g memoryGroup) counter() string {
	switch {
	case g.name == "":
		return ""
	case g.unified:
		return path.Join("/sys/fs/cgroup", g.name, "memory.events")
	default:
		return path.Join("/sys/fs/cgroup/memory", g.name, "memory.oom_control")
	}
}

// counters holds buffers for oomKills; vmstat is about 4 KiB, and is generated anew for every read of it.
var counters = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// oomKills reads the line "oom_kill N" of a file of counters, or returns unknownCount.
func oomKills(file string) int64 {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return unknownCount
	}
	defer unix.Close(fd)
	buf := counters.Get().(*[16 << 10]byte)
	defer counters.Put(buf)
	size := 0
	for size < len(buf) {
		n, err := unix.Read(fd, buf[size:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return unknownCount
		}
		if n == 0 {
			break
		}
		size += n
	}
	for line := range bytes.Lines(buf[:size]) {
		if value, found := bytes.CutPrefix(line, []byte("oom_kill ")); found {
			if n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err == nil {
				return n
			}
		}
	}
	return unknownCount
}
