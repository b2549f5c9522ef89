package trust

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/afar-go/afar/internal/launch"
)

// maxJoined is how many bytes of several buffers are joined to one write: more than
// one costs a record of TLS each.
const maxJoined = 64 << 10

// A Link is a connection as afar's sessions want it. One goroutine may read while
// others write; writes do not interleave. Reading gives io.EOF at the end of what
// the other side has written, writing what it can no longer read an error that is
// io.ErrClosedPipe, and both give os.ErrClosed after Close.
type Link struct {
	conn   net.Conn
	closed atomic.Bool

	mu     sync.Mutex // one write at a time
	joined []byte     // used under mu
}

var _ launch.Link = (*Link)(nil)

// NewLink makes a Link of a connection, which it owns: a tls.Conn of [Client] or
// [Server], or any other.
func NewLink(conn net.Conn) *Link { return &Link{conn: conn} }

// Read reads what has come.
func (l *Link) Read(p []byte) (int, error) {
	n, err := l.conn.Read(p)
	if err != nil && err != io.EOF && l.closed.Load() {
		err = os.ErrClosed
	}
	return n, err
}

// Write writes p.
func (l *Link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.conn.Write(p)
	return n, l.writeError(err)
}

// Writev writes all buffers in their order.
func (l *Link) Writev(bufs ...[]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, secured := l.conn.(*tls.Conn); !secured {
		vector := net.Buffers(append([][]byte(nil), bufs...))
		_, err := vector.WriteTo(l.conn)
		return l.writeError(err)
	}
	joined := l.joined[:0]
	for _, b := range bufs {
		if len(joined) > 0 && len(joined)+len(b) > maxJoined {
			if _, err := l.conn.Write(joined); err != nil {
				return l.writeError(err)
			}
			joined = joined[:0]
		}
		if len(joined) == 0 && len(b) >= maxJoined {
			if _, err := l.conn.Write(b); err != nil {
				return l.writeError(err)
			}
			continue
		}
		joined = append(joined, b...)
	}
	l.joined = joined
	if len(joined) == 0 {
		return nil
	}
	_, err := l.conn.Write(joined)
	return l.writeError(err)
}

// writeError gives the end of a link the names that it has everywhere.
func (l *Link) writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case l.closed.Load():
		return os.ErrClosed
	case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		return io.ErrClosedPipe
	}
	return err
}

// Close ends the link at once; later calls do nothing. There is no farewell of TLS:
// sessions know by themselves when they are complete, and a peer that reads nothing
// would let it wait.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	if secured, ok := l.conn.(*tls.Conn); ok {
		return secured.NetConn().Close()
	}
	return l.conn.Close()
}

// linkConn is a link, a relayed one for instance, as a net.Conn. A deadline that
// passes closes it: what TLS does after one is not to be repaired anyway.
type linkConn struct {
	launch.Link

	mu    sync.Mutex
	timer *time.Timer
}

func (c *linkConn) LocalAddr() net.Addr  { return relayed{} }
func (c *linkConn) RemoteAddr() net.Addr { return relayed{} }

// SetDeadline has the link closed at a time, or not, if it is zero.
func (c *linkConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if !t.IsZero() {
		c.timer = time.AfterFunc(time.Until(t), func() { _ = c.Link.Close() })
	}
	return nil
}

func (c *linkConn) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *linkConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

func (c *linkConn) Close() error {
	_ = c.SetDeadline(time.Time{})
	return c.Link.Close()
}

// relayed is the address of a link that is not this host's connection.
type relayed struct{}

func (relayed) Network() string { return "link" }
func (relayed) String() string  { return "relayed" }
