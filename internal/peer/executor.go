package peer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// Executor runs the chunks that a worker receives, so many at a time as the
// caller said in its hello. Chunks begin in the order in which they came.
//
// Quick calls run in the link's reader itself, without any other goroutine;
// the watch hands the reading over when a call turns out not to be quick.
type Executor struct {
	conn      *Conn
	functions []*registry.Function
	base      context.Context // ends with the link
	end       context.CancelCauseFunc
	over      atomic.Bool // the link has ended: nothing begins any more
	mu        sync.Mutex
	free      int        // slots that nobody has
	inline    bool       // one call at a time: run it in the reader
	maxItem   int64      // bytes of an output
	queue     []*chunk   // waiting for a slot, first in first out
	resume    []*Running // calls that have waited for their own and want a slot again
	early     []uint64   // chunks that were canceled before they came
	chunks    map[uint64]*chunk
	running   map[*chunk]struct{}

	watch watch
}

// chunk is calls that came in one message.
type chunk struct {
	x      *Executor
	id     uint64
	n      int
	body   *wire.Reader // calls not yet parsed; used by whoever runs the chunk
	whole  []byte       // the message that body reads, when it belongs to the chunk
	came   time.Time    // zero when no call has a deadline
	queued int64        // tick at which it had to wait
	parker *Running     // its call that has given up its slot; guarded by x.mu
	turn   uint64       // of the reader that runs it, 0 when another goroutine does
	fresh  []Running    // not used yet; used by whoever runs the chunk
	buf    []byte       // for the output of the call that runs; used by whoever runs the chunk

	mu       sync.Mutex
	limit    int // calls from here on were released
	index    int // the call that runs or is about to
	call     *Running
	entered  int64 // tick at which the chunk began
	began    int64 // tick at which the call began
	canceled map[int]error
	all      error // every call is canceled

	results  []byte // not posted yet
	first    int
	count    int
	since    time.Time // from when on the time of those results counts
	ctx      context.Context
	cancel   context.CancelCauseFunc
	ctxInfo  *wire.Info
	finished bool
}

// NewExecutor returns an executor of functions, which callers name by their
// position. The contexts of calls descend from base.
func NewExecutor(base context.Context, functions []*registry.Function) *Executor {
	x := &Executor{functions: functions, free: 1, inline: true,
		chunks: map[uint64]*chunk{}, running: map[*chunk]struct{}{}}
	x.base, x.end = context.WithCancelCause(base)
	x.watch.wake = make(chan struct{}, 1)
	x.watch.asleep.Store(true)
	return x
}

// Base is the context of all calls: it ends with the link.
func (x *Executor) Base() context.Context { return x.base }

// Bind sets the link that results go to; it must be called before it starts.
func (x *Executor) Bind(c *Conn) {
	x.conn = c
	go x.guard()
}

func (x *Executor) greet(h *wire.Hello) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.free = max(1, h.Concurrency)
	x.inline = x.free == 1
	x.maxItem = h.MaxItem
	x.conn.session.SetKeepalive(h.Keepalive)
	if h.MaxItem > 0 {
		x.conn.session.SetMaxMessage(h.MaxItem + messageSlack)
	}
}

func (x *Executor) stop(cause error) {
	x.over.Store(true)
	x.end(cause)
}

// Calls takes a chunk: it runs here and now, or waits.
func (x *Executor) Calls(id uint64, n int, body *wire.Reader, owned bool) error {
	ch := &chunk{x: x, id: id, n: n, limit: n, body: body, came: time.Now()}
	if owned {
		ch.whole = body.Whole()
	}
	x.mu.Lock()
	if x.chunks[id] != nil {
		x.mu.Unlock()
		return fmt.Errorf("%w: chunk %d sent twice", wire.ErrMalformed, id)
	}
	if n == 1 && slices.Contains(x.early, id) {
		x.conn.Release(id, 0)
		x.mu.Unlock()
		return nil // Idle flushes
	}
	x.chunks[id] = ch
	if x.free > 0 && x.inline {
		x.free--
		ch.turn = x.conn.session.Turn()
		x.enter(ch)
		x.mu.Unlock()
		// The caller takes results as the sign that the next chunk has begun, so
		// they must have left before it begins.
		x.conn.session.Sync()
		x.run(ch)
		return nil
	}
	if !owned {
		ch.body = wire.NewReader(append([]byte(nil), body.Rest()...))
	}
	if x.free > 0 {
		x.free--
		x.enter(ch)
		x.mu.Unlock()
		go x.runAside(ch)
		return nil
	}
	ch.queued = x.watch.tick.Load()
	x.queue = append(x.queue, ch)
	x.watch.rouse()
	x.mu.Unlock()
	return nil
}

