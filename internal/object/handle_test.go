package object

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// fake is a worker whose host is the test itself.
type fake struct {
	t      testing.TB
	caller *peer.Conn
	worker *peer.Conn
}

// newFake returns a worker that gives the streams for objects to host, which the
// link's reader calls.
func newFake(t testing.TB, host func(*mux.Stream)) *fake {
	a, b := launch.Pipe()
	f := &fake{t: t}
	f.caller = peer.Dial(a, peer.Config{Callee: nobody{}, Initiator: true, Notes: func(peer.Note) {}})
	f.worker = peer.Dial(b, peer.Config{Callee: nobody{}, Stream: func(s *mux.Stream, _ byte, _ *wire.Reader) error {
		host(s)
		return nil
	}})
	f.caller.Start()
	f.worker.Start()
	if _, err := f.caller.Hello(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.caller.Close()
		<-f.worker.Session().Done()
		f.caller.Wait(time.Minute)
		f.worker.Wait(time.Minute)
	})
	return f
}

func (f *fake) create(ctx context.Context) (*Handle, error) {
	return Create(ctx, f.caller, "thing", &wire.Info{}, []byte("argument"), 0, func(peer.Note) {})
}

// send sends items, as long as the stream lasts.
func send(s *mux.Stream, items ...string) {
	for _, item := range items {
		_ = s.SendNow(context.Background(), []byte(item), nil)
	}
}

// token is the first item of a host that made an object.
var token = replyTo(0, "token")

func replyTo(id uint64, payload string) string {
	p := wire.Reply{ID: id}
	return string(p.AppendHead(nil)) + payload
}

// Whatever a host says in place of a token and replies ends the handle with an
// error that says so, and nothing else.
func TestHandleOfHostileHost(t *testing.T) {
	finish := func(payload string) func(*mux.Stream) { return func(s *mux.Stream) { s.Finish([]byte(payload)) } }
	for name, x := range map[string]struct {
		items []string
		then  func(*mux.Stream)
		want  string // of Create's error or a call's
	}{
		"empty token":         {items: []string{replyTo(0, "")}, want: "object without a token"},
		"nothing":             {items: []string{""}, want: "bad number"},
		"another's token":     {items: []string{replyTo(1, "x")}, want: "object without a token"},
		"failed token":        {items: []string{"\x00\x01x"}, want: "object without a token"},
		"empty token, twice":  {items: []string{replyTo(0, ""), replyTo(0, "")}, then: finish("\x00\x00\x00"), want: "object without a token"},
		"end for a token":     {then: (*mux.Stream).End, want: "the host ended"},
		"reset for a token":   {then: func(s *mux.Stream) { s.Reset("no") }, want: "reset by the far side: no"},
		"no ending":           {then: finish(""), want: "message ends early"},
		"unknown ending":      {then: finish("\x07\x00\x00"), want: "unknown ending"},
		"done for a token":    {then: finish("\x00\x00\x00"), want: "the host ended"},
		"fault of garbage":    {then: finish("\x01\x00\x00garbage"), want: "malformed"},
		"garbage for a reply": {items: []string{token, "\x01\xff"}, want: "unknown flag"},
		"empty reply":         {items: []string{token, ""}, want: "bad number"},
		"type of no length":   {items: []string{token, "\x01\x08\xff"}, want: "malformed"},
		"garbage for a fault": {items: []string{token, "\x01\x01garbage"}, want: "malformed"},
		"end for a reply":     {items: []string{token}, then: (*mux.Stream).End, want: "the host ended"},
		"done for a reply":    {items: []string{token}, then: finish("\x00\x00\x00"), want: "the host ended"},
		"unasked replies":     {items: []string{token, replyTo(0, ""), replyTo(2, ""), replyTo(99, "x")}, then: func(s *mux.Stream) { s.Reset("no") }, want: "reset"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, func(s *mux.Stream) {
					go func() {
						for i, item := range x.items {
							if i == 1 && x.items[0] == token {
								_, _ = s.Recv(context.Background()) // a request
							}
							send(s, item)
							if i == 0 {
								_, _ = s.Recv(context.Background()) // the argument
							}
						}
						if len(x.items) == 1 && x.items[0] == token {
							_, _ = s.Recv(context.Background())
						}
						if x.then != nil {
							x.then(s)
						}
					}()
				})
				h, err := f.create(t.Context())
				if err == nil {
					_, err = do(t.Context(), h, "say")
				}
				if err == nil || !strings.Contains(err.Error(), x.want) {
					t.Errorf("%v, want %s", err, x.want)
				}
				if h != nil && h.Err() != nil {
					if _, again := do(t.Context(), h, "say"); again != h.Err() {
						t.Errorf("afterwards %v, first %v", again, h.Err())
					}
				}
				if err := f.caller.Session().Err(); err != nil {
					t.Errorf("the link has ended: %v", err)
				}
			})
		})
	}
}

