package mux

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/wire"
)

// frames takes what was written to a link apart.
func frames(t *testing.T, data []byte) (hs []wire.Header) {
	t.Helper()
	for len(data) > 0 {
		h, size, err := wire.ParseHeader(data)
		if err != nil || size == 0 || size+h.Length > len(data) {
			t.Fatalf("% x…: %v", data[:min(len(data), 20)], err)
		}
		hs = append(hs, h)
		data = data[size+h.Length:]
	}
	return hs
}

// A small frame waits for at most one frame of a large message.
func TestSmallFramesComeBetweenThoseOfALargeMessage(t *testing.T) {
	r := newRecorder()
	a := (&end{}).on(r, quiet())
	writes := 0
	r.onWrite = func() {
		if writes++; writes == 10 {
			a.Post(nil, []byte("urgent"))
		}
	}
	a.PostBulk(make([]byte, 2<<20))
	a.Flush()
	hs := frames(t, r.written)
	at := 0
	for i, h := range hs {
		if h.Kind == wire.Message {
			at = i
		}
	}
	if before := 10/2 + 1; at == 0 || at > before {
		t.Errorf("the small frame is number %d of %d, want at most %d", at, len(hs), before)
	}
	start(t, a)
}

func TestMessagesOfEveryShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, quiet())
		big := content("big", 3*wire.MaxFrame)
		for _, parts := range [][][]byte{
			nil, {nil}, {{}, nil, {}}, {big}, {nil, big}, {big, nil}, {big[:1], nil, big[1:]},
			{big[:wire.MaxFrame], big[wire.MaxFrame:]}, {big[:10]}, {big[:wire.MaxFrame-3]}, {big[:wire.MaxFrame-2]},
		} {
			want := bytes.Join(parts, nil)
			a.PostBulk(parts...)
			a.Flush()
			if got := b.messages.take(); !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want %d", len(got), len(want))
			}
		}
		for _, n := range []int{0, 1, wire.MaxFrame, wire.MaxFrame + 1, len(big)} {
			a.Post(big[:n/2], big[n/2:n])
			a.Flush()
			if got := b.messages.take(); !bytes.Equal(got, big[:n]) {
				t.Errorf("got %d bytes, want %d", len(got), n)
			}
		}
		if a.Err() != nil || b.Err() != nil {
			t.Errorf("the link ended: %v, %v", a.Err(), b.Err())
		}
	})
}

func TestWrittenMessagesAreLetGo(t *testing.T) {
	r := newRecorder()
	a := (&end{}).on(r, quiet())
	for range 3 {
		a.PostBulk(make([]byte, 100))
	}
	all := a.writer.bulk
	a.Flush()
	for i, b := range all {
		if b.parts != nil {
			t.Errorf("message %d is still referred to", i)
		}
	}
	start(t, a)
}

// gate is a link whose writes wait to be let through.
type gate struct {
	launch.Link
	came, pass chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	g.came <- struct{}{}
	<-g.pass
	return g.Link.Write(p)
}

func (g *gate) Writev(bufs ...[]byte) error {
	_, err := g.Write(bytes.Join(bufs, nil))
	return err
}

// Flush leaves the writing to whoever does it already; Sync waits for it.
func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := launch.Pipe()
		g := &gate{near, make(chan struct{}, 100), make(chan struct{}, 100)}
		a, b := &end{}, &end{}
		join(quiet(), g, far, a, b)
		start(t, a, b)
		a.Post(nil, []byte("first"))
		a.Kick()
		<-g.came // the writing goroutine is at it
		a.Post(nil, []byte("second"))
		a.PostBulk([]byte("third"))
		a.Flush() // does not wait
		synced := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { a.Sync(); close(synced) })
		for range 2 {
			synctest.Wait()
			select {
			case <-synced:
				t.Fatal("Sync returned before everything was written")
			default:
			}
			g.pass <- struct{}{}
		}
		<-synced
		for range 3 {
			b.messages.take()
		}
		a.Sync() // nothing to do
		a.Post(nil, []byte("fourth"))
		g.pass <- struct{}{}
		a.Sync() // writes it itself
		a.Post(nil, []byte("never"))
		wg.Go(a.Sync)
		synctest.Wait()
		_ = a.Close() // ends it
		g.pass <- struct{}{}
		wg.Wait()
	})
}

func TestConcurrentFlushes(t *testing.T) {
	a, b := pair(t, quiet())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				a.Post([]byte("x"), nil)
				a.Flush()
			}
			a.PostBulk(make([]byte, 100_000))
			a.Sync()
		})
	}
	wg.Wait()
	for range 8 * 201 {
		b.messages.take()
	}
}

// flood feeds a session the same bytes again and again, for so many bytes.
type flood struct {
	data []byte
	next func(i int) []byte
	i    int
	left int
}

func (f *flood) Read(p []byte) (n int, err error) {
	for n < len(p) && f.left > 0 {
		if len(f.data) == 0 {
			f.data = f.next(f.i)
			f.i++
		}
		c := copy(p[n:], f.data)
		f.data = f.data[c:]
		n, f.left = n+c, f.left-c
	}
	if n == 0 {
		return 0, bytes.ErrTooLarge // the flood is over
	}
	return n, nil
}

// A peer that asks and asks and does not read must not fill our memory with
// answers.
func TestFloods(t *testing.T) {
	open := func(i int) []byte {
		return append(wire.AppendHeader(nil, wire.Header{Stream: uint64(2*i + 1), Kind: wire.Open, Length: 1}), 0)
	}
	for name, next := range map[string]func(i int) []byte{
		"pings":                  func(int) []byte { return []byte{byte(wire.Ping), 0} },
		"streams":                open,
		"streams that are reset": open,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &end{}
			b.onIdle = func(b *end) { b.Kick() }
			b.onStream = func(_ *end, st *Stream) {
				if name == "streams that are reset" {
					st.Reset(string(make([]byte, 100_000)))
				}
			}
			link := newBlocked(&flood{next: next, left: 4 << 20})
			b.on(link, quiet())
			start(t, b)
			synctest.Wait()
			b.writer.mu.Lock()
			n := len(b.writer.out) + int(link.stuck.Load())
			b.writer.mu.Unlock()
			if limit := 2 * (maxRefused + DefaultMaxStreams) * (maxReason + wire.MaxHeader); n > limit {
				t.Errorf("%s: %d bytes of answers wait, limit %d", name, n, limit)
			}
			if alive := b.Err() == nil; alive != (name == "pings") {
				t.Errorf("%s: %v", name, b.Err())
			}
		})
	}
}
