package launch

import "strconv"

// Exit tells how a worker ended.
type Exit struct {
	// Code is the exit status, or -1 when a signal ended the worker.
	Code int

	// Signal names the signal that ended the worker, as syscall.Signal.String does ("killed", "segmentation
	// fault"); "" when it exited by itself.
	Signal string

	// OutOfMemory is true when the kernel killed the worker for want of memory, or the Go runtime gave up for
	// that reason. It is not a guess; see oom_linux.go for the evidence.
	OutOfMemory bool

	// Stderr holds the last lines that the worker printed to its standard output or error: at most 40 lines and
	// 8 KiB. When the worker printed a Go crash whose head is no longer among these, the head (its first line and
	// the 15 after it) comes first, then a line "…".
	Stderr string
}

// String describes the end on one line: "exit status 3", "signal: killed (out of memory)".
func (e Exit) String() string {
	s := "exit status " + strconv.Itoa(e.Code)
	if e.Signal != "" {
		s = "signal: " + e.Signal
	}
	if e.OutOfMemory {
		s += " (out of memory)"
	}
	return s
}
