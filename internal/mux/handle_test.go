package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/launch"
)

// hearer keeps what the handlers of a stream are given.
type hearer struct {
	items mailbox[[]byte]
	over  mailbox[error]
}

func (h *hearer) item(item []byte, owned bool) {
	if !owned {
		item = bytes.Clone(item)
	}
	h.items.put(item)
}

func (h *hearer) ended(err error) {
	h.over.put(err)
	h.items.wake()
}

// Both ends' handlers are given everything, in order, and told of the end once,
// after that.
func TestHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 60
		a, b := &end{}, &end{}
		var at, from hearer
		accepted := make(chan *Stream, 1)
		b.onStream = func(_ *end, st *Stream) {
			st.Handle(at.item, at.ended)
			accepted <- st
		}
		near, far := launch.Pipe()
		join(quiet(), near, far, a, b)
		start(t, a, b)
		st, err := a.Open(nil, StreamOptions{Item: from.item, Over: from.ended})
		if err != nil {
			t.Fatal(err)
		}
		other := <-accepted
		go sendMixed(t, other, n)
		sendMixed(t, st, n)
		for _, h := range []*hearer{&at, &from} {
			if err := h.over.take(); err != io.EOF {
				t.Errorf("over with %v", err)
			}
			if got := h.items.len(); got != n {
				t.Errorf("%d items of %d", got, n)
			}
			for i := range n {
				if got, intact := numbered(h.items.take()); got != i || !intact {
					t.Errorf("item %d: %d, intact %v", i, got, intact)
				}
			}
		}
		if s := st.State(); s != (StreamState{Sent: n, Received: n}) {
			t.Errorf("%+v", s)
		}
		st.Finish(nil)
		synctest.Wait()
		if at.over.len()+from.over.len() > 0 {
			t.Error("over was called again")
		}
		if s := st.State(); s != (StreamState{Sent: n, Received: n}) {
			t.Errorf("%+v", s)
		}
	})
}

// What a handler is given ends as Recv would.
func TestOver(t *testing.T) {
	link := errors.New("the link's end")
	for name, test := range map[string]struct {
		cut  func(mine, theirs *Stream)
		want func(err error) bool
	}{
		"their end":    {func(_, st *Stream) { st.End() }, func(err error) bool { return err == io.EOF }},
		"their finish": {func(_, st *Stream) { st.Finish(nil) }, func(err error) bool { return errors.As(err, new(*Finished)) }},
		"their reset":  {func(_, st *Stream) { st.Reset("x") }, func(err error) bool { return errors.Is(err, ErrReset) }},
		"my finish":    {func(st, _ *Stream) { st.Finish(nil) }, func(err error) bool { return errors.Is(err, ErrClosed) }},
		"my reset":     {func(st, _ *Stream) { st.Reset("x") }, func(err error) bool { return errors.Is(err, ErrReset) }},
		"the link's":   {func(st, _ *Stream) { st.session.Fail(link) }, func(err error) bool { return err == link }},
	} {
		for _, handled := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				a, b := pair(t, quiet())
				var h hearer
				o := StreamOptions{Over: h.ended}
				if handled {
					o.Item = h.item
				}
				near, far := openedWith(t, a, b, o)
				if err := far.Send(t.Context(), nil, []byte("before")); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if h.over.len() > 0 {
					t.Fatalf("%s: over already", name)
				}
				test.cut(near, far)
				near.End()
				if err := h.over.take(); !test.want(err) {
					t.Errorf("%s: over with %v", name, err)
				}
				if handled && h.items.len() != 1 {
					t.Errorf("%s: %d items", name, h.items.len())
				}
				near.Finish(nil)
				far.Reset("")
				_ = a.Close()
				synctest.Wait()
				if h.over.len() > 0 {
					t.Errorf("%s: over was called again", name)
				}
			})
		}
	}
}