// Of two replies to one request the first counts, also when it waits for notes.
func TestSecondReplyIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := wire.Reply{ID: 1, Status: wire.StatusLogged, Logged: 1 << 60}
		f := newFake(t, func(s *mux.Stream) {
			go func() {
				send(s, token)
				for range 2 { // the argument and a call
					_, _ = s.Recv(context.Background())
				}
				send(s, string(late.AppendHead(nil))+"late", replyTo(1, "second"))
				_, _ = s.Recv(context.Background())
				send(s, replyTo(2, "ok"), replyTo(2, "again"), replyTo(2, "again"))
			}()
		})
		h, err := f.create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first := start(t.Context(), h, "say 1")
		if out, err := do(t.Context(), h, "say 2"); out != "ok" || err != nil {
			t.Errorf("%q, %v", out, err)
		}
		synctest.Wait()
		if h.Open() != 1 {
			t.Errorf("%d open", h.Open())
		}
		f.worker.Session().Fail(errors.New("gone")) // no more notes will come: the reply counts
		if got := <-first; got.out != "late" || got.err != nil {
			t.Error(got)
		}
	})
}

// A handle may end while it is being opened, by whomever and in whatever moment.
func TestCreateMeetsTheEnd(t *testing.T) {
	for name, host := range map[string]func(*mux.Stream){
		"reset":   func(s *mux.Stream) { s.Reset("no") },
		"finish":  func(s *mux.Stream) { peer.Finish(s, wire.Ending{Code: wire.EndFailed}, errors.New("no")) },
		"token":   func(s *mux.Stream) { go send(s, token) },
		"garbage": func(s *mux.Stream) { go send(s, token, "\xff") },
		"empty":   func(s *mux.Stream) { go send(s, "", "", "") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, host)
			var wg sync.WaitGroup
			for i := range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				wg.Go(func() {
					h, err := f.create(ctx)
					if (h == nil) != (err != nil) {
						t.Errorf("%v, %v", h, err)
					}
					if h != nil {
						h.Close(nil)
					}
				})
				if i%2 == 0 {
					cancel()
				}
				defer cancel()
			}
			wg.Wait()
		})
	}
	// The link ends while streams are opened on it.
	for range 50 {
		f := newFake(t, func(*mux.Stream) {})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				var lost *peer.Lost
				if _, err := f.create(t.Context()); !errors.As(err, &lost) {
					t.Errorf("%T %v", err, err)
				}
			})
		}
		f.caller.Session().Fail(errors.New("gone"))
		wg.Wait()
	}
}

