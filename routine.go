package afar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/channel"
	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/conversation"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// RoutineOf is a routine that can run elsewhere: In is what it receives, Out
// what it sends. It is immutable and safe for concurrent use.
type RoutineOf[In, Out any] struct {
	f   *registry.Function
	in  *codec.Codec[In]
	out *codec.Codec[Out]
}

// Routine registers a top-level function that talks over a channel. As with
// Func, call it in a package variable; it panics in the same cases.
//
// The function's channel sends Out and receives In; that of the caller sends In
// and receives Out. The channel has ended when the function returns, and its error,
// or its panic, ends the caller's side. Its context ends when the caller closes
// the channel or is gone.
//
// What a routine needs to begin with is its first item: In may be a struct with a
// field for that, or an any.
func Routine[In, Out any](f func(context.Context, *Channel[Out, In]) error) *RoutineOf[In, Out] {
	if f == nil {
		panic("afar: Routine(nil)")
	}
	r := &RoutineOf[In, Out]{}
	pc := reflect.ValueOf(f).Pointer()
	name := topLevel("Routine", pc, "Use a top-level function")
	r.in, r.out = mustTravel[In]("Routine", "items for", name), mustTravel[Out]("Routine", "items from", name)
	r.f = add("Routine", &registry.Function{
		Kind: registry.Routine, Name: name, PC: pc,
		In: codec.TypeName(reflect.TypeFor[In]()), Out: codec.TypeName(reflect.TypeFor[Out]()),
		Body: channel.Body(func(ctx context.Context, e *channel.End) error {
			side := &side{name: name, home: homeOf(ctx), lost: callerGone}
			return f(ctx, newChannel(e, side, r.out, r.in))
		}),
	})
	return r
}

func callerGone(_ context.Context, err error) error {
	return fmt.Errorf("%w: the caller is gone: %w", ErrClosed, err)
}

// Name returns the routine's name.
func (r *RoutineOf[In, Out]) Name() string { return r.f.Name }

// Start runs the routine in a worker, in a goroutine of its own beside the
// worker's calls, and returns the channel to it; of a pool, in the worker with
// the fewest conversations. It waits for a worker that is being replaced.
//
// The channel's owner closes it. The end of ctx ends the conversation on both
// sides. Routines are not tried again when their worker is lost.
func (r *RoutineOf[In, Out]) Start(ctx context.Context, at Opener) (*Channel[In, Out], error) {
	g, chosen, err := choose(at)
	if err != nil {
		return nil, err
	}
	defer chosen()
	return r.startAt(ctx, g)
}

func (r *RoutineOf[In, Out]) startAt(ctx context.Context, g *Gateway) (*Channel[In, Out], error) {
	if ctx.Err() != nil {
		return nil, dispatch.CtxError(ctx)
	}
	t, info, err := g.converse(ctx, r.f)
	if err != nil {
		return nil, err
	}
	conn := t.in.conn
	s, err := conn.Open(wire.AppendPurpose(nil, wire.PurposeRoutine, info), mux.StreamOptions{}, t.listener(ctx))
	if err != nil { // the worker was lost just now, and nothing has begun
		if err = t.lost(ctx, err); errors.Is(err, ErrWorkerLost) {
			return r.startAt(ctx, g)
		}
		return nil, err
	}
	t.Channel = channel.New(s, channel.Config{Kind: channel.Starter, Name: r.f.Name, Limit: g.pool.config.MaxItem, Conn: conn,
		Lost: func(err error) error { return t.lost(context.Background(), err) }})
	t.Begin(ctx, func() {
		conn.Unlisten(s.ID())
		if conn.Session().Err() != nil {
			t.Channel.Withdraw()
		}
	})
	c := newChannel(t.Channel, &side{name: r.f.Name, worker: g.id, home: g.pool.home, lost: t.lost, talk: t}, r.in, r.out)
	runtime.AddCleanup(c, (*conversation.Talk).Abandon, &t.Talk)
	return c, nil
}

// Group is a routine in every worker of a pool, and the channels to them. Its
// methods may be used concurrently. Its owner closes it.
type Group[Send, Recv any] struct {
	name     string
	gateways []*Gateway
	channels []*Channel[Send, Recv]
	ctx      context.Context // ends with the group
	cancel   context.CancelFunc

	once   sync.Once // starts gathering, or says that there is nothing to gather
	got    chan received[Recv]
	left   atomic.Int64 // channels that are gathered from
	cut    atomic.Bool  // not all that they had was received
	closed atomic.Bool
}

type received[Recv any] struct {
	from int
	item Recv
	err  error
}

// StartEach starts the routine in every worker of the pool, and either all are
// started or none. The end of ctx ends the conversations.
func (r *RoutineOf[In, Out]) StartEach(ctx context.Context, p *Pool) (*Group[In, Out], error) {
	if p == nil {
		return nil, errNoOpener
	}
	g := &Group[In, Out]{name: r.f.Name, got: make(chan received[Out])}
	g.ctx, g.cancel = context.WithCancel(ctx)
	for _, gateway := range p.gateways {
		c, err := r.startAt(g.ctx, gateway)
		if err != nil {
			_ = g.Close()
			return nil, err
		}
		g.gateways = append(g.gateways, gateway)
		g.channels = append(g.channels, c)
	}
	return g, nil
}

