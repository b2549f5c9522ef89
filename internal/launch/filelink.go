package launch

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/afar-go/afar/internal/ring"
)

// fileLink is an end of a worker's link: two pipes, known to the runtime's poller where it can, so that
// Close interrupts a Read that waits.
type fileLink struct {
	in, out *os.File
	conn    syscall.RawConn // of in
	spin    spinner         // of Read
	memory  *ring.Memory    // beside the pipes; nil: there is none

	// mu makes each Write and Writev one turn. Close does not take it: it has to interrupt a write that waits.
	mu      sync.Mutex
	vectors vectorWriter // used under mu
}

func newFileLink(in, out *os.File, memory *ring.Memory) (*fileLink, error) {
	conn, err := in.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &fileLink{in: in, out: out, conn: conn, memory: memory}
	if err := l.vectors.init(out); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *fileLink) Read(p []byte) (int, error) {
	n, err := l.spin.readPolled(l.in, l.conn, p)
	if err != nil && brokenPipe(err) {
		err = io.EOF // so Windows calls the end of a pipe
	}
	return n, err
}

func (l *fileLink) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.out.Write(p)
	return n, writeError(err)
}

func (l *fileLink) Writev(bufs ...[]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return writeError(l.vectors.write(bufs))
}

// Memory returns the memory that both ends of the link see, or nil. It is closed with the link.
func (l *fileLink) Memory() *ring.Memory { return l.memory }

// Close may be called more than once; later calls change nothing and give no error.
func (l *fileLink) Close() error {
	err := errors.Join(l.in.Close(), l.out.Close())
	if l.memory != nil {
		l.memory.Close()
	}
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// writeError gives the end of the other side the name that Link promises.
func writeError(err error) error {
	if err != nil && brokenPipe(err) {
		return io.ErrClosedPipe
	}
	return err
}
