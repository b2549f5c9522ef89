package afar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/conversation"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
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
	draining bool // no more conversations
	book     conversation.Book
	changed  chan struct{} // closed and replaced when now, err or closing changed
	stop     chan struct{} // closed when no worker is wanted any more
	idle     chan struct{} // closed when no worker and no goroutine is left; nil before open
}

// incarnation is one worker of a gateway.
type incarnation struct {
	worker  *launch.Worker
	conn    *peer.Conn
	lane    *dispatch.Lane
	hello   *wire.Hello
	home    []string       // its path
	index   map[string]int // positions of its functions
	started time.Time
	lost    chan struct{} // closed when the link has ended
	reason  error         // why
	killed  atomic.Bool   // by Kill
	over    chan struct{} // closed when nobody needs the worker any more
	known   chan struct{} // closed when loss is set
	loss    dispatch.Lost // how the worker ended
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
		state: StateStarting, changed: make(chan struct{}), stop: make(chan struct{})}
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
	g.signal()
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
			emit(g.pool.config.handler(), worker, "", c, r)
		},
	})
}

// start starts a worker and waits for its hello.
func (g *Gateway) start(ctx context.Context) (*incarnation, error) {
	c := &g.pool.config
	ctx, cancel := context.WithTimeoutCause(ctx, c.StartTimeout, fmt.Errorf("no hello within %v: is afar.Main() the first line of main?", c.StartTimeout))
	defer cancel()
	in := &incarnation{started: time.Now(), home: g.pool.home.Below(), lane: g.pool.dispatch.Prepare(),
		lost: make(chan struct{}), over: make(chan struct{}), known: make(chan struct{})}
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
			MaxItem: c.MaxItem, Keepalive: c.Keepalive, Home: in.home},
		Initiator: true, Caller: in.lane, Callee: in.lane, Notes: in.lane.Note, Stream: conversation.Passage(g.pool.home.From(in.why)),
		Closed: func(err error) {
			in.lane.Down()
			in.reason = err
			close(in.lost)
		},
	})
	in.conn.Start()
	hello, err := in.conn.Hello(ctx)
	if err == nil {
		in.greet(hello)
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
	g.pool.home.From(in.why).Join(in.home, in.conn)
	return in, nil
}

func (in *incarnation) greet(h *wire.Hello) {
	in.hello = h
	in.index = make(map[string]int, len(h.Functions))
	for i, key := range h.Functions {
		in.index[key] = i
	}
}

// why says how the worker has ended, if its link has, which may have to be waited
// for: for those who hold handles on what is there, or come from there.
func (in *incarnation) why(err error) error {
	switch end := in.conn.Session().Err(); {
	case end == nil:
		return err
	case errors.Is(end, mux.ErrClosed):
		return fmt.Errorf("%w: the worker's gateway", ErrClosed)
	}
	<-in.known
	loss := in.loss
	return publicError("", "", &loss)
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
	cut := errors.Is(in.reason, io.EOF) || errors.Is(in.reason, io.ErrClosedPipe) // by the worker's end
	if cut {
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
	if !cut && !errors.Is(in.reason, ErrClosed) {
		lost.Reason = in.reason.Error()
	}
	g.pool.home.Leave(in.home)
	in.loss = lost
	close(in.known)
	return lost
}

// supervise replaces the gateway's worker whenever it is lost.
func (g *Gateway) supervise(in *incarnation) {
	defer close(g.idle)
	var loop dispatch.CrashLoop
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
			loop.Died(state, lost, time.Since(in.started), publicError("", "", &lost))
		}
		if in = g.replace(&loop); in == nil {
			return
		}
	}
}

// replace starts another worker, after a pause that grows while workers die
// without having ended a call. It returns nil when the gateway is closed or
// has given up.
func (g *Gateway) replace(loop *dispatch.CrashLoop) *incarnation {
	for {
		if err := loop.Err(g.id); err != nil {
			g.give(err)
			return nil
		}
		timer := time.NewTimer(loop.Pause())
		select {
		case <-timer.C:
		case <-g.stop:
			timer.Stop()
			return nil
		}
		in, err := g.restart()
		if err != nil {
			loop.Failed(err)
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
		g.signal()
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
	if idle != nil {
		<-idle
	}
	g.book.End()
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
	s := GatewayStatus{ID: g.id, Target: g.target.text, State: g.state, Err: g.err,
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