// Channels ranges over the workers and the channels to them, in the order of
// the pool.
func (g *Group[Send, Recv]) Channels() iter.Seq2[*Gateway, *Channel[Send, Recv]] {
	return func(yield func(*Gateway, *Channel[Send, Recv]) bool) {
		for i, c := range g.channels {
			if !yield(g.gateways[i], c) {
				return
			}
		}
	}
}

// Send sends an item to each routine. It goes on when one fails, and returns all
// errors.
func (g *Group[Send, Recv]) Send(ctx context.Context, item Send) error {
	var errs []error
	for _, c := range g.channels {
		errs = append(errs, c.Send(ctx, item))
	}
	return errors.Join(errs...)
}

// Recv returns the next item of any routine, and from which worker it came; or
// the error of a routine that has failed, once, also with its worker. When all
// have ended and all was received it returns io.EOF, also after Close; after a Close
// before that it returns ErrClosed. While a group receives, do not receive from its
// channels.
func (g *Group[Send, Recv]) Recv(ctx context.Context) (*Gateway, Recv, error) {
	g.once.Do(g.gather)
	var none Recv
	select {
	case r, ok := <-g.got:
		switch {
		case ok:
			return g.gateways[r.from], r.item, r.err
		case !g.cut.Load():
			return nil, none, io.EOF
		case g.closed.Load():
			return nil, none, fmt.Errorf("%w: the group of %s", ErrClosed, g.name)
		}
		return nil, none, dispatch.CtxError(g.ctx)
	case <-ctx.Done():
		return nil, none, dispatch.CtxError(ctx)
	}
}

// gather brings what all channels receive together.
func (g *Group[Send, Recv]) gather() {
	if len(g.channels) == 0 { // none could be started
		close(g.got)
	}
	g.left.Store(int64(len(g.channels)))
	for i := range g.channels {
		go func() {
			g.gatherFrom(i)
			if g.left.Add(-1) == 0 {
				close(g.got)
			}
		}()
	}
}

func (g *Group[Send, Recv]) gatherFrom(i int) {
	for {
		item, err := g.channels[i].Recv(g.ctx)
		if err == io.EOF {
			return
		}
		if err != nil && (g.closed.Load() || g.ctx.Err() != nil) {
			g.cut.Store(true)
		}
		r := received[Recv]{i, item, err}
		select {
		case g.got <- r:
		case <-g.ctx.Done():
			g.lose(r)
			return
		}
		var bad *codec.Error // an item that does not decode: the channel goes on
		if err != nil && !errors.As(err, &bad) {
			return
		}
	}
}

// lose takes note of what nobody will receive.
func (g *Group[Send, Recv]) lose(r received[Recv]) {
	g.cut.Store(true)
	var remote *RemoteError
	if errors.As(r.err, &remote) {
		g.channels[r.from].side.talk.Unseen()
	}
}

// CloseSend says to each routine that no more items will be sent.
func (g *Group[Send, Recv]) CloseSend() error {
	for _, c := range g.channels {
		_ = c.CloseSend() // it has no error of its own
	}
	return nil
}

// Wait waits until all routines have ended and returns their errors. It takes no
// items: a routine that sends more than fits into its channel waits for Recv.
func (g *Group[Send, Recv]) Wait(ctx context.Context) error {
	var errs []error
	for _, c := range g.channels {
		errs = append(errs, c.Wait(ctx))
	}
	return errors.Join(errs...)
}

// Close ends all conversations. It is idempotent, and its error is always nil.
func (g *Group[Send, Recv]) Close() error {
	g.closed.Store(true)
	for _, c := range g.channels {
		_ = c.Close() // it has no error of its own
	}
	g.cancel()
	g.once.Do(g.gather)    // finds out whether there was more to receive
	for r := range g.got { // until nobody gathers any more
		g.lose(r)
	}
	return nil
}

// Opener is where routines are started and objects are made: a *Gateway, or a
// *Pool, which chooses the worker with the fewest conversations.
type Opener interface{ candidates() []*Gateway }

func (g *Gateway) candidates() []*Gateway {
	if g == nil {
		return nil
	}
	return []*Gateway{g}
}

func (p *Pool) candidates() []*Gateway {
	if p == nil {
		return nil
	}
	return p.gateways
}

var errNoOpener = errors.New("afar: nil Opener: it must be a *Gateway or a *Pool")

