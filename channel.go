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

	"github.com/afar-go/afar/internal/channel"
	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// Channel is one end of a typed flow of items in both directions; a routine has
// the other. Both ends work alike. Items arrive in the order in which they were
// sent, and what was sent before an end arrives before it.
//
// What one side has sent and the other has not received is at most 1 MiB in each
// direction (4 MiB once much was received in large items), or one item that is
// larger while somebody waits for it; beyond that Send waits. No other channel or
// call of the worker notices.
//
// All methods may be used concurrently, also with themselves: each item goes to
// one receiver.
type Channel[Send, Recv any] struct {
	end  *channel.End
	side *side
	out  *codec.Codec[Send]
	in   *codec.Codec[Recv]
}

// side is what a channel's end or an object's handle knows besides its types.
type side struct {
	name   string // of the routine or the class
	worker string
	home   *handle.Home
	lost   func(context.Context, error) error // why the link has ended
	talk   *talk                              // of what was opened here; else nil
	left   context.Context                    // of an end that another Channel owns: ended when this one gave it up
	leave  context.CancelFunc

	mu     sync.Mutex
	handle *wire.Handle // made by Ref, or bound
}

func newChannel[Send, Recv any](e *channel.End, s *side, out *codec.Codec[Send], in *codec.Codec[Recv]) *Channel[Send, Recv] {
	return &Channel[Send, Recv]{end: e, side: s, out: out, in: in}
}

// scratch are buffers for items on their way to the link.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// Send sends an item. It waits while the other side is a window behind, for as
// long as ctx lasts. The item may be used again when it returns; the bytes of a
// []byte are not copied on the way to the link.
//
// The error is that of the far side, as Recv gives it, or ErrClosed after
// CloseSend, Close or the far side's return; ErrTooLarge for an item over
// Config.MaxItem, where of a []byte its own bytes count; or ctx's own. A Send that
// ctx ended has not sent the item. If that had about 256 KiB or more, or the link
// took nothing, and a part was sent, then the channel has ended.
func (c *Channel[Send, Recv]) Send(ctx context.Context, item Send) error {
	if c.side.left != nil {
		if c.side.left.Err() != nil {
			return c.side.closed()
		}
		var done func()
		ctx, done = c.side.within(ctx)
		defer done()
	}
	buf := scratch.Get().(*[]byte)
	head, body, err := c.out.AppendParts((*buf)[:0], item)
	if err == nil {
		err = c.end.Send(ctx, head, body)
	} else {
		err = fmt.Errorf("afar: item for %s: %w", c.side.name, err)
	}
	if cap(head) <= 64<<10 {
		*buf = head[:0]
		scratch.Put(buf)
	}
	if err != nil {
		return c.side.public(ctx, err)
	}
	return nil
}

// Recv returns the next item; a []byte belongs to the caller. After the far
// side's CloseSend or return it returns io.EOF. When the far side failed, Recv
// gives the items that came before, and then its error: *RemoteError with what
// the routine returned or its panic, *WorkerLostError, ErrClosed when it closed
// the channel; or ctx's own. An item that does not decode gives an error, and the
// channel goes on.
func (c *Channel[Send, Recv]) Recv(ctx context.Context) (Recv, error) {
	var none Recv
	data, owned, err := c.take(ctx)
	if err != nil {
		return none, err
	}
	defer c.end.Release()
	var item Recv
	if owned {
		item, err = c.in.DecodeOwned(data)
	} else {
		item, err = c.in.Decode(data)
	}
	if err != nil {
		return item, fmt.Errorf("afar: item from %s: %w", c.side.name, err)
	}
	return item, nil
}

