// Package peer is both ends of a link between a caller and a worker: it turns
// the link's messages into calls, results, cancels, logs and remote errors.
//
// Either end may call the other. What this end has sent and waits for is
// reported to its Caller; what the far end has sent is given to its Callee. In
// a worker the callee is an Executor, which runs the program's functions.
package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// MaxChunk is how many bytes of calls a chunk of several may have; a chunk of
// one call may have any size.
const MaxChunk = 48 << 10

// messageSlack is how many bytes a message may have besides its item.
const messageSlack = 1 << 20

// Caller hears of the chunks that this end has sent. The link's reader calls
// it, so its methods must not block.
type Caller interface {
	// Results brings n results of a chunk from the call at index first on, to be
	// read from body by wire.ParseResult. The bytes are valid only during the
	// call unless owned. elapsed is the time that the calls took.
	Results(chunk uint64, first, n int, elapsed time.Duration, body *wire.Reader, owned bool) error
	Release(chunk uint64, from int) // these calls come back, not begun
	Park(wire.Place)                // a call waits for calls of its own
	Unpark(wire.Place)              // and no longer
	Idle()                          // all that has arrived was reported
}

// Callee takes the chunks that the far end has sent. The link's reader calls it.
type Callee interface {
	Calls(chunk uint64, n int, body *wire.Reader, owned bool) error
	Cancel(place wire.Place, cause error)
	Idle()
}

// Note is a log record or a progress report of a call, on its way to the
// caller.
type Note struct {
	wire.Place
	Stream, Request uint64  // when Stream is not 0: it is of what runs there
	Record          *Record // or nil:
	Done, Total     int64
}

// Config shapes an end of a link.
type Config struct {
	Hello     wire.Hello // said first; Version, Host, System and Go are filled in
	Initiator bool       // true for the caller
	Caller    Caller     // may be nil: then SetCaller
	Callee    Callee     // may be nil: it runs no calls
	Notes     func(Note) // called by one goroutine; may block, which holds up the far side's logs only
	Closed    func(error)

	// Stream takes a stream that the far side has opened for anything but notes;
	// purpose's first byte is read. The link's reader calls it, so it must not
	// block. An error refuses the stream. nil refuses all.
	Stream func(s *mux.Stream, purpose byte, rest *wire.Reader) error
	// Greeted, if set, is called with the far side's hello before anything else
	// that it says; it must not block.
	Greeted func(*wire.Hello)
}

// MaxStreams is how many streams the far side may have open at a time: channels,
// objects and handles.
const MaxStreams = 10_000

// Conn is one end of a link. Its methods may be used concurrently.
type Conn struct {
	config  Config
	session *mux.Session
	caller  atomic.Pointer[Caller]

	hello    chan struct{} // closed when theirs is set
	theirs   *wire.Hello
	helloErr error

	notes   notes
	reading sync.WaitGroup // readNotes
}

// Dial makes a Conn on a link, which it owns from then on. Start begins.
func Dial(link io.ReadWriteCloser, c Config) *Conn {
	conn := &Conn{config: c, hello: make(chan struct{})}
	if c.Caller != nil {
		conn.SetCaller(c.Caller)
	}
	mc := mux.Config{Initiator: c.Initiator, Keepalive: c.Hello.Keepalive, MaxStreams: MaxStreams}
	if c.Hello.MaxItem > 0 {
		mc.MaxMessage = c.Hello.MaxItem + messageSlack
	}
	conn.session = mux.New(link, mc, (*handler)(conn))
	return conn
}

// Start says hello and begins to read.
func (c *Conn) Start() {
	h := c.config.Hello
	h.Version = wire.Version
	h.System = runtime.GOOS + "/" + runtime.GOARCH
	h.Go = runtime.Version()
	c.say(h.Append(nil))
	c.session.Start()
	c.session.Flush()
}

// SetCaller sets who hears of results.
func (c *Conn) SetCaller(to Caller) { c.caller.Store(&to) }

