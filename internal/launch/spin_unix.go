//go:build unix

package launch

import (
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spinner reads, and decides whether a reader that finds nothing to read tries again for a short time before it
// sleeps. Being woken costs the kernel and the runtime several times what a small call takes, so when answers come
// quickly it pays to stay awake for them; when they do not, trying would only heat the room. So a reader tries again
// only if its last wait was short, and the first time that this was in vain ends it: an idle link costs nothing.
//
// Between two tries other goroutines run. That is what makes it work: the goroutine that got the last answer, and is
// about to send the next call, is waiting for this processor.
type spinner struct {
	hot   bool
	since time.Time // when the wait began
}

// spinFor is how long a reader tries again at the most, and how short a wait must have been for the next to begin
// that way.
const spinFor = 50 * time.Microsecond

// read returns EAGAIN when the reader should sleep; it is then called again with slept true.
func (s *spinner) read(fd int, p []byte, slept bool) (n int, err error) {
	if slept {
		s.hot = time.Since(s.since) < spinFor
	}
	for i := 0; ; i++ {
		n, err = unix.Read(fd, p)
		if err == unix.EINTR {
			continue
		}
		if err != unix.EAGAIN {
			return n, err
		}
		if i == 0 {
			s.since = time.Now()
		}
		if !s.hot {
			return 0, err
		}
		if i%4 == 3 && time.Since(s.since) > spinFor {
			s.hot = false
			return 0, err
		}
		runtime.Gosched()
	}
}

// readPolled reads from a file that the runtime's poller knows, whose raw connection is conn.
func (s *spinner) readPolled(_ *os.File, conn syscall.RawConn, p []byte) (n int, err error) {
	slept := false
	fail := conn.Read(func(fd uintptr) bool {
		n, err = s.read(int(fd), p, slept)
		slept = true
		return err != unix.EAGAIN
	})
	switch {
	case fail != nil:
		return 0, os.ErrClosed // the only reason, as there are no deadlines; fail itself is the poller's own
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}
