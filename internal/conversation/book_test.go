package conversation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/channel"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/object"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/wire"
)

// functions are what the worker of these tests knows.
var functions = []*registry.Function{
	{Kind: registry.Routine, Name: "listen", Body: channel.Body(listen)},
	{Kind: registry.Class, Name: "thing", Body: &object.Class{Construct: func(context.Context, []byte) (any, error) { return new(int), nil }}},
}

// listen ends when its caller says no more, with the last item as its error.
func listen(ctx context.Context, e *channel.End) error {
	last := ""
	for {
		item, _, err := e.Take(ctx)
		if err == io.EOF && last != "" {
			return errors.New(last)
		} else if err != nil {
			return nil
		}
		last = string(item)
		e.Release()
	}
}

// nobody is an end of a link that is not called.
type nobody struct{}

func (nobody) Calls(uint64, int, *wire.Reader, bool) error { return errors.New("no calls") }
func (nobody) Cancel(wire.Place, error)                    {}
func (nobody) Idle()                                       {}

// rig is a gateway's book and the link to a worker.
type rig struct {
	t    *testing.T
	book Book
	conn *peer.Conn
	log  bytes.Buffer
}

func newRig(t *testing.T) *rig {
	a, b := launch.Pipe()
	r := &rig{t: t}
	root := handle.NewRoot("root")
	r.conn = peer.Dial(a, peer.Config{Callee: nobody{}, Initiator: true, Stream: Passage(root),
		Hello: wire.Hello{Home: root.Below(), MaxItem: 1 << 20}, Notes: func(peer.Note) {}})
	host := NewHost(handle.NewWorker("worker"))
	worker := peer.Dial(b, peer.Config{Callee: nobody{}, Greeted: host.Greeted, Stream: host.Stream})
	base, end := context.WithCancel(context.Background())
	host.Bind(base, worker, functions)
	r.conn.Start()
	worker.Start()
	t.Cleanup(func() {
		_ = r.conn.Close()
		<-worker.Session().Done()
		end()
		r.conn.Wait(time.Minute)
		worker.Wait(time.Minute)
		r.book.End()
	})
	return r
}

func (r *rig) talk() *Talk {
	return &Talk{Worker: "w-1", Book: &r.book, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Fault: func(f *peer.Fault) error { return fmt.Errorf("remote: %w", f) }}
}

// channel begins a conversation with the routine.
func (r *rig) channel(ctx context.Context) *Talk {
	r.t.Helper()
	s, err := r.conn.Open(wire.AppendPurpose(nil, wire.PurposeRoutine, &wire.Info{Attempt: 1}), mux.StreamOptions{}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	t := r.talk()
	t.Name, t.Channel = "listen", channel.New(s, channel.Config{Name: "listen", Conn: r.conn})
	t.Begin(ctx, func() {})
	return t
}

func (r *rig) object() *Talk {
	r.t.Helper()
	t := r.talk()
	t.Name = "thing"
	h, err := object.Create(context.Background(), r.conn, "thing", &wire.Info{Function: 1, Attempt: 1}, nil, 0, func(peer.Note) {})
	if err != nil {
		r.t.Fatal(err)
	}
	t.Object = h
	t.Begin(context.Background(), func() {})
	return t
}

// fail has the routine end with an error.
func (r *rig) fail(t *Talk) {
	r.t.Helper()
	if err := t.Channel.Send(context.Background(), []byte("wrong"), nil); err != nil {
		r.t.Fatal(err)
	}
	t.Channel.CloseSend()
	<-t.Channel.Done()
	synctest.Wait()
}

// logged checks how often an unreceived error was logged.
func (r *rig) logged(want int) {
	r.t.Helper()
	synctest.Wait()
	if got := strings.Count(r.log.String(), "nobody received"); got != want {
		r.t.Fatalf("%d errors were logged, want %d: %s", got, want, r.log.String())
	}
}

func TestBookOfWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		first, thing := r.channel(t.Context()), r.object()
		time.Sleep(time.Second)
		second := r.channel(t.Context())
		var seen []*Talk
		r.book.Range(func(t *Talk, up time.Duration) {
			seen = append(seen, t)
			if (up >= time.Second) == (t == second) {
				r.t.Errorf("%s has been open for %v", t.Name, up)
			}
		})
		if len(seen) != 3 || seen[0] != first || seen[1] != thing || seen[2] != second || r.book.Open() != 3 {
			t.Fatalf("the book has %v", seen)
		}
		first.Close(dispatch.ErrClosed)
		thing.Close(dispatch.ErrClosed)
		synctest.Wait()
		if r.book.Open() != 1 {
			t.Errorf("%d are open", r.book.Open())
		}
		second.Close(dispatch.ErrClosed)
		r.logged(0)
	})
}

