package afar

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/conversation"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/member"
	"github.com/afar-go/afar/internal/object"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// ClassOf makes objects of type T in workers, from an argument of type A. It is
// safe for concurrent use.
type ClassOf[T, A any] struct {
	f        *registry.Function
	class    *object.Class
	argument *codec.Codec[A]
}

// Class registers the top-level function that constructs objects of a type. As
// with Func, call it in a package variable; it panics in the same cases. T itself
// never travels: it may have any fields.
//
// An object lives in the worker in which it was made, until its handle is
// closed, or its caller or its worker is gone. If *T is an io.Closer, Close is
// called when the object is freed and none of its methods runs any more.
//
// Methods of one object run one at a time, in the order in which they arrived,
// unless the class is Concurrent. Different objects never wait for each other,
// nor do they take slots from calls. Package variables are per worker process:
// objects in one worker share them, objects in different workers do not.
func Class[T, A any](construct func(context.Context, A) (*T, error)) *ClassOf[T, A] {
	if construct == nil {
		panic("afar: Class(nil)")
	}
	pc := reflect.ValueOf(construct).Pointer()
	name := topLevel("Class", pc, "Use a top-level function")
	c := &ClassOf[T, A]{argument: mustTravel[A]("Class", "the argument of", name)}
	c.class = &object.Class{
		Construct: func(ctx context.Context, data []byte) (any, error) {
			a, err := c.argument.Decode(data)
			if err != nil {
				return nil, fmt.Errorf("argument: %w", err)
			}
			o, err := construct(ctx, a)
			if err == nil && o == nil {
				err = errors.New("the constructor returned neither an object nor an error")
			}
			return o, err
		},
		Members: member.Of(reflect.TypeFor[*T]()),
	}
	c.f = add("Class", &registry.Function{
		Kind: registry.Class, Name: name, PC: pc, Body: c.class,
		In: codec.TypeName(reflect.TypeFor[A]()), Out: codec.TypeName(reflect.TypeFor[T]()),
	})
	c.class = c.f.Body.(*object.Class) // of the first, when the class was registered before
	return c
}

// Concurrent lets methods of one object run at the same time, up to 1,024; *T
// sees to its own locking then. Call it where Class is called. It returns c.
func (c *ClassOf[T, A]) Concurrent() *ClassOf[T, A] {
	c.class.Concurrent = true
	return c
}

// Name returns the constructor's name.
func (c *ClassOf[T, A]) Name() string { return c.f.Name }

// New makes an object in a worker, of a pool in the one with the fewest
// conversations, and waits for its constructor, which ctx bounds; the object's
// life does not depend on ctx. The object's owner closes it.
//
// The error is what the constructor returned, or its panic, as a *RemoteError;
// *WorkerLostError; ErrTooLarge, ErrUnknownFunction, ErrClosed; or ctx's own.
func (c *ClassOf[T, A]) New(ctx context.Context, at Opener, a A) (*Object[T], error) {
	argument, err := c.argument.Append(nil, a)
	if err != nil {
		return nil, fmt.Errorf("afar: argument of %s: %w", c.f.Name, err)
	}
	g, chosen, err := choose(at)
	if err != nil {
		return nil, err
	}
	defer chosen()
	if err := g.route().limit(c.f.Name, len(argument)); err != nil {
		return nil, err
	}
	t, info, err := g.converse(ctx, c.f)
	if err != nil {
		return nil, err
	}
	s := &side{name: c.f.Name, worker: g.id, home: g.pool.home, lost: t.lost, talk: t}
	t.Type = codec.TypeName(reflect.TypeFor[T]())
	t.Object, err = object.Create(ctx, t.in.conn, c.f.Name, info, argument, g.pool.config.MaxItem, t.listener(ctx))
	if err != nil {
		return nil, s.public(ctx, err)
	}
	t.Begin(context.Background(), func() {})
	s.handle = &wire.Handle{Path: t.in.home, Token: t.Object.Token(), Type: objectType[T](),
		Label: fmt.Sprintf("worker %s (pid %d on %s)", g.id, t.in.hello.PID, t.in.hello.Host), Program: fingerprint(t.in.hello.Functions),
		Limit: g.pool.config.MaxItem}
	o := &Object[T]{remote{t.Object, s, t.in.index, s.handle.Type}}
	runtime.AddCleanup(o, (*conversation.Talk).Abandon, &t.Talk)
	return o, nil
}

