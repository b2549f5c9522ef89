package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/wire"
)

// program is what two ends of a link do with it: a script for each stream and
// for each end's messages. Everything in it happens at the same time.
type program struct {
	config  Config
	streams []streamScript
	posts   [2][]post // by end
}

// streamScript is what happens on one stream. Direction 0 is from its opener.
type streamScript struct {
	opener int // end
	way    [2]wayScript
}

// wayScript is what happens in one direction.
type wayScript struct {
	items      []int // their sizes
	resetAfter int   // the sender resets after so many; -1: no
	stopAfter  int   // the receiver resets after so many; -1: no
}

func (s *streamScript) resets() bool {
	for _, w := range s.way {
		if w.resetAfter >= 0 || w.stopAfter >= 0 {
			return true
		}
	}
	return false
}

// post is a message.
type post struct {
	size int
	bulk bool
	kick bool // rather than Flush
}

// sizes draws sizes around the borders that count.
func sizes(window int) *rapid.Generator[int] {
	return rapid.OneOf(
		rapid.IntRange(0, 40),
		rapid.IntRange(max(0, window/2-20), window/2+20),
		rapid.IntRange(max(0, window-40), window+40),
		rapid.IntRange(0, 3*window+100),
		rapid.IntRange(wire.MaxFrame-20, wire.MaxFrame+20),
	)
}

func programs() *rapid.Generator[*program] {
	return rapid.Custom(func(t *rapid.T) *program {
		p := &program{config: quiet()}
		p.config.Window = rapid.SampledFrom([]int{64, 65, 100, 1000, 4095, 4096, 5000, 1 << 16, 1 << 17}).Draw(t, "window")
		after := rapid.OneOf(rapid.Just(-1), rapid.Just(-1), rapid.IntRange(0, 6))
		for range rapid.IntRange(0, 4).Draw(t, "streams") {
			s := streamScript{opener: rapid.IntRange(0, 1).Draw(t, "opener")}
			for i := range s.way {
				s.way[i] = wayScript{
					items:      rapid.SliceOfN(sizes(p.config.Window), 0, 6).Draw(t, "items"),
					resetAfter: after.Draw(t, "reset after"),
					stopAfter:  after.Draw(t, "stop after"),
				}
			}
			p.streams = append(p.streams, s)
		}
		for i := range p.posts {
			p.posts[i] = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) post {
				return post{bulk: rapid.Bool().Draw(t, "bulk"), kick: rapid.Bool().Draw(t, "kick"),
					size: rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 4*wire.MaxFrame)).Draw(t, "size")}
			}), 0, 8).Draw(t, "posts")
		}
		return p
	})
}

// content is what an item or a message of that name and size consists of.
func content(name string, size int) []byte {
	b := []byte(name)
	for len(b) < size {
		b = append(b, byte(len(b)*7+len(b)>>8))
	}
	return b[:size]
}

// run is a program under way.
type run struct {
	*program
	ends [2]*end
	wg   sync.WaitGroup

	mu      sync.Mutex
	awaited map[int]bool // streams that were not accepted yet
	bad     []string
	cut     bool // the link is being closed: anything may end early
}

func (r *run) errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad = append(r.bad, fmt.Sprintf(format, args...))
}

func (r *run) start(near, far io.ReadWriteCloser) {
	for i := range r.ends {
		e := &end{}
		e.onStream = func(_ *end, st *Stream) { r.accepted(st) }
		r.ends[i] = e
	}
	join(r.config, near, far, r.ends[0], r.ends[1])
	for i, e := range r.ends {
		e.Start()
		r.wg.Go(func() { r.post(e, r.posts[i]) })
		r.wg.Go(func() { r.expect(e, r.posts[1-i]) })
	}
	r.awaited = map[int]bool{}
	for i := range r.streams {
		r.awaited[i] = true
		r.wg.Add(1) // until it is accepted, or nobody can any more
	}
	for i := range r.streams {
		r.wg.Go(func() { r.open(i) })
	}
}

func (r *run) open(i int) {
	s := &r.streams[i]
	st, err := r.ends[s.opener].Open(binary.AppendUvarint(nil, uint64(i)))
	if err != nil {
		if !r.cut {
			r.errorf("Open of stream %d: %v", i, err)
		}
		return
	}
	var both sync.WaitGroup
	both.Go(func() { r.send(st, i, 0) })
	r.receive(st, i, 1)
	both.Wait()
}

// accepted is called by the reader for a stream that the other end opened.
func (r *run) accepted(st *Stream) {
	n, _ := binary.Uvarint(st.Purpose())
	r.wg.Go(func() { r.send(st, int(n), 1) })
	r.wg.Go(func() { r.receive(st, int(n), 0) })
	r.forget(int(n))
}

// forget stops waiting for a stream to be accepted.
func (r *run) forget(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.awaited[i] {
		delete(r.awaited, i)
		r.wg.Done()
	}
}

func (r *run) send(st *Stream, i, way int) {
	s := &r.streams[i]
	w := &s.way[way]
	for k, size := range w.items {
		if k == w.resetAfter {
			break
		}
		if err := st.Send(context.Background(), content(fmt.Sprint(i, way, k), size)); err != nil {
			if !r.cut && !(s.resets() && errors.Is(err, ErrReset)) {
				r.errorf("Send %d on stream %d, way %d: %v", k, i, way, err)
			}
			return
		}
	}
	if w.resetAfter >= 0 {
		st.Reset("had enough")
	} else {
		st.End()
		st.End()
	}
}

