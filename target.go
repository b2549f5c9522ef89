package afar

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/reach"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/target"
)

// place is where the workers of a target are started. start returns a worker, and
// what it is to call its image; empty: as this process does. over is closed when
// nobody needs the worker any more.
type place interface {
	start(ctx context.Context, spec launch.Spec, over <-chan struct{}) (w *launch.Worker, image string, err error)
}

// locally starts processes of this program.
type locally struct{}

func (locally) start(_ context.Context, spec launch.Spec, _ <-chan struct{}) (*launch.Worker, string, error) {
	w, err := launch.Local(spec)
	return w, "", err
}

// within starts goroutines of this process.
type within struct{}

func (within) start(_ context.Context, spec launch.Spec, over <-chan struct{}) (*launch.Worker, string, error) {
	return launch.InProcess(spec, func(link launch.Link) { serve(link, spec.ID, inprocImage, over) }), inprocImage, nil
}

// onHost starts processes on a host.
type onHost struct {
	host  *reach.Host
	share int // how many there will be
}

func (o *onHost) start(ctx context.Context, spec launch.Spec, _ <-chan struct{}) (*launch.Worker, string, error) {
	return o.host.Start(ctx, spec, o.share)
}

// beyond is where a gateway's worker is: it starts processes, runs commands and
// connects there.
type beyond struct{ g *Gateway }

func (b beyond) place(ctx context.Context) (*agent.Place, *incarnation, error) {
	in, err := b.g.worker(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("worker %s, which it is reached through: %w", b.g.id, err)
	}
	return agent.NewPlace(in.conn.Session()), in, nil
}

func (b beyond) start(ctx context.Context, spec launch.Spec, _ <-chan struct{}) (*launch.Worker, string, error) {
	p, in, err := b.place(ctx)
	if err != nil {
		return nil, "", err
	}
	w, err := p.Start(ctx, spec, "", 0)
	return w, in.hello.Image, err
}

// Command runs a command where the worker is, as reach.Via.
func (b beyond) Command(ctx context.Context, o launch.Order) (*launch.Worker, error) {
	p, _, err := b.place(ctx)
	if err != nil {
		return nil, err
	}
	return p.Command(ctx, o)
}

// Dial connects from where the worker is.
func (b beyond) Dial(ctx context.Context, network, address string) (launch.Link, error) {
	p, _, err := b.place(ctx)
	if err != nil {
		return nil, err
	}
	return p.Dial(ctx, network, address)
}

// reach returns the host of a target, the way to which begins at via. The pool
// closes it.
func (p *Pool) reach(t *target.Target, via reach.Via) *reach.Host {
	source := ship.Running(p.config.Images)
	h := reach.New(via, *t.Remote, reach.Config{
		Keepalive: p.config.Keepalive, Patience: p.config.StartTimeout,
		Output: func(line []byte) { p.out.print(t.Name(), line) },
		Wrap:   func(link launch.Link) launch.Link { return p.wrap(t.Remote.String(), link) },
		Image: func(ctx context.Context, system string) (*ship.Image, error) {
			slow := time.AfterFunc(time.Second, func() {
				p.log.Info("afar: building this program to be brought to a host", "system", system)
			})
			defer slow.Stop()
			return source.For(ctx, system)
		},
	})
	p.hosts = append(p.hosts, h)
	return h
}

// place says where the workers of a target are started: here, or on a host.
func (p *Pool) place(t *target.Target) place {
	switch {
	case t.Remote != nil:
		return &onHost{host: p.reach(t, reach.Here{}), share: t.Workers}
	case t.Process:
		return locally{}
	}
	return within{}
}

// count asks the hosts of targets that do not say how many workers they want how
// many processors they have.
func (p *Pool) count(ctx context.Context, targets []*target.Target, places []place) error {
	return together(len(targets), func(i int) error {
		t := targets[i]
		o, remote := places[i].(*onHost)
		if !remote || t.Workers > 0 {
			return nil
		}
		hello, err := o.host.Hello(ctx)
		if err != nil {
			return targetError(t, "", err)
		}
		t.Workers = min(max(1, hello.Concurrency), target.MaxWorkers)
		o.share = t.Workers
		return nil
	})
}