// Object is a handle on an object in a worker. Its methods may be used
// concurrently.
type Object[T any] struct{ remote }

// AnyObject is an *Object of any type.
type AnyObject interface{ object() *remote }

// remote is an object's handle without its type.
type remote struct {
	handle *object.Handle
	side   *side
	index  map[string]int // positions of the functions over there
	typ    string         // of handles on it
}

func (r *remote) object() *remote { return r }

// Close frees the object, or gives up the handle if it came from Bind. What
// runs there has its context canceled; it is not waited for. It is idempotent, and
// its error is always nil.
func (o *Object[T]) Close() error {
	cause := fmt.Errorf("%w: the object of %s", ErrClosed, o.side.name)
	if t := o.side.talk; t != nil {
		t.Close(cause)
	} else {
		o.handle.Close(cause)
	}
	return nil
}

// MethodOf is a method that runs where its object lives. It is immutable and
// safe for concurrent use.
type MethodOf[T, In, Out any] struct {
	f   *registry.Function
	in  *codec.Codec[In]
	out *codec.Codec[Out]
}

// Method registers a method of T, written as a method expression, or any other
// top-level function of that form:
//
//	var add = afar.Method((*Counter).Add)
//
// As with Func, call it in a package variable; it panics in the same cases.
func Method[T, In, Out any](m func(*T, context.Context, In) (Out, error)) *MethodOf[T, In, Out] {
	if m == nil {
		panic("afar: Method(nil)")
	}
	pc := reflect.ValueOf(m).Pointer()
	name := topLevel("Method", pc, "Use a method expression such as (*Counter).Add")
	in, out := mustTravel[In]("Method", "the input of", name), mustTravel[Out]("Method", "the output of", name)
	f := add("Method", &registry.Function{
		Kind: registry.Method, Name: name, PC: pc,
		In:  codec.TypeName(reflect.TypeFor[T]()) + "; " + codec.TypeName(reflect.TypeFor[In]()),
		Out: codec.TypeName(reflect.TypeFor[Out]()),
		Body: object.Method(func(ctx context.Context, obj any, input, dst []byte) ([]byte, error) {
			o, ok := obj.(*T)
			if !ok {
				return nil, fmt.Errorf("%w: %s is a method of %v, the object is a %T", ErrUnknownFunction, name, reflect.TypeFor[T](), obj)
			}
			v, err := in.Decode(input)
			if err != nil {
				return nil, fmt.Errorf("input: %w", err)
			}
			result, err := m(o, ctx, v)
			if err != nil {
				return nil, err
			}
			if dst, err = out.Append(dst, result); err != nil {
				return nil, fmt.Errorf("output: %w", err)
			}
			return dst, nil
		}),
	})
	return &MethodOf[T, In, Out]{f: f, in: in, out: out}
}

// Name returns the method's name.
func (m *MethodOf[T, In, Out]) Name() string { return m.f.Name }

// On returns the method of one object, with the signature that it has here.
//
// When ctx ends, the call returns at once and the method's context is canceled.
// A method that goes on all the same is not killed, since the worker's other
// objects would be lost with it; calls behind it wait. The error is what the
// method returned, or its panic, as a *RemoteError; *WorkerLostError at once for
// every call of an object whose worker was lost; ErrClosed, ErrTooLarge; or ctx's
// own.
func (m *MethodOf[T, In, Out]) On(o *Object[T]) func(context.Context, In) (Out, error) {
	var plain *wire.Info
	index, known := -1, false
	if o != nil {
		if index, known = o.index[m.f.Key()]; known && o.side.talk != nil {
			plain, _ = o.side.talk.requestInfo(context.Background(), index, nil) // an error comes again with the call
		}
	}
	return func(ctx context.Context, in In) (Out, error) {
		var out Out
		if o == nil {
			return out, errNilObject
		}
		if !known {
			return out, fmt.Errorf("%w: %s is not registered in worker %s", ErrUnknownFunction, m.f.Name, o.side.worker)
		}
		buf := scratch.Get().(*[]byte)
		defer scratch.Put(buf)
		head, body, err := m.in.AppendParts((*buf)[:0], in)
		if err != nil {
			return out, inputError(m.f.Name, err)
		}
		if len(body) > 0 {
			head = append(head, body...)
		} else if cap(head) <= 64<<10 {
			*buf = head[:0]
		}
		reply, err := o.do(ctx, &wire.Request{Op: wire.OpCall, Info: plain}, index, m.f.Name, head)
		if err != nil {
			return out, err
		}
		if out, err = m.out.DecodeOwned(reply.Payload); err != nil {
			return out, fmt.Errorf("afar: output of %s: %w", m.f.Name, err)
		}
		return out, nil
	}
}