// A large request whose caller gives up is sent to its end all the same, and then
// canceled: an item that was cut would end the stream, and with it the object.
func TestLargeRequestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan []byte, 10)
		goOn := make(chan struct{})
		f := newFake(t, func(s *mux.Stream) {
			go func() {
				send(s, token)
				_, _ = s.Recv(context.Background())
				<-goOn
				for {
					item, err := s.Recv(context.Background())
					if err != nil {
						return
					}
					got <- item
				}
			}()
		})
		h, err := f.create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		input := strings.Repeat("x", 3<<20)
		call := start(ctx, h, input)
		enough := errors.New("enough")
		cancel(enough)
		if r := <-call; r.err != enough {
			t.Error(r)
		}
		close(goOn)
		q, err := wire.ParseRequest(<-got)
		if err != nil || q.Op != wire.OpCall || len(q.Input) != len(input) {
			t.Fatalf("%+v, %v", q, err)
		}
		c, err := wire.ParseRequest(<-got)
		if err != nil || c.Op != wire.OpCancel || c.ID != q.ID {
			t.Fatalf("%+v, %v", c, err)
		}
		if why, err := peer.DecodeError(c.Input); err != nil || why.Message != "enough" {
			t.Errorf("%v, %v", why, err)
		}
		if h.Err() != nil || h.Open() != 1 {
			t.Errorf("%v, %d open", h.Err(), h.Open())
		}
		h.Close(nil)
	})
}

// Log records go to who waits for the request that they are of, before its reply;
// what comes later, or is of nobody's, goes to who made the object.
func TestNotes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h, err := r.create(t.Context(), classThing, "log made")
		if err != nil {
			t.Fatal(err)
		}
		work := func(ctx context.Context, input string) error {
			_, err := h.Do(ctx, &wire.Request{Op: wire.OpCall, Info: &wire.Info{Function: methodWork}}, []byte(input),
				func(n peer.Note) { r.note("own", n) })
			return err
		}
		if got := r.noted(); len(got) != 1 {
			t.Errorf("made before its records were handled: %q", got)
		}
		_ = work(t.Context(), "log first")
		_, _ = do(t.Context(), h, "log second")
		_, _ = do(t.Context(), r.bound(h), "log third")
		want := []string{"maker: made", "own: first", "maker: second", "nobody: third"}
		synctest.Wait()
		if got := r.noted(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// A reply waits until the records before it were handled, and so does a
// constructor's error.
func TestNotesComeFirst(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		open := make(chan struct{})
		r.onNote = func(string) { <-open }
		call := start(t.Context(), h, "log slow")
		select {
		case got := <-call:
			t.Errorf("%v before its record was handled", got)
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := do(ctx, h, "log slower"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		close(open)
		if got := <-call; got.err != nil {
			t.Error(got)
		}
	})
}

// Who watches over a handle hears of its end, also when that was before.
func TestOnOver(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		h := r.make(classThing)
		for _, end := range []func(*Handle){func(b *Handle) { b.Close(nil) }, func(*Handle) { h.Close(nil) }} {
			heard := 0
			b := r.bound(h)
			b.OnOver(func() { heard++ })
			end(b)
			end(b)
			synctest.Wait()
			if heard != 1 {
				t.Errorf("heard of the end %d times", heard)
			}
			b.OnOver(func() { heard++ })
			if heard != 2 {
				t.Error("not heard of an end that was before")
			}
		}
	})
}

// Many callers with requests of all sizes, some of which give up.
func TestHandleUnderLoad(t *testing.T) {
	r := newRig(t)
	h := r.make(classConcurrent)
	handles := []*Handle{h, r.bound(h), r.make(classThing)}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				want := strings.Repeat(fmt.Sprint(i%10), 1+(i*7919+j*104729)%(300<<10))
				if j%5 == 0 {
					go cancel()
				}
				out, err := do(ctx, handles[(i+j)%3], "say "+want)
				if err != nil && err != context.Canceled || err == nil && out != want {
					t.Errorf("%d bytes of %d, %v", len(out), len(want), err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	for _, h := range handles {
		if out, err := do(t.Context(), h, "say done"); out != "done" || err != nil {
			t.Errorf("%q, %v", out, err)
		}
	}
	r.lives()
}
