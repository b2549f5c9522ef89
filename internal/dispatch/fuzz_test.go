package dispatch

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// mouth says to both ends of a link what a fuzzer wants them to hear.
type mouth struct{ data []byte }

func (m *mouth) byte() byte {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return b
}

func (m *mouth) bytes() []byte {
	n := min(int(m.byte()), len(m.data))
	b := m.data[:n]
	m.data = m.data[n:]
	return b
}

func (m *mouth) index() int {
	if b := m.byte(); b < 250 {
		return int(b % 5)
	}
	return wire.Whole
}

// message makes a message that mostly makes sense.
func (m *mouth) message() []byte {
	place := wire.Place{Chunk: uint64(m.byte() % 6), Index: 0}
	switch m.byte() % 10 {
	case 0, 1:
		n := 1 + int(m.byte()%4)
		msg := wire.AppendCalls(nil, place.Chunk, n)
		for i := range n {
			info := &wire.Info{Function: int(m.byte() % 8), Depth: int(m.byte() % 3), Timeout: time.Duration(m.byte()) * time.Millisecond,
				MaxAttempts: int(m.byte() % 3), ParentChunk: uint64(m.byte() % 6), ParentIndex: m.index()}
			if i > 0 && m.byte()%2 == 0 {
				info = nil
			}
			input := m.bytes()
			msg = append(wire.AppendCall(msg, info, len(input)), input...)
		}
		return msg
	case 2, 3, 4:
		n := int(m.byte() % 4)
		msg := wire.AppendResults(nil, place.Chunk, m.index(), n, time.Duration(m.byte()))
		for range n {
			status, payload := m.byte(), m.bytes()
			if status&wire.StatusFailed != 0 && m.byte()%4 > 0 {
				payload = (&wire.Fault{Message: "m", Type: faultLost, Typed: []wire.Typed{{Name: "afar.lost", Data: payload}}}).Append(nil)
			}
			msg = append(wire.AppendResult(msg, status, uint64(m.byte()%3), len(payload)), payload...)
		}
		return msg
	case 5:
		place.Index = m.index()
		return wire.AppendPlace(nil, wire.TypeRelease, place)
	case 6:
		place.Index = m.index()
		return wire.AppendPlace(nil, wire.TypePark+wire.Type(m.byte()%2), place)
	case 7:
		place.Index = m.index()
		return (&wire.Cancel{Place: place, Cause: (&wire.Fault{Message: "m"}).Append(nil)}).Append(nil)
	case 8:
		return (&wire.Hello{Version: int(m.byte() % 3), Concurrency: int(m.byte() % 4)}).Append(nil)
	}
	return m.bytes()
}

// mutter is the far end of a link under test.
type mutter struct{ raw *mux.Session }

func (m *mutter) Message([]byte, bool) {}
func (m *mutter) Idle()                { m.raw.Flush() }
func (m *mutter) Stream(*mux.Stream)   {}
func (m *mutter) GoAway(string)        {}
func (m *mutter) Closed(error)         {}

func (m *mutter) hear(x *mouth) {
	for n := 0; len(x.data) > 0 && n < 50; n++ {
		switch op := x.byte(); {
		case op < 200:
			msg := x.message()
			if len(msg) == 0 {
				continue
			}
			m.raw.Post(msg, nil)
			m.raw.Kick()
		case op < 225:
			if s, err := m.raw.Open([]byte{wire.PurposeNotes, 0}[:x.byte()%3], mux.StreamOptions{}); err == nil {
				for range x.byte() % 4 {
					item := append(wire.AppendPlace(nil, wire.Type(x.byte()%4), wire.Place{Chunk: uint64(x.byte() % 6), Index: x.index()}), x.bytes()...)
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					_ = s.Send(ctx, item, nil)
					cancel()
				}
				if x.byte()%2 == 0 {
					s.End()
				}
			}
		default:
			synctest.Wait()
			pause(time.Duration(x.byte()) * 300 * time.Microsecond)
		}
	}
	synctest.Wait()
}

func dialMutter(b launch.Link, initiator bool) *mutter {
	m := &mutter{}
	m.raw = mux.New(b, mux.Config{Initiator: initiator}, m)
	m.raw.Post((&wire.Hello{Version: wire.Version, Concurrency: 1}).Append(nil), nil)
	m.raw.Start()
	m.raw.Flush()
	return m
}

