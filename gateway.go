package afar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// Gateway is the caller's handle on one worker, and on the workers that replace
// it. It is a Runner: calls made through it run in its worker only. Its methods
// may be used concurrently.
type Gateway struct {
	pool   *Pool
	target *target
	id     string
	env    []string
	seat   *dispatch.Seat

	mu       sync.Mutex
	state    string
	now      *incarnation // nil while there is no worker
	err      error        // why there will be no worker again
	restarts int
	ended    int // calls, in the workers before this one
	failed   int
	closing  bool
	stop     chan struct{} // closed when no worker is wanted any more
	idle     chan struct{} // closed when no worker and no goroutine is left; nil before open
}

// incarnation is one worker of a gateway.
type incarnation struct {
	worker  *launch.Worker
	conn    *peer.Conn
	lane    *dispatch.Lane
	hello   *wire.Hello
	started time.Time
	lost    chan struct{} // closed when the link has ended
	reason  error         // why
	killed  atomic.Bool   // by Kill
	over    chan struct{} // closed when nobody needs the worker any more
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

func newGateway(p *Pool, t *target, id string, env []string) *Gateway {
	return &Gateway{pool: p, target: t, id: id, env: env, seat: &dispatch.Seat{Name: id, Order: len(p.gateways)},
		state: StateStarting, stop: make(chan struct{})}
}

// ID returns the worker's id; it stays when the worker is replaced.
func (g *Gateway) ID() string { return g.id }

// Target returns the target that the gateway was opened for.
func (g *Gateway) Target() string { return g.target.text }

func (g *Gateway) route() *route {
	return &route{d: g.pool.dispatch, seat: g.seat, config: &g.pool.config}
}

// Run carries a call to this gateway's worker.
func (g *Gateway) Run(ctx context.Context, c *Call) (*Reply, error) { return g.route().runCall(ctx, c) }

// open starts the first worker; it is not tried twice.
func (g *Gateway) open(ctx context.Context) error {
	in, err := g.start(ctx)
	if err != nil {
		g.give(err)
		return err
	}
	g.mu.Lock()
	if g.closing {
		g.mu.Unlock()
		g.discard(in)
		return ErrClosed
	}
	g.now, g.state = in, StateIdle
	g.idle = make(chan struct{})
	g.mu.Unlock()
	g.join(in)
	go g.supervise(in)
	return nil
}

// join lets calls reach a worker.
func (g *Gateway) join(in *incarnation) {
	in.lane.Join(in.conn, dispatch.LaneConfig{
		Seat: g.seat, Name: g.id, Slots: max(1, g.pool.config.Concurrency), Functions: in.hello.Functions,
		Kill: func() { _ = in.worker.Kill() },
		Log: func(worker string, c *dispatch.Call, r *peer.Record) {
			handle(g.pool.config.handler(), worker, c, r)
		},
	})
}

// start starts a worker and waits for its hello.
func (g *Gateway) start(ctx context.Context) (*incarnation, error) {
	c := &g.pool.config
	ctx, cancel := context.WithTimeoutCause(ctx, c.StartTimeout, fmt.Errorf("no hello within %v: is afar.Main() the first line of main?", c.StartTimeout))
	defer cancel()
	in := &incarnation{started: time.Now(), lost: make(chan struct{}), over: make(chan struct{}), lane: g.pool.dispatch.Prepare()}
	spec := launch.Spec{ID: g.id, Dir: g.target.dir, Env: g.env, Nice: g.target.nice,
		Output: func(line []byte) { g.pool.out.print(g.id, line) }}
	if g.target.process {
		worker, err := launch.Local(spec)
		if err != nil {
			return nil, fmt.Errorf("afar: target %q: start worker %s: %w", g.target.text, g.id, err)
		}
		in.worker = worker
	} else {
		in.worker = launch.InProcess(spec, func(link launch.Link) { serve(link, g.id, inprocImage, in.over) })
	}
	in.conn = peer.Dial(g.pool.wrap(g.id, in.worker.Link()), peer.Config{
		Hello: wire.Hello{Worker: g.id, PID: os.Getpid(), Concurrency: max(1, c.Concurrency),
			MaxItem: c.MaxItem, Keepalive: c.Keepalive},
		Initiator: true, Caller: in.lane, Callee: in.lane, Notes: in.lane.Note,
		Closed: func(err error) {
			in.lane.Down()
			in.reason = err
			close(in.lost)
		},
	})
	in.conn.Start()
	hello, err := in.conn.Hello(ctx)
	if err == nil {
		in.hello = hello
		err = g.compare(hello)
	}
	if err != nil {
		lost := g.discard(in)
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) {
			// The link ended because the worker did.
			return nil, fmt.Errorf("afar: target %q: worker %s ended before its hello: %w", g.target.text, g.id, publicError("", "", &lost))
		}
		return nil, fmt.Errorf("afar: target %q: worker %s: %w", g.target.text, g.id, err)
	}
	return in, nil
}

