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
	"github.com/afar-go/afar/internal/ring"
	"github.com/afar-go/afar/internal/wire"
)

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

func (p *program) link() (near, far launch.Link) {
	if p.memory {
		return sharingPipe()
	}
	return launch.Pipe()
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
	o := StreamOptions{Credit: s.credit}
	in := r.inbox(i, 1)
	if in.handled {
		o.Item, o.Over = in.heard.item, in.heard.ended
	}
	st, err := r.ends[s.opener].Open(binary.AppendUvarint(nil, uint64(i)), o)
	if err != nil {
		if !r.cut {
			r.errorf("Open of stream %d: %v", i, err)
		}
		return
	}
	in.st = st
	var both sync.WaitGroup
	both.Go(func() { r.send(st, i, 0) })
	both.Go(st.Grant)
	r.receive(in)
	both.Wait()
	st.Finish(nil) // or it would never be over
	<-st.Done()
}

// accepted is called by the reader for a stream that the other end opened.
func (r *run) accepted(st *Stream) {
	n, _ := binary.Uvarint(st.Purpose())
	in := r.inbox(int(n), 0)
	in.st = st
	if in.handled {
		st.Handle(in.heard.item, in.heard.ended)
	}
	r.wg.Go(func() { r.send(st, int(n), 1) })
	r.wg.Go(func() { r.receive(in) })
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

// fine tells whether a stream may end in this way.
func (r *run) fine(i int, err error) bool {
	return r.cut || r.streams[i].cuts() > 0 &&
		(errors.Is(err, ErrReset) || errors.Is(err, ErrClosed) || errors.As(err, new(*Finished)))
}

// over checks that a stream is over which has failed.
func (r *run) over(st *Stream, err error) {
	select {
	case <-st.Done():
	default:
		r.errorf("failed before it was done: %v", err)
	}
	if err == io.EOF || st.Err() == nil || st.Err() == io.EOF {
		r.errorf("ended with %v, failed with %v", st.Err(), err)
	}
}

func (r *run) send(st *Stream, i, way int) {
	w := &r.streams[i].way[way]
	ctx := context.Background()
	for k, size := range w.items {
		if k == w.cut.after {
			break
		}
		item := content(fmt.Sprint(i, way, k), size)
		head := (size + k) % (size + 1)
		var err error
		if w.now {
			if err = st.Ready(ctx); err == nil {
				err = st.SendNow(ctx, item[:head], item[head:])
			}
		} else {
			err = st.Send(ctx, item[:head], item[head:])
		}
		clear(item) // it may be used again
		if err != nil {
			r.over(st, err)
			if !r.fine(i, err) {
				r.errorf("Send %d on stream %d, way %d: %v", k, i, way, err)
			}
			return
		}
	}
	if w.cut.after >= 0 {
		w.cut.do(st, fmt.Sprint("sender ", i))
	} else {
		st.End()
		st.End()
	}
}

// inbox is how the items of one direction are received.
type inbox struct {
	st      *Stream
	i, way  int
	handled bool
	heard   hearer
}

func (r *run) inbox(i, way int) *inbox {
	return &inbox{i: i, way: way, handled: r.streams[i].way[way].receiver == byHandler}
}

// next calls check with the next item, which is the caller's to look at.
func (in *inbox) next(how int, check func(item []byte)) error {
	ctx := context.Background()
	switch how {
	case byRecv:
		item, err := in.st.Recv(ctx)
		if err == nil {
			check(item)
		}
		return err
	case byHandler:
		item, ok := in.heard.items.takeUnless(func() bool { return in.heard.over.len() > 0 })
		if !ok {
			return in.heard.over.take()
		}
		check(item)
		return nil
	}
	item, owned, err := in.st.Take(ctx)
	if err == nil {
		check(item)
		if owned {
			Free(item)
		}
		in.st.Release()
	}
	return err
}

func (r *run) receive(in *inbox) {
	w := &r.streams[in.i].way[in.way]
	if w.receiver != byTwo {
		r.receiveAll(in, new(int))
		return
	}
	var both sync.WaitGroup
	k := 0 // guarded by the turn, from Take to Release
	for range 2 {
		both.Go(func() { r.receiveAll(in, &k) })
	}
	both.Wait()
}

// receiveAll receives from the item with number k on.
func (r *run) receiveAll(in *inbox, k *int) {
	i, way := in.i, in.way
	s := &r.streams[i]
	w := &s.way[way]
	last := -1 // item
	for {
		if last+1 == w.stop.after {
			w.stop.do(in.st, fmt.Sprint("receiver ", i))
			return
		}
		err := in.next(w.receiver, func(item []byte) {
			last = *k
			*k++
			if last >= len(w.items) {
				r.errorf("item %d of %d on stream %d, way %d", last, len(w.items), i, way)
			} else if !bytes.Equal(item, content(fmt.Sprint(i, way, last), w.items[last])) {
				r.errorf("item %d on stream %d, way %d: %d bytes, want %d", last, i, way, len(item), w.items[last])
			}
		})
		if err == nil {
			continue
		}
		r.ended(in, *k, err)
		return
	}
}

// ended checks how a direction has ended, after k items.
func (r *run) ended(in *inbox, k int, err error) {
	s := &r.streams[in.i]
	w := &s.way[in.way]
	var f *Finished
	if err != io.EOF {
		r.over(in.st, err)
	}
	switch {
	case err == io.EOF:
		if k != len(w.items) {
			r.errorf("stream %d, way %d ended after %d of %d items", in.i, in.way, k, len(w.items))
		}
	case !r.fine(in.i, err):
		r.errorf("stream %d, way %d ended with %v", in.i, in.way, err)
	case s.cuts() == 1 && w.cut.after >= 0 && w.cut.finish && errors.As(err, &f):
		// Nothing but its sender has ended it, which is seen behind its items.
		if want := min(w.cut.after, len(w.items)); k != want || string(f.Payload) != fmt.Sprint("sender ", in.i) {
			r.errorf("stream %d, way %d finished with %q after %d items, want %d", in.i, in.way, f.Payload, k, want)
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
		if n := e.parcels.Load(); n != 0 {
			r.errorf("end %d still has %d parcels", i, n)
		}
		if !e.writer.turn.free() {
			r.errorf("end %d is still writing", i)
		}
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
			r.start(r.link())
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

func (c counted) Memory() *ring.Memory {
	if m, ok := c.Link.(*sharing); ok {
		return m.memory
	}
	return nil
}

func (c counted) Write(p []byte) (int, error) { return len(p), c.Writev(p) }

// Close at any moment ends everything that waits, at both ends.
func TestCloseAtAnyMoment(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &run{program: programs().Draw(rt, "program"), cut: true}
		writes := rapid.Int64Range(1, 100).Draw(rt, "writes")
		closer := rapid.IntRange(0, 1).Draw(rt, "closer")
		r.check(t, rt, func() {
			near, far := r.link()
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