// Whoever ends a stream while Item runs leaves it to the reader to call Over.
func TestOverComesAfterItem(t *testing.T) {
	for name, cut := range map[string]func(st *Stream){
		"finish": func(st *Stream) { st.Finish(nil) },
		"reset":  func(st *Stream) { st.Reset("enough") },
		"close":  func(st *Stream) { _ = st.session.Close() },
	} {
		synctest.Test(t, func(t *testing.T) {
			a, b := pair(t, quiet())
			var h hearer
			inside, go_ := make(chan struct{}), make(chan struct{})
			near, far := openedWith(t, a, b, StreamOptions{Over: h.ended, Item: func([]byte, bool) {
				close(inside)
				<-go_
				if h.over.len() > 0 {
					t.Errorf("%s: over before the item", name)
				}
			}})
			if err := far.Send(t.Context(), nil, nil); err != nil {
				t.Fatal(err)
			}
			<-inside
			done := make(chan struct{})
			go func() { cut(near); close(done) }()
			<-done // it does not wait for the handler
			synctest.Wait()
			if h.over.len() > 0 {
				t.Errorf("%s: over while an item is handled", name)
			}
			close(go_)
			h.over.take()
		})
	}
}

// An Item that finishes its own stream is given no more.
func TestItemThatFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		var h hearer
		var near *Stream
		opened := make(chan struct{})
		near, far := openedWith(t, a, b, StreamOptions{Over: h.ended, Item: func(item []byte, _ bool) {
			<-opened
			h.items.put(bytes.Clone(item))
			near.Finish([]byte("enough"))
			if h.over.len() > 0 {
				t.Error("over inside the item")
			}
		}})
		for range 10 {
			_ = far.Send(t.Context(), nil, []byte("x"))
		}
		close(opened)
		if err := h.over.take(); !errors.Is(err, ErrClosed) || h.items.len() != 1 {
			t.Errorf("%v after %d items", err, h.items.len())
		}
		<-far.Done()
		finished(t, "the far side", far.Err(), "enough")
	})
}

// Handlers see messages and items of all streams in the order in which they came,
// also when a message is handed off.
func TestHandledItemsAndHandOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &end{}, &end{}
		var h hearer
		b.onStream = func(_ *end, st *Stream) { st.Handle(h.item, h.ended) }
		blocks := make(chan struct{})
		b.onMessage = func(b *end, msg []byte, _ bool) {
			b.HandOff(b.Turn())
			<-blocks
			b.messages.put(bytes.Clone(msg))
		}
		near, far := launch.Pipe()
		join(quiet(), near, far, a, b)
		start(t, a, b)
		st, err := a.Open(nil, StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			a.Post(nil, []byte("m"))
			if err := st.SendNow(t.Context(), []byte{byte(i)}, nil); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 50 {
			if got := h.items.take(); got[0] != byte(i) {
				t.Errorf("item %d is %d", i, got[0])
			}
		}
		close(blocks)
		for range 50 {
			b.messages.take()
		}
	})
}

// A receiver is not left asleep over an item while the reader is busy with
// something that takes long.
func TestReceiverIsWokenBeforeWhatTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := launch.Pipe()
		a, b := &end{}, &end{}
		blocks := make(chan struct{})
		b.onMessage = func(*end, []byte, bool) { <-blocks }
		join(quiet(), near, far, a, b)
		start(t, a, b)
		st, err := a.Open(nil, StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		other := b.streams.take()
		for _, size := range mixed {
			got := make(chan error, 1)
			go func() { _, err := other.Recv(context.Background()); got <- err }()
			synctest.Wait()
			if size < directWrite { // in one write with the message
				a.writer.mu.Lock()
				a.writer.turn.try()
				a.writer.mu.Unlock()
			}
			if err := st.Send(t.Context(), nil, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			a.Post(nil, []byte("takes long"))
			if size < directWrite {
				a.writer.turn.release()
			}
			a.Flush()
			if err := <-got; err != nil {
				t.Errorf("item of %d bytes: %v", size, err)
			}
			blocks <- struct{}{}
		}
	})
}