// All ranges over the items until the far side sends no more. An error is
// yielded last, with a zero item.
func (c *Channel[Send, Recv]) All(ctx context.Context) iter.Seq2[Recv, error] {
	return func(yield func(Recv, error) bool) {
		for {
			item, err := c.Recv(ctx)
			if err == io.EOF || !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// CloseSend says that no more items will be sent: the far side's Recv returns
// io.EOF after those that were. It waits for a Send that goes on. It is
// idempotent, and its error is always nil.
func (c *Channel[Send, Recv]) CloseSend() error {
	if c.side.left == nil || c.side.left.Err() == nil {
		c.end.CloseSend()
	}
	runtime.KeepAlive(c) // a channel in use was not dropped
	return nil
}

// Close ends the conversation: the routine's context ends, and what is under way
// in either direction is dropped. It does not wait for the routine. Of a channel
// that came from Bind it gives up the handle only. In the routine itself it
// closes the routine's side; the far side hears of it when the routine returns, and
// what that returns says how it ended. It is idempotent, and its error is always
// nil.
func (c *Channel[Send, Recv]) Close() error {
	if c.side.left != nil {
		c.side.leave()
		return nil
	}
	cause := c.side.closed()
	if t := c.side.talk; t != nil {
		t.Close(cause)
	} else {
		c.end.Close(cause)
	}
	return nil
}

// Wait waits until the far side has ended, for as long as ctx lasts. It returns
// nil when the routine returned nil, and otherwise how it ended, as Recv does;
// ErrClosed if this side was closed before. It receives nothing: a routine that
// sends more than the window waits for Recv, and so does Wait.
func (c *Channel[Send, Recv]) Wait(ctx context.Context) error {
	if c.side.left != nil {
		var done func()
		ctx, done = c.side.within(ctx)
		defer done()
	}
	err := c.end.Wait(ctx)
	runtime.KeepAlive(c) // a channel in use was not dropped
	return c.side.public(ctx, err)
}

// take takes an item; the end's Release must follow.
func (c *Channel[Send, Recv]) take(ctx context.Context) (data []byte, owned bool, err error) {
	if c.side.left != nil {
		if c.side.left.Err() != nil {
			return nil, false, c.side.closed()
		}
		var done func()
		ctx, done = c.side.within(ctx)
		defer done()
	}
	data, owned, err = c.end.Take(ctx)
	if err != nil {
		return nil, false, c.side.public(ctx, err)
	}
	return data, owned, nil
}

// within returns a context that ends also when the end is given up.
func (s *side) within(ctx context.Context) (both context.Context, done func()) {
	both, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.left, cancel)
	return both, func() { stop(); cancel() }
}

// closed is the error of what its own user has closed.
func (s *side) closed() error { return fmt.Errorf("%w: the channel to %s", ErrClosed, s.name) }

// public turns an error of the inner packages into the one that users see.
func (s *side) public(ctx context.Context, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	switch e := err.(type) {
	case *peer.Fault:
		if s.talk != nil {
			s.talk.Seen()
		}
		return publicError(s.name, s.worker, e)
	case *peer.Closed:
		return fmt.Errorf("%w: %s: %w", ErrClosed, s.name, e)
	case *peer.Lost:
		return s.lost(ctx, e.Cause)
	}
	switch {
	case errors.Is(err, channel.ErrClosed):
		return fmt.Errorf("%w: %s: %w", ErrClosed, s.name, err)
	case s.left != nil && s.left.Err() != nil:
		return s.closed()
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		return dispatch.CtxError(ctx)
	}
	return err
}

// ChannelRef is a handle on a channel's end: it travels inside inputs, outputs
// and items, and whoever has it can use the end. It has the types of the end: who
// binds it sends Send and receives Recv. The zero value names nothing.
type ChannelRef[Send, Recv any] struct{ handle *wire.Handle }

func channelType[Send, Recv any]() string {
	return fmt.Sprintf("Channel[%s,%s]", codec.TypeName(reflect.TypeFor[Send]()), codec.TypeName(reflect.TypeFor[Recv]()))
}

// exported is what a home knows of a channel's end. The owner, who may have kept
// nothing but the handle, is not collected as long as others can bind it.
type exported struct {
	*channel.End
	side  *side
	owner any
}

// Ref returns a handle on this end of the channel. It is good for as long as the
// channel is not closed here.
//
// Those who bind it share the end with its owner: what any of them sends goes to
// the far side, each item from there goes to one who receives, and CloseSend of
// any is the end of sending for all.
func (c *Channel[Send, Recv]) Ref() ChannelRef[Send, Recv] {
	s := c.side
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handle == nil {
		token := s.home.Export(exported{c.end, s, c})
		s.handle = s.home.Handle(token, channelType[Send, Recv](), c.end.Limit)
		home, ch := s.home, c.end
		ch.OnClose(func() { home.Withdraw(token) })
	}
	return ChannelRef[Send, Recv]{s.handle}
}

// Bind returns the channel's end that the handle names, wherever it is: in this
// process, or in any worker of the tree of callers and workers that this one
// belongs to. ctx must be that of the function in which it is bound, or descend
// from it. In a program that is nobody's worker it may be any.
//
// Close gives up the handle, and so does the end of ctx; in a worker the channel's
// owner hears of either when the function, routine or method has returned, unless the
// holder has said CloseSend and never received, or the far side has ended. If it
// returned an error, or its worker was lost before, the channel ends for everybody
// with that reason: what the holder was to say would be missing. So it may well defer
// Close, and says CloseSend when it has sent all. It holds what it has bound without
// that until it returns; a process can hold 10,000.
//
// A holder that receives is sent up to a window in advance. What it has not read
// when it closes goes back to be received by others, first of all, also when the far
// side has ended meanwhile: nobody is told of the end as long as a holder has items
// that it has neither received nor given back. Where they cannot come back, the
// channel ends for everybody, with the reason.
//
// A handle that cannot be reached from here gives an error that says where it is.
func (r ChannelRef[Send, Recv]) Bind(ctx context.Context) (*Channel[Send, Recv], error) {
	out, err := codec.For[Send]()
	if err != nil {
		return nil, fmt.Errorf("afar: bind: %w", err)
	}
	in, err := codec.For[Recv]()
	if err != nil {
		return nil, fmt.Errorf("afar: bind: %w", err)
	}
	if r.handle == nil {
		return nil, errors.New("afar: bind: the handle names no channel")
	}
	home := homeOf(ctx)
	s := &side{name: r.handle.Type, worker: r.handle.Label, home: home, handle: r.handle}
	x, here, err := home.Local(r.handle)
	if err != nil {
		return nil, fmt.Errorf("afar: bind: %w", err)
	}
	if here {
		own, ok := x.(exported)
		if !ok {
			return nil, fmt.Errorf("afar: bind: the handle names no channel but %T", x)
		}
		s.name, s.worker, s.lost, s.talk = own.side.name, own.side.worker, own.side.lost, own.side.talk
		if own.Closed() { // not withdrawn yet
			return nil, fmt.Errorf("%w: bind: the channel to %s", ErrClosed, s.name)
		}
		s.left, s.leave = context.WithCancel(ctx)
		return newChannel(own.End, s, out, in), nil
	}
	stream, err := s.bind(ctx)
	if err != nil {
		return nil, err
	}
	config := channel.Config{Kind: channel.Holder, Name: s.name, Limit: r.handle.Limit}
	ended := func() {}
	if r := peer.FromContext(ctx); r != nil {
		config.Within, ended = context.WithCancel(r) // the context of a call may outlast it
	}
	e := channel.New(stream, config)
	e.OnClose(ended)
	e.OnClose(whenEnded(ctx, e.Abandon, func(err error) { ended(); e.Abandon(err) }))
	c := newChannel(e, s, out, in)
	runtime.AddCleanup(c, func(e *channel.End) { e.Close(ErrClosed) }, e)
	return c, nil
}

// whenOver has end called, with the reason, when ctx has ended or the call that it
// is of; stop ends that.
func whenOver(ctx context.Context, end func(error)) (stop func()) { return whenEnded(ctx, end, end) }

// whenEnded is whenOver that tells these two apart.
func whenEnded(ctx context.Context, end, returned func(error)) (stop func()) {
	stopContext := context.AfterFunc(ctx, func() { end(dispatch.CtxError(ctx)) })
	stopCall := func() {}
	if r := peer.FromContext(ctx); r != nil {
		stopCall = r.OnEnd(returned)
	}
	return func() { stopContext(); stopCall() }
}

// bind opens a stream to what the handle names.
func (s *side) bind(ctx context.Context) (*mux.Stream, error) {
	if r := peer.FromContext(ctx); r != nil {
		r.Yield() // the answer comes over the link
	}
	stream, lost, err := s.home.Bind(ctx, s.handle)
	if err != nil {
		return nil, fmt.Errorf("afar: bind: %w", err)
	}
	s.lost = func(_ context.Context, err error) error {
		return fmt.Errorf("%w: the way to what the handle names has ended: %w", ErrClosed, lost(err))
	}
	return stream, nil
}

// MarshalBinary encodes the handle.
func (r ChannelRef[Send, Recv]) MarshalBinary() ([]byte, error) { return marshalHandle(r.handle) }

// UnmarshalBinary decodes what MarshalBinary encoded, if it is a handle on a
// channel of these types.
func (r *ChannelRef[Send, Recv]) UnmarshalBinary(data []byte) (err error) {
	if r.handle = nil; len(data) > 0 { // most items have none
		r.handle, err = unmarshalHandle(data, channelType[Send, Recv]())
	}
	return err
}

// String says what the handle names and where that is.
func (r ChannelRef[Send, Recv]) String() string { return handleText(r.handle) }

func marshalHandle(h *wire.Handle) ([]byte, error) {
	if h == nil {
		return []byte{}, nil
	}
	return h.Append(nil), nil
}

func unmarshalHandle(data []byte, typ string) (*wire.Handle, error) {
	h, err := wire.ParseHandle(wire.NewReader(data))
	if err != nil {
		return nil, err
	}
	if h.Type != typ {
		return nil, fmt.Errorf("handle on %s, not on %s", h.Type, typ)
	}
	return h, nil
}

func handleText(h *wire.Handle) string {
	if h == nil {
		return "no handle"
	}
	return fmt.Sprintf("%s in %s", h.Type, h.Label)
}

// Reader reads the bytes of the items of a channel. It is an io.Reader and an
// io.WriterTo, for one goroutine at a time. Its end, io.EOF, is the far side's
// CloseSend. Empty items are passed over.
type Reader = channel.Reader

// Recycle gives back a []byte item that Recv or All has returned, for items that are
// still to come: in a flow of large ones it spares the garbage collector most of its
// work. It may be called concurrently. Nobody may use b, or anything that shares its
// memory, afterwards; nor recycle it twice.
func Recycle(b []byte) { mux.Free(b) }

// NewReader returns a Reader of what ch receives. Closing the channel interrupts
// it.
func NewReader[Send any](ch *Channel[Send, []byte]) *Reader {
	return channel.NewReader(ch.Recv, ch.use)
}

// Writer sends bytes as the items of a channel, in each 64 KiB at the most, or
// Config.MaxItem if that is less. It is an io.WriteCloser, whose Close is the
// channel's CloseSend, and an io.ReaderFrom, for one goroutine at a time.
type Writer = channel.Writer

// NewWriter returns a Writer to what ch sends. Closing the channel interrupts
// it.
func NewWriter[Recv any](ch *Channel[[]byte, Recv]) *Writer {
	return channel.NewWriter(ch.end.Limit, ch.Send, ch.CloseSend)
}

// use gives the bytes of the next item to f, which must not keep them.
func (c *Channel[Send, Recv]) use(ctx context.Context, f func([]byte) error) error {
	data, owned, err := c.take(ctx)
	if err != nil {
		return err
	}
	defer func() {
		c.end.Release()
		if owned {
			mux.Free(data)
		}
	}()
	body, err := codec.Bytes(data)
	if err != nil {
		return fmt.Errorf("afar: item from %s: %w", c.side.name, err)
	}
	return f(body)
}