// inprocImage stands for the image of workers that have none of their own.
const inprocImage = "in-process"

// compare refuses a worker that is not this program.
func (g *Gateway) compare(h *wire.Hello) error {
	if g.target.process {
		mine, err := imageFor(h.Image)
		if err != nil {
			return err
		}
		if mine != h.Image {
			return fmt.Errorf("another program: image %s here, %s there", mine, h.Image)
		}
	}
	var keys []string
	for _, f := range registry.Functions() {
		if !f.Late || !g.target.process {
			keys = append(keys, f.Key())
		}
	}
	if slices.Equal(keys, h.Functions) || !g.target.process {
		return nil
	}
	return fmt.Errorf("other functions: only here: %s; only there: %s",
		registry.Describe(without(keys, h.Functions)), registry.Describe(without(h.Functions, keys)))
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// ownExit is how long a worker whose link has ended may take to end by itself,
// which keeps its exit status from being that of our kill.
const ownExit = time.Second

// lastRecords is how long the log records of a worker that is gone are waited
// for before its calls end or are tried again.
const lastRecords = 200 * time.Millisecond

// discard ends a worker and everything of it and says how it ended.
func (g *Gateway) discard(in *incarnation) dispatch.Lost {
	_ = in.conn.Close()
	<-in.lost
	if errors.Is(in.reason, io.EOF) {
		timer := time.NewTimer(ownExit)
		select {
		case <-in.worker.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	_ = in.worker.Kill()
	close(in.over)
	exit := in.worker.Exit()
	in.conn.Wait(lastRecords)
	lost := dispatch.Lost{Worker: g.id, PID: in.worker.PID(), ExitCode: exit.Code, Signal: exit.Signal,
		OutOfMemory: exit.OutOfMemory, Stderr: exit.Stderr}
	lost.Host, _ = os.Hostname()
	if !errors.Is(in.reason, io.EOF) && !errors.Is(in.reason, ErrClosed) {
		lost.Reason = in.reason.Error()
	}
	return lost
}

// supervise replaces the gateway's worker whenever it is lost.
func (g *Gateway) supervise(in *incarnation) {
	defer close(g.idle)
	var loop crashLoop
	for {
		select {
		case <-in.lost:
		case <-g.stop:
		}
		lost := g.discard(in)
		state := in.lane.State()
		if state.Killed != "" {
			lost.Reason = "killed because " + state.Killed + " did not end within its grace"
		}
		in.lane.Lose(lost)
		final := in.lane.State()
		g.mu.Lock()
		g.ended += final.Ended
		g.failed += final.Failed
		g.now = nil
		closing := g.closing
		if !closing {
			g.state = StateRestarting
		}
		g.mu.Unlock()
		if closing {
			return
		}
		g.pool.log.Warn("afar: worker lost", "worker", g.id, "pid", lost.PID, "cause", lost.Cause())
		if state.Killed == "" && !in.killed.Load() {
			loop.died(state, lost, time.Since(in.started))
		}
		if in = g.replace(&loop); in == nil {
			return
		}
	}
}

// replace starts another worker, after a pause that grows while workers die
// without having ended a call. It returns nil when the gateway is closed or
// has given up.
func (g *Gateway) replace(loop *crashLoop) *incarnation {
	for {
		if err := loop.err(g.id); err != nil {
			g.give(err)
			return nil
		}
		timer := time.NewTimer(loop.pause())
		select {
		case <-timer.C:
		case <-g.stop:
			timer.Stop()
			return nil
		}
		in, err := g.restart()
		if err != nil {
			loop.failed(err)
			continue
		}
		g.mu.Lock()
		if g.closing {
			g.mu.Unlock()
			g.discard(in)
			return nil
		}
		g.restarts++
		g.now, g.state = in, StateIdle
		g.mu.Unlock()
		g.join(in)
		return in
	}
}

// restart starts a worker unless the gateway is closed meanwhile.
func (g *Gateway) restart() (*incarnation, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		select {
		case <-g.stop:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	}()
	return g.start(ctx)
}

// give gives the gateway up.
func (g *Gateway) give(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
		g.state = StateCrashLoop
		if g.closing {
			g.state = StateClosed
		}
	}
	g.mu.Unlock()
	g.pool.dispatch.FailSeat(g.seat, err)
	g.pool.gaveUp(err)
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
		close(g.stop)
	}
	idle := g.idle
	g.mu.Unlock()
	if idle != nil {
		<-idle
	}
	g.pool.dispatch.FailSeat(g.seat, err)
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
	return in.worker.Kill()
}

// Close ends the gateway at once: its worker is killed and not replaced. Calls
// that ran there are tried elsewhere in the pool within their policy. It is
// idempotent.
func (g *Gateway) Close() error {
	g.end(ErrClosed)
	g.pool.gaveUp(ErrClosed)
	return nil
}

// Shutdown drains the gateway: it takes no new calls, those in its worker end,
// then it closes. When ctx ends first it closes at once. It is idempotent.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	in := g.now
	g.mu.Unlock()
	var err error
	g.pool.dispatch.FailSeat(g.seat, ErrClosed)
	if in != nil {
		select {
		case <-in.lane.Retire():
		case <-ctx.Done():
			err = fmt.Errorf("afar: shutdown of %s: %w", g.id, dispatch.CtxError(ctx))
		}
	}
	return errors.Join(err, g.Close())
}

