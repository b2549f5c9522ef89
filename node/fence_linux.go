package node

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/trust"
)

// fences makes limits for callers.
type fences struct {
	groups *groups // nil: there are none
	log    *slog.Logger
}

func openFences(dir string, groups bool, log *slog.Logger) *fences {
	f := &fences{log: log}
	if !groups {
		return f
	}
	var err error
	if f.groups, err = openGroups(dir); err != nil {
		log.Warn("no control groups", "why", err, "memory", byRlimit, "cpu", byGoodwill,
			"and", "a process may survive its caller that has left its process group on purpose")
		return f
	}
	if f.groups.memory != nil {
		log.Warn("control groups do not limit memory here", "why", f.groups.memory, "memory", byRlimit)
	}
	if f.groups.cpu != nil {
		log.Warn("control groups do not limit processors here", "why", f.groups.cpu, "cpu", byGoodwill)
	}
	return f
}

func (f *fences) close() error {
	if f.groups == nil {
		return nil
	}
	return f.groups.close()
}

// fence is the limits of a caller.
type fence struct {
	group   *group // nil: there is none
	rough   bool   // memory is limited without it
	trusted bool   // processors are not, but for those who heed what they are told
	cells   atomic.Int64

	mu         sync.Mutex
	processors float64 // of the group; 0: all
}

// around makes the limits of a caller, as well as they can be had. Whose they are to be
// says renew.
func (f *fences) around(name string) *fence {
	x := &fence{rough: true, trusted: true}
	if f.groups == nil {
		return x
	}
	var err error
	if x.group, err = f.groups.make(name); err != nil {
		f.log.Error("no control group", "caller", name, "why", err)
		return x
	}
	x.rough = f.groups.memory != nil || x.group.enable("memory") != nil
	x.trusted = f.groups.cpu != nil
	return x
}

// renew has the limit of processors, which is that of all that a caller has here, be a
// grant's, and says how all of the grant's limits are kept. It costs little if nothing
// has changed.
func (x *fence) renew(grant trust.Grant) []string {
	memory, cpu := byGroup, byGroup
	if x.rough {
		memory = byRlimit
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.trusted {
		cpu = byGoodwill
	} else if grant.CPU != x.processors {
		if x.group.setCPU(grant.CPU) == nil {
			x.processors = grant.CPU
		} else {
			cpu = byGoodwill
		}
	}
	return describe(grant, memory, cpu)
}

func (x *fence) close() error {
	if x.group == nil {
		return nil
	}
	return x.group.remove()
}

// cell is the limits around one process and what it starts.
type cell struct {
	group  *group
	dir    *os.File // of the group
	space  uint64   // of RLIMIT_AS; 0: none
	memory int64    // what that stands for
}

const (
	// arena is the step by which a Go program takes memory.
	arena = 64 << 20
	// before is the address space of a Go program at its start, most of it kept free
	// for tables: up to 1.2 GiB with its first arena, and one more for what is not heap.
	//
	// RLIMIT_DATA would need no such guess, but does not hold a Go program: the kernel
	// does not count what is mapped over an address range that is taken already, as
	// the runtime maps its heap. So any heap passes, and what is refused after that is
	// something small, without which the runtime crashes.
	before = 20*arena + arena
)

// cell makes the limits of a grant around what is about to be started.
func (x *fence) cell(grant trust.Grant) (*cell, error) {
	x.renew(grant)
	c := &cell{memory: grant.Memory}
	if memory := uint64(grant.Memory); x.rough && memory > 0 {
		c.space = min(memory, math.MaxInt64-before-arena)
		c.space = (c.space+arena-1)/arena*arena + before
	}
	if x.group == nil {
		return c, nil
	}
	var err error
	if c.group, err = x.group.make(fmt.Sprint(x.cells.Add(1))); err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	if !x.rough && grant.Memory > 0 {
		err = c.group.setMemory(grant.Memory)
	}
	if err == nil {
		c.dir, err = os.Open(c.group.path)
	}
	if err != nil {
		return nil, errors.Join(err, c.group.remove())
	}
	return c, nil
}

// adjust has a process born in its limits.
func (c *cell) adjust(cmd *exec.Cmd) {
	if c.dir != nil {
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(c.dir.Fd())
	}
}

// hold limits a process that was born: there is no way to do so before. It has had
// no time for more than its runtime's own needs. The error says that there is no limit.
func (c *cell) hold(pid int) error {
	if c.dir != nil {
		_ = c.dir.Close()
		c.dir = nil
	}
	if c.space == 0 {
		return nil
	}
	var old unix.Rlimit // the node itself may have one, which only root could raise
	err := unix.Prlimit(pid, unix.RLIMIT_AS, nil, &old)
	if err == nil {
		limit := min(c.space, old.Max)
		err = unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: limit, Max: limit}, nil)
	}
	if err != nil && err != unix.ESRCH { // it has ended
		return fmt.Errorf("RLIMIT_AS: %w", err)
	}
	return nil
}

// end ends whatever is left of a process. exit, unless it is nil, then says what the
// limits have to do with it.
func (c *cell) end(exit *launch.Exit) {
	if c.dir != nil {
		_ = c.dir.Close()
	}
	if exit != nil && exit.Code != 0 && c.space > 0 {
		// A program that is refused memory may say anything at its end.
		exit.Stderr += fmt.Sprintf("\n(its memory was limited to %s)", size(c.memory))
	}
	if c.group == nil {
		return
	}
	if exit != nil && c.group.starved() {
		exit.OutOfMemory = true
	}
	_ = c.group.remove() // what cannot be removed now is, with the caller's group
}
