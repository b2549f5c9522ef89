package reach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/wire"
)

// Via is where the way to a host begins.
type Via interface {
	Command(ctx context.Context, o launch.Order) (*launch.Worker, error)
	Dial(ctx context.Context, network, address string) (launch.Link, error)
}

// Here is the Via of this process.
type Here struct{}

// Command runs a command.
func (Here) Command(_ context.Context, o launch.Order) (*launch.Worker, error) {
	return launch.Command(o)
}

// Dial connects to an address.
func (Here) Dial(ctx context.Context, network, address string) (launch.Link, error) {
	return launch.Dial(ctx, network, address)
}

// Config shapes the connection to a host.
type Config struct {
	Keepalive time.Duration // of the link; 0: 10 s
	Patience  time.Duration // how long the way to the host may be silent before it counts as closed
	// Output is called with every line that the way to the host prints, or what is
	// printed there beside the workers.
	Output func(line []byte)
	// Image finds the program for a system.
	Image func(ctx context.Context, system string) (*ship.Image, error)
	// Wrap, if set, is put around the link.
	Wrap func(launch.Link) launch.Link
}

// Host is a host within reach. Its methods may be used concurrently. Close ends it,
// and with it all that was started there.
type Host struct {
	via     Via
	address Address
	config  Config

	mu      sync.Mutex
	now     *connection // may have ended
	dialing chan struct{}
	err     error     // of the last attempt
	failed  time.Time // when that was
	misses  int       // failed attempts in a row
	closed  bool
	cancel  context.CancelCauseFunc // of the attempt that is made
	attempt sync.WaitGroup
}

// New returns a host, to which nothing is connected yet.
func New(via Via, a Address, c Config) *Host { return &Host{via: via, address: a, config: c} }

// ErrClosed is given by a Host that was closed.
var ErrClosed = errors.New("closed")

// Hello connects to the host, if that is still to be done, and returns what the
// agent there says of itself: Concurrency is how many processors it may use.
func (h *Host) Hello(ctx context.Context) (*wire.Hello, error) {
	c, err := h.connection(ctx)
	if err != nil {
		return nil, err
	}
	return c.hello, nil
}

// Start starts a worker there, one of share that the host's processors are for. It
// returns the hash of the program that the worker is.
func (h *Host) Start(ctx context.Context, spec launch.Spec, share int) (*launch.Worker, string, error) {
	c, err := h.connection(ctx)
	if err != nil {
		return nil, "", err
	}
	image := ""
	if c.command == nil {
		image = c.image // of a node, which has a program of its own
	}
	w, err := c.place.Start(ctx, spec, image, share)
	if err == nil {
		w.Wrap(func(link launch.Link) launch.Link { return &onConnection{link, c, h.address.String()} })
		return w, c.image, nil
	}
	if end := c.conn.Session().Err(); end != nil {
		return nil, "", c.lost(h.address.String(), end)
	}
	return nil, "", fmt.Errorf("%s: %w", h.address.String(), err)
}

// Place returns the host as a place to start things, and its agent's hello.
func (h *Host) Place(ctx context.Context) (*agent.Place, *wire.Hello, error) {
	c, err := h.connection(ctx)
	if err != nil {
		return nil, nil, err
	}
	return c.place, c.hello, nil
}

// connection returns the connection, or makes one. Only one attempt is made at a
// time, for all who wait.
func (h *Host) connection(ctx context.Context) (*connection, error) {
	for first := true; ; first = false {
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			return nil, ErrClosed
		}
		if c := h.now; c != nil && c.conn.Session().Err() == nil {
			h.mu.Unlock()
			return c, nil
		}
		if !first && h.dialing == nil {
			err := h.err
			h.mu.Unlock()
			return nil, err
		}
		if h.dialing == nil {
			h.begin()
		}
		wait := h.dialing
		h.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, explain(ctx, &h.address, context.Cause(ctx), nil)
		}
	}
}

// pause is how long after a failed attempt the next one begins.
func (h *Host) pause() time.Duration {
	if h.misses == 0 {
		return 0
	}
	return max(0, min(10*time.Second, 100*time.Millisecond<<min(h.misses-1, 10))-time.Since(h.failed))
}

// begin begins an attempt; h.mu is held.
func (h *Host) begin() {
	ctx, cancel := context.WithCancelCause(context.Background())
	old, pause, done := h.now, h.pause(), make(chan struct{})
	h.dialing, h.cancel, h.now = done, cancel, nil
	h.attempt.Go(func() {
		defer cancel(nil)
		if old != nil {
			old.end()
		}
		timer := time.NewTimer(pause)
		defer timer.Stop()
		var c *connection
		var err error
		select {
		case <-timer.C:
			c, err = connect(ctx, h.via, &h.address, &h.config)
		case <-ctx.Done():
			err = ErrClosed
		}
		if err != nil && context.Cause(ctx) == ErrClosed {
			err = ErrClosed
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.now, h.err, h.dialing = c, err, nil
		h.misses++
		h.failed = time.Now()
		if err == nil {
			h.misses = 0
		}
		close(done)
	})
}

// Close ends the connection, and everything that was started over it.
func (h *Host) Close() {
	h.mu.Lock()
	h.closed = true
	if h.cancel != nil {
		h.cancel(ErrClosed)
	}
	h.mu.Unlock()
	h.attempt.Wait()
	h.mu.Lock()
	c := h.now
	h.now = nil
	h.mu.Unlock()
	if c != nil {
		c.end()
	}
}

// hello is what this end says of itself.
func (c *Config) hello() wire.Hello {
	host, _ := os.Hostname()
	return wire.Hello{Host: host, PID: os.Getpid(), Keepalive: c.Keepalive}
}
