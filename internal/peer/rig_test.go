package peer

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// rig is an executor whose caller is the test itself, message by message.
type rig struct {
	t    *testing.T
	raw  *mux.Session // the caller's end
	x    *Executor
	conn *Conn

	mu     sync.Mutex
	events []event
	notes  [][]byte
	taken  int // of events, by take
	err    error
}

// event is a message from the worker.
type event struct {
	kind    wire.Type
	place   wire.Place
	status  byte
	logged  uint64
	payload string
}

func (e event) String() string {
	name := map[wire.Type]string{wire.TypeHello: "hello", wire.TypeResults: "result", wire.TypeRelease: "release",
		wire.TypePark: "park", wire.TypeUnpark: "unpark"}[e.kind]
	if e.kind == wire.TypeResults {
		if len(e.payload) > 40 || e.status != 0 {
			return fmt.Sprintf("%s %d.%d status %d", name, e.place.Chunk, e.place.Index, e.status)
		}
		return fmt.Sprintf("%s %d.%d %q", name, e.place.Chunk, e.place.Index, e.payload)
	}
	return fmt.Sprintf("%s %d.%d", name, e.place.Chunk, e.place.Index)
}

// body is what a function does in these tests.
type body func(ctx context.Context, input string) (string, error)

func functionsOf(bodies []body) []*registry.Function {
	var fs []*registry.Function
	for i, b := range bodies {
		fs = append(fs, &registry.Function{Name: fmt.Sprint("f", i), In: "string", Out: "string",
			Invoke: func(ctx context.Context, input, dst []byte) ([]byte, error) {
				out, err := b(ctx, string(input))
				return append(dst, out...), err
			}})
	}
	return fs
}

// newRig starts an executor and says hello to it. Everything ends with the test.
func newRig(t *testing.T, hello wire.Hello, bodies ...body) *rig {
	a, b := launch.Pipe()
	r := &rig{t: t}
	r.x = NewExecutor(context.Background(), functionsOf(bodies))
	r.conn = Dial(b, Config{Callee: r.x})
	r.x.Bind(r.conn)
	r.conn.Start()
	r.raw = mux.New(a, mux.Config{Initiator: true}, r)
	hello.Version = wire.Version
	r.raw.Post(hello.Append(nil), nil)
	r.raw.Start()
	r.raw.Flush()
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	_ = r.raw.Close()
	<-r.conn.Session().Done()
	r.raw.Wait()
	r.conn.Session().Wait()
}

func (r *rig) Message(msg []byte, owned bool) {
	rd := wire.NewReader(msg)
	e := event{kind: wire.Type(rd.Byte())}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.kind {
	case wire.TypeHello:
	case wire.TypeResults:
		chunk, first, n, _, err := wire.ParseResults(rd)
		if err != nil {
			r.err = err
		}
		for i := range n {
			x, err := wire.ParseResult(rd)
			if err != nil {
				r.err = err
				return
			}
			r.events = append(r.events, event{e.kind, wire.Place{Chunk: chunk, Index: first + i}, x.Status, x.Logged, string(x.Payload)})
		}
		if err := rd.End(); err != nil {
			r.err = err
		}
	default:
		var err error
		if e.place, err = wire.ParsePlace(rd); err != nil {
			r.err = err
		}
		r.events = append(r.events, e)
	}
}

func (r *rig) Idle()         { r.raw.Flush() }
func (r *rig) GoAway(string) {}
func (r *rig) Closed(error)  {}

func (r *rig) Stream(s *mux.Stream) {
	go func() {
		for {
			item, err := s.Recv(context.Background())
			if err != nil {
				return
			}
			r.mu.Lock()
			r.notes = append(r.notes, item)
			r.mu.Unlock()
		}
	}()
}

// call is one call that the test sends.
type call struct {
	info  wire.Info
	input string
}

func in(inputs ...string) (cs []call) {
	for _, s := range inputs {
		cs = append(cs, call{input: s})
	}
	return cs
}

func (r *rig) post(msg []byte) {
	if len(msg) <= wire.MaxFrame {
		r.raw.Post(msg, nil)
	} else {
		r.raw.PostBulk(msg)
	}
	r.raw.Kick()
}

func chunkMessage(chunk uint64, calls []call) []byte {
	msg := wire.AppendCalls(nil, chunk, len(calls))
	for i := range calls {
		info := &calls[i].info
		if i > 0 && info.Function == calls[i-1].info.Function && info.Timeout == calls[i-1].info.Timeout {
			info = nil
		}
		msg = append(wire.AppendCall(msg, info, len(calls[i].input)), calls[i].input...)
	}
	return msg
}

func (r *rig) send(chunk uint64, calls ...call) { r.post(chunkMessage(chunk, calls)) }

func (r *rig) cancel(chunk uint64, index int, cause error) {
	m := &wire.Cancel{Place: wire.Place{Chunk: chunk, Index: index}, Cause: EncodeError(cause).Append(nil)}
	r.post(m.Append(nil))
}

// take returns what has come since the last take, once nothing moves any more
// without the time's moving.
func (r *rig) take() []event {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		r.t.Fatal(r.err)
	}
	es := r.events[r.taken:]
	r.taken = len(r.events)
	return es
}

// expect checks what has come since the last take.
func (r *rig) expect(want ...string) []event {
	r.t.Helper()
	es := r.take()
	got := make([]string, len(es))
	for i, e := range es {
		got[i] = e.String()
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Fatalf("events\n got %q\nwant %q", got, want)
	}
	return es
}

// settled checks that nothing of any call is left in the executor.
func (r *rig) settled(slots int) {
	r.t.Helper()
	synctest.Wait()
	r.x.mu.Lock()
	defer r.x.mu.Unlock()
	if r.x.free != slots || len(r.x.queue) != 0 || len(r.x.resume) != 0 || len(r.x.chunks) != 0 || len(r.x.running) != 0 {
		r.t.Fatalf("left in the executor: %d of %d slots free, %d queued, %d resuming, %d chunks, %d running",
			r.x.free, slots, len(r.x.queue), len(r.x.resume), len(r.x.chunks), len(r.x.running))
	}
}

func faultOf(t *testing.T, e event) *Fault {
	t.Helper()
	if e.status&wire.StatusFailed == 0 {
		t.Fatalf("%v did not fail", e)
	}
	f, err := DecodeError([]byte(e.payload))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func echo(_ context.Context, s string) (string, error) { return s, nil }
