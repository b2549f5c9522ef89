// Package mux runs many streams over one link, which is any reliable byte
// pipe: credit on each stream so that a reader that does not read holds up
// nobody else, keepalive in both directions, and go-away. It knows nothing of
// calls; internal/peer puts them on stream 0, which carries whole messages.
//
// # Memory
//
// Whatever the peer sends, a session holds of what it has received at most one
// large message (Config.MaxMessage bytes), one read buffer (256 KiB) and, for
// each of the streams that are not over, its purpose and a window (Config.Window
// bytes, or four times as many after several large items that were taken), and
// where a receiver waits for an item larger than that, or has items handed to it by
// the reader, the item (Config.MaxMessage bytes). Buffers grow by doubling or more,
// so it may be a few times that.
//
// What it sends on its own account is bounded too: a pong is left out when
// anything else waits to be sent, a peer's stream that was reset or finished
// counts until it can know, a peer that opens more streams in vain without
// reading the answers ends the link, and credit is a frame for each half window.
// The rest is bounded by credit and room on streams and by the callers of Post on
// stream 0.
//
// # Goroutines
//
// A session has a reader, which calls the Handler, and a writer, which writes
// what nobody flushed. A handler may run for long inside the reader if it, or
// somebody who watches it, calls HandOff: reading then goes on elsewhere.
//
// # Speed
//
// A small item costs its sender two locks that nobody else wants, and its receiver
// none: it is copied into what is written next, comes out of the read buffer
// together with its neighbors, and whoever receives goes through all of these by
// himself. Nobody is woken for an item while he is awake, or while more comes at
// once. The parts of large items are written from the sender's memory and read
// into the item's; if there is memory beside the link that both processes see
// (package ring), they are copied there and from there.
package mux

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afar-go/afar/internal/ring"
	"github.com/afar-go/afar/internal/wire"
)

// Defaults of Config.
const (
	DefaultKeepalive  = 10 * time.Second
	DefaultMaxMessage = 65 << 20
	DefaultWindow     = 1 << 20
	DefaultMaxStreams = 1024
	// Misses is how many keepalive periods may pass in silence before the
	// peer counts as lost.
	Misses = 3
)

// ErrClosed is the end of a session that Close ended.
var ErrClosed = errors.New("link closed")

// ErrSilent is wrapped by the end of a session whose peer stopped answering.
var ErrSilent = errors.New("no sign of life")

// Config shapes a session. The zero value is usable.
type Config struct {
	Initiator  bool          // exactly one of the two sides: decides who uses odd stream ids
	Keepalive  time.Duration // period of pings on a silent link; 0: 10 s, negative: none
	MaxMessage int64         // bytes of the largest message that is accepted; 0: 65 MiB
	Window     int           // bytes that a stream may have sent and its receiver not yet taken; 0: 1 MiB, at least 64
	MaxStreams int           // that the peer may have open at a time, and that are not over; 0: 1024
}

// minWindow is the smallest window with which every item gets through: half of
// it has to be more than itemCost.
const minWindow = 64

// maxReason bounds the texts of GoAway and Reset.
const maxReason = 1 << 10

// Handler is told what arrives. The reader calls all methods but Closed, one
// at a time, except that after a HandOff inside Message the next calls may come
// before that Message returns; and those after an Idle that takes long, before
// that Idle returns.
type Handler interface {
	// Message is called with each message. msg is valid only during the call
	// unless owned is true.
	Message(msg []byte, owned bool)
	// Idle is called when everything that has arrived was handled and the
	// reader is about to wait: the moment to flush answers, and credit. If that
	// blocks, because the peer does not read, reading goes on in another goroutine.
	Idle()
	// Stream is called when the peer opens a stream. It must not wait for it.
	Stream(*Stream)
	// GoAway is called when the peer asks for no more work.
	GoAway(reason string)
	// Closed is called once, when the link has ended, with the reason, by
	// whoever noticed or ended it. It must not call Wait.
	Closed(error)
}

