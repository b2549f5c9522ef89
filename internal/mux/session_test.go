package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/testlink"
	"github.com/afar-go/afar/internal/wire"
)

func TestHandOffLetsReadingGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &end{}, &end{}
		blocks, intact := make(chan struct{}), make(chan bool, 1)
		turns := make(chan uint64, 1)
		b.onMessage = func(b *end, msg []byte, _ bool) {
			if string(msg) != "block" {
				b.messages.put(bytes.Clone(msg))
				return
			}
			turns <- b.Turn()
			<-blocks
			intact <- string(msg) == "block"
			b.Post(nil, []byte("done")) // flushed although Idle may not come
		}
		near, far := launch.Pipe()
		join(quiet(), near, far, a, b)
		start(t, a, b)
		a.Post(nil, []byte("block"))
		a.Post(nil, []byte("next"))
		a.Flush()
		turn := <-turns
		synctest.Wait()
		if n := b.messages.len(); n != 0 {
			t.Fatalf("%d messages were handled beside another", n)
		}
		b.HandOff(turn + 1) // of another message: nothing happens
		b.HandOff(turn)
		b.HandOff(turn)
		if got := b.messages.take(); string(got) != "next" {
			t.Errorf("got %q", got)
		}
		for range 50 { // enough to overwrite any buffer
			a.Post(nil, make([]byte, 10<<10))
			a.Flush()
			b.messages.take()
		}
		close(blocks)
		if !<-intact {
			t.Error("the message changed while its handler had it")
		}
		if got := a.messages.take(); string(got) != "done" {
			t.Errorf("got %q", got)
		}
	})
}

func TestStaleHandOffDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		a.Post(nil, []byte("x"))
		a.Flush()
		b.messages.take()
		synctest.Wait() // until the handler has returned, too
		before := b.reader.Load()
		for turn := range uint64(5) {
			b.HandOff(turn)
		}
		b.HandOff(^uint64(0) >> 1)
		if b.reader.Load() != before {
			t.Error("reading was handed off while no handler ran")
		}
	})
}

func TestWaitDoesNotWaitForHandlersThatWereHandedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &end{}, &end{}
		blocks, ended := make(chan struct{}), make(chan struct{})
		b.onMessage = func(b *end, _ []byte, _ bool) {
			b.HandOff(b.Turn())
			<-blocks
			close(ended)
		}
		near, far := launch.Pipe()
		join(quiet(), near, far, a, b)
		start(t, a, b)
		a.Post(nil, nil)
		a.Flush()
		synctest.Wait()
		_ = b.Close()
		b.Wait()
		close(blocks)
		<-ended
	})
}

func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	for _, handOff := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b := &end{}, &end{}
			b.onMessage = func(b *end, msg []byte, _ bool) {
				if string(msg) != "exit" {
					b.messages.put(bytes.Clone(msg))
					return
				}
				if handOff {
					b.HandOff(b.Turn())
				}
				runtime.Goexit()
			}
			near, far := launch.Pipe()
			join(quiet(), near, far, a, b)
			start(t, a, b)
			for range 3 {
				a.Post(nil, []byte("exit"))
			}
			a.Post(nil, []byte("last"))
			a.Flush()
			if got := b.messages.take(); string(got) != "last" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Two ends that both answer with more than the link holds, each in its reader,
// must not wait for each other for ever.
func TestReadersThatFlushToEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &end{}, &end{}
		for _, e := range []*end{a, b} {
			e.onMessage = func(e *end, msg []byte, _ bool) {
				if len(msg) == 0 {
					e.PostBulk(make([]byte, 4<<20))
				} else {
					e.messages.put(msg)
				}
			}
		}
		near, far := launch.Pipe()
		join(quiet(), near, far, a, b)
		a.Post(nil, nil)
		b.Post(nil, nil)
		start(t, a, b)
		a.Kick()
		b.Kick()
		began := time.Now()
		for _, e := range []*end{a, b} {
			if got := e.messages.take(); len(got) != 4<<20 {
				t.Errorf("got %d bytes", len(got))
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// clogged is a link that takes nothing until it is closed.
type clogged struct {
	launch.Link
	free chan struct{}
}

func (c clogged) Write(p []byte) (int, error) {
	<-c.free
	return c.Link.Write(p)
}

func (c clogged) Close() error {
	close(c.free)
	return c.Link.Close()
}

// Answers too small to be watched can be stuck as well: keepalive sees to it.
func TestReaderThatIsStuckInIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &end{}
		b.onMessage = func(b *end, msg []byte, _ bool) {
			b.messages.put(nil)
			b.Post(nil, msg)
		}
		near, far := launch.Pipe()
		b.on(clogged{far, make(chan struct{})}, Config{})
		start(t, b)
		began := time.Now()
		for range 2 {
			if _, err := near.Write([]byte("\x00\x01x")); err != nil {
				t.Fatal(err)
			}
			b.messages.take()
			synctest.Wait()
		}
		if took := time.Since(began); took > 2*DefaultKeepalive {
			t.Errorf("the reader was stuck for %v", took)
		}
	})
}