var errNilObject = errors.New("afar: nil object")

// do sends a request to an object and waits for the reply.
func (r *remote) do(ctx context.Context, q *wire.Request, index int, name string, input []byte) (wire.Reply, error) {
	if ctx.Err() != nil {
		return wire.Reply{}, dispatch.CtxError(ctx)
	}
	var listen func(peer.Note)
	if t := r.side.talk; t == nil {
		q.Info = r.boundInfo(ctx, index)
	} else {
		info, err := t.requestInfo(ctx, index, q.Info)
		if err != nil {
			return wire.Reply{}, err
		}
		if q.Info = info; ctx.Value(optionsKey{}) != nil {
			listen = t.listener(ctx)
		}
	}
	if p := peer.FromContext(ctx); p != nil {
		p.Yield() // the answer comes over the link
	}
	reply, err := r.handle.Do(ctx, q, input, listen)
	if err == nil {
		return reply, nil
	}
	err = r.side.public(ctx, err)
	var remote *RemoteError
	if errors.As(err, &remote) {
		remote.Function = name
	}
	return wire.Reply{}, err
}

// boundInfo is what goes with a request to an object that came from Bind. Its
// logs go where the object's maker wants them.
func (r *remote) boundInfo(ctx context.Context, index int) *wire.Info {
	info := &wire.Info{Function: index, Attempt: 1, Header: Header(ctx)}
	if p := peer.FromContext(ctx); p != nil {
		info.LogLevel, info.NoLog = p.Info().LogLevel, p.Info().NoLog
	}
	if deadline, ok := ctx.Deadline(); ok {
		info.Remaining = max(1, time.Until(deadline))
	}
	return info
}

// Invoke calls any exported method of an object by its name. The method may
// have a context in front, any arguments that can travel, and at most one result
// and an error. Out must be the result's type, or one that the result can be
// decoded into; struct{} or any if there is none.
//
// A wrong name, and arguments of the wrong number or type, give an error that
// says what the type offers. Other errors are those of MethodOf's On.
func Invoke[Out any](ctx context.Context, o AnyObject, method string, args ...any) (Out, error) {
	var out Out
	encoded := make([][]byte, len(args))
	for i, a := range args {
		b, err := codec.Marshal(a)
		if err != nil {
			return out, fmt.Errorf("afar: argument %d of %s: %w", i+1, method, err)
		}
		encoded[i] = b
	}
	return named[Out](ctx, o, wire.Request{Op: wire.OpInvoke, Member: method}, wire.AppendArguments(nil, encoded))
}

// Get returns an exported field of an object, or what a method without
// arguments returns. Errors are as those of Invoke.
func Get[V any](ctx context.Context, o AnyObject, member string) (V, error) {
	return named[V](ctx, o, wire.Request{Op: wire.OpGet, Member: member}, nil)
}

// Set sets an exported field of an object. Errors are as those of Invoke.
func Set[V any](ctx context.Context, o AnyObject, member string, v V) error {
	c, err := codec.For[V]()
	if err != nil {
		return fmt.Errorf("afar: value of %s: %w", member, err)
	}
	value, err := c.Append(nil, v)
	if err != nil {
		return fmt.Errorf("afar: value of %s: %w", member, err)
	}
	_, err = named[struct{}](ctx, o, wire.Request{Op: wire.OpSet, Member: member}, value)
	return err
}

