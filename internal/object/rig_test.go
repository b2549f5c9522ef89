package object

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/codec"
	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/member"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// thing is the object of these tests. Its method work does what its input says:
//
//	"say x" returns x                 "gate x" waits for what the test sends on x
//	"wait x" waits for the context     "fail x", "panic x", "exit" do not return
//	"log x" logs x                     "size n" returns n bytes
//
// and notes in its journal when it begins and ends.
type thing struct {
	Total   int
	journal *journal
}

// journal is what things do, in order.
type journal struct {
	mu     sync.Mutex
	lines  []string
	gates  map[string]chan string
	active int
	most   int // that ran at a time
}

func (j *journal) write(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// gate returns the channel of a name.
func (j *journal) gate(name string) chan string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.gates[name] == nil {
		j.gates[name] = make(chan string)
	}
	return j.gates[name]
}

func (j *journal) enter(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.active += n
	j.most = max(j.most, j.active)
}

func (th *thing) work(ctx context.Context, input string) (string, error) {
	th.journal.write("begin %s", cut(input))
	th.journal.enter(1)
	defer th.journal.write("end %s", cut(input))
	defer th.journal.enter(-1)
	verb, rest, _ := strings.Cut(input, " ")
	switch verb {
	case "gate":
		return <-th.journal.gate(rest), nil
	case "wait":
		<-ctx.Done()
		th.journal.write("%s: %v", rest, context.Cause(ctx))
		return "", context.Cause(ctx)
	case "fail":
		return "", errors.New(rest)
	case "panic":
		panic(rest)
	case "exit":
		runtime.Goexit()
	case "log":
		logTo(ctx, rest)
	case "size":
		var n int
		_, err := fmt.Sscan(rest, &n)
		return strings.Repeat("x", n), err
	}
	return rest, nil
}

func cut(s string) string { return s[:min(len(s), 20)] }

func logTo(ctx context.Context, text string) {
	_ = peer.FromContext(ctx).Log(&peer.Record{Message: text}) // the link may be gone
}

// Close ends a thing.
func (th *thing) Close() error {
	th.journal.write("close")
	return nil
}

// Add is a method that is found by its name.
func (th *thing) Add(n int) (int, error) {
	th.Total += n
	return th.Total, nil
}

// Positions of the functions of these tests.
const (
	classThing = iota
	classConcurrent
	methodWork
)

func (j *journal) functions() []*registry.Function {
	construct := func(ctx context.Context, argument []byte) (any, error) {
		th := &thing{journal: j}
		if len(argument) == 0 {
			return th, nil
		}
		if string(argument) == "nil" {
			return nil, nil
		}
		_, err := th.work(ctx, string(argument))
		return th, err
	}
	class := func(concurrent bool) *Class {
		return &Class{Construct: construct, Concurrent: concurrent, Members: member.Of(reflect.TypeFor[*thing]())}
	}
	work := func(ctx context.Context, obj any, input, dst []byte) ([]byte, error) {
		out, err := obj.(*thing).work(ctx, string(input))
		return append(dst, out...), err
	}
	return []*registry.Function{{Kind: registry.Class, Name: "thing", Body: class(false)},
		{Kind: registry.Class, Name: "concurrent thing", Body: class(true)},
		{Kind: registry.Method, Name: "work", Body: Method(work)}}
}

func init() { peer.RegisterError("afar.ErrUnknownFunction", registry.ErrUnknown) }

// nobody is an end of a link that is not called.
type nobody struct{}

func (nobody) Calls(uint64, int, *wire.Reader, bool) error { return errors.New("no calls") }
func (nobody) Cancel(wire.Place, error)                    {}
func (nobody) Idle()                                       {}

// rig is a host in a worker, and its caller.
type rig struct {
	*journal
	t      testing.TB
	caller *peer.Conn
	worker *peer.Conn
	home   *handle.Home // of the worker
	host   *Host

	notesMu sync.Mutex
	notes   []string // that came to nobody in particular
	onNote  func(string)
}

const testLimit = 4 << 20 // bytes of an item

