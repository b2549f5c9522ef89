package mux

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/ring"
	"github.com/afar-go/afar/internal/wire"
)

func TestMain(m *testing.M) {
	playRole()
	goleak.VerifyTestMain(m)
}

// mailbox is an unbounded queue, so that handlers never block. Who waits in it
// for ever is found out by testing/synctest.
type mailbox[T any] struct {
	mu   sync.Mutex
	some chan struct{} // closed and replaced when something changed
	all  []T
}

func (m *mailbox[T]) put(v ...T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, v...)
	if m.some != nil {
		close(m.some)
		m.some = nil
	}
}

// wake makes those look again who wait in takeUnless.
func (m *mailbox[T]) wake() { m.put() }

func (m *mailbox[T]) take() T {
	v, _ := m.takeUnless(func() bool { return false })
	return v
}

// takeUnless takes the next, or returns false when there is none and over says
// that none will come.
func (m *mailbox[T]) takeUnless(over func() bool) (v T, ok bool) {
	for {
		m.mu.Lock()
		if len(m.all) > 0 {
			v = m.all[0]
			m.all = m.all[1:]
			m.mu.Unlock()
			return v, true
		}
		if over() {
			m.mu.Unlock()
			return v, false
		}
		if m.some == nil {
			m.some = make(chan struct{})
		}
		some := m.some
		m.mu.Unlock()
		<-some
	}
}

func (m *mailbox[T]) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all)
}

// end is one end of a link under test: a session and its handler, which keeps
// what arrives unless it is told to do something else.
type end struct {
	*Session
	messages mailbox[[]byte]
	streams  mailbox[*Stream]
	goAways  mailbox[string]
	closed   mailbox[error]

	onMessage func(e *end, msg []byte, owned bool)
	onIdle    func(e *end)
	onStream  func(e *end, st *Stream)
	onClosed  func(e *end)
}

func (e *end) Message(msg []byte, owned bool) {
	if e.onMessage != nil {
		e.onMessage(e, msg, owned)
		return
	}
	e.messages.put(append([]byte(nil), msg...))
}

func (e *end) Idle() {
	if e.onIdle != nil {
		e.onIdle(e)
		return
	}
	e.Flush()
}

func (e *end) Stream(st *Stream) {
	if e.onStream != nil {
		e.onStream(e, st)
		return
	}
	e.streams.put(st)
}

func (e *end) GoAway(reason string) { e.goAways.put(reason) }

func (e *end) Closed(err error) {
	if e.onClosed != nil {
		e.onClosed(e)
	}
	e.closed.put(err)
}

// on makes e an end of a link, without starting it.
func (e *end) on(link io.ReadWriteCloser, c Config) *end {
	e.Session = New(link, c, e)
	return e
}

// join connects two ends, which are not started, by a link.
func join(c Config, near, far io.ReadWriteCloser, a, b *end) {
	c.Initiator = true
	a.on(near, c)
	c.Initiator = false
	b.on(far, c)
}

// sharing is an end of a link with memory beside it.
type sharing struct {
	launch.Link
	memory *ring.Memory
}

func (s *sharing) Memory() *ring.Memory { return s.memory }

func (s *sharing) Close() error {
	s.memory.Close()
	return s.Link.Close()
}

// sharingPipe returns the ends of a link in memory with memory beside it.
func sharingPipe() (a, b launch.Link) {
	near, far := launch.Pipe()
	first, second := ring.Pair()
	return &sharing{near, first}, &sharing{far, second}
}

// pair returns two ends of a link in memory that run until the test ends.
func pair(t testing.TB, c Config) (a, b *end) {
	a, b = &end{}, &end{}
	near, far := launch.Pipe()
	join(c, near, far, a, b)
	start(t, a, b)
	return a, b
}

// start starts ends, to be closed and waited for when the test ends.
func start(t testing.TB, ends ...*end) {
	for _, e := range ends {
		e.Start()
		t.Cleanup(func() {
			_ = e.Close()
			e.Wait()
			if n := e.closed.len(); n > 1 {
				t.Errorf("Closed was called %d times", n)
			}
		})
	}
}

// quiet is a configuration without keepalive, so that a bubble of
// testing/synctest in which everybody waits is a deadlock.
func quiet() Config { return Config{Keepalive: -1} }

// mouth is a peer that says what it likes. It reads nothing by itself.
type mouth struct {
	t    testing.TB
	link launch.Link
}

// withMouth returns the end that has to listen, which is not the initiator.
func withMouth(t testing.TB, c Config) (*end, *mouth) {
	near, far := launch.Pipe()
	b := (&end{}).on(far, c)
	start(t, b)
	return b, &mouth{t, near}
}

func (m *mouth) say(stream uint64, kind wire.Kind, payload string) {
	h := wire.AppendHeader(nil, wire.Header{Stream: stream, Kind: kind, Length: len(payload)})
	if _, err := m.link.Write(append(h, payload...)); err != nil {
		m.t.Fatal(err)
	}
}

// recorder is a link that keeps what is written, and tells each write. Reads wait
// for its end.
type recorder struct {
	mu      sync.Mutex
	written []byte
	onWrite func()
	once    sync.Once
	closed  chan struct{}
}

func newRecorder() *recorder { return &recorder{closed: make(chan struct{})} }

func (r *recorder) Read([]byte) (int, error) {
	<-r.closed
	return 0, io.EOF
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.written = append(r.written, p...)
	r.mu.Unlock()
	if r.onWrite != nil {
		r.onWrite()
	}
	return len(p), nil
}

func (r *recorder) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// blocked is a link that takes no byte and gives those of in, then waits for
// its end.
type blocked struct {
	in     io.Reader
	stuck  atomic.Int64 // bytes that somebody tries to write
	once   sync.Once
	closed chan struct{}
}

func newBlocked(in io.Reader) *blocked { return &blocked{in: in, closed: make(chan struct{})} }

func (b *blocked) Read(p []byte) (int, error) {
	if n, err := b.in.Read(p); err == nil {
		return n, nil
	}
	<-b.closed
	return 0, io.EOF
}

func (b *blocked) Write(p []byte) (int, error) {
	b.stuck.Add(int64(len(p)))
	<-b.closed
	return 0, io.ErrClosedPipe
}

func (b *blocked) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}