// enter puts a chunk among those that run; x.mu is held.
func (x *Executor) enter(ch *chunk) {
	x.running[ch] = struct{}{}
	ch.entered = x.watch.tick.Load()
	ch.began = ch.entered
	x.watch.rouse()
}

// Idle flushes results: the reader has nothing else to do.
func (x *Executor) Idle() { x.conn.session.Flush() }

// run runs a chunk and then those that wait for the slot that it has. The last
// results are posted, not flushed.
func (x *Executor) run(ch *chunk) {
	for ch != nil {
		next, ended := x.runOne(ch)
		if ended {
			return
		}
		if ch = next; ch != nil {
			x.conn.session.Sync()
		}
	}
}

// runAside is run outside of the reader, which would flush.
func (x *Executor) runAside(ch *chunk) {
	x.run(ch)
	x.conn.session.Flush()
}

// runOne runs the calls of a chunk and returns the chunk that has its slot
// next. ended is true when a function ended the goroutine; another goes on then.
func (x *Executor) runOne(ch *chunk) (next *chunk, ended bool) {
	whole := false
	defer func() {
		if !whole { // runtime.Goexit in a function
			ch.gone()
			go x.runAside(ch)
			ended = true
		}
	}()
	ch.mu.Lock()
	ch.since = time.Now()
	ch.mu.Unlock()
	if err := ch.calls(); err != nil {
		x.conn.session.Fail(err)
	}
	whole = true
	return x.finish(ch), false
}

// finish posts what is left to post and passes the slot on.
func (x *Executor) finish(ch *chunk) *chunk {
	ch.mu.Lock()
	ch.post()
	ch.finished = true
	mux.Free(ch.whole) // inputs were decoded, which copies
	ch.whole = nil
	if ch.cancel != nil {
		ch.cancel(ErrReturned)
	}
	aside := ch.turn == 0
	ch.mu.Unlock()
	if aside {
		// Somebody else may begin the next chunk as soon as the slot is free; the
		// reader syncs before it does.
		x.conn.session.Sync()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.chunks, ch.id)
	delete(x.running, ch)
	if r := ch.parker; x.leave(r) {
		r.parked = false // nothing is to be given back to it
		return nil
	}
	return x.pass()
}

// pass gives a slot to who wants it: first a call that already ran, then the
// first chunk that waits, which is returned. x.mu is held.
func (x *Executor) pass() *chunk {
	if len(x.resume) > 0 {
		r := x.resume[0]
		x.resume = x.resume[1:]
		x.regain(r)
		return nil
	}
	if len(x.queue) > 0 {
		ch := x.queue[0]
		x.queue = x.queue[1:]
		x.enter(ch)
		return ch
	}
	x.free++
	return nil
}

// Cancel ends a call or a chunk. One that has not begun is handed back.
func (x *Executor) Cancel(place wire.Place, cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ch := x.chunks[place.Chunk]
	if ch == nil {
		x.overtook(place)
		return
	}
	if _, runs := x.running[ch]; !runs && (place.Index == wire.Whole || ch.n == 1) {
		x.drop(ch)
		x.conn.session.Kick()
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case place.Index == wire.Whole:
		ch.all = cause
		ch.interrupt(cause)
	case ch.call != nil && ch.index == place.Index:
		ch.interrupt(cause)
	case place.Index < ch.index || place.Index >= ch.limit: // ended, or handed back
	default:
		if ch.canceled == nil {
			ch.canceled = map[int]error{}
		}
		ch.canceled[place.Index] = cause
	}
}

// overtook remembers the cancel of a chunk that is not here: it has ended, or it
// is a large message of which not all has come. x.mu is held.
func (x *Executor) overtook(place wire.Place) {
	if len(x.early) == maxEarly {
		x.early = x.early[1:]
	}
	x.early = append(x.early, place.Chunk)
}

// maxEarly is how many such cancels are remembered. At most one large message
// is under way, and few cancels are.
const maxEarly = 64

// drop hands a chunk that waits back to the caller; x.mu is held.
func (x *Executor) drop(ch *chunk) {
	for i, q := range x.queue {
		if q == ch {
			x.queue = append(x.queue[:i:i], x.queue[i+1:]...)
			break
		}
	}
	delete(x.chunks, ch.id)
	x.conn.Release(ch.id, 0)
}

// interrupt cancels the context of the call that runs; ch.mu is held.
func (ch *chunk) interrupt(cause error) {
	if ch.cancel != nil {
		ch.cancel(cause)
		ch.ctx = nil // the next call has another
	}
}

// calls runs the calls of the chunk that are not done.
func (ch *chunk) calls() error {
	var info *wire.Info
	for ch.index < ch.n { // only this goroutine moves index on
		if ch.ctxInfo != nil && info == nil {
			info = ch.ctxInfo // another goroutine goes on where a function ended the first
		}
		var input []byte
		var err error
		info, input, err = wire.ParseCall(ch.body, info)
		if err != nil {
			return err
		}
		if info.Function >= len(ch.x.functions) || ch.x.functions[info.Function].Kind != registry.Call {
			return fmt.Errorf("%w: call of function %d of %d", wire.ErrMalformed, info.Function, len(ch.x.functions))
		}
		if !ch.step(info, input) {
			return nil
		}
	}
	return nil
}

