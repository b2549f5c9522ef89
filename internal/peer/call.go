package peer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// Running is a call that a worker runs, and its context; or a routine, or one
// method of an object.
type Running struct {
	context.Context
	chunk    *chunk // nil of what came over a stream of its own:
	stream   *streamed
	index    int
	info     *wire.Info
	function *registry.Function
	waits    int           // of its own calls; guarded by the executor's mutex, as the next two
	parked   bool          // it has given up its slot
	slot     chan struct{} // closed when it has one again; nil unless it waits for that
	logged   atomic.Uint64 // its last note
	progress atomic.Pointer[progress]
	watched  atomic.Pointer[watchers]
}

// streamed is where a routine or a method runs.
type streamed struct {
	conn            *Conn
	name            string
	stream, request uint64
}

// NewRunning returns a routine or a method that is about to run, for what came
// over a stream of its own: it takes no slot. request tells the requests of one
// stream apart. ctx must hold what calls find in theirs.
func NewRunning(ctx context.Context, conn *Conn, name string, info *wire.Info, stream, request uint64) *Running {
	return &Running{Context: ctx, info: info, stream: &streamed{conn, name, stream, request}}
}

type runningKey struct{}

// Value finds the call itself besides what its context holds.
func (r *Running) Value(key any) any {
	if key == (runningKey{}) {
		return r
	}
	return r.Context.Value(key)
}

// FromContext returns the call that a function runs in, or nil.
func FromContext(ctx context.Context) *Running {
	r, _ := ctx.Value(runningKey{}).(*Running)
	return r
}

// Info is what came with the call.
func (r *Running) Info() *wire.Info { return r.info }

// Place names the call to the far side. Of what is not a call it names none.
func (r *Running) Place() wire.Place {
	if r.chunk == nil {
		return wire.Place{}
	}
	return wire.Place{Chunk: r.chunk.id, Index: r.index}
}

// Conn is the link that the call came from.
func (r *Running) Conn() *Conn {
	if r.chunk == nil {
		return r.stream.conn
	}
	return r.chunk.x.conn
}

var errTimeout = fmt.Errorf("timeout of the call: %w", context.DeadlineExceeded)

// run calls the function. The payload may be in the chunk's buffer.
func (r *Running) run(input []byte) (status byte, payload []byte) {
	var deadline time.Time
	if t := r.info.Timeout; t > 0 {
		deadline = time.Now().Add(t)
		ctx, cancel := context.WithDeadlineCause(r.Context, deadline, errTimeout)
		defer cancel()
		r.Context = ctx
	}
	ch := r.chunk
	out, err := r.invoke(input, ch.buf[:0])
	r.Ended(err)
	if cap(out) > cap(ch.buf) && cap(out) <= MaxChunk {
		ch.buf = out
	}
	if p := r.progress.Load(); p != nil {
		r.flushProgress(p)
	}
	if t := r.info.Timeout; t > 0 && !time.Now().Before(deadline) {
		status |= wire.StatusLate
	}
	if limit := r.chunk.x.maxItem; err == nil && limit > 0 && int64(len(out)) > limit {
		err = &TooLargeError{What: "output of " + r.function.Name, Size: int64(len(out)), Limit: limit}
	}
	if err != nil {
		return status | wire.StatusFailed, FaultOf(err).Append(nil)
	}
	return status, out
}

// panicError carries a panic out of Guard.
type panicError struct{ fault *wire.Fault }

func (p *panicError) Error() string { return p.fault.Message }

// FaultOf encodes the error of a function, whose methods are not trusted, or
// one of Guard's.
func FaultOf(err error) (f *wire.Fault) {
	if p, ok := err.(*panicError); ok {
		return p.fault
	}
	defer func() {
		if recover() != nil {
			f = &wire.Fault{Type: typeOf(err), Message: "error whose methods panic"}
		}
	}()
	return EncodeError(err)
}

func (r *Running) invoke(input, dst []byte) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{panicFault(v)}
		}
	}()
	return r.function.Invoke(r, input, dst)
}

// Guard calls f, which is the user's, and makes a panic, or the end of its
// goroutine, an error for FaultOf. It calls done with it in any case: when f
// ends the goroutine, Guard does not return.
func Guard(f func() error, done func(error)) {
	err := error(&panicError{goexitFault()})
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{panicFault(v)}
		}
		done(err)
	}()
	err = f()
}