// GatewayStatus is a snapshot of a worker.
type GatewayStatus struct {
	ID       string
	Target   string
	Host     string
	PID      int      // 0 while there is no worker
	State    string   // one of the State constants
	Err      error    // why there is no worker any more
	Running  string   // the name of a function that it runs
	Attempt  int      // of that call
	Progress [2]int64 // done and total of that call, as Progress reported them
	Calls    int      // that it runs
	Parked   int      // of them: waiting for calls of their own
	Queued   int      // sent ahead to it
	Done     int      // calls that ended in the gateway's workers
	Failed   int      // of them: with an error, or lost
	Restarts int
	RSS      int64 // bytes; 0 when not known, and of in-process workers
	Uptime   time.Duration
	Version  string // Go version
}

// Status returns a snapshot.
func (g *Gateway) Status(context.Context) (GatewayStatus, error) { return g.snapshot(), nil }

func (g *Gateway) snapshot() GatewayStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := GatewayStatus{ID: g.id, Target: g.target.text, State: g.state, Err: g.err,
		Done: g.ended, Failed: g.failed, Restarts: g.restarts}
	in := g.now
	if in == nil {
		return s
	}
	l := in.lane.State()
	s.Host, s.PID, s.Version = in.hello.Host, in.hello.PID, in.hello.Go
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

// crashLoop notices workers that die one after the other without having ended
// a single call.
type crashLoop struct {
	deaths int // in a row
	weight int // of them
	last   error
}

// A worker that dies without having begun a call counts callWeight times as
// much as one that a call has killed: the call may be to blame for that, and is
// told so.
const (
	callWeight = 6
	maxWeight  = 30
	// steady is how long a worker must have lived for its death not to be one of
	// a row, unless a call has killed it.
	steady = time.Second
)

func (c *crashLoop) died(s dispatch.State, lost dispatch.Lost, lived time.Duration) {
	if s.Ended > 0 || s.Calls == 0 && lived >= steady {
		*c = crashLoop{}
	}
	c.deaths++
	c.last = publicError("", "", &lost)
	if s.Calls > 0 || lost.Signal == "killed" && !lost.OutOfMemory {
		c.weight++ // a call or somebody outside may be to blame
	} else {
		c.weight += callWeight
	}
}

func (c *crashLoop) failed(err error) {
	c.deaths++
	c.weight += callWeight
	c.last = err
}

func (c *crashLoop) pause() time.Duration {
	if c.deaths < 2 {
		return 0
	}
	return min(time.Second, 5*time.Millisecond<<min(c.deaths-2, 10))
}

func (c *crashLoop) err(id string) error {
	if c.weight < maxWeight {
		return nil
	}
	return fmt.Errorf("afar: crash loop: worker %s died %d times in a row without ending a call; the last time: %w", id, c.deaths, c.last)
}
