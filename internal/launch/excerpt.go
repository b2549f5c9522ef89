package launch

import (
	"bytes"
	"strings"
)

const (
	excerptLines = 40      // the last lines that are kept
	excerptBytes = 8 << 10 // the bytes of an excerpt, head and tail together
	headLines    = 16      // the lines that are kept of the head of a crash
	headBytes    = 4 << 10
	elision      = "…\n"
)

// excerpt keeps what is worth reporting of everything that a worker printed: the last lines and, since a Go
// traceback is long and has the reason at its head, the first lines of a crash. One goroutine uses it at a time.
type excerpt struct {
	count int // lines so far

	tail []byte // the last lines, each with its newline; more than excerptBytes is cut from time to time

	head   []byte // the first lines of the crash, each with its newline
	headAt int    // number of its first line
	headTo int    // number of the line after its last; 0 while there was no crash
}

// add takes a line without its newline.
func (x *excerpt) add(line []byte) {
	at := x.count
	x.count++

	// The first crash line counts, and what follows belongs to it, except that a new crash replaces an old one: a
	// process crashes once, so the old one was printed by code that recovered, or by a program that the worker
	// ran. Signal headings repeat for every thread of one crash (GOTRACEBACK=crash) and replace nothing.
	if kind := crashLine(line); kind != noCrash && at >= x.headTo && (x.headTo == 0 || kind != crashSignal) {
		x.head, x.headAt, x.headTo = x.head[:0], at, at+headLines
	}
	if at < x.headTo {
		room := headBytes - len(x.head)
		if room > 1 {
			x.head = append(append(x.head, line[:min(len(line), room-1)]...), '\n')
		}
	}

	if len(line) >= excerptBytes {
		line = line[len(line)-excerptBytes+1:]
	}
	if x.tail == nil {
		x.tail = make([]byte, 0, 1<<10)
	}
	if len(x.tail)+len(line)+1 > 2*excerptBytes {
		x.tail = x.tail[:copy(x.tail, x.tail[len(x.tail)-excerptBytes:])]
	}
	x.tail = append(append(x.tail, line...), '\n')
}

// String returns the excerpt, without a newline at its end.
func (x *excerpt) String() string {
	tail := lastLines(x.tail, excerptBytes)
	if x.headTo == 0 || x.headAt >= x.count-countLines(tail) {
		return text(tail)
	}
	tail = lastLines(x.tail, excerptBytes-len(x.head)-len(elision))
	at := x.count - countLines(tail) // the number of tail's first line
	end := x.headAt + countLines(x.head)
	if at > end {
		return text(x.head) + "\n" + elision + text(tail)
	}
	for ; at < end && len(tail) > 0; at++ { // the head has these already
		_, tail, _ = bytes.Cut(tail, []byte("\n"))
	}
	return text(append(x.head[:len(x.head):len(x.head)], tail...))
}

// outOfMemory reports whether the crash is the Go runtime's, for want of memory.
func (x *excerpt) outOfMemory() bool {
	for line := range strings.Lines(string(x.head)) {
		runtimeSays := strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "runtime: ")
		if runtimeSays && (strings.Contains(line, "out of memory") || strings.Contains(line, "cannot allocate memory")) {
			return true
		}
	}
	return false
}

type crashKind int

const (
	noCrash crashKind = iota
	crashReason
	crashSignal
)

// crashLine tells whether the line begins a crash report of the Go runtime.
func crashLine(line []byte) crashKind {
	for _, prefix := range []string{
		"panic: ", "fatal error: ", "unexpected fault address",
		"runtime: out of memory", "runtime: goroutine stack exceeds",
	} {
		if len(line) >= len(prefix) && string(line[:len(prefix)]) == prefix {
			return crashReason
		}
	}
	// "SIGSEGV: segmentation violation"
	if name, _, found := bytes.Cut(line[:min(len(line), 16)], []byte(": ")); found && bytes.HasPrefix(name, []byte("SIG")) {
		return crashSignal
	}
	return noCrash
}

// lastLines returns the end of b: at most excerptLines lines and limit bytes, the first line cut if need be.
func lastLines(b []byte, limit int) []byte {
	b = b[max(0, len(b)-limit):]
	start := len(b)
	for range excerptLines {
		if start == 0 {
			break
		}
		start = bytes.LastIndexByte(b[:start-1], '\n') + 1
	}
	return b[start:]
}

func countLines(b []byte) int { return bytes.Count(b, []byte("\n")) }

// text makes b valid UTF-8 (a cut may have split a character), no longer than it was, and drops the newline at its end.
func text(b []byte) string {
	return strings.TrimSuffix(strings.ToValidUTF8(string(b), "?"), "\n")
}
