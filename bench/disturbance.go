package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// A clock reads how much processor time the machine has had, and how much of it this process and the children that
// it has waited for used.
type clock struct {
	total, busy time.Duration // of all processors
	own         time.Duration
}

// userHertz is the unit of /proc/stat on every Linux that Go runs on.
const userHertz = 100

// readClock returns false where there is no /proc/stat.
func readClock() (clock, bool) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return clock{}, false
	}
	line, _, _ := strings.Cut(string(data), "\n")
	var user, nice, system, idle, wait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d",
		&user, &nice, &system, &idle, &wait, &irq, &softirq, &steal); err != nil {
		return clock{}, false
	}
	const tick = time.Second / userHertz
	busy := time.Duration(user+nice+system+irq+softirq+steal) * tick
	c := clock{total: busy + time.Duration(idle+wait)*tick, busy: busy}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			return clock{}, false
		}
		c.own += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return c, true
}

// A disturbance is the share of the machine's processor time that others took during an experiment, the
// hypervisor's other guests included. A row with much of it says little.
type disturbance struct {
	share float64 // 0 to 1
	known bool
}

// watchOthers begins to watch. The function that it returns ends that; all processes that were started meanwhile
// must have been waited for by then, because they count as others until they are.
func watchOthers() func() disturbance {
	before, known := readClock()
	return func() disturbance {
		after, ok := readClock()
		total := after.total - before.total
		if !known || !ok || total <= 0 {
			return disturbance{}
		}
		others := (after.busy - before.busy) - (after.own - before.own)
		return disturbance{share: max(0, float64(others)/float64(total)), known: true}
	}
}

func (d disturbance) String() string {
	if !d.known {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*d.share)
}