func goexitFault() *wire.Fault {
	return &wire.Fault{Type: "runtime.Goexit", Panic: true, Message: "the function ended its goroutine (runtime.Goexit)"}
}

// maxStack bounds the stack of a panic that travels.
const maxStack = 32 << 10

func panicFault(v any) *wire.Fault {
	stack := debug.Stack()
	if len(stack) > maxStack {
		stack = stack[:maxStack]
	}
	f := &wire.Fault{}
	if err, ok := v.(error); ok {
		f = FaultOf(err)
	} else {
		f.Message = cutText(sprint(v), maxMessage)
	}
	f.Type, f.Panic, f.Stack = typeOf(v), true, string(stack)
	return f
}

func sprint(v any) (s string) {
	defer func() {
		if recover() != nil {
			s = "panic value whose methods panic"
		}
	}()
	return fmt.Sprint(v)
}

func typeOf(v any) string {
	if v == nil {
		return "nil"
	}
	return reflect.TypeOf(v).String()
}

// Park gives up the call's slot while it waits for calls of its own: the rest
// of its chunk is handed back, and reading goes on elsewhere if the call runs in
// the reader. Unpark must follow.
func (r *Running) Park() {
	ch := r.chunk
	if ch == nil {
		return
	}
	x := ch.x
	x.mu.Lock()
	if r.waits++; r.waits > 1 || x.leave(r) || !ch.park(r) {
		x.mu.Unlock()
		return
	}
	// The caller must hear of it before another call begins in its slot.
	x.conn.post(wire.TypePark, ch.id, r.index)
	next := x.pass()
	x.mu.Unlock()
	x.conn.session.Sync()
	if next != nil {
		go x.runAside(next)
	}
}

// Yield lets the link be read elsewhere if the call runs in its reader: the call
// is about to wait for something that comes over the link.
func (r *Running) Yield() {
	if ch := r.chunk; ch != nil {
		ch.mu.Lock()
		defer ch.mu.Unlock()
		if ch.call == r {
			ch.handOff()
		}
	}
}

// park readies a chunk for its call's giving up the slot. It tells whether the
// call still runs: what a function leaves behind has no slot to give up. x.mu is
// held.
func (ch *chunk) park(r *Running) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.call != r {
		return false
	}
	r.parked = true
	ch.parker = r
	ch.release(ch.index + 1)
	ch.handOff()
	return true
}

// Unpark waits for a slot to go on with, unless another goroutine of the call
// still waits for a call of its own. A call that was canceled goes on without
// one: it is to end, and must not wait for others to do so first.
func (r *Running) Unpark() {
	if r.chunk == nil {
		return
	}
	x := r.chunk.x
	x.mu.Lock()
	r.waits--
	switch {
	case r.waits > 0 || !r.parked:
		x.mu.Unlock()
		return
	case r.slot != nil: // another goroutine of the call waits already
	case x.free > 0:
		x.free--
		x.regain(r)
		x.mu.Unlock()
		x.conn.session.Kick()
		return
	default:
		r.slot = make(chan struct{})
		x.resume = append(x.resume, r)
	}
	slot := r.slot
	x.mu.Unlock()
	select {
	case <-slot:
		x.conn.session.Kick()
	case <-r.Done():
	}
}

// regain gives a parked call a slot. x.mu is held.
func (x *Executor) regain(r *Running) {
	r.parked = false
	x.conn.post(wire.TypeUnpark, r.chunk.id, r.index) // before its result
	if r.slot != nil {
		close(r.slot)
		r.slot = nil
	}
}

// leave tells whether a call has no slot, and has it want none: it waits again,
// or has ended. Its goroutines that wait for a slot go on without one. x.mu is
// held.
func (x *Executor) leave(r *Running) bool {
	if r == nil || !r.parked {
		return false
	}
	if r.slot != nil {
		x.resume = slices.DeleteFunc(x.resume, func(other *Running) bool { return other == r })
		close(r.slot)
		r.slot = nil
	}
	return true
}

// TooLargeError says that a value is over the limit on items.
type TooLargeError struct {
	What        string
	Size, Limit int64
}

// ErrTooLarge is what a TooLargeError is.
var ErrTooLarge = errors.New("item too large")

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("afar: %s has %d bytes, the limit (Config.MaxItem) is %d", e.What, e.Size, e.Limit)
}

// Unwrap makes it an ErrTooLarge.
func (e *TooLargeError) Unwrap() error { return ErrTooLarge }
