package mux

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/ring"
	"github.com/afar-go/afar/internal/wire"
)

// metered counts what is written to a link.
type metered struct {
	sharing
	mu      sync.Mutex
	written []byte
}

func (m *metered) Write(p []byte) (int, error) { return len(p), m.Writev(p) }

func (m *metered) Writev(bufs ...[]byte) error {
	m.mu.Lock()
	for _, b := range bufs {
		m.written = append(m.written, b...)
	}
	m.mu.Unlock()
	return m.Link.Writev(bufs...)
}

// meteredPair returns two ends with memory between them that run until the test
// ends, and the first one's link.
func meteredPair(t *testing.T) (*end, *end, *metered) {
	near, far := sharingPipe()
	m := &metered{sharing: *near.(*sharing)}
	a, b := &end{}, &end{}
	join(quiet(), m, far, a, b)
	start(t, a, b)
	return a, b, m
}

// Large messages and items go through the memory beside the link; the link has what
// says so, and the specification's bytes for it.
func TestLargePayloadsGoThroughSharedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, m := meteredPair(t)
		large := content("large", 300_000)
		a.PostBulk(large)
		a.Flush()
		if got := b.messages.take(); !bytes.Equal(got, large) {
			t.Error("the message came as another")
		}
		st, err := a.Open([]byte("items"), StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{directWrite, 64 << 10, 64<<10 + 5, wire.MaxFrame + 1, len(large)} {
			if err := st.Send(t.Context(), large[:5], large[5:size]); err != nil {
				t.Fatal(err)
			}
		}
		peer := b.streams.take()
		for _, size := range []int{directWrite, 64 << 10, 64<<10 + 5, wire.MaxFrame + 1, len(large)} {
			got, err := peer.Recv(t.Context())
			if err != nil || !bytes.Equal(got, large[:size]) {
				t.Fatalf("an item of %d bytes came as %d, %v", size, len(got), err)
			}
		}
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		if n := len(m.written); n > 2000 {
			t.Errorf("%d bytes went through the link", n)
		}
		if !bytes.Contains(m.written, []byte("\x0e\x03\x80\x80\x04")) {
			t.Errorf("the frame of SPEC.md for 64 KiB in shared memory is not in % x", m.written)
		}
	})
}

// What does not fit into the memory goes through the link, in order.
func TestSharedMemoryThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := sharingPipe()
		a, b := &end{}, &end{}
		join(quiet(), near, far, a, b)
		a.memory.Listen()
		b.memory.Listen() // b does not read yet
		const items = 40  // of 64 KiB, twice as much as the memory and the link hold
		var wg sync.WaitGroup
		a.Start()
		st, err := a.Open(nil, StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st.out.credit = items * (64<<10 + itemCost)
		wg.Go(func() {
			for i := range items {
				if err := st.Send(t.Context(), []byte{byte(i)}, make([]byte, 64<<10-1)); err != nil {
					t.Error(err)
				}
			}
		})
		b.config.Window = items * (64<<10 + itemCost)
		synctest.Wait()
		b.Start()
		peer := b.streams.take()
		for i := range items {
			if item, err := peer.Recv(t.Context()); err != nil || item[0] != byte(i) || len(item) != 64<<10 {
				t.Fatalf("item %d: %d bytes, %v", i, len(item), err)
			}
		}
		wg.Wait()
		for _, e := range []*end{a, b} {
			_ = e.Close()
			e.Wait()
		}
	})
}

// A peer that knows nothing of the memory, because something is between it and the
// link, is sent everything through the link.
func TestSharedMemoryThatThePeerHasNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := sharingPipe()
		a, b := &end{}, &end{}
		join(quiet(), near, far.(*sharing).Link, a, b)
		start(t, a, b)
		large := content("large", 300_000)
		a.PostBulk(large)
		a.Flush()
		if got := b.messages.take(); !bytes.Equal(got, large) {
			t.Error("the message came as another")
		}
	})
}

// Announcements of what is not there end the link.
func TestSharedMemoryThatIsNotThere(t *testing.T) {
	frame := func(h wire.Header, payload string) string { return string(wire.AppendHeader(nil, h)) + payload }
	said := func(payload string) string {
		return frame(wire.Header{Kind: wire.Shared, Length: len(payload)}, payload)
	}
	for name, data := range map[string]string{
		"no number":        said(""),
		"nothing":          said("\x00"),
		"more than frames": said("\x81\x88\x04"),
		"twice":            said("\x01") + said("\x01"),
		"of a message":     said("\x01") + frame(wire.Header{Kind: wire.Message, Length: 1}, "x"),
		"of a small item":  said("\x01") + frame(wire.Header{Stream: 2, Kind: wire.Item, Length: 1}, "x"),
		"over the frame":   said("\x08") + frame(wire.Header{Kind: wire.BulkFirst, Length: 7}, ""),
		"the size too":     said("\x07") + frame(wire.Header{Kind: wire.BulkFirst, Length: 7}, ""),
		"not put":          said("\x07") + frame(wire.Header{Kind: wire.BulkFirst, Length: 8}, "\x07"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				link, far := launch.Pipe()
				near, other := ring.Pair()
				near.Listen()
				other.Put([]byte("only6b"), nil)
				a := (&end{}).on(&sharing{link, near}, quiet())
				start(t, a)
				if _, err := far.Write([]byte(data)); err != nil {
					t.Fatal(err)
				}
				<-a.Done()
				if err := a.Err(); !errors.Is(err, wire.ErrMalformed) {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}
