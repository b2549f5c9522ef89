package trust

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// defaultTimeout bounds a handshake in time.
	defaultTimeout = 10 * time.Second
	// maxHandshake bounds what is read of a peer before it is known. An honest
	// handshake takes some 2 KiB.
	maxHandshake = 64 << 10
)

// errOversized is what reading ends with when a peer sends too much.
var errOversized = fmt.Errorf("more than %d bytes before the handshake was done", maxHandshake)

// A guard is a connection during its handshake: it gives so many bytes, and
// lives so long. Afterwards it is the connection, and nothing else.
type guard struct {
	net.Conn
	passed bool // set before anyone but the handshake reads
	left   int  // bytes that may still be read before that

	// denied is why the peer is not wanted, once that is known. It is what the
	// handshake ends with, even if the peer could not be told in time.
	denied error

	ctx     context.Context
	cancel  context.CancelFunc
	disarm  func() bool
	timeout time.Duration
}

// newGuard starts the clock. The end of a handshake is finish.
func newGuard(ctx context.Context, conn net.Conn, timeout time.Duration) *guard {
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	g := &guard{Conn: conn, left: maxHandshake, timeout: timeout}
	g.ctx, g.cancel = context.WithTimeoutCause(ctx, timeout,
		fmt.Errorf("the handshake was not done within %s: %w", timeout, context.DeadlineExceeded))
	// Closing ends reads and writes on every kind of connection; a deadline
	// does nothing on some that are relayed.
	g.disarm = context.AfterFunc(g.ctx, func() { conn.Close() })
	return g
}

// deny records why the peer is not wanted, and returns it.
func (g *guard) deny(err error) error {
	g.denied = err
	return err
}

// finish stops the clock. A handshake that failed, or that was over too late,
// closes the connection and gives the reason; one that succeeded lifts the limits.
func (g *guard) finish(err error) error {
	inTime := g.disarm()
	switch {
	case g.denied != nil:
		err = g.denied
	case !inTime:
		err = context.Cause(g.ctx)
	}
	g.cancel()
	if err != nil {
		g.Conn.Close() // without a farewell of TLS, for which a slow peer could let us wait
		return err
	}
	g.passed = true
	return nil
}

// Read reads no more than is left.
func (g *guard) Read(p []byte) (int, error) {
	if g.passed {
		return g.Conn.Read(p)
	}
	if g.left == 0 {
		return 0, errOversized
	}
	n, err := g.Conn.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

// NetConn returns the connection below, as that of a tls.Conn does.
func (g *guard) NetConn() net.Conn { return g.Conn }

// errHalfOpen is given for a link that ended before the verdict.
var errHalfOpen = errors.New("the node closed the link without a verdict")
