//go:build unix

package launch

import (
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// rawLink is the worker's end of its link: two descriptors that are read and written by plain system calls, and
// waited for by the thread. That has less latency than the runtime's poller, whose only advantage, that Close
// interrupts a Read, a worker does not need: it ends with its link.
type rawLink struct {
	in, out int
	closed  atomic.Bool
	spin    spinner // of Read

	mu   sync.Mutex // makes each Write and Writev one turn
	left [][]byte   // Writev's copy of its argument, kept so that a call allocates nothing
	one  [1][]byte
}

func (l *rawLink) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if l.closed.Load() {
			return 0, os.ErrClosed
		}
		n, err := l.spin.readSleeping(l.in, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (l *rawLink) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.one[0] = p
	left, err := l.push(l.one[:])
	n := len(p)
	if len(left) > 0 {
		n -= len(left[0])
	}
	l.one[0] = nil
	return n, err
}

func (l *rawLink) Writev(bufs ...[]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := append(l.left, bufs...)
	_, err := l.push(all)
	clear(all) // The buffers are the caller's; the array is kept.
	l.left = all[:0]
	return err
}

func (l *rawLink) push(bufs [][]byte) ([][]byte, error) {
	if l.closed.Load() {
		return bufs, os.ErrClosed
	}
	left, err := pushVector(l.out, bufs)
	if err != nil {
		err = writeError(os.NewSyscallError("write", err))
	}
	return left, err
}

// Close puts the null device in place of both descriptors instead of closing them. The other side sees the end of
// the link all the same; but a Read that waits right now goes on waiting with the old pipe, and one that is about to
// begin must not find a file that got the same number meanwhile.
func (l *rawLink) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(null)
	for _, fd := range []int{l.in, l.out} {
		if err := replace(null, fd); err != nil {
			return os.NewSyscallError("dup", err)
		}
	}
	return nil
}
