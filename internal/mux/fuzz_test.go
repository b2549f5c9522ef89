package mux

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/afar-go/afar/internal/ring"
	"github.com/afar-go/afar/internal/wire"
)

// hostile is a link on which a peer says what it likes, in pieces of one size,
// and then ends; it reads what it is sent, or never.
type hostile struct {
	*blocked
	in    *bytes.Reader
	piece int
	reads bool

	memory *ring.Memory
}

func (h *hostile) Memory() *ring.Memory { return h.memory }

func (h *hostile) Read(p []byte) (int, error) { return h.in.Read(p[:min(len(p), h.piece)]) }

func (h *hostile) Write(p []byte) (int, error) {
	if h.reads {
		return len(p), nil
	}
	return h.blocked.Write(p)
}

// victim is the session that a hostile peer talks to. It treats the peer's streams
// in turns in all the ways there are, and has two of its own.
type victim struct {
	*Session
	t       *testing.T
	data    int // bytes that the peer has
	streams int
	all     []*Stream
	wg      sync.WaitGroup
}

func (v *victim) Message(msg []byte, owned bool) {
	switch {
	case len(msg) > 0 && msg[0] == 'H':
		v.HandOff(v.Turn())
	case len(msg) > 0 && msg[0] == 'G':
		runtime.Goexit()
	case owned:
		Free(msg)
	}
}

func (v *victim) Stream(st *Stream) {
	v.streams++
	v.all = append(v.all, st)
	switch v.streams % 6 {
	case 0:
		v.wg.Go(func() { v.echo(st) })
	case 1: // nobody reads it
	case 2:
		st.Reset("no")
	case 3:
		st.Handle(v.item, v.over)
	case 4:
		st.Handle(func([]byte, bool) { st.Finish([]byte("one is enough")) }, v.over)
	case 5:
		for range 3 {
			v.wg.Go(func() { v.take(st) })
		}
	}
}

func (v *victim) item(item []byte, owned bool) {
	if len(item) > fuzzMessage {
		v.t.Errorf("an item of %d bytes", len(item))
	}
	if owned {
		Free(item)
	}
}

func (v *victim) over(err error) {
	if err == nil {
		v.t.Error("over without a reason")
	}
}

func (v *victim) echo(st *Stream) {
	for {
		item, err := st.Recv(context.Background())
		if err != nil {
			return
		}
		if st.Send(context.Background(), item, item[:len(item)/2]) != nil {
			return
		}
	}
}

func (v *victim) take(st *Stream) {
	for {
		item, owned, err := st.Take(context.Background())
		if err != nil {
			return
		}
		v.item(item, owned)
		st.Release()
	}
}

// open opens the victim's own streams: one that is read from some moment on, and
// one in the reader's hands.
func (v *victim) open() {
	first, err := v.Open([]byte("first"), StreamOptions{Credit: itemCost, Over: v.over})
	if err != nil {
		return // the link has ended already
	}
	second, err := v.Open([]byte("second"), StreamOptions{Item: v.item, Over: v.over})
	if err != nil {
		return
	}
	v.wg.Go(func() {
		if _, err := first.Recv(context.Background()); err == nil {
			first.Grant()
			v.take(first)
		}
	})
	v.wg.Go(func() {
		for range 3 {
			if second.Ready(context.Background()) != nil || second.SendNow(context.Background(), make([]byte, 300), nil) != nil {
				return
			}
		}
		second.End()
	})
}

func (v *victim) Idle() {
	v.held()
	v.Kick() // Flush would wait for ever if the peer does not read
}

func (v *victim) GoAway(string) {}
func (v *victim) Closed(error)  {}

// held checks what the session holds at the moment.
func (v *victim) held() {
	c := v.config
	w := &v.writer
	w.mu.Lock()
	// Resets and one pong; a credit for each half window; and what is echoed.
	answers := (maxRefused+c.MaxStreams)*(maxReason+wire.MaxHeader) + wire.MaxHeader
	credits := (v.data/(c.Window/2) + 1) * 2 * wire.MaxHeader
	echoes := (c.MaxStreams + 2) * (wide*c.Window + wire.MaxHeader)
	if n, limit := len(w.out), answers+credits+echoes; n > limit {
		v.t.Errorf("%d bytes wait to be written, limit %d", n, limit)
	}
	w.mu.Unlock()
	if n, limit := cap(v.bulk.buf), max(v.bulk.total, 2*trusted); v.bulk.buf != nil && n > limit && n > maxPooled {
		v.t.Errorf("%d bytes for a large message of %d", n, v.bulk.total)
	}
	v.mu.Lock()
	n := len(v.Session.streams)
	v.mu.Unlock()
	if n > c.MaxStreams+2 {
		v.t.Errorf("%d streams are open, limit %d and two", n, c.MaxStreams)
	}
	for _, st := range v.all {
		if n, limit := unread(st), wide*c.Window+int(c.MaxMessage); n > limit {
			v.t.Errorf("a stream holds %d bytes, limit %d", n, limit)
		}
	}
}

// What a hostile peer may make a session allocate in all its life: its buffers,
// and some for each byte sent, most for the two of a frame that opens a stream.
const (
	fuzzBase    = 3*ring.Size + 2*fuzzShared + largeBuffer + 2*smallBuffer + 2*fuzzMessage + 64<<10
	fuzzPerByte = 1 << 10
	fuzzMessage = 1 << 20
	fuzzShared  = 100 << 10           // bytes that are in the shared memory, of which some are announced
	fuzzHandOff = smallBuffer + 1<<10 // for each message, which may be handed off
)

