//go:build unix

package launch

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// vectorWriter writes several buffers to a non-blocking file. It keeps its state between calls so that a call
// allocates nothing.
type vectorWriter struct {
	conn syscall.RawConn
	step func(fd uintptr) bool // the method push
	left [][]byte              // what is not written yet
	err  error
}

func (v *vectorWriter) init(file *os.File) (err error) {
	v.step = v.push
	v.conn, err = file.SyscallConn()
	return err
}

func (v *vectorWriter) write(bufs [][]byte) error {
	v.left = append(v.left, bufs...)
	all := v.left
	var err error
	if v.conn.Write(v.step) != nil {
		// The file has no deadline, so it was closed; the raw connection has its own, unexported error for that.
		err = os.ErrClosed
	} else {
		err = v.err
	}
	clear(all) // The buffers are the caller's; the array is kept.
	v.left, v.err = all[:0], nil
	return err
}

// push writes what the descriptor takes now; false asks to be called again when it takes more.
func (v *vectorWriter) push(fd uintptr) bool {
	v.left, v.err = pushVector(int(fd), v.left)
	if errors.Is(v.err, unix.EAGAIN) {
		v.err = nil
		return false
	}
	return true
}

// pushVector writes bufs to the descriptor until all is written or an error other than an interruption occurs. It
// returns what is left, and changes bufs' elements.
func pushVector(fd int, bufs [][]byte) ([][]byte, error) {
	bufs = advance(bufs, 0)
	for len(bufs) > 0 {
		n, err := writev(fd, bufs)
		if n > 0 {
			bufs = advance(bufs, n)
		}
		if err != nil && err != unix.EINTR {
			return bufs, err
		}
	}
	return nil, nil
}

func brokenPipe(err error) bool { return errors.Is(err, unix.EPIPE) }
