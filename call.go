package afar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
)

// Runner is anything that can carry a call: a pool, a gateway, what With and
// Caller return, a wrapper of yours. It is to functions what http.RoundTripper
// is to requests: wrap it to add headers, measure, or choose among others. A
// Runner must be safe for concurrent use.
type Runner interface {
	Run(ctx context.Context, call *Call) (*Reply, error)
}

// Call is one invocation on its way. A Runner may change a copy of it.
type Call struct {
	Function string            // the function's name
	Input    []byte            // its argument, encoded; do not change it
	Header   map[string]string // what Header returns in the function: trace headers and the like
	Policy   Policy

	f *registry.Function
}

// Reply is the outcome of a call that succeeded.
type Reply struct {
	Output  []byte // the function's result, encoded
	Worker  string // the id of the worker that ran it
	Attempt int    // which attempt succeeded; counts from 1
}

// router is a Runner that can say where its calls go, so that they need not go
// one by one.
type router interface{ route() *route }

// route is where calls go and how.
type route struct {
	d       *dispatch.Dispatcher
	seat    *dispatch.Seat
	policy  Policy
	config  *Config       // of the pool; zero for a worker's own calls
	within  *peer.Running // of a worker's own calls
	foreign Runner        // when the Runner is not ours: everything else is unset

	plain    *dispatch.Spec // see prepare
	plainErr error
}

func routeFor(r Runner) *route {
	if r == nil {
		return &route{foreign: noRunner{}}
	}
	if router, ok := r.(router); ok {
		return router.route()
	}
	return &route{foreign: r}
}

type noRunner struct{}

func (noRunner) Run(context.Context, *Call) (*Reply, error) {
	return nil, errors.New("afar: nil Runner")
}

var callID atomic.Uint64

// prepare makes what plain calls of f have in common, once for all of them.
func (r *route) prepare(f *registry.Function) {
	if r.foreign == nil && r.within == nil && (r.config == nil || r.config.Header == nil) {
		r.plain, r.plainErr = r.spec(context.Background(), f, nil)
	}
}

// specFor returns the prepared spec when ctx adds nothing to it.
func (r *route) specFor(ctx context.Context, f *registry.Function) (*dispatch.Spec, error) {
	if r.plain == nil && r.plainErr == nil || ctx.Value(optionsKey{}) != nil {
		return r.spec(ctx, f, nil)
	}
	if _, ok := ctx.Deadline(); ok {
		return r.spec(ctx, f, nil)
	}
	return r.plain, r.plainErr
}

// run runs one call, whose input is in p.Buf.
func (r *route) run(ctx context.Context, f *registry.Function, p *dispatch.Pending) (out dispatch.Outcome, err error) {
	if r.foreign != nil {
		out.Output, err = r.runForeign(ctx, f, bytes.Clone(p.Buf))
		return out, err
	}
	spec, err := r.specFor(ctx, f)
	if err != nil {
		return out, err
	}
	out = r.do(ctx, spec, p)
	return out, r.public(spec, &out)
}

func (r *route) runForeign(ctx context.Context, f *registry.Function, input []byte) ([]byte, error) {
	reply, err := r.foreign.Run(ctx, &Call{Function: f.Name, Input: input, f: f, Header: optionsOf(ctx).header})
	if err != nil {
		return nil, err
	}
	if reply == nil {
		return nil, fmt.Errorf("afar: %T.Run returned neither a reply nor an error", r.foreign)
	}
	return reply.Output, nil
}

func (r *route) do(ctx context.Context, spec *dispatch.Spec, p *dispatch.Pending) dispatch.Outcome {
	if err := r.limit(spec.Name, len(p.Buf)); err != nil {
		return dispatch.Outcome{Err: err}
	}
	if ctx.Err() != nil {
		return dispatch.Outcome{Err: dispatch.CtxError(ctx)}
	}
	p.Spec, p.Input, p.ID = spec, p.Buf, callID.Add(1)
	if r.within != nil {
		return r.d.Do(ctx, p, r.within)
	}
	return r.d.Do(ctx, p, nil)
}

