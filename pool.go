package afar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/reach"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/target"
)

// DefaultMaxItem is the largest input, output or item, in bytes, unless Config
// says otherwise.
const DefaultMaxItem = 64 << 20

// Config shapes a pool. The zero value is useful.
type Config struct {
	// Concurrency is how many calls run at a time in one worker. 0 means 1: then
	// killing a worker for the sake of one call hurts no other.
	Concurrency int
	// Stderr gets what workers print, line by line, each with the worker's id in
	// front; lines over 64 KiB arrive in pieces. nil means os.Stderr. It must not
	// block for ever: workers that print wait for it, and so does Close.
	Stderr io.Writer
	// Log gets the records of Logger, and the pool's own about lost workers. It
	// is called concurrently. While it blocks, the functions of that worker that log
	// wait too, and so do results that come after the records. nil means
	// slog.Default's handler.
	Log slog.Handler
	// Keepalive is the period of signs of life on every link; a peer that gives
	// none for three is lost, which is known within four. 0 means 10 seconds.
	Keepalive time.Duration
	// MaxItem is the largest input, output or item of a channel, in bytes. 0 means
	// DefaultMaxItem.
	MaxItem int64
	// StartTimeout is how long a worker may take to say hello. 0 means 10 seconds.
	StartTimeout time.Duration
	// Header returns headers for a call from its context: trace headers and the
	// like. Header finds them in the function. nil adds none.
	Header func(ctx context.Context) map[string]string
	// Images are builds of this program for other systems, by GOOS/GOARCH, such as
	// "linux/arm64": paths of executables that need nothing else there
	// (CGO_ENABLED=0). A host of a system that is not in it gets the running
	// program, if it is of that system and needs nothing else, or one that is built
	// for it, if the source and the go command are there.
	Images map[string]string

	processes bool // the pool has workers that are processes
}

// Open opens a pool of the workers that the targets name, with the default
// configuration.
func Open(ctx context.Context, targets ...string) (*Pool, error) {
	return Config{}.Open(ctx, targets...)
}

// Pool is several gateways that share calls. It is a Runner. A call goes to the
// gateway that has the least to do; calls of quick functions share messages. A
// worker that dies is replaced. The pool's owner closes it with Shutdown or
// Close. Its methods may be used concurrently.
type Pool struct {
	config   Config
	dispatch *dispatch.Dispatcher
	gateways []*Gateway
	out      *printer
	log      *slog.Logger
	wrap     launch.Wrapper
	foreign  bool         // its workers are another program than this one
	home     *handle.Home // of the program, or of the worker that opened the pool
	hosts    []*reach.Host

	choosing sync.Mutex // held while a gateway is chosen for a conversation

	once sync.Once
	done chan struct{}
}

