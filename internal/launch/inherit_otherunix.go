//go:build unix && !linux

package launch

import "golang.org/x/sys/unix"

// closeInherited leaves other inherited descriptors alone: only Linux lists them reliably.
func closeInherited() {}

// takeName has nothing to do: the path that was executed has the right name.
func takeName() {}

func niceness() (int, error) { return unix.Getpriority(unix.PRIO_PROCESS, 0) }
