package afar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/conversation"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/reach"
	"github.com/afar-go/afar/internal/wire"
)

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
	in := &incarnation{started: time.Now(), home: g.pool.home.Below(), lane: g.pool.dispatch.Prepare(),
		lost: make(chan struct{}), over: make(chan struct{}), known: make(chan struct{})}
	spec := launch.Spec{ID: g.id, Dir: g.target.Dir, Env: g.env, Nice: g.target.Nice,
		Output: func(line []byte) { g.pool.out.print(g.id, line) }}
	worker, image, err := g.place.start(ctx, spec, in.over)
	if err != nil {
		return nil, targetError(g.target, "start worker "+g.id+": ", err)
	}
	in.worker = worker
	ctx, cancel := context.WithTimeoutCause(ctx, c.StartTimeout, fmt.Errorf("no hello within %v: is afar.Main() the first line of main?", c.StartTimeout))
	defer cancel()
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
		err = g.compare(hello, image)
	}
	if err != nil {
		lost := g.discard(in)
		switch {
		case errors.As(err, new(*reach.Error)): // not the worker has ended
			return nil, targetError(g.target, "start worker "+g.id+": ", err)
		case reach.OwnEnd(err), errors.Is(err, os.ErrClosed), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, fmt.Errorf("afar: target %q: worker %s ended before its hello: %w", g.target.Text, g.id, publicError("", "", &lost))
		}
		return nil, fmt.Errorf("afar: target %q: worker %s: %w", g.target.Text, g.id, err)
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
	cut := reach.OwnEnd(in.reason)
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
	switch {
	case in.hello != nil:
		lost.Host = in.hello.Host
	case g.target.Remote != nil:
		lost.Host = g.target.Name()
	default:
		lost.Host, _ = os.Hostname()
	}
	if unknown := exit.Code < 0 && exit.Signal == ""; unknown || !cut && !errors.Is(in.reason, ErrClosed) {
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
	since := time.Now()
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
			if !passing(err) || time.Since(since) > outOfReach {
				loop.Failed(err)
			} else if g.troubled(err) {
				g.pool.log.Warn("afar: out of reach", "worker", g.id, "cause", err)
			}
			continue
		}
		g.mu.Lock()
		if g.closing {
			g.mu.Unlock()
			g.discard(in)
			return nil
		}
		g.restarts++
		g.now, g.state, g.trouble = in, StateIdle, nil
		g.signal()
		g.mu.Unlock()
		g.join(in)
		return in
	}
}

// troubled notes why there is no worker at the moment, and tells whether that is news.
func (g *Gateway) troubled(err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	news := g.trouble == nil
	g.trouble = err
	return news
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
