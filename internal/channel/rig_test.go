package channel

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// limit is the size of the largest item in these tests.
const limit = 4 << 20

// rig is a worker with routines, and the link to it.
type rig struct {
	t      *testing.T
	caller *peer.Conn
	worker *peer.Conn
	notes  func(peer.Note)
}

// nobody is an end of a link that is not called.
type nobody struct{}

func (nobody) Calls(uint64, int, *wire.Reader, bool) error { return errors.New("no calls") }
func (nobody) Cancel(wire.Place, error)                    {}
func (nobody) Idle()                                       {}

// newRig makes a rig, which ends with the test.
func newRig(t *testing.T, routines ...Body) *rig {
	a, b := launch.Pipe()
	r := &rig{t: t, notes: func(peer.Note) {}}
	r.caller = peer.Dial(a, peer.Config{Callee: nobody{}, Initiator: true, Notes: func(n peer.Note) { r.notes(n) },
		Hello: wire.Hello{MaxItem: limit}})
	host := &Host{Limit: func() int64 { return limit }}
	for _, body := range routines {
		host.Functions = append(host.Functions, &registry.Function{Kind: registry.Routine, Name: "routine", Body: body})
	}
	host.Functions = append(host.Functions, &registry.Function{Name: "call"})
	base, end := context.WithCancelCause(context.Background())
	r.worker = peer.Dial(b, peer.Config{Callee: nobody{}, Closed: end,
		Stream: func(s *mux.Stream, _ byte, rest *wire.Reader) error { return host.Start(s, rest) }})
	host.Base, host.Conn = base, r.worker
	r.caller.Start()
	r.worker.Start()
	t.Cleanup(func() {
		_ = r.caller.Close()
		<-r.worker.Session().Done()
		r.caller.Wait(time.Minute)
		r.worker.Wait(time.Minute)
	})
	return r
}

// start starts the routine at an index.
func (r *rig) start(index int) *End { return r.startWith(&wire.Info{Function: index, Attempt: 1}) }

func (r *rig) startWith(info *wire.Info) *End {
	r.t.Helper()
	s, err := r.caller.Open(wire.AppendPurpose(nil, wire.PurposeRoutine, info), mux.StreamOptions{}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return New(s, Config{Name: "routine", Limit: limit, Conn: r.caller})
}

// started starts the only routine of a new rig.
func started(t *testing.T, body Body) (*rig, *End) {
	t.Helper()
	r := newRig(t, body)
	return r, r.start(0)
}

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// say sends items.
func say(t *testing.T, e *End, items ...string) {
	t.Helper()
	for _, item := range items {
		if err := e.Send(t.Context(), nil, []byte(item)); err != nil {
			t.Fatal(err)
		}
	}
}

// take returns the next item as a string.
func take(ctx context.Context, e *End) (string, error) {
	item, _, err := e.Take(ctx)
	if err != nil {
		return "", err
	}
	defer e.Release()
	return string(item), nil
}

// soon ends so late that whatever waits for it waits for ever.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// hear checks which items come next.
func hear(t *testing.T, e *End, items ...string) {
	t.Helper()
	ctx := soon(t)
	for _, want := range items {
		if got, err := take(ctx, e); err != nil || got != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	}
}

// endsWith checks that receiving, sending and waiting all give such an error.
func endsWith(t *testing.T, e *End, matches func(error) bool) {
	t.Helper()
	ctx := soon(t)
	_, received := take(ctx, e)
	for what, err := range map[string]error{
		"Take": received, "Send": e.Send(ctx, nil, []byte("late")), "Wait": e.Wait(ctx),
	} {
		if err == nil || !matches(err) {
			t.Errorf("%s: %v (%T)", what, err, err)
		}
	}
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// echo sends back what it receives, until no more comes.
func echo(ctx context.Context, e *End) error {
	for {
		item, err := take(ctx, e)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = e.Send(ctx, nil, []byte(item))
		}
		if err != nil {
			return err
		}
	}
}