// named uses a member by its name.
func named[Out any](ctx context.Context, o AnyObject, q wire.Request, input []byte) (Out, error) {
	var out Out
	if o == nil || reflect.ValueOf(o).IsNil() {
		return out, errNilObject
	}
	c, err := codec.For[Out]()
	if err != nil {
		return out, fmt.Errorf("afar: %s: %w", q.Member, err)
	}
	r := o.object()
	name := strings.TrimSuffix(strings.TrimPrefix(r.typ, "Object["), "]") + "." + shown(q.Member)
	reply, err := r.do(ctx, &q, 0, name, input)
	if err != nil {
		return out, err
	}
	if reply.Status&wire.StatusNone != 0 {
		switch any(&out).(type) {
		case *struct{}, *any:
			return out, nil
		}
		return out, fmt.Errorf("afar: %s returns no value, and %T was asked for", name, out)
	}
	if out, err = c.DecodeOwned(reply.Payload); err != nil {
		article := "a"
		if strings.IndexAny(reply.Type, "aeiou") == 0 {
			article = "an"
		}
		return out, fmt.Errorf("afar: %s is %s %s: %w", name, article, reply.Type, err)
	}
	return out, nil
}

// shown is the name of a member in an error; nobody reads a very long one.
func shown(name string) string {
	const most = 100
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

// ObjectRef is a handle on an object: it travels inside inputs, outputs and
// items, and whoever has it can use the object. The zero value names nothing.
type ObjectRef[T any] struct{ handle *wire.Handle }

func objectType[T any]() string { return "Object[" + codec.TypeName(reflect.TypeFor[T]()) + "]" }

// Ref returns a handle on the object. It is good for as long as the object
// lives, which is not longer because others hold it.
func (o *Object[T]) Ref() ObjectRef[T] { return ObjectRef[T]{o.side.handle} }

// Bind returns the object that the handle names, wherever it lives in the tree
// of callers and workers that this process belongs to. ctx must be that of the
// function in which it is bound, or descend from it; its end gives the object up,
// as Close does. A handle that cannot be reached from here gives an error that
// says where it is.
func (r ObjectRef[T]) Bind(ctx context.Context) (*Object[T], error) {
	if r.handle == nil {
		return nil, errors.New("afar: bind: the handle names no object")
	}
	index := positions(r.handle.Program)
	if index == nil {
		return nil, fmt.Errorf("afar: bind: %v has other functions than this process", r)
	}
	s := &side{name: r.handle.Type, worker: r.handle.Label, home: homeOf(ctx), handle: r.handle}
	stream, err := s.bind(ctx)
	if err != nil {
		return nil, err
	}
	h := object.Bound(stream, s.name, r.handle.Limit)
	h.OnOver(whenOver(ctx, h.Close))
	o := &Object[T]{remote{h, s, index, r.handle.Type}}
	runtime.AddCleanup(o, func(h *object.Handle) { h.Close(ErrClosed) }, h)
	return o, nil
}

// positions returns where a process with such a fingerprint has its functions, if
// they are those of this process, all or without the late ones, which other
// processes do not have; else nil.
func positions(program string) map[string]int {
	for _, late := range []bool{true, false} {
		index, keys := map[string]int{}, []string{}
		for _, f := range registry.Functions() {
			if late || !f.Late {
				index[f.Key()] = len(keys)
				keys = append(keys, f.Key())
			}
		}
		if fingerprint(keys) == program {
			return index
		}
	}
	return nil
}

// fingerprint stands for the functions of a process.
func fingerprint(keys []string) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, strings.Join(keys, "\n")) // a hash takes everything
	return fmt.Sprintf("%016x", h.Sum64())
}

// MarshalBinary encodes the handle.
func (r ObjectRef[T]) MarshalBinary() ([]byte, error) { return marshalHandle(r.handle) }

// UnmarshalBinary decodes what MarshalBinary encoded, if it is a handle on an
// object of this type.
func (r *ObjectRef[T]) UnmarshalBinary(data []byte) (err error) {
	if r.handle = nil; len(data) > 0 { // most items have none
		r.handle, err = unmarshalHandle(data, objectType[T]())
	}
	return err
}

// String says what the handle names and where that is.
func (r ObjectRef[T]) String() string { return handleText(r.handle) }
