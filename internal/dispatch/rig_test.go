package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// fake is a worker that the test plays, message by message.
type fake struct {
	t    *testing.T
	lane *Lane
	conn *peer.Conn
	raw  *mux.Session // the worker's end

	mu     sync.Mutex
	said   []string              // what the dispatcher has sent since the last expect
	infos  map[string]*wire.Info // of the last call with that input
	logs   []string
	killed atomic.Int32
	lost   chan struct{}
	gone   chan struct{} // closed when Lose has returned
	notes  *mux.Stream
}

var keys = []string{"f(int) int", "g(int) int"}

// addLane starts a lane to a fake worker. It ends with the test.
func addLane(t *testing.T, d *Dispatcher, c LaneConfig) *fake {
	w := fakeWorker(t, d)
	w.join(c)
	return w
}

// fakeWorker starts a worker whose lane has not joined.
func fakeWorker(t *testing.T, d *Dispatcher) *fake {
	a, b := launch.Pipe()
	w := &fake{t: t, lane: d.Prepare(), infos: map[string]*wire.Info{}, lost: make(chan struct{}), gone: make(chan struct{})}
	w.raw = mux.New(b, mux.Config{}, w)
	w.raw.Post((&wire.Hello{Version: wire.Version}).Append(nil), nil)
	w.raw.Start()
	w.raw.Flush()
	w.conn = peer.Dial(a, peer.Config{Initiator: true, Caller: w.lane, Callee: w.lane, Notes: w.lane.Note,
		Closed: func(error) { close(w.lost) }})
	w.conn.Start()
	if _, err := w.conn.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() {
		<-w.lost
		w.conn.Session().Wait()
		w.lane.Lose(Lost{PID: 42, ExitCode: -1, Signal: "killed", Reason: "test"})
		close(w.gone)
	}()
	t.Cleanup(w.end)
	return w
}

func (w *fake) join(c LaneConfig) {
	if c.Functions == nil {
		c.Functions = keys
	}
	if c.Name == "" {
		c.Name = "w"
	}
	c.Kill = func() {
		w.killed.Add(1)
		_ = w.raw.Close()
	}
	c.Log = func(worker string, c *Call, r *peer.Record) { w.log("lane", c, r) }
	w.lane.Join(w.conn, c)
}

func (w *fake) log(who string, c *Call, r *peer.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := "nobody"
	if c != nil {
		name = fmt.Sprint(c.ID, "/", c.Attempt())
	}
	w.logs = append(w.logs, fmt.Sprintf("%s: %s by %s", who, r.Message, name))
}

func (w *fake) end() {
	_ = w.raw.Close()
	<-w.gone
	w.raw.Wait()
}

// die ends the worker and waits until its lane was lost.
func (w *fake) die() {
	_ = w.raw.Close()
	<-w.gone
}

func (w *fake) Message(msg []byte, _ bool) {
	r := wire.NewReader(msg)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch t := wire.Type(r.Byte()); t {
	case wire.TypeHello:
	case wire.TypeCalls:
		chunk, n, err := wire.ParseCalls(r)
		if err != nil {
			w.t.Error(err)
			return
		}
		var info *wire.Info
		var inputs []string
		for range n {
			var input []byte
			if info, input, err = wire.ParseCall(r, info); err != nil {
				w.t.Error(err)
				return
			}
			s := string(input)
			if len(s) > 20 {
				s = fmt.Sprint(len(s), "B")
			}
			inputs = append(inputs, s)
			w.infos[s] = info
		}
		w.said = append(w.said, fmt.Sprintf("%d:%s", chunk, strings.Join(inputs, ",")))
	case wire.TypeCancel:
		m, err := wire.ParseCancel(r)
		if err != nil {
			w.t.Error(err)
			return
		}
		w.said = append(w.said, fmt.Sprintf("cancel %d.%d", m.Chunk, min(m.Index, 999)))
	case wire.TypeResults:
		chunk, first, _, _, err := wire.ParseResults(r)
		x, err2 := wire.ParseResult(r)
		if err != nil || err2 != nil {
			w.t.Error(err, err2)
			return
		}
		text := string(x.Payload)
		if x.Status != 0 {
			f, err := peer.DecodeError(x.Payload)
			if err != nil {
				w.t.Error(err)
				return
			}
			text = "error " + f.Message
		}
		w.said = append(w.said, fmt.Sprintf("result %d.%d %s", chunk, first, text))
	default:
		w.t.Errorf("message of type %d to a worker", t)
	}
}

func (w *fake) Idle()              { w.raw.Flush() }
func (w *fake) Stream(*mux.Stream) {}
func (w *fake) GoAway(string)      {}
func (w *fake) Closed(error)       {}

// expect checks what the worker was told since the last time.
func (w *fake) expect(want ...string) {
	w.t.Helper()
	if said := w.heard(); fmt.Sprint(said) != fmt.Sprint(want) {
		w.t.Fatalf("worker was told %q, want %q", said, want)
	}
}

// heard returns what the worker was told since the last time.
func (w *fake) heard() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	said := w.said
	w.said = nil
	return said
}

func (w *fake) post(msg []byte) {
	if len(msg) <= wire.MaxFrame {
		w.raw.Post(msg, nil)
	} else {
		w.raw.PostBulk(msg)
	}
	w.raw.Flush()
	synctest.Wait()
}