// Open opens a pool of the workers that the targets name. It returns when all
// of them have said hello; if one cannot be started, it ends the others and
// says why. ctx bounds the opening only.
func (c Config) Open(ctx context.Context, targets ...string) (*Pool, error) {
	parsed, err := c.check(targets)
	if err != nil {
		return nil, err
	}
	for _, t := range parsed {
		c.processes = c.processes || t.Process
	}
	if c.processes && !registry.Sealed() {
		return nil, errors.New("afar: call afar.Main() first in main (or in TestMain) to use workers in processes")
	}
	p := &Pool{config: c, dispatch: dispatch.New(), done: make(chan struct{}),
		wrap: launch.WrapperOf(ctx), home: homeOf(ctx), foreign: ship.IsForeign(ctx)}
	p.log = slog.New(p.config.handler())
	p.out = &printer{to: c.Stderr}
	if c.Stderr == nil {
		p.out.to = os.Stderr
	}
	if err := p.seat(ctx, parsed); err != nil {
		_ = p.Close()
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

func (c *Config) check(targets []string) ([]*target.Target, error) {
	switch {
	case len(targets) == 0:
		return nil, errors.New(`afar: Open needs a target, such as "local:4"`)
	case c.Concurrency < 0:
		return nil, fmt.Errorf("afar: Config.Concurrency is negative: %d", c.Concurrency)
	case c.MaxItem < 0:
		return nil, fmt.Errorf("afar: Config.MaxItem is negative: %d", c.MaxItem)
	case c.Keepalive != 0 && c.Keepalive < time.Millisecond:
		return nil, fmt.Errorf("afar: Config.Keepalive must be a millisecond or more, not %v", c.Keepalive)
	case c.StartTimeout < 0:
		return nil, fmt.Errorf("afar: Config.StartTimeout is negative: %v", c.StartTimeout)
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 10 * time.Second
	}
	if c.MaxItem == 0 {
		c.MaxItem = DefaultMaxItem
	}
	parsed := make([]*target.Target, len(targets))
	for i, text := range targets {
		t, err := target.Parse(text)
		if err != nil {
			return nil, err
		}
		if t.Workers == 0 && t.Remote == nil {
			t.Workers = runtime.GOMAXPROCS(0)
		}
		parsed[i] = t
	}
	return parsed, nil
}

// seat makes the pool's gateways, without starting workers.
func (p *Pool) seat(ctx context.Context, targets []*target.Target) error {
	local := 0
	places := make([]place, len(targets))
	for i, t := range targets {
		places[i] = p.place(t)
		if t.Process && t.Remote == nil {
			local += t.Workers
		}
	}
	if err := p.count(ctx, targets, places); err != nil {
		return err
	}
	counts := map[string]int{}
	taken := map[string]bool{}
	for i, t := range targets {
		env := t.Env
		if t.Process && t.Remote == nil && os.Getenv("GOMAXPROCS") == "" && !setsGOMAXPROCS(env) {
			env = append(env[:len(env):len(env)], fmt.Sprintf("GOMAXPROCS=%d", max(1, runtime.GOMAXPROCS(0)/local)))
		}
		for _, id := range t.IDs(counts) {
			if taken[id] {
				return fmt.Errorf("afar: two workers by the id %q", id)
			}
			taken[id] = true
			p.gateways = append(p.gateways, newGateway(p, t, places[i], id, env))
		}
	}
	return nil
}

func setsGOMAXPROCS(env []string) bool {
	for _, e := range env {
		if strings.HasPrefix(e, "GOMAXPROCS=") {
			return true
		}
	}
	return false
}

// start starts all workers at once and waits for them.
func (p *Pool) start(ctx context.Context) error {
	return together(len(p.gateways), func(i int) error { return p.gateways[i].open(ctx) })
}

// together does n things at once, waits for all of them and returns the first error.
func together(n int, do func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- do(i) }()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (p *Pool) route() *route { return &route{d: p.dispatch, config: &p.config} }

// Run carries a call to one of the pool's workers.
func (p *Pool) Run(ctx context.Context, c *Call) (*Reply, error) { return p.route().runCall(ctx, c) }

// Gateways returns the pool's gateways, in the order of the targets.
func (p *Pool) Gateways() []*Gateway { return append([]*Gateway(nil), p.gateways...) }

// PoolStatus is a snapshot of a pool.
type PoolStatus struct {
	Queued  int // calls that wait for a worker
	Open    int // calls that were taken and have not ended
	Workers []GatewayStatus
}

// Status returns a snapshot.
func (p *Pool) Status() PoolStatus {
	s := PoolStatus{Queued: p.dispatch.Queued(), Open: p.dispatch.Open()}
	for _, g := range p.gateways {
		s.Workers = append(s.Workers, g.snapshot())
	}
	return s
}

// Shutdown drains the pool: new calls and channels get ErrClosed, those that were
// taken end, then it closes; objects do not hold it up. When ctx ends first, it
// closes at once and returns an error that says how many were open. It is
// idempotent.
func (p *Pool) Shutdown(ctx context.Context) error {
	for _, g := range p.gateways {
		g.drain()
	}
	err := p.dispatch.Drain(ctx)
	for _, g := range p.gateways {
		if err == nil {
			err = g.book.Drain(ctx)
		}
	}
	_ = p.Close()
	if err != nil {
		return fmt.Errorf("afar: shutdown: %w", err)
	}
	return nil
}

// Close ends the pool at once: calls end with ErrClosed, workers are killed.
// It returns when they are gone. It is idempotent.
func (p *Pool) Close() error {
	p.once.Do(func() {
		p.dispatch.Fail(ErrClosed)
		var wg sync.WaitGroup
		for _, g := range p.gateways {
			wg.Go(func() { g.end(ErrClosed) })
		}
		wg.Wait()
		for _, h := range p.hosts {
			wg.Go(h.Close)
		}
		wg.Wait()
		close(p.done)
	})
	<-p.done
	return nil
}

// gaveUp notes that a gateway will not have a worker again. When none has, the
// calls that wait end.
func (p *Pool) gaveUp(err error) {
	for _, g := range p.gateways {
		if !g.over() {
			return
		}
	}
	p.dispatch.Fail(err)
}