func newRig(t testing.TB) *rig {
	a, b := launch.Pipe()
	r := &rig{t: t, journal: &journal{gates: map[string]chan string{}}, home: handle.NewWorker("worker"), onNote: func(string) {}}
	root := handle.NewRoot("root")
	r.caller = peer.Dial(a, peer.Config{Callee: nobody{}, Initiator: true, Notes: func(n peer.Note) { r.note("nobody", n) },
		Hello: wire.Hello{Home: root.Below(), MaxItem: testLimit}})
	base, end := context.WithCancelCause(context.Background())
	r.host = &Host{Base: base, Home: r.home, Functions: r.functions(), Limit: func() int64 { return testLimit }}
	r.worker = peer.Dial(b, peer.Config{Callee: nobody{}, Closed: end,
		Greeted: func(h *wire.Hello) {
			r.home.Settle(h.Home, r.worker)
			r.worker.Session().SetMaxMessage(testLimit + 1<<20)
		},
		Stream: func(s *mux.Stream, purpose byte, rest *wire.Reader) error {
			if purpose == wire.PurposeObject {
				return r.host.Create(s, rest)
			}
			return r.home.Accept(s, rest)
		}})
	r.host.Conn = r.worker
	r.caller.Start()
	r.worker.Start()
	if _, err := r.caller.Hello(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	_ = r.caller.Close()
	<-r.worker.Session().Done()
	r.caller.Wait(time.Minute)
	r.worker.Wait(time.Minute)
}

func (r *rig) note(who string, n peer.Note) {
	text := who + ": progress"
	if n.Record != nil {
		text = who + ": " + n.Record.Message
	}
	r.onNote(text)
	r.notesMu.Lock()
	defer r.notesMu.Unlock()
	r.notes = append(r.notes, text)
}

func (r *rig) noted() []string {
	r.notesMu.Lock()
	defer r.notesMu.Unlock()
	return slices.Clone(r.notes)
}

func (r *rig) create(ctx context.Context, class int, argument string) (*Handle, error) {
	return Create(ctx, r.caller, "thing", &wire.Info{Function: class, Attempt: 1}, []byte(argument), testLimit,
		func(n peer.Note) { r.note("maker", n) })
}

// make makes an object that is closed at the end of the test.
func (r *rig) make(class int) *Handle {
	r.t.Helper()
	h, err := r.create(context.Background(), class, "")
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// bound returns another handle on an object, as a holder in another process has.
func (r *rig) bound(h *Handle) *Handle {
	r.t.Helper()
	s, err := r.bind(h.Token())
	if err != nil {
		r.t.Fatal(err)
	}
	return Bound(s, "bound", 0)
}

func (r *rig) bind(token string) (*mux.Stream, error) {
	caller := handle.NewWorker("holder") // whose way to the object is the same link
	to := r.home.Handle(token, "thing", 0)
	caller.Settle([]string{to.Path[0], "holder"}, r.caller)
	s, _, err := caller.Bind(context.Background(), to)
	return s, err
}

// do calls work.
func do(ctx context.Context, h *Handle, input string) (string, error) {
	reply, err := h.Do(ctx, &wire.Request{Op: wire.OpCall, Info: &wire.Info{Function: methodWork}}, []byte(input), nil)
	return string(reply.Payload), err
}

// result is what a call returned.
type result struct {
	out string
	err error
}

// start calls work in the background.
func start(ctx context.Context, h *Handle, input string) <-chan result {
	c := make(chan result, 1)
	go func() {
		out, err := do(ctx, h, input)
		c <- result{out, err}
	}()
	synctest.Wait()
	return c
}

// said checks what things have done until now.
func (r *rig) said(want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.lines, want) {
		r.t.Fatalf("journal\n got %q\nwant %q", r.lines, want)
	}
}

// lives checks that the link is there and that objects can be made and used.
func (r *rig) lives() {
	r.t.Helper()
	if err := r.caller.Session().Err(); err != nil {
		r.t.Fatalf("the link has ended: %v", err)
	}
	h := r.make(classThing)
	if out, err := do(context.Background(), h, "say hello"); out != "hello" || err != nil {
		r.t.Fatalf("another object: %q, %v", out, err)
	}
	h.Close(nil)
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	b, err := codec.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bubble runs a test in which time stands still.
func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newRig(t)) })
}

// fault returns the fault that an error is.
func fault(t testing.TB, err error) *peer.Fault {
	t.Helper()
	f, ok := err.(*peer.Fault)
	if !ok {
		t.Fatalf("not a fault: %T %v", err, err)
	}
	return f
}