// quick and slow are times of calls that make a function quick, and not.
const (
	quick = targetChunk
	slow  = 10 * time.Millisecond
)

// result is one result that the worker sends.
type result struct {
	status  byte
	logged  uint64
	payload []byte
}

func (w *fake) results(chunk uint64, first int, elapsed time.Duration, rs ...result) {
	msg := wire.AppendResults(nil, chunk, first, len(rs), elapsed)
	for _, r := range rs {
		msg = wire.AppendResult(msg, r.status, r.logged, len(r.payload))
		msg = append(msg, r.payload...)
	}
	w.post(msg)
}

// answer sends outputs.
func (w *fake) answer(chunk uint64, first int, outputs ...string) {
	var rs []result
	for _, o := range outputs {
		rs = append(rs, result{payload: []byte(o)})
	}
	w.results(chunk, first, time.Duration(len(rs))*slow, rs...)
}

// fail sends an error, with more flags of the status.
func (w *fake) fail(chunk uint64, index int, err error, flags byte) {
	w.results(chunk, index, slow, result{status: wire.StatusFailed | flags, payload: peer.EncodeError(err).Append(nil)})
}

func (w *fake) place(t wire.Type, chunk uint64, index int) {
	w.post(wire.AppendPlace(nil, t, wire.Place{Chunk: chunk, Index: index}))
}

// say sends a log record of a call.
func (w *fake) say(chunk uint64, index int, message string) {
	if w.notes == nil {
		s, err := w.raw.Open([]byte{wire.PurposeNotes}, mux.StreamOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		w.notes = s
	}
	item := append(wire.AppendPlace(nil, 0, wire.Place{Chunk: chunk, Index: index}), 0, 0)
	item = append(wire.AppendText(item, message), 0)
	if err := w.notes.Send(context.Background(), item, nil); err != nil {
		w.t.Fatal(err)
	}
}

// desk submits calls and keeps their outcomes.
type desk struct {
	t *testing.T
	d *Dispatcher

	mu     sync.Mutex
	ended  []string
	calls  map[string]*Call
	counts map[*Call]int
}

func newDesk(t *testing.T) *desk {
	return &desk{t: t, d: New(), calls: map[string]*Call{}, counts: map[*Call]int{}}
}

func (k *desk) Deliver(ds []Delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, x := range ds {
		text := fmt.Sprintf("%s=%s", name(x.Call), x.Output)
		var lost *Lost
		switch {
		case errors.As(x.Err, &lost):
			text = fmt.Sprintf("%s lost at %d", name(x.Call), lost.Attempt)
		case x.Err == ErrTimeout:
			text = name(x.Call) + " timeout"
		case x.Err != nil:
			text = fmt.Sprintf("%s error %v", name(x.Call), x.Err)
		}
		if x.Attempt != 1 && lost == nil {
			text += fmt.Sprint(" at ", x.Attempt)
		}
		k.ended = append(k.ended, text)
		if k.counts[x.Call]++; k.counts[x.Call] > 1 {
			k.t.Errorf("%s ended twice", name(x.Call))
		}
	}
}

func name(c *Call) string {
	if len(c.Input) > 20 {
		return fmt.Sprint(len(c.Input), "B")
	}
	return string(c.Input)
}

func (k *desk) call(s *Spec, input string) *Call {
	if s.Key == "" {
		s.Key, s.Name = keys[0], "f"
	}
	c := &Call{Spec: s, Input: []byte(input), To: k, ID: uint64(len(k.calls) + 1)}
	k.calls[input] = c
	return c
}

func (k *desk) submit(s *Spec, inputs ...string) {
	for _, input := range inputs {
		k.d.Submit(k.call(s, input))
	}
}

// expect checks which calls have ended since the last time.
func (k *desk) expect(want ...string) {
	k.t.Helper()
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if fmt.Sprint(k.ended) != fmt.Sprint(want) {
		k.t.Fatalf("ended %q, want %q", k.ended, want)
	}
	k.ended = nil
}

// settled checks that nothing is left of any call.
func (k *desk) settled() {
	k.t.Helper()
	synctest.Wait()
	if left := leftovers(k.d); left != "" {
		k.t.Fatal("left in the dispatcher: ", left)
	}
}

func leftovers(d *Dispatcher) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var left []string
	add := func(n int, what string) {
		if n != 0 {
			left = append(left, fmt.Sprint(n, " ", what))
		}
	}
	add(d.open, "open")
	add(len(d.resting), "resting")
	add(len(d.sources), "sources")
	queues := []*queue{&d.queue}
	for _, q := range d.seats {
		queues = append(queues, q)
	}
	for _, q := range queues {
		add(q.count, "queued")
		for i := range q.levels {
			for n := range q.levels[i].n {
				l := &q.levels[i]
				if c := l.ring[(l.head+n)&(len(l.ring)-1)]; c.state == queued {
					add(1, "in a ring")
				}
			}
		}
	}
	for _, l := range d.lanes {
		add(len(l.chunks), "chunks")
		add(len(l.held), "held")
		add(len(l.incoming), "incoming")
		add(l.calls, "calls on a lane")
		add(l.bytes, "bytes on a lane")
		add(l.large, "large on a lane")
		add(l.parked, "parked on a lane")
	}
	return strings.Join(left, ", ")
}