// Session is one end of a link. Its methods may be used concurrently.
type Session struct {
	link    io.ReadWriteCloser
	writev  func(...[]byte) error
	memory  *ring.Memory // beside the link; nil: there is none
	config  Config
	handler Handler

	writer writer
	kick   chan struct{} // wakes the writing goroutine

	reader atomic.Pointer[reader] // the one that has the reading role
	bulk   parcel                 // a large message of which some has come; of whoever has the reading role
	beat   keepalive

	mu      sync.Mutex // guards streams and nextID
	streams map[uint64]*Stream
	theirs  int // streams that the peer opened
	lastID  uint64
	nextID  uint64

	limit   atomic.Int64 // MaxMessage
	parcels atomic.Int32 // items of which some has come, with memory for a window each

	away  atomic.Pointer[string] // why the peer asks for no more work
	ended atomic.Bool            // somebody sees to the end
	done  chan struct{}          // closed when the session has failed or was closed
	err   error                  // why; read after done
	cut   error                  // the same as its streams say it; read after done
	wg    sync.WaitGroup
}

// New returns a session on link, which it owns from then on. Nothing is read
// before Start.
func New(link io.ReadWriteCloser, c Config, h Handler) *Session {
	if c.Keepalive == 0 {
		c.Keepalive = DefaultKeepalive
	}
	if c.MaxMessage <= 0 {
		c.MaxMessage = DefaultMaxMessage
	}
	if c.Window <= 0 {
		c.Window = DefaultWindow
	}
	c.Window = max(c.Window, minWindow)
	if c.MaxStreams <= 0 {
		c.MaxStreams = DefaultMaxStreams
	}
	s := &Session{
		link: link, config: c, handler: h,
		kick: make(chan struct{}, 1), done: make(chan struct{}),
		streams: map[uint64]*Stream{}, nextID: 2,
	}
	if c.Initiator {
		s.nextID = 1
	}
	if v, ok := link.(interface{ Writev(...[]byte) error }); ok {
		s.writev = v.Writev
	}
	if m, ok := link.(interface{ Memory() *ring.Memory }); ok {
		s.memory = m.Memory()
	}
	s.writer.wrote.L = &s.writer.mu
	s.limit.Store(c.MaxMessage)
	s.beat.period = c.Keepalive
	return s
}

// Start begins reading and keepalive.
func (s *Session) Start() {
	rd := &reader{buf: make([]byte, smallBuffer)}
	s.reader.Store(rd)
	if s.memory != nil {
		s.memory.Listen()
	}
	s.beat.start(s)
	s.wg.Add(2)
	go s.read(rd)
	go s.writeLoop()
}

// SetKeepalive changes the period, unless d is 0; negative means none. The
// caller's side decides it for both, and says so in its first message.
func (s *Session) SetKeepalive(d time.Duration) {
	if d != 0 {
		s.beat.reset(d)
	}
}

// SetMaxMessage changes Config.MaxMessage for what has not begun to arrive.
func (s *Session) SetMaxMessage(n int64) {
	if n > 0 {
		s.limit.Store(n)
	}
}

// Close ends the link at once. It is idempotent.
func (s *Session) Close() error {
	s.fail(ErrClosed)
	return nil
}

// Fail ends the link with a reason of the caller's.
func (s *Session) Fail(err error) { s.fail(err) }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session ended, or nil while it has not.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Wait waits until the session has ended, Closed has returned and the session's
// goroutines are gone, except those that still run a handler that was handed
// off.
func (s *Session) Wait() {
	<-s.done
	s.wg.Wait()
}

// GoAway asks the peer for no more work. Reasons are cut at 1 KiB. If the link ends
// afterwards, the peer's error gives the reason.
func (s *Session) GoAway(reason string) {
	reason = reason[:min(len(reason), maxReason)]
	s.postFrame(wire.Header{Kind: wire.GoAway, Length: len(reason)}, []byte(reason))
	s.Kick()
}

func (s *Session) fail(err error) {
	if !s.ended.CompareAndSwap(false, true) {
		<-s.done // so that the link has ended for everybody whose Close returned
		return
	}
	s.wg.Add(1)
	defer s.wg.Done()
	cut := err
	if errors.Is(err, io.EOF) {
		// The end of the link is not the End of its streams.
		cut = fmt.Errorf("link ended: %w", io.ErrUnexpectedEOF)
	}
	if why := s.away.Load(); why != nil && !errors.Is(err, ErrClosed) {
		err, cut = fmt.Errorf("%s (%w)", *why, err), fmt.Errorf("%s (%w)", *why, cut)
	}
	s.err, s.cut = err, cut
	close(s.done)
	s.beat.stop()
	s.writer.fail(err)
	_ = s.link.Close()
	s.mu.Lock()
	streams := s.streams
	s.streams = nil
	s.mu.Unlock()
	for _, st := range streams {
		st.cut(s.cut, false)
	}
	s.handler.Closed(err)
}

func (s *Session) malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{wire.ErrMalformed}, args...)...)
}