// TestDrain: channels hold it up, objects do not.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if err := r.book.Drain(t.Context()); err != nil {
			t.Errorf("an empty book: %v", err)
		}
		r.object()
		open := r.channel(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.book.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 channels open") {
			t.Errorf("with a channel open: %v", err)
		}
		time.AfterFunc(time.Minute, open.Channel.CloseSend)
		if err := r.book.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestUnreceivedErrors are logged once, at the first occasion; received ones
// are not.
func TestUnreceivedErrors(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(r *rig, talk *Talk, cancel func())
		want int
	}{
		"closed":            {func(_ *rig, talk *Talk, _ func()) { talk.Close(dispatch.ErrClosed) }, 1},
		"closed and again":  {func(_ *rig, talk *Talk, _ func()) { talk.Close(dispatch.ErrClosed); talk.Close(dispatch.ErrClosed) }, 1},
		"dropped":           {func(_ *rig, talk *Talk, _ func()) { talk.Abandon() }, 1},
		"context":           {func(_ *rig, _ *Talk, cancel func()) { cancel() }, 1},
		"pool closed":       {func(r *rig, _ *Talk, _ func()) { _ = r.conn.Close(); r.book.End() }, 1},
		"received":          {func(r *rig, talk *Talk, _ func()) { talk.Seen(); talk.Close(dispatch.ErrClosed); r.book.End() }, 0},
		"dropped, received": {func(_ *rig, talk *Talk, _ func()) { talk.Seen(); talk.Abandon() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				talk := r.channel(ctx)
				r.fail(talk)
				r.logged(0)
				test.end(r, talk, cancel)
				r.logged(test.want)
				if len(r.book.failed) != 0 {
					t.Errorf("the book still has %d", len(r.book.failed))
				}
			})
		})
	}
}

// TestContextEndsConversations and what is dropped open is ended, with a word.
func TestContextEndsConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		talk := r.channel(ctx)
		cancel(errors.New("enough"))
		if err := talk.Channel.Wait(t.Context()); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "enough") {
			t.Errorf("ended with %v", err)
		}
		dropped := r.object()
		dropped.Abandon()
		<-dropped.Object.Done()
		synctest.Wait()
		if r.book.Open() != 0 || !strings.Contains(r.log.String(), "never closed") {
			t.Errorf("%d open, log %s", r.book.Open(), r.log.String())
		}
	})
}

// TestHostRefuses what it does not have, and a caller what workers may not open.
func TestHostRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for name, purpose := range map[string][]byte{
			"unknown purpose": {77},
			"no info":         {wire.PurposeRoutine},
			"not a routine":   wire.AppendPurpose(nil, wire.PurposeRoutine, &wire.Info{Function: 1}),
			"not a class":     wire.AppendPurpose(nil, wire.PurposeObject, &wire.Info{}),
			"no function":     wire.AppendPurpose(nil, wire.PurposeObject, &wire.Info{Function: 9}),
			"no handle":       {wire.PurposeHandle},
		} {
			s, err := r.conn.Open(purpose, mux.StreamOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(t.Context()); !errors.Is(err, mux.ErrReset) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := Passage(handle.NewRoot("r"))(nil, wire.PurposeRoutine, nil); err == nil {
			t.Error("a caller took a routine")
		}
	})
}