// runCall is the Run method of our own Runners.
func (r *route) runCall(ctx context.Context, c *Call) (*Reply, error) {
	if c.f == nil {
		return nil, fmt.Errorf("%w: %q: a Call must come from a Function", ErrUnknownFunction, c.Function)
	}
	over := *r
	over.policy = merge(r.policy, c.Policy)
	spec, err := over.spec(ctx, c.f, c.Header)
	if err != nil {
		return nil, err
	}
	p := dispatch.NewPending()
	defer p.Put()
	p.Buf = append(p.Buf[:0], c.Input...)
	out := over.do(ctx, spec, p)
	if err := r.public(spec, &out); err != nil {
		return nil, err
	}
	return &Reply{Output: out.Output, Worker: out.Worker, Attempt: out.Attempt}, nil
}

// limit refuses inputs over Config.MaxItem.
func (r *route) limit(name string, size int) error {
	limit := int64(DefaultMaxItem)
	if r.config != nil && r.config.MaxItem > 0 {
		limit = r.config.MaxItem
	}
	if int64(size) > limit {
		return &peer.TooLargeError{What: "input of " + name, Size: int64(size), Limit: limit}
	}
	return nil
}

// spec says what calls of f with ctx have in common.
func (r *route) spec(ctx context.Context, f *registry.Function, header map[string]string) (*dispatch.Spec, error) {
	p := r.policy
	if err := p.check(); err != nil {
		return nil, err
	}
	if f.Late && r.config != nil && r.config.processes {
		return nil, fmt.Errorf("%w: %s was registered after afar.Main, so workers do not know it: register it in a package variable", ErrUnknownFunction, f.Name)
	}
	o := optionsOf(ctx)
	s := &dispatch.Spec{Name: f.Name, Key: f.Key(), Timeout: p.Timeout, Grace: p.Grace, MaxAttempts: p.MaxAttempts,
		Backoff: p.Backoff, Lane: r.seat, Header: header}
	if s.Header == nil {
		s.Header = o.header
	}
	if p.RetryError != nil {
		s.RetryError = func(err error) bool { return p.RetryError(publicError(s.Name, "", err)) }
	}
	if deadline, ok := ctx.Deadline(); ok {
		s.Deadline = deadline
	}
	if c := r.config; c != nil && c.Header != nil {
		s.Header = union(c.Header(ctx), s.Header)
	}
	r.listen(s, o)
	if w := r.within; w != nil {
		info := w.Info()
		s.Header = union(info.Header, s.Header)
		s.Depth, s.Parent = info.Depth+1, w.Place()
	}
	return s, nil
}

// union returns both maps' entries; the second's win.
func union(a, b map[string]string) map[string]string {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

// public turns an outcome's error into the one that users see.
func (r *route) public(s *dispatch.Spec, out *dispatch.Outcome) error {
	if out.Err == nil {
		return nil
	}
	return publicError(s.Name, out.Worker, out.Err)
}

// Caller returns, inside a function that runs in a worker, a Runner that leads
// back to where the call came from: a function can call and map functions of
// its own. While it waits for them it gives up its slot, so this works at any
// depth on a pool of any size. Outside of a call it returns a Runner that runs
// functions right here.
func Caller(ctx context.Context) Runner {
	running := peer.FromContext(ctx)
	back, ok := ctx.Value(workerKey{}).(*dispatch.Dispatcher)
	if running == nil || !ok {
		return here{}
	}
	return &caller{d: back, running: running}
}

type caller struct {
	d       *dispatch.Dispatcher
	running *peer.Running
}

func (c *caller) route() *route { return &route{d: c.d, within: c.running} }

// Run carries a call to the caller.
func (c *caller) Run(ctx context.Context, call *Call) (*Reply, error) {
	return c.route().runCall(ctx, call)
}

// here runs functions in the calling goroutine.
type here struct{}

// Run runs the call's function.
func (here) Run(ctx context.Context, c *Call) (*Reply, error) {
	if c.f == nil {
		return nil, fmt.Errorf("%w: %q: a Call must come from a Function", ErrUnknownFunction, c.Function)
	}
	if t := c.Policy.Timeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t)
		defer cancel()
	}
	started := time.Now()
	out, err := c.f.Invoke(ctx, c.Input, nil)
	if t := c.Policy.Timeout; t > 0 && time.Since(started) >= t {
		return nil, publicError(c.Function, "", ErrTimeout)
	}
	if err != nil {
		return nil, &RemoteError{Function: c.Function, Type: fmt.Sprintf("%T", err), Message: err.Error(), causes: []error{err}}
	}
	return &Reply{Output: out, Attempt: 1}, nil
}