// Open opens a gateway from where this one's worker is: a process beside it, or on a
// host that is within reach from there, also through several gateways. The worker is
// this caller's own, and only the bytes of its link pass the one it is opened from;
// keys, known hosts and configuration files of ssh are those of that worker, keys of
// nodes are the caller's. The target may ask for one worker only. The new gateway ends with this
// one; its owner may close it before.
func (g *Gateway) Open(ctx context.Context, text string) (*Gateway, error) {
	t, err := target.Parse(text)
	if err != nil {
		return nil, err
	}
	switch {
	case !t.Process:
		return nil, t.Wrong("a gateway opens processes; inproc workers are this process's own")
	case t.Workers > 1:
		return nil, t.Wrong("a gateway opens one worker at a time, not %d", t.Workers)
	}
	t.Workers = 1
	p := &Pool{config: g.pool.config, dispatch: dispatch.New(), done: make(chan struct{}),
		wrap: g.pool.wrap, home: g.pool.home, log: g.pool.log, out: g.pool.out}
	p.config.processes = true
	var at place = beyond{g}
	if t.Remote != nil {
		at = &onHost{host: p.reach(t, beyond{g}), share: 1}
	}
	id := t.OneID()
	if id == "" {
		id = fmt.Sprintf("%s/%s-%d", g.id, t.Name(), g.nested.count.Add(1))
	}
	next := newGateway(p, t, at, id, t.Env)
	p.gateways = []*Gateway{next}
	next.leave = func() {
		for _, h := range p.hosts {
			h.Close()
		}
		g.nested.remove(p)
	}
	if !g.nested.add(p) {
		return nil, fmt.Errorf("afar: open %q through %s: %w", text, g.id, ErrClosed)
	}
	if err := p.start(ctx); err != nil {
		_ = p.Close()
		return nil, err
	}
	return next, nil
}

// nest is the pools of the gateways that were opened through one.
type nest struct {
	count atomic.Int64

	mu     sync.Mutex
	pools  map[*Pool]bool
	closed bool
}

func (n *nest) add(p *Pool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	if n.pools == nil {
		n.pools = map[*Pool]bool{}
	}
	n.pools[p] = true
	return true
}

func (n *nest) remove(p *Pool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pools, p)
}

// close closes them all.
func (n *nest) close() {
	n.mu.Lock()
	n.closed = true
	pools := n.pools
	n.pools = nil
	n.mu.Unlock()
	for p := range pools {
		_ = p.Close()
	}
}

// outOfReach is how long a host that is out of reach is tried again before its
// gateways give up.
const outOfReach = 5 * time.Minute

// TargetError says why a target could not be reached, or no longer can be, or why a
// host within reach gives no worker.
type TargetError struct {
	Target string
	// Reason is one of: "no such host", "connection refused", "host unreachable",
	// "timed out", "connection lost", "authentication failed", "host key not
	// accepted", "command not found", "no shell", "no space", "no directory for the
	// program", "no program for its architecture", "the program did not start",
	// "worker refused", "failed".
	Reason string
	Err    error // in full, with what was said on the way
}

// Error names the target and says why.
func (e *TargetError) Error() string { return fmt.Sprintf("afar: target %q: %v", e.Target, e.Err) }

// Unwrap returns the cause.
func (e *TargetError) Unwrap() error { return e.Err }

// targetError makes an error of package reach the user's; doing is what it says first.
func targetError(t *target.Target, doing string, err error) error {
	var e *reach.Error
	if !errors.As(err, &e) {
		return t.Wrong("%w", fmt.Errorf("%s%w", doing, err)) // so that what it was about stays with the cause
	}
	return &TargetError{Target: t.Text, Reason: e.Reason, Err: fmt.Errorf("%s%w", doing, reach.At(t.Remote, err))}
}

// passing tells whether a host may be within reach again by itself.
func passing(err error) bool {
	var e *reach.Error
	return errors.As(err, &e) && e.Passing()
}
