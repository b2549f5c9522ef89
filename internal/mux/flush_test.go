package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/wire"
)

// A small frame waits for at most one frame of a large item, which is written from
// the sender's memory.
func TestSmallFramesComeBetweenThoseOfALargeItem(t *testing.T) {
	r := newRecorder()
	a := (&end{}).on(r, Config{Keepalive: -1, Window: 8 << 20})
	st, err := a.Open(nil, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	writes := 0
	r.onWrite = func() {
		if writes++; writes == 10 {
			a.Post(nil, []byte("urgent"))
		}
	}
	item := content("", 2<<20)
	if err := st.Send(context.Background(), item[:10], item[10:]); err != nil {
		t.Fatal(err)
	}
	a.Sync()
	hs := frames(t, r.written)
	at := 0
	for i, h := range hs {
		if h.Kind == wire.Message {
			at = i
		}
	}
	// A frame is two writes, or three if it is of head and body; before it is Open.
	if before := 10/2 + 2; at == 0 || at > before {
		t.Errorf("the small frame is number %d of %d, want at most %d", at, len(hs), before)
	}
	start(t, a)
}

// Frames keep their order whether they are copied or written by the sender.
func TestFramesOfAStreamKeepTheirOrder(t *testing.T) {
	r := newRecorder()
	a := (&end{}).on(r, Config{Keepalive: -1, Window: 8 << 20})
	st, err := a.Open(nil, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for i := range 40 {
		item := content("", mixed[i%len(mixed)])
		head := i * 1000 % (len(item) + 1)
		if err := st.Send(context.Background(), item[:head], item[head:]); err != nil {
			t.Fatal(err)
		}
		want = append(want, item...)
	}
	st.Finish([]byte("done"))
	a.Sync()
	var got []byte
	hs := frames(t, r.written)
	at := 0
	for _, h := range hs {
		at += len(wire.AppendHeader(nil, h))
		payload := r.written[at : at+h.Length]
		at += h.Length
		switch h.Kind {
		case wire.ItemFirst:
			_, n := binary.Uvarint(payload)
			got = append(got, payload[n:]...)
		case wire.Item, wire.ItemNext:
			got = append(got, payload...)
		}
	}
	if !bytes.Equal(got, want) || hs[0].Kind != wire.Open || hs[len(hs)-1].Kind != wire.Finish {
		t.Errorf("%d bytes of items, want %d; from %v to %v", len(got), len(want), hs[0].Kind, hs[len(hs)-1].Kind)
	}
	start(t, a)
}

// Who flushes writes what was there, and some of what others add, but not for
// ever: then the writing goroutine goes on.
func TestFlushReturnsWhateverOthersAdd(t *testing.T) {
	r := newRecorder()
	a := (&end{}).on(r, quiet())
	const more = 4 * favor / 10_000
	left := more
	r.onWrite = func() {
		if left--; left > 0 {
			a.Post(nil, make([]byte, 10_000))
		}
	}
	a.Post(nil, []byte("own"))
	a.Flush()
	if left < more/2 || left > more-5 {
		t.Errorf("%d of %d messages of others were written", more-left, more)
	}
	a.PostBulk(make([]byte, 2<<20))
	a.Flush()
	if a.writer.bulkDone != 1 {
		t.Error("what was there was not written")
	}
	left = 20
	start(t, a)
	a.Sync()
}

// A sender whose turn it is to write goes before who does others a favor, and a
// large message goes on meanwhile.
func TestLargeItemsAndLargeMessagesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := launch.Pipe()
		link := &tap{Link: near}
		a, b := &end{}, &end{}
		join(Config{Keepalive: -1, Window: 8 << 20}, link, far, a, b)
		start(t, a, b)
		var wg sync.WaitGroup
		var sts []*Stream
		for range 3 {
			st, other := opened(t, a, b)
			sts = append(sts, st)
			wg.Go(func() {
				for {
					if _, err := other.Recv(t.Context()); err != nil {
						return
					}
				}
			})
		}
		stop := make(chan struct{})
		for _, st := range sts {
			wg.Go(func() {
				item := make([]byte, wire.MaxFrame)
				for {
					select {
					case <-stop:
						st.Finish(nil)
						return
					default:
						if err := st.Send(t.Context(), nil, item); err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		for range 3 {
			a.PostBulk(make([]byte, 4<<20))
			a.Kick()
			if n := len(b.messages.take()); n != 4<<20 {
				t.Errorf("%d bytes", n)
			}
		}
		close(stop)
		wg.Wait()
	})
}

// Requests and replies of small items need no writing goroutine.
func TestSendNow(t *testing.T) {
	r := newRecorder()
	a := (&end{}).on(r, quiet()) // not started: there is none
	st, err := a.Open(nil, StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 10, directWrite, 100_000} {
		if err := st.SendNow(context.Background(), nil, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if a.writer.waits() || !a.writer.turn.free() {
			t.Errorf("an item of %d bytes was not written", size)
		}
	}
	start(t, a)
}

// A thousand streams at once, each with a few items, are no trouble.
func TestThousandStreams(t *testing.T) {
	const n = 1000
	a, b := &end{}, &end{}
	var wg sync.WaitGroup
	b.onStream = func(_ *end, st *Stream) {
		wg.Go(func() {
			for {
				item, err := st.Recv(context.Background())
				if err != nil {
					finished(t, "Recv", err, "done")
					return
				}
				if err := st.Send(context.Background(), nil, item); err != nil {
					t.Error(err)
				}
			}
		})
	}
	c := quiet()
	c.MaxStreams = n
	near, far := launch.Pipe()
	join(c, near, far, a, b)
	start(t, a, b)
	sts := make([]*Stream, n)
	for i := range sts {
		st, err := a.Open(nil, StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sts[i] = st
	}
	for k := range 3 {
		for i, st := range sts {
			if err := st.Send(context.Background(), []byte{byte(i), byte(i >> 8)}, content("", 10*k)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for k := range 3 {
		for i, st := range sts {
			want := append([]byte{byte(i), byte(i >> 8)}, content("", 10*k)...)
			if item, err := st.Recv(context.Background()); err != nil || !bytes.Equal(item, want) {
				t.Fatalf("stream %d, item %d: %q, %v", i, k, item, err)
			}
		}
	}
	for _, st := range sts {
		st.Finish([]byte("done"))
	}
	wg.Wait()
}

// An idle stream takes up little memory at either end.
func TestMemoryOfIdleStreams(t *testing.T) {
	const n = 2000
	a, b := &end{}, &end{}
	c := quiet()
	c.MaxStreams = n
	near, far := launch.Pipe()
	join(c, near, far, a, b)
	start(t, a, b)
	sts := make([]*Stream, 2*n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		st, err := a.Open(nil, StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Send(context.Background(), nil, []byte("a few bytes")); err != nil {
			t.Fatal(err)
		}
		sts[2*i], sts[2*i+1] = st, b.streams.take()
		if _, err := sts[2*i+1].Recv(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n; per > 3<<10 {
		t.Errorf("%d bytes for both ends of a stream", per)
	} else {
		t.Logf("%d bytes for both ends of a stream", per)
	}
	runtime.KeepAlive(sts)
}

// A peer that begins items on many streams and does not go on makes nobody
// allocate what it announces.
func TestMemoryOfItemsThatAreAnnounced(t *testing.T) {
	const n = 500
	c := quiet()
	c.MaxStreams = n
	b, m := withMouth(t, c)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range uint64(n) {
		m.say(2*i+1, wire.Open, "\x00")
		m.say(2*i+1, wire.ItemFirst, "\x80\x80\x80\x10x") // 32 MiB
	}
	for range n {
		b.streams.take()
	}
	m.say(0, wire.Message, "end")
	b.messages.take()
	runtime.ReadMemStats(&after)
	if grown, limit := after.TotalAlloc-before.TotalAlloc, uint64((maxParcels+4)*DefaultWindow); grown > limit {
		t.Errorf("%d bytes were allocated, limit %d", grown, limit)
	}
	_ = b.Close()
	b.Wait()
	if n := b.parcels.Load(); n != 0 {
		t.Errorf("%d parcels are left", n)
	}
}
