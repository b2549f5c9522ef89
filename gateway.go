package afar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/conversation"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/target"
)

// Gateway is the caller's handle on one worker, and on the workers that replace
// it. It is a Runner: calls made through it run in its worker only. Its methods
// may be used concurrently.
type Gateway struct {
	pool   *Pool
	target *target.Target
	place  place
	id     string
	env    []string
	nested nest
	leave  func() // of one that Gateway.Open has opened: ends the way there
	seat   *dispatch.Seat

	mu       sync.Mutex
	state    string
	now      *incarnation // nil while there is no worker
	err      error        // why there will be no worker again
	trouble  error        // why there is none at the moment
	restarts int
	ended    int // calls, in the workers before this one
	failed   int
	closing  bool
	draining bool // no more conversations
	book     conversation.Book
	changed  chan struct{} // closed and replaced when now, err or closing changed
	stop     chan struct{} // closed when no worker is wanted any more
	idle     chan struct{} // closed when no worker and no goroutine is left; nil before open
}

// States of a worker in GatewayStatus.
const (
	StateStarting   = "starting"
	StateIdle       = "idle"
	StateRunning    = "running"
	StateRestarting = "restarting"
	StateCrashLoop  = "crash loop" // it died too often in a row and is not replaced
	StateClosed     = "closed"
)

func newGateway(p *Pool, t *target.Target, at place, id string, env []string) *Gateway {
	return &Gateway{pool: p, target: t, place: at, id: id, env: env, seat: &dispatch.Seat{Name: id, Order: len(p.gateways)},
		state: StateStarting, changed: make(chan struct{}), stop: make(chan struct{})}
}

// ID returns the worker's id; it stays when the worker is replaced.
func (g *Gateway) ID() string { return g.id }

// Target returns the target that the gateway was opened for.
func (g *Gateway) Target() string { return g.target.Text }

func (g *Gateway) route() *route {
	return &route{d: g.pool.dispatch, seat: g.seat, config: &g.pool.config}
}

// Run carries a call to this gateway's worker.
func (g *Gateway) Run(ctx context.Context, c *Call) (*Reply, error) { return g.route().runCall(ctx, c) }

// give gives the gateway up.
func (g *Gateway) give(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
		g.state = StateCrashLoop
		if g.closing {
			g.state = StateClosed
		}
		g.signal()
	}
	g.mu.Unlock()
	g.pool.dispatch.FailSeat(g.seat, err)
	g.pool.gaveUp(err)
}

// signal wakes those who wait for a worker; g.mu is held.
func (g *Gateway) signal() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// worker waits for the gateway's worker, for as long as ctx lasts.
func (g *Gateway) worker(ctx context.Context) (*incarnation, error) {
	for {
		g.mu.Lock()
		in, err, changed := g.now, g.err, g.changed
		if g.draining && err == nil {
			err = ErrClosed
		}
		g.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if in != nil && in.conn.Session().Err() == nil {
			return in, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, dispatch.CtxError(ctx)
		}
	}
}

func (g *Gateway) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err != nil
}

// end ends the gateway's worker for good and waits until it is gone.
func (g *Gateway) end(err error) {
	g.mu.Lock()
	if !g.closing {
		g.closing = true
		g.state = StateClosed
		if g.err == nil {
			g.err = err
		}
		g.signal()
		close(g.stop)
	}
	idle := g.idle
	g.mu.Unlock()
	g.nested.close()
	if idle != nil {
		<-idle
	}
	g.book.End()
	g.pool.dispatch.FailSeat(g.seat, err)
	if g.leave != nil {
		g.leave()
	}
}

// Kill ends the worker's process now, with its process group, as if it had
// crashed: calls that ran are tried again within their policy, and the worker
// is replaced. In-process workers lose their link; their goroutines go on until
// they notice that their context has ended.
func (g *Gateway) Kill() error {
	g.mu.Lock()
	in := g.now
	g.mu.Unlock()
	if in == nil {
		return nil
	}
	in.killed.Store(true)
	err := in.worker.Kill()
	select { // what is called after Kill does not reach it any more
	case <-in.lost:
	case <-in.worker.Done():
	}
	return err
}

// Close ends the gateway at once: its worker is killed and not replaced. Calls
// that ran there are tried elsewhere in the pool within their policy. It is
// idempotent.
func (g *Gateway) Close() error {
	g.end(ErrClosed)
	g.pool.gaveUp(ErrClosed)
	return nil
}

// Shutdown drains the gateway: it takes no new calls and channels, those in its
// worker end, then it closes; objects do not hold it up. When ctx ends first it
// closes at once. It is idempotent.
func (g *Gateway) Shutdown(ctx context.Context) error {
	in := g.drain()
	var err error
	g.pool.dispatch.FailSeat(g.seat, ErrClosed)
	if in != nil {
		select {
		case <-in.lane.Retire():
			err = g.book.Drain(ctx)
		case <-ctx.Done():
			err = dispatch.CtxError(ctx)
		}
	}
	if err != nil {
		err = fmt.Errorf("afar: shutdown of %s: %w", g.id, err)
	}
	return errors.Join(err, g.Close())
}

// drain has the gateway open no more conversations.
func (g *Gateway) drain() *incarnation {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
	return g.now
}

// GatewayStatus is a snapshot of a worker.
type GatewayStatus struct {
	ID       string
	Target   string
	Host     string
	PID      int      // 0 while there is no worker
	State    string   // one of the State constants
	Err      error    // why there is no worker any more, or none at the moment
	Running  string   // the name of a function that it runs
	Attempt  int      // of that call
	Progress [2]int64 // done and total of that call, as Progress reported them
	Calls    int      // that it runs
	Parked   int      // of them: waiting for calls of their own
	Queued   int      // sent ahead to it
	Done     int      // calls that ended in the gateway's workers
	Failed   int      // of them: with an error, or lost
	Restarts int
	Channels []ChannelStatus // with routines in the worker, oldest first
	Objects  []ObjectStatus  // in the worker, oldest first
	RSS      int64           // bytes; 0 when not known, and of in-process workers
	Uptime   time.Duration
	Version  string // Go version
	System   string // GOOS/GOARCH
}

// Status returns a snapshot.
func (g *Gateway) Status(context.Context) (GatewayStatus, error) { return g.snapshot(), nil }

func (g *Gateway) snapshot() GatewayStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := GatewayStatus{ID: g.id, Target: g.target.Text, State: g.state, Err: cmp.Or(g.err, g.trouble),
		Done: g.ended, Failed: g.failed, Restarts: g.restarts}
	in := g.now
	if in == nil {
		return s
	}
	l := in.lane.State()
	g.book.Range(s.talking)
	s.Host, s.PID, s.Version, s.System = in.hello.Host, in.hello.PID, in.hello.Go, in.hello.System
	s.Running, s.Attempt, s.Calls, s.Parked, s.Queued = l.Running, l.Attempt, l.Calls, l.Parked, l.Queued
	s.Progress = [2]int64{l.Done, l.Total}
	s.Done += l.Ended
	s.Failed += l.Failed
	s.RSS = in.worker.RSS()
	s.Uptime = time.Since(in.started)
	if l.Calls > 0 && g.state == StateIdle {
		s.State = StateRunning
	}
	return s
}
