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

	mu       sync.Mutex
	now      *connection // may have ended
	attempt  *attempt    // that is made; nil: none
	ended    time.Time   // when the last one did
	misses   int         // attempts in a row that no worker has come of
	closed   bool
	attempts sync.WaitGroup
}

// attempt is one to connect.
type attempt struct {
	cancel   context.CancelCauseFunc
	building string // the system that a program is built for at the moment; of Host.mu

	done       chan struct{} // closed when the following are set
	connection *connection   // may have ended since
	err        error
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
// returns the hash of the program that the worker is. That the host does not start one
// is an Error too.
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
	end := c.conn.Session().Err()
	switch {
	case err == nil:
		h.proved()
		w.Wrap(func(link launch.Link) launch.Link { return &onConnection{link, c, h.address.String()} })
		return w, c.image, nil
	case end != nil:
		return nil, "", c.lost(h.address.String(), end)
	case ctx.Err() != nil:
		return nil, "", explain(ctx, &h.address, err, nil)
	}
	return nil, "", &Error{Where: h.address.String(), Reason: Denied, Err: err}
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
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	if c := h.now; c != nil && c.conn.Session().Err() == nil {
		h.mu.Unlock()
		return c, nil
	}
	if h.attempt == nil {
		h.begin()
	}
	a := h.attempt
	h.mu.Unlock()
	select {
	case <-a.done:
		return h.outcome(a)
	case <-ctx.Done():
		return nil, h.late(ctx, a)
	}
}

// outcome is what has come of an attempt: a connection, or an error. A connection may
// have ended before those who wait for it can use it.
func (h *Host) outcome(a *attempt) (*connection, error) {
	h.mu.Lock()
	closed := h.closed
	h.mu.Unlock()
	switch {
	case closed:
		return nil, ErrClosed
	case a.err != nil:
		return nil, a.err
	}
	if end := a.connection.conn.Session().Err(); end != nil {
		return nil, a.connection.lost(h.address.String(), end)
	}
	return a.connection, nil
}

// late says why somebody waits no longer, and what for.
func (h *Host) late(ctx context.Context, a *attempt) error {
	h.mu.Lock()
	building := a.building
	h.mu.Unlock()
	err := explain(ctx, &h.address, context.Cause(ctx), nil)
	if e, ok := err.(*Error); ok && building != "" {
		e.Err = fmt.Errorf("%w: the program for %s was still being built", e.Err, building)
	}
	return err
}

// proved notes that the host is of use.
func (h *Host) proved() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.misses = 0
}

// pause is how long after an attempt that was of no use the next one begins.
func (h *Host) pause() time.Duration {
	if h.misses == 0 {
		return 0
	}
	return max(0, min(10*time.Second, 100*time.Millisecond<<min(h.misses-1, 10))-time.Since(h.ended))
}

// begin begins an attempt; h.mu is held.
func (h *Host) begin() {
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &attempt{cancel: cancel, done: make(chan struct{})}
	old, pause := h.now, h.pause()
	h.attempt, h.now = a, nil
	h.attempts.Go(func() {
		defer cancel(nil)
		if old != nil {
			old.end()
		}
		c, err := h.try(ctx, a, pause)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.now, h.attempt = c, nil
		h.misses++
		h.ended = time.Now()
		a.connection, a.err = c, err
		close(a.done)
	})
}

// try makes an attempt after a pause.
func (h *Host) try(ctx context.Context, a *attempt, pause time.Duration) (*connection, error) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ErrClosed
	}
	config := h.config
	if config.Image != nil {
		config.Image = func(ctx context.Context, system string) (*ship.Image, error) {
			h.build(a, system)
			defer h.build(a, "")
			return h.config.Image(ctx, system)
		}
	}
	c, err := connect(ctx, h.via, &h.address, &config)
	if err != nil && context.Cause(ctx) == ErrClosed {
		err = ErrClosed
	}
	return c, err
}

// build notes which program an attempt waits for.
func (h *Host) build(a *attempt, system string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a.building = system
}

// Close ends the connection, and everything that was started over it.
func (h *Host) Close() {
	h.mu.Lock()
	h.closed = true
	if h.attempt != nil {
		h.attempt.cancel(ErrClosed)
	}
	h.mu.Unlock()
	h.attempts.Wait()
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