// fuzzCaller lets the dispatcher's end of a link hear it.
func fuzzCaller(t *testing.T, x *mouth) {
	k := newDesk(t)
	s, limited := &Spec{}, &Spec{Timeout: 5 * time.Millisecond, MaxAttempts: 2, RetryError: func(error) bool { return true }}
	chunkOf(k.d, s, 3, true)
	w := fakeWorker(t, k.d)
	w.raw.Post(nil, nil) // nothing at all is a message too
	k.submit(s, "a", "b", "c", "d")
	k.submit(limited, "e", "f", "g")
	w.join(LaneConfig{Slots: 2})
	(&mutter{w.raw}).hear(x)
	k.d.mu.Lock()
	if n := len(w.lane.incoming) + len(w.lane.held) + len(w.lane.chunks); n > 600 {
		t.Errorf("%d entries for 50 messages", n)
	}
	k.d.mu.Unlock()
	w.die()
	k.d.Fail(ErrClosed)
	synctest.Wait()
	k.settled()
	if len(k.ended) != 7 {
		t.Errorf("%d of 7 calls ended: %q", len(k.ended), k.ended)
	}
}

// fuzzWorker lets a worker's end of a link hear it.
func fuzzWorker(t *testing.T, x *mouth) {
	a, b := launch.Pipe()
	back := New()
	waits := func(ctx context.Context, input, dst []byte) ([]byte, error) {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(len(input)) * time.Millisecond):
		}
		return append(dst, input...), nil
	}
	calls := func(ctx context.Context, input, dst []byte) ([]byte, error) {
		p := NewPending()
		defer p.Put()
		r := peer.FromContext(ctx)
		p.Spec = &Spec{Key: keys[0], Name: "f", Depth: 1, Parent: r.Place()}
		p.Input = append(p.Buf[:0], input...)
		out := back.Do(ctx, p, r)
		return append(dst, out.Output...), out.Err
	}
	logs := func(ctx context.Context, _, dst []byte) ([]byte, error) {
		return dst, peer.FromContext(ctx).Log(&peer.Record{Message: "m"})
	}
	executor := peer.NewExecutor(context.Background(), []*registry.Function{
		{Name: "waits", Invoke: waits}, {Name: "calls", Invoke: calls}, {Name: "logs", Invoke: logs},
		{Name: "panics", Invoke: func(context.Context, []byte, []byte) ([]byte, error) { panic("x") }},
	})
	lane := back.Prepare()
	conn := peer.Dial(b, peer.Config{Caller: lane, Callee: executor})
	executor.Bind(conn)
	lane.Join(conn, LaneConfig{Slots: 1 << 20, Relay: true, Functions: keys})
	conn.Start()
	m := dialMutter(a, true)
	m.hear(x)
	_ = m.raw.Close()
	<-conn.Session().Done()
	back.Fail(ErrClosed)
	lane.Lose(Lost{})
	conn.Session().Wait()
	m.raw.Wait()
	pause(time.Second)
	if left := leftovers(back); left != "" {
		t.Error("left in the worker: ", left)
	}
}

// FuzzPeerMessages: whatever a peer says, nothing panics or hangs, and every
// call ends.
func FuzzPeerMessages(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 1, 2, 0, 1, 5, 0, 0, 0, 0, 1, 5, 1, 0, 250, 9, 0, 1, 7, 0, 0, 1, 6, 0, 0})
	f.Add([]byte{210, 5, 2, 0, 1, 0, 3, 0, 0, 0, 1, 1, 2, 1, 0, 4, 1, 'x', 1, 240, 50, 0, 2, 5, 255})
	f.Add([]byte("the quick brown fox jumps over the lazy dog, and over again"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// In a bubble that hangs, time flies: only the clock outside can tell.
		hang := time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("hangs: %q", data)) })
		defer hang.Stop()
		synctest.Test(t, func(t *testing.T) { fuzzCaller(t, &mouth{data}) })
		synctest.Test(t, func(t *testing.T) { fuzzWorker(t, &mouth{data}) })
	})
}