// step runs one call, unless the chunk's calls from here on were released.
func (ch *chunk) step(info *wire.Info, input []byte) bool {
	call := ch.newCall(info)
	ch.mu.Lock()
	if ch.index >= ch.limit {
		ch.mu.Unlock()
		return false
	}
	cause := ch.all
	if c, ok := ch.canceled[ch.index]; ok {
		cause = c
	}
	if ch.x.over.Load() {
		cause = context.Canceled // its caller counts on what has not begun not to begin
	}
	call.index = ch.index
	if cause == nil {
		call.Context = ch.context(info)
		ch.call = call
		ch.began = ch.x.watch.tick.Load()
	}
	ch.mu.Unlock()
	if cause != nil {
		f := EncodeError(cause)
		f.Canceled = true
		ch.store(wire.StatusFailed, f.Append(nil), 0)
		return true
	}
	status, payload := call.run(input)
	ch.store(status, payload, call.logged.Load())
	return true
}

// callsAtOnce is how many calls are allocated together.
const callsAtOnce = 16

// newCall returns a call of the chunk's that nothing else has used.
func (ch *chunk) newCall(info *wire.Info) *Running {
	if len(ch.fresh) == 0 {
		ch.fresh = make([]Running, min(callsAtOnce, ch.n-ch.index))
	}
	call := &ch.fresh[0]
	ch.fresh = ch.fresh[1:]
	call.chunk, call.info, call.function = ch, info, ch.x.functions[info.Function]
	return call
}

// context returns the context of the chunk's calls, which they share until one
// of them is canceled alone. ch.mu is held.
func (ch *chunk) context(info *wire.Info) context.Context {
	if ch.ctx != nil && ch.ctxInfo == info {
		return ch.ctx
	}
	old := ch.cancel
	if info.Remaining > 0 {
		ctx, cancel := context.WithDeadlineCause(ch.x.base, ch.came.Add(info.Remaining), nil)
		inner, stop := context.WithCancelCause(ctx)
		ch.ctx, ch.cancel = inner, func(cause error) { stop(cause); cancel() }
	} else {
		ch.ctx, ch.cancel = context.WithCancelCause(ch.x.base)
	}
	if old != nil {
		old(ErrReturned)
	}
	ch.ctxInfo = info
	return ch.ctx
}

// gone stores the result of a function that ended its goroutine.
func (ch *chunk) gone() {
	ch.mu.Lock()
	call := ch.call
	ch.mu.Unlock()
	var logged uint64
	if call != nil {
		if p := call.progress.Load(); p != nil {
			call.flushProgress(p)
		}
		logged = call.logged.Load()
		call.Ended(&panicError{goexitFault()})
	}
	ch.store(wire.StatusFailed, goexitFault().Append(nil), logged)
}

// store keeps the result of the call at ch.index and moves on to the next.
func (ch *chunk) store(status byte, payload []byte, logged uint64) {
	if logged > 0 {
		status |= wire.StatusLogged
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.call = nil
	index := ch.index
	ch.index++
	if len(payload) > MaxChunk/2 {
		ch.post()
		elapsed := time.Since(ch.since)
		ch.since = ch.since.Add(elapsed)
		if cap(payload) <= MaxChunk { // it is in ch.buf
			payload = append([]byte(nil), payload...)
		}
		ch.x.conn.result(wire.Place{Chunk: ch.id, Index: index}, status, logged, payload, elapsed)
		ch.first = ch.index
		return
	}
	ch.results = wire.AppendResult(ch.results, status, logged, len(payload))
	ch.results = append(ch.results, payload...)
	ch.count++
	if len(ch.results) > MaxChunk/2 {
		ch.post()
	}
}

// post posts the results that are there; ch.mu is held.
func (ch *chunk) post() {
	if ch.count == 0 {
		return
	}
	elapsed := time.Since(ch.since)
	ch.since = ch.since.Add(elapsed)
	var buf [64]byte
	head := wire.AppendResults(buf[:0], ch.id, ch.first, ch.count, elapsed)
	ch.x.conn.session.Post(head, ch.results)
	ch.results, ch.count, ch.first = ch.results[:0], 0, ch.index
}

// release hands back the calls that have not begun, and tells whether there
// were any. ch.mu is held.
func (ch *chunk) release(from int) bool {
	if from >= ch.limit {
		return false
	}
	ch.limit = from
	ch.post() // so that the caller never sees results after their release
	ch.x.conn.Release(ch.id, from)
	return true
}