// Hello waits for the far side's hello.
func (c *Conn) Hello(ctx context.Context) (*wire.Hello, error) {
	select {
	case <-c.hello:
		return c.theirs, c.helloErr
	case <-c.session.Done():
		return nil, c.session.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Session is the link underneath.
func (c *Conn) Session() *mux.Session { return c.session }

// Wait waits, after the link has ended, until its goroutines are gone, and until
// the notes that came were handled, but not longer than patience: handlers are
// the user's, and there may be many notes.
func (c *Conn) Wait(patience time.Duration) {
	c.session.Wait()
	read := make(chan struct{})
	go func() {
		c.reading.Wait()
		close(read)
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-read:
	case <-timer.C:
	}
}

// Close ends the link at once.
func (c *Conn) Close() error { return c.session.Close() }

// Call is one call to send. Calls with the same Info pointer share its bytes.
type Call struct {
	Info  *wire.Info
	Input []byte
}

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// Send posts a chunk; Flush or Kick of the session must follow. A chunk of
// several calls may have MaxChunk bytes of inputs. The input of a single call
// larger than that is given away, the others are copied.
//
// A large chunk takes its time, and others overtake it; those that must not are
// sent with behind set. Send tells whether this one is large, or behind.
func (c *Conn) Send(chunk uint64, calls []Call, behind bool) bool {
	if len(calls) == 1 && len(calls[0].Input) > MaxChunk {
		head := wire.AppendCalls(nil, chunk, 1)
		head = wire.AppendCall(head, calls[0].Info, len(calls[0].Input))
		c.session.PostBulk(head, calls[0].Input)
		return true
	}
	p := scratch.Get().(*[]byte)
	msg := wire.AppendCalls((*p)[:0], chunk, len(calls))
	var last *wire.Info
	for i := range calls {
		info := calls[i].Info
		if info == last {
			info = nil
		} else {
			last = info
		}
		msg = wire.AppendCall(msg, info, len(calls[i].Input))
		msg = append(msg, calls[i].Input...)
	}
	if behind = behind || len(msg) > wire.MaxFrame; behind { // long headers
		c.session.PostBulk(append([]byte(nil), msg...))
	} else {
		c.session.Post(msg, nil)
	}
	if cap(msg) <= 2*wire.MaxFrame {
		*p = msg
	}
	scratch.Put(p)
	return behind
}

// Cancel asks the far side to end a call, or with wire.Whole all of a chunk. It
// does not overtake a chunk that was sent with behind set, if it is so too.
func (c *Conn) Cancel(place wire.Place, cause error, behind bool) {
	if cause == nil {
		cause = context.Canceled
	}
	m := &wire.Cancel{Place: place, Cause: EncodeError(cause).Append(nil)}
	if msg := m.Append(nil); behind {
		c.session.PostBulk(msg)
	} else {
		c.say(msg)
	}
	c.session.Kick()
}

// say posts a message of any size, which it may keep.
func (c *Conn) say(msg []byte) {
	if len(msg) <= wire.MaxFrame {
		c.session.Post(msg, nil)
	} else {
		c.session.PostBulk(msg)
	}
}

// post sends a short message about a place with the next flush.
func (c *Conn) post(t wire.Type, chunk uint64, index int) {
	var buf [24]byte
	c.session.Post(wire.AppendPlace(buf[:0], t, wire.Place{Chunk: chunk, Index: index}), nil)
}

// Result sends the result of the far side's call that this end did not run in
// an Executor, and flushes it in the background. output is given away.
func (c *Conn) Result(place wire.Place, status byte, payload []byte) {
	c.result(place, status, 0, payload, 0)
	c.session.Kick()
}

func (c *Conn) result(place wire.Place, status byte, logged uint64, payload []byte, elapsed time.Duration) {
	head := wire.AppendResults(nil, place.Chunk, place.Index, 1, elapsed)
	head = wire.AppendResult(head, status, logged, len(payload))
	if len(payload) <= MaxChunk {
		c.session.Post(head, payload)
	} else {
		c.session.PostBulkFree(head, payload)
	}
}

// Release hands the far side's calls of a chunk back, from an index on.
func (c *Conn) Release(chunk uint64, from int) { c.post(wire.TypeRelease, chunk, from) }

// handler is a Conn as its session sees it.
type handler Conn

func (h *handler) Message(msg []byte, owned bool) {
	c := (*Conn)(h)
	if err := c.message(msg, owned); err != nil {
		c.session.Fail(err)
	}
}

var errNoHello = fmt.Errorf("%w: message before hello", wire.ErrMalformed)

func (c *Conn) message(msg []byte, owned bool) error {
	r := wire.NewReader(msg)
	t := wire.Type(r.Byte())
	if t == wire.TypeHello {
		return c.greet(r)
	}
	if c.theirs == nil || c.helloErr != nil {
		return errNoHello
	}
	switch t {
	case wire.TypeCalls:
		chunk, n, err := wire.ParseCalls(r)
		if err != nil {
			return err
		}
		if c.config.Callee == nil {
			return fmt.Errorf("%w: calls to an end that runs none", wire.ErrMalformed)
		}
		return c.config.Callee.Calls(chunk, n, r, owned)
	case wire.TypeCancel:
		m, err := wire.ParseCancel(r)
		if err != nil {
			return err
		}
		cause, err := DecodeError(m.Cause)
		if err != nil {
			return err
		}
		if c.config.Callee != nil {
			c.config.Callee.Cancel(m.Place, cause)
		}
		return nil
	}
	to := c.caller.Load()
	if to == nil {
		return fmt.Errorf("%w: message of type %d to an end that has called nothing", wire.ErrMalformed, t)
	}
	return report(*to, t, r, owned)
}

// report passes on what is about a chunk of this end's.
func report(to Caller, t wire.Type, r *wire.Reader, owned bool) error {
	if t == wire.TypeResults {
		chunk, first, n, elapsed, err := wire.ParseResults(r)
		if err != nil {
			return err
		}
		return to.Results(chunk, first, n, elapsed, r, owned)
	}
	place, err := wire.ParsePlace(r)
	if err != nil {
		return err
	}
	switch t {
	case wire.TypeRelease:
		to.Release(place.Chunk, place.Index)
	case wire.TypePark:
		to.Park(place)
	case wire.TypeUnpark:
		to.Unpark(place)
	default:
		return fmt.Errorf("%w: unknown message type %d", wire.ErrMalformed, t)
	}
	return nil
}

func (c *Conn) greet(r *wire.Reader) error {
	if c.theirs != nil {
		return fmt.Errorf("%w: second hello", wire.ErrMalformed)
	}
	h, err := wire.ParseHello(r)
	if err != nil {
		return err
	}
	c.theirs = h
	if h.Version != wire.Version {
		c.helloErr = fmt.Errorf("protocol version %d here, %d there", wire.Version, h.Version)
	}
	if x, ok := c.config.Callee.(*Executor); ok && c.helloErr == nil {
		x.greet(h)
	}
	if c.config.Greeted != nil && c.helloErr == nil {
		c.config.Greeted(h)
	}
	close(c.hello)
	return c.helloErr
}

func (h *handler) Idle() {
	if h.config.Callee != nil {
		h.config.Callee.Idle()
	} else {
		h.session.Flush()
	}
	if to := h.caller.Load(); to != nil {
		(*to).Idle()
	}
}

func (h *handler) Stream(s *mux.Stream) {
	if err := (*Conn)(h).accept(s); err != nil {
		s.Reset(err.Error())
	}
}

func (c *Conn) accept(s *mux.Stream) error {
	r := wire.NewReader(s.Purpose())
	purpose := r.Byte()
	switch {
	case r.Err() != nil || c.theirs == nil || c.helloErr != nil:
	case purpose != wire.PurposeNotes && c.config.Stream != nil:
		return c.config.Stream(s, purpose, r)
	case purpose == wire.PurposeNotes && c.config.Notes != nil && c.notes.begin():
		c.reading.Add(1) // the session's reader runs us, so Wait comes later
		go c.readNotes(s)
		return nil
	}
	return fmt.Errorf("no use for a stream for %q", s.Purpose())
}

func (h *handler) GoAway(string) {}

func (h *handler) Closed(err error) {
	h.notes.end()
	if x, ok := h.config.Callee.(*Executor); ok {
		x.stop(err)
	}
	if h.config.Closed != nil {
		h.config.Closed(err)
	}
}

// IsMalformed tells whether an ended link broke the protocol.
func IsMalformed(err error) bool { return errors.Is(err, wire.ErrMalformed) }