// choose returns the gateway with the fewest conversations, of those that have
// a worker now if there are any. chosen must be called when the conversation has
// begun, or failed to: others see it coming until then.
func choose(at Opener) (best *Gateway, chosen func(), err error) {
	if at == nil {
		return nil, nil, errNoOpener
	}
	all := at.candidates()
	if len(all) == 0 {
		return nil, nil, errNoOpener
	}
	all[0].pool.choosing.Lock()
	defer all[0].pool.choosing.Unlock()
	least := 0
	for _, g := range all {
		if load := g.talking(); best == nil || load < least {
			best, least = g, load
		}
	}
	return best, best.book.Expect(), nil
}

// talking is how much speaks against another conversation in the worker.
func (g *Gateway) talking() int {
	const restarting, over = 1 << 30, 1 << 31
	g.mu.Lock()
	defer g.mu.Unlock()
	load := g.book.Open()
	switch {
	case g.err != nil || g.draining:
		load += over
	case g.now == nil || g.now.conn.Session().Err() != nil:
		load += restarting
	}
	return load
}

// converse prepares a conversation with what a function does in the worker.
func (g *Gateway) converse(ctx context.Context, f *registry.Function) (*talk, *wire.Info, error) {
	in, err := g.worker(ctx)
	if err != nil {
		return nil, nil, err
	}
	t := &talk{gateway: g, in: in}
	t.Name, t.Worker, t.Book, t.Log = f.Name, g.id, &g.book, g.pool.log
	t.Fault = func(fault *peer.Fault) error { return publicError(f.Name, g.id, fault) }
	info, err := t.info(ctx, f)
	return t, info, err
}

// info says to the worker what ctx holds for what a function does there.
func (t *talk) info(ctx context.Context, f *registry.Function) (*wire.Info, error) {
	r := t.gateway.route()
	spec, err := r.spec(ctx, f, nil)
	if err != nil {
		return nil, err
	}
	index, ok := t.in.index[f.Key()]
	if !ok {
		return nil, fmt.Errorf("%w: %s is not registered in worker %s", ErrUnknownFunction, f.Name, t.Worker)
	}
	return spec.Info(index, 1), nil
}

// requestInfo is info for a method, of which the worker knows the position.
// plain is what it is when ctx adds nothing; it may be nil.
func (t *talk) requestInfo(ctx context.Context, index int, plain *wire.Info) (*wire.Info, error) {
	if _, limited := ctx.Deadline(); plain != nil && !limited && ctx.Value(optionsKey{}) == nil && t.gateway.pool.config.Header == nil {
		return plain, nil
	}
	spec, err := t.gateway.route().spec(ctx, &registry.Function{Name: t.Name}, nil)
	if err != nil {
		return nil, err
	}
	return spec.Info(index, 1), nil
}

// listener handles the notes of what runs with ctx's options.
func (t *talk) listener(ctx context.Context) func(peer.Note) {
	o := optionsOf(ctx)
	config, id, name := &t.gateway.pool.config, t.Worker, t.Name
	return func(n peer.Note) {
		switch h := o.log; {
		case n.Record == nil:
			if o.progress != nil {
				o.progress(id, n.Done, n.Total)
			}
		case h == nil:
			emit(config.handler(), id, name, nil, n.Record)
		default:
			emit(h, id, name, nil, n.Record)
		}
	}
}

// talk is a conversation with a worker, and where it is.
type talk struct {
	conversation.Talk
	gateway *Gateway
	in      *incarnation
}

// lost says why the link of a conversation has ended, once that is known.
func (t *talk) lost(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, mux.ErrClosed):
		return fmt.Errorf("%w: %s on %s", ErrClosed, t.Name, t.Worker)
	case t.in.conn.Session().Err() == nil: // only the conversation has ended
		return fmt.Errorf("afar: %s on %s: %w", t.Name, t.Worker, err)
	}
	select {
	case <-t.in.known:
	case <-ctx.Done():
		return dispatch.CtxError(ctx)
	}
	loss := t.in.loss
	loss.Function, loss.Attempt = t.Name, 1
	if t.Object != nil {
		loss.Function = "an object of " + t.Type
	}
	return publicError(t.Name, t.Worker, &loss)
}

// ChannelStatus is a snapshot of a channel to a routine.
type ChannelStatus struct {
	Routine        string
	Sent, Received uint64 // items
	Unread         int    // bytes that have arrived and were not received
	Waiting        bool   // a Send waits for the routine to receive
	Uptime         time.Duration
}

// ObjectStatus is a snapshot of an object.
type ObjectStatus struct {
	Class  string // the constructor's name
	Type   string // of the object
	Calls  int    // that run or wait for their turn, of its maker's
	Uptime time.Duration
}

func (s *GatewayStatus) talking(t *conversation.Talk, up time.Duration) {
	if t.Channel == nil {
		s.Objects = append(s.Objects, ObjectStatus{Class: t.Name, Type: t.Type, Calls: t.Object.Open(), Uptime: up})
		return
	}
	c := t.Channel.State()
	s.Channels = append(s.Channels, ChannelStatus{Routine: t.Name, Sent: c.Sent, Received: c.Received, Unread: c.Held, Waiting: c.Waiting, Uptime: up})
}