func TestIdleComesBeforeWaitingForTheRestOfALargeMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := launch.Pipe()
		b := &end{}
		b.onMessage = func(b *end, msg []byte, _ bool) { b.Post(nil, msg) }
		b.on(far, quiet())
		start(t, b)
		// One write: a message, and the beginning of a large one.
		data := append(wire.AppendHeader(nil, wire.Header{Kind: wire.Message, Length: 2}), "hi"...)
		data = wire.AppendHeader(data, wire.Header{Kind: wire.BulkFirst, Length: 1000})
		if _, err := near.Write(append(data, 0xff, 0x07, 'x')); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(near, got); err != nil || string(got) != "\x00\x02hi" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestCloseIsIdempotentAndMayComeFromClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &end{}, &end{}
		a.onClosed = func(a *end) {
			_ = a.Close()
			a.Fail(io.ErrNoProgress)
			a.Post(nil, []byte("x"))
			a.PostBulk([]byte("x"))
			a.Flush()
			a.Sync()
			if _, err := a.Open(nil, StreamOptions{}); !errors.Is(err, ErrClosed) {
				t.Errorf("Open gave %v", err)
			}
		}
		near, far := launch.Pipe()
		join(quiet(), near, far, a, b)
		start(t, a, b)
		for range 3 {
			_ = a.Close()
		}
		a.Wait()
		b.Wait()
		if err := a.closed.take(); err != ErrClosed || a.Err() != ErrClosed {
			t.Errorf("ended with %v, Err %v", err, a.Err())
		}
		if err := b.closed.take(); err != io.EOF {
			t.Errorf("the other end ended with %v", err)
		}
	})
}

func TestCloseBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := launch.Pipe()
		a := (&end{}).on(near, Config{})
		_ = a.Close()
		start(t, a)
		a.Wait()
	})
}

func TestNothingIsHandledAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &end{}, &end{}
		handled := 0
		b.onMessage = func(b *end, _ []byte, _ bool) {
			handled++
			b.Fail(wire.ErrMalformed)
		}
		near, far := launch.Pipe()
		join(quiet(), near, far, a, b)
		for range 5 {
			a.Post(nil, nil)
		}
		start(t, a, b)
		a.Flush()
		b.Wait()
		if handled != 1 {
			t.Errorf("%d messages were handled", handled)
		}
	})
}

func TestLinkThatEndsInsideAMessage(t *testing.T) {
	bulk := wire.AppendHeader(nil, wire.Header{Kind: wire.BulkFirst, Length: 3})
	for name, data := range map[string]string{
		"header":         "\x00",
		"message":        "\x00\x05ab",
		"large message":  string(bulk) + "\x05a",
		"between frames": string(bulk) + "\x05ab",
	} {
		b := (&end{}).on(struct {
			io.Reader
			io.WriteCloser
		}{strings.NewReader(data), newRecorder()}, quiet())
		start(t, b)
		b.Wait()
		// It is also io.EOF: the worker has ended, whatever it was doing.
		if err := b.Err(); !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndOfTheLinkIsNotEndOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		st, err := a.Open(nil, StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b.streams.take()
		_ = b.Close()
		if _, err := st.Recv(context.Background()); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Recv gave %v", err)
		}
	})
}

func TestGoAway(t *testing.T) {
	a, b := pair(t, quiet())
	a.Session.GoAway("maintenance")
	if got := b.goAways.take(); got != "maintenance" {
		t.Errorf("got %q", got)
	}
	a.Session.GoAway(strings.Repeat("x", 1<<20)) // is cut, not a broken frame
	if got := b.goAways.take(); len(got) != maxReason {
		t.Errorf("got %d bytes", len(got))
	}
}

// Why the peer went away is in the error when the link then ends, and only then.
func TestGoAwayThenEnd(t *testing.T) {
	a, b := pair(t, quiet())
	st, err := b.Open([]byte("x"), StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.streams.take()
	a.Session.GoAway("maintenance")
	b.goAways.take()
	if err := b.Err(); err != nil {
		t.Errorf("the link has ended: %v", err)
	}
	_ = a.Close()
	if err := b.closed.take(); !errors.Is(err, io.EOF) || err != b.Err() || !strings.Contains(err.Error(), "maintenance") {
		t.Errorf("the link ended with %v", err)
	}
	if _, err := st.Recv(context.Background()); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "maintenance") {
		t.Errorf("a stream ended with %v", err)
	}
}

func TestSetMaxMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, Config{Keepalive: -1, MaxMessage: 1000})
		b.SetMaxMessage(2000)
		b.SetMaxMessage(0)
		a.PostBulk(make([]byte, 2000))
		a.Flush()
		if got := b.messages.take(); len(got) != 2000 {
			t.Errorf("got %d bytes", len(got))
		}
		a.PostBulk(make([]byte, 2001))
		a.Flush()
		if b.Wait(); !errors.Is(b.Err(), wire.ErrMalformed) {
			t.Errorf("a message over the limit: %v", b.Err())
		}
	})
}

// A link that is corrupted is as hostile as a peer: the session ends, or goes
// on with nonsense, but nothing worse.
func TestCorruptLink(t *testing.T) {
	for every := 1; every < 200; every += 7 {
		near, far := launch.Pipe()
		link := testlink.Wrap(near)
		link.Corrupt(every)
		a, b := &end{}, &end{}
		join(quiet(), link, far, a, b)
		start(t, a, b)
		if st, err := a.Open([]byte("stream"), StreamOptions{}); err == nil {
			_ = st.Send(context.Background(), nil, make([]byte, 1000))
		}
		for range 20 {
			a.Post(nil, make([]byte, 20))
			a.PostBulk(make([]byte, 100))
			a.Flush()
		}
		_ = a.Close()
		b.Wait()
	}
}