func FuzzSession(f *testing.F) {
	type frame struct {
		stream  uint64
		kind    wire.Kind
		payload string
	}
	seed := func(piece uint8, reads bool, all ...frame) {
		var data []byte
		for _, a := range all {
			data = append(wire.AppendHeader(data, wire.Header{Stream: a.stream, Kind: a.kind, Length: len(a.payload)}), a.payload...)
		}
		f.Add(data, piece, reads)
	}
	seed(1, true, frame{0, wire.Message, "Handed off"}, frame{0, wire.Message, "Gone"}, frame{0, wire.Message, ""})
	seed(255, false, frame{0, wire.Ping, ""}, frame{0, wire.Pong, ""}, frame{0, wire.GoAway, "why"})
	seed(7, true, frame{0, wire.BulkFirst, "\x05ab"}, frame{0, wire.Message, "between"}, frame{0, wire.BulkNext, "cde"})
	seed(3, false, frame{0, wire.BulkFirst, "\xff\xff\x3fH"}, frame{0, wire.BulkNext, "x"})
	seed(2, true, frame{1, wire.Open, "\x10a"}, frame{3, wire.Open, "\x00b"}, frame{5, wire.Open, "\x80\x02c"}, frame{5, wire.ItemFirst, "\x02x"},
		frame{5, wire.ItemNext, "y"}, frame{1, wire.Item, "z"}, frame{1, wire.End, ""}, frame{1, wire.Credit, "\x01"}, frame{5, wire.Reset, "why"})
	seed(200, false, frame{1, wire.Open, "\x10"}, frame{3, wire.Open, "\x10"}, frame{5, wire.Open, "\x10"}, frame{7, wire.Open, "\x10"},
		frame{9, wire.Open, "\x10"}, frame{11, wire.Open, "\x10"}, frame{13, wire.Open, "\x10"}, frame{13, wire.Item, "x"})
	seed(5, true, frame{1, wire.Open, "\x00"}, frame{3, wire.Open, "\x00"}, frame{5, wire.Open, "\x80\x02"}, frame{7, wire.Open, "\x00"},
		frame{5, wire.ItemFirst, "\xe8\x07xyz"}, frame{5, wire.ItemNext, string(make([]byte, 180))}, frame{5, wire.Item, "inside"})
	seed(9, true, frame{1, wire.Open, "\x00"}, frame{3, wire.Open, "\x00"}, frame{5, wire.Open, "\x00"}, frame{7, wire.Open, "\x00"},
		frame{5, wire.ItemFirst, "\xff\xff\x3fx"}, frame{7, wire.Item, "one"}, frame{7, wire.Item, "two"}, frame{5, wire.ItemFirst, "\x03x"})
	seed(90, true, frame{2, wire.Item, ""}, frame{2, wire.Item, "granted"}, frame{4, wire.Item, "handled"}, frame{4, wire.ItemFirst, "\x02a"},
		frame{4, wire.ItemNext, "b"}, frame{4, wire.Credit, "\x80\x02"}, frame{4, wire.End, ""}, frame{2, wire.Finish, "done"}, frame{2, wire.Finish, "again"})
	seed(30, false, frame{1, wire.Open, "\x81\x02more than the window"})
	seed(30, false, frame{2, wire.Item, ""}, frame{2, wire.Item, ""}, frame{4, wire.ItemNext, "x"})
	seed(250, false, frame{1, wire.Open, "\x00"}, frame{1, wire.Item, string(make([]byte, 200))}, frame{1, wire.Item, string(make([]byte, 200))})
	seed(40, true, frame{0, wire.Shared, "\x80\x80\x04"}, frame{0, wire.Item, ""})
	seed(40, true, frame{0, wire.Shared, "\x02"}, frame{0, wire.BulkFirst, "\x05ab"})
	f.Add([]byte("\x0e\x03\x80\x80\x04\x01\x83\x80\x04\x80\x80\x04\x0e\x03\x80\x80\x04\x01\x83\x80\x04\x80\x80\x04"), uint8(40), true)
	f.Add([]byte("\x0e\x02\x80\x7f\x47\x80\x7f\x16\x01\x00\x0e\x02\x80\x7f\x17\x80\x7f"), uint8(40), true)
	f.Fuzz(func(t *testing.T, data []byte, piece uint8, reads bool) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		link := &hostile{blocked: newBlocked(bytes.NewReader(nil)), in: bytes.NewReader(data), piece: int(piece) + 1, reads: reads}
		near, far := ring.Pair()
		near.Listen()
		far.Put(make([]byte, fuzzShared), nil)
		link.memory = near
		v := &victim{t: t, data: len(data)}
		v.Session = New(link, Config{Keepalive: -1, MaxMessage: fuzzMessage, Window: 256, MaxStreams: 4}, v)
		v.open()
		v.Start()
		v.Wait() // the link ends, so the session does
		v.wg.Wait()
		v.held()
		if v.Err() == nil || v.Err() == io.ErrClosedPipe && reads {
			t.Errorf("ended with %v", v.Err())
		}
		runtime.ReadMemStats(&after)
		handOffs := bytes.Count(data, []byte("H")) + bytes.Count(data, []byte("G"))
		if n, limit := after.TotalAlloc-before.TotalAlloc, uint64(fuzzBase+fuzzPerByte*len(data)+fuzzHandOff*handOffs); n > limit {
			t.Errorf("%d bytes allocated for %d, limit %d", n, len(data), limit)
		}
	})
}