func (r *run) receive(st *Stream, i, way int) {
	s := &r.streams[i]
	w := &s.way[way]
	for k := 0; ; k++ {
		if k == w.stopAfter {
			st.Reset("seen enough")
			return
		}
		item, err := st.Recv(context.Background())
		switch {
		case err == io.EOF:
			if k != len(w.items) {
				r.errorf("stream %d, way %d ended after %d of %d items", i, way, k, len(w.items))
			}
			return
		case err != nil:
			if !r.cut && !(s.resets() && errors.Is(err, ErrReset)) {
				r.errorf("Recv %d on stream %d, way %d: %v", k, i, way, err)
			}
			return
		case k >= len(w.items):
			r.errorf("item %d of %d on stream %d, way %d", k, len(w.items), i, way)
			return
		case !bytes.Equal(item, content(fmt.Sprint(i, way, k), w.items[k])):
			r.errorf("item %d on stream %d, way %d: %d bytes, want %d", k, i, way, len(item), w.items[k])
			return
		}
	}
}

func (r *run) post(e *end, posts []post) {
	for k, p := range posts {
		msg := content(fmt.Sprintf("%v %d:", p.bulk, k), p.size+8)
		switch {
		case !p.bulk && k%2 == 0:
			e.Post(msg[:3], msg[3:])
		case !p.bulk:
			e.Post(nil, msg)
		default:
			e.PostBulk(msg[:0], msg[:5], nil, msg[5:], nil)
		}
		if p.kick {
			e.Kick()
		} else {
			e.Flush()
		}
	}
	e.Kick()
}

// expect takes an end's messages. Small ones keep their order, and large ones
// keep theirs.
func (r *run) expect(e *end, posts []post) {
	var want [2][][]byte
	for k, p := range posts {
		msg := content(fmt.Sprintf("%v %d:", p.bulk, k), p.size+8)
		at := 0
		if p.bulk || len(msg) > wire.MaxFrame {
			at = 1
		}
		want[at] = append(want[at], msg)
	}
	for range posts {
		msg, ok := e.messages.takeUnless(func() bool { return e.Err() != nil })
		if !ok {
			return
		}
		found := false
		for at := range want {
			if len(want[at]) > 0 && bytes.Equal(msg, want[at][0]) {
				want[at] = want[at][1:]
				found = true
				break
			}
		}
		if !found {
			r.errorf("message of %d bytes, %.10q, is not the next", len(msg), msg)
			return
		}
	}
}

// stop closes both ends and waits for everything.
func (r *run) stop() {
	for _, e := range r.ends {
		_ = e.Close()
	}
	for _, e := range r.ends {
		e.Wait()
		e.messages.wake()
	}
	for i := range r.streams {
		r.forget(i)
	}
	r.wg.Wait()
	for i, e := range r.ends {
		if n := e.messages.len(); n > 0 && !r.cut {
			r.errorf("end %d has %d messages too many", i, n)
		}
		if n := e.closed.len(); n != 1 {
			r.errorf("Closed of end %d was called %d times", i, n)
		}
	}
}

// settled checks that nothing is left over after a program.
func (r *run) settled() {
	for i, e := range r.ends {
		if err := e.Err(); err != nil {
			r.errorf("end %d: %v", i, err)
		}
		e.mu.Lock()
		if n := len(e.Session.streams); n != 0 || e.theirs != 0 {
			r.errorf("end %d still has %d streams, %d of them the other's", i, n, e.theirs)
		}
		e.mu.Unlock()
		if w := &e.writer; len(w.out) > 0 || len(w.bulk) > 0 || w.written != w.taken || w.bulkDone != w.bulkIn {
			r.errorf("end %d has not written everything", i)
		}
	}
}

// check runs a program in a bubble of its own, where a stall is a deadlock.
func (r *run) check(t *testing.T, rt *rapid.T, do func()) {
	synctest.Test(t, func(*testing.T) { do() })
	for _, text := range r.bad {
		rt.Errorf("%s", text)
	}
}

// Whatever two ends do, every message and item arrives once, whole and in
// order, and nobody waits for ever.
func TestPrograms(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &run{program: programs().Draw(rt, "program")}
		r.check(t, rt, func() {
			r.start(launch.Pipe())
			r.wg.Wait()
			synctest.Wait()
			r.settled()
			r.stop()
		})
	})
}

// counted is a link that tells when it was written to so many times.
type counted struct {
	launch.Link
	left *atomic.Int64
	now  chan struct{}
}

func (c counted) Writev(bufs ...[]byte) error {
	if c.left.Add(-1) == 0 {
		close(c.now)
	}
	return c.Link.Writev(bufs...)
}

func (c counted) Write(p []byte) (int, error) { return len(p), c.Writev(p) }

// Close at any moment ends everything that waits, at both ends.
func TestCloseAtAnyMoment(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &run{program: programs().Draw(rt, "program"), cut: true}
		writes := rapid.Int64Range(1, 100).Draw(rt, "writes")
		closer := rapid.IntRange(0, 1).Draw(rt, "closer")
		r.check(t, rt, func() {
			near, far := launch.Pipe()
			c := counted{near, new(atomic.Int64), make(chan struct{})}
			c.left.Store(writes)
			r.start(c, far)
			done := make(chan struct{})
			go func() {
				r.wg.Wait()
				close(done)
			}()
			select {
			case <-c.now:
			case <-done:
			}
			_ = r.ends[closer].Close()
			r.stop()
			<-done
		})
	})
}
