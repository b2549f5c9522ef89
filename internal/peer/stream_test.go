package peer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/wire"
)

// ends are both ends of a link that carries streams only.
type ends struct {
	caller, worker *Conn
	streams        chan *mux.Stream // that the worker was given
	stray          []Note           // that nobody listened to
}

func newEnds(t *testing.T) *ends {
	a, b := launch.Pipe()
	e := &ends{streams: make(chan *mux.Stream, 8)}
	l := &listener{}
	e.caller = Dial(a, Config{Callee: l, Caller: l, Initiator: true, Notes: func(n Note) { e.stray = append(e.stray, n) }})
	e.worker = Dial(b, Config{Callee: l, Stream: func(s *mux.Stream, purpose byte, rest *wire.Reader) error {
		if purpose != wire.PurposeRoutine {
			return errors.New("no such purpose")
		}
		e.streams <- s
		return nil
	}})
	e.caller.Start()
	e.worker.Start()
	t.Cleanup(func() {
		_ = e.caller.Close()
		<-e.worker.Session().Done()
		e.caller.Wait(time.Minute)
		e.worker.Wait(time.Minute)
	})
	return e
}

// open opens a stream of the caller's and returns both ends of it.
func (e *ends) open(t *testing.T, listen func(Note)) (here, there *mux.Stream) {
	t.Helper()
	here, err := e.caller.Open(wire.AppendPurpose(nil, wire.PurposeRoutine, &wire.Info{}), mux.StreamOptions{}, listen)
	if err != nil {
		t.Fatal(err)
	}
	return here, <-e.streams
}

func TestStreamsOfOtherPurposesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		s, err := e.caller.Open([]byte{wire.PurposeHandle}, mux.StreamOptions{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(t.Context()); !errors.Is(err, mux.ErrReset) || !strings.Contains(err.Error(), "no such purpose") {
			t.Errorf("the stream ended with %v", err)
		}
		s, err = e.worker.session.Open([]byte{wire.PurposeHandle}, mux.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(t.Context()); !errors.Is(err, mux.ErrReset) {
			t.Errorf("a caller that takes no streams: %v", err)
		}
	})
}

// TestNotesOfStreams: they go to who opened the stream with a listener, and to
// the link's when there is none.
func TestNotesOfStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		var heard []Note
		_, there := e.open(t, func(n Note) { heard = append(heard, n) })
		_, other := e.open(t, nil)
		info := &wire.Info{LogLevel: int(slog.LevelWarn)}
		r := NewRunning(context.Background(), e.worker, "routine", info, there.ID(), 7)
		if FromContext(r) != r || r.Info() != info || r.Conn() != e.worker || r.Place() != (wire.Place{}) {
			t.Error("the routine is not what it was made of")
		}
		if r.Enabled(slog.LevelInfo) || !r.Enabled(slog.LevelWarn) {
			t.Error("the level that the caller wants is not kept")
		}
		if err := r.Log(&Record{Message: "one"}); err != nil {
			t.Fatal(err)
		}
		r.Progress(1, 4)
		r.Progress(2, 4) // too soon after the other
		count := r.Logged()
		if count != 3 {
			t.Errorf("%d notes, want a record and two reports", count)
		}
		if err := NewRunning(context.Background(), e.worker, "other", info, other.ID(), 0).Log(&Record{Message: "stray"}); err != nil {
			t.Fatal(err)
		}
		e.caller.WaitNotes(t.Context(), count+1)
		if len(heard) != 3 || heard[0].Record.Message != "one" || heard[0].Request != 7 || heard[2].Done != 2 {
			t.Errorf("heard %+v", heard)
		}
		if len(e.stray) != 1 || e.stray[0].Stream != other.ID() {
			t.Errorf("stray notes %+v", e.stray)
		}
		e.caller.Unlisten(there.ID())
		if err := r.Log(&Record{Message: "late"}); err != nil {
			t.Fatal(err)
		}
		e.caller.WaitNotes(t.Context(), r.Logged())
		if len(e.stray) != 2 {
			t.Errorf("after Unlisten the link's listener heard %d", len(e.stray))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		e.caller.WaitNotes(ctx, 99) // never come
		if ctx.Err() == nil {
			t.Error("WaitNotes did not wait")
		}
	})
}

// TestWhatDoesNotRunInASlot: a routine's Park and Yield do nothing.
func TestWhatDoesNotRunInASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		_, there := e.open(t, nil)
		r := NewRunning(context.Background(), e.worker, "routine", &wire.Info{}, there.ID(), 0)
		r.Park()
		r.Yield()
		r.Unpark()
	})
}

func TestHowStreamsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		end   func(e *ends, s *mux.Stream)
		check func(error) bool
		cause func(error) bool // of the context of what runs on the other end
	}{
		"done": {func(_ *ends, s *mux.Stream) { Finish(s, wire.Ending{Logged: 3}, nil) },
			func(err error) bool { return err == io.EOF }, func(err error) bool { return err == ErrStreamClosed }},
		"failed": {func(_ *ends, s *mux.Stream) { Finish(s, wire.Ending{Code: wire.EndFailed}, io.ErrNoProgress) },
			func(err error) bool { f, ok := err.(*Fault); return ok && errors.Is(f, io.ErrNoProgress) },
			func(err error) bool { return errors.Is(err, ErrStreamClosed) }},
		"closed": {func(_ *ends, s *mux.Stream) {
			Finish(s, wire.Ending{Code: wire.EndClosed}, context.DeadlineExceeded)
		}, func(err error) bool {
			c, ok := err.(*Closed)
			return ok && errors.Is(err, context.DeadlineExceeded) && strings.Contains(c.Error(), "deadline")
		}, func(err error) bool {
			return errors.Is(err, context.Canceled) && errors.Is(err, context.DeadlineExceeded)
		}},
		"reset": {func(_ *ends, s *mux.Stream) { s.Reset("why") },
			func(err error) bool { _, ok := err.(*Lost); return ok && errors.Is(err, mux.ErrReset) },
			func(err error) bool { return errors.Is(err, mux.ErrReset) }},
		"link": {func(e *ends, _ *mux.Stream) { _ = e.caller.Close() },
			func(err error) bool { _, ok := err.(*Lost); return ok && errors.Is(err, io.ErrUnexpectedEOF) },
			func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"garbage": {func(_ *ends, s *mux.Stream) { s.Finish([]byte{9}) },
			func(err error) bool { _, ok := err.(*Lost); return ok && IsMalformed(err) }, IsMalformed},
		"garbage for a fault": {func(_ *ends, s *mux.Stream) { s.Finish([]byte{wire.EndFailed, 0, 0, 0xff}) },
			func(err error) bool { _, ok := err.(*Lost); return ok && IsMalformed(err) }, IsMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEnds(t)
				here, there := e.open(t, nil)
				ctx, cancel := StreamContext(context.Background(), there, 0)
				defer cancel(nil)
				test.end(e, here)
				_, err := there.Recv(t.Context())
				end, how := Ended(err)
				if !test.check(how) {
					t.Errorf("ended with %T: %v", how, how)
				}
				if name == "done" && end.Logged != 3 {
					t.Errorf("the ending is %+v", end)
				}
				<-ctx.Done()
				if cause := context.Cause(ctx); !test.cause(cause) {
					t.Errorf("the context ended because of %v", cause)
				}
			})
		})
	}
}

// TestStreamContextHasTheTimeThatIsLeft and ends when what it is for has
// returned, without waiting for the stream.
func TestStreamContextHasTheTimeThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(t)
		_, there := e.open(t, nil)
		ctx, cancel := StreamContext(context.Background(), there, time.Minute)
		defer cancel(nil)
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Errorf("ended with %v", context.Cause(ctx))
		}
		ctx, cancel = StreamContext(context.Background(), there, 0)
		cancel(ErrReturned)
		if context.Cause(ctx) != ErrReturned {
			t.Errorf("ended with %v", context.Cause(ctx))
		}
	})
}

// TestEndingsFit: whatever the error, the ending of a stream has room for it.
func TestEndingsFit(t *testing.T) {
	for name, err := range map[string]error{
		"small": io.EOF,
		"long":  errors.New(strings.Repeat("é", 1<<20)),
		"typed": manyTyped(),
		"panic": func() (err error) {
			Guard(func() error { panic(strings.Repeat("p", 1<<20)) }, func(e error) { err = e })
			return err
		}(),
	} {
		b := EncodeShort(err)
		if len(b) > maxEnding {
			t.Errorf("%s: %d bytes", name, len(b))
		}
		if f, err := DecodeError(b); err != nil || f.Message == "" {
			t.Errorf("%s: became %v, %v", name, f, err)
		}
	}
}

// bulky is an error whose fields take up much room.
type bulky struct{ Text string }

func (b *bulky) Error() string { return "bulky" }

func manyTyped() error {
	if err := RegisterErrorType[*bulky]("peer_test.bulky"); err != nil {
		return err
	}
	return errors.Join(&bulky{strings.Repeat("b", 30<<10)}, &bulky{strings.Repeat("c", 30<<10)})
}

// TestGuard: done hears of every way in which a function can end.
func TestGuard(t *testing.T) {
	wrong := errors.New("wrong")
	for name, test := range map[string]struct {
		f     func() error
		check func(error) bool
	}{
		"nil":   {func() error { return nil }, func(err error) bool { return err == nil }},
		"error": {func() error { return wrong }, func(err error) bool { return err == wrong }},
		"panic": {func() error { panic(wrong) }, func(err error) bool {
			f := FaultOf(err)
			return f.Panic && f.Message == "wrong" && strings.Contains(f.Stack, "TestGuard")
		}},
		"exit": {func() error { runtime.Goexit(); return nil }, func(err error) bool {
			f := FaultOf(err)
			return f.Panic && f.Type == "runtime.Goexit"
		}},
	} {
		got := make(chan error, 2)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			Guard(test.f, func(err error) { got <- err })
		}()
		<-gone
		if err := <-got; !test.check(err) || len(got) != 0 {
			t.Errorf("%s: done heard %v, and %d times more", name, err, len(got))
		}
	}
}
