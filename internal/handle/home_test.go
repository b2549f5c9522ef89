package handle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// unreachable checks that a handle cannot be bound, and what the error says.
func unreachable(t *testing.T, from *Home, to *wire.Handle, want ...string) {
	t.Helper()
	s, _, err := from.Bind(t.Context(), to)
	if s != nil || !errors.Is(err, ErrUnreachable) {
		t.Fatalf("%v, %v", s, err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v: nothing of %q", err, w)
		}
	}
}

// What is closed, gone, or was never within reach is a clear error that names what
// it is and where it was, from wherever it is asked for.
func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, other := newTree(t), newTree(t)
		_, foreign := other.offer("a")
		for _, from := range []string{"root", "a", "b", "c"} {
			for _, at := range []string{"root", "a", "b", "c"} {
				_, h := r.offer(at)
				if at == "root" && from == "root" {
					_, here, err := r.root.Local(h)
					if !here || err != nil {
						t.Errorf("what is here: %v, %v", here, err)
					}
				} else if _, _, err := r.home(from).Bind(t.Context(), h); err != nil {
					t.Errorf("from %s to %s: %v", from, at, err)
				}
				r.home(at).Withdraw(h.Token)
				label := r.home(at).label
				unreachable(t, r.home(from), h, "Thing", label, "closed")
				h.Token = "guess"
				unreachable(t, r.home(from), h, "closed")
			}
			unreachable(t, r.home(from), foreign, "Thing", "worker a", "none of this program's processes", r.home(from).label)
			// A worker that never was.
			unreachable(t, r.home(from), &wire.Handle{Path: append(r.root.Below(), "x"), Type: "Thing", Label: "nowhere"}, "Thing", "nowhere", "gone")
		}
		unreachable(t, NewWorker("unsettled"), foreign, "unsettled")
	})
}

// A worker that is gone is a clear error, before and while a handle is bound.
func TestWorkerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTree(t)
		x, h := r.offer("b")
		x.silent = true
		failed := make(chan error, 2)
		for _, from := range []string{"root", "a"} {
			go func() {
				_, _, err := r.home(from).Bind(t.Context(), h)
				failed <- err
			}()
			<-x.streams
		}
		b := r.workers["b"]
		b.own.Session().Fail(errors.New("killed"))
		for range cap(failed) {
			if err := <-failed; !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "worker b was cut") {
				t.Error(err)
			}
		}
		for _, from := range []string{"root", "a"} {
			unreachable(t, r.home(from), h, "worker b was cut")
		}
		r.root.Leave(b.path)
		for _, from := range []string{"root", "a"} {
			unreachable(t, r.home(from), h, "Thing", "gone", "worker b")
		}
		_, c := r.offer("a")
		r.workers["a"].above.Session().Fail(errors.New("killed"))
		synctest.Wait()
		unreachable(t, r.home("a"), c)
	})
}

func TestBindGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTree(t)
		x, h := r.offer("b")
		x.silent = true
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		time.AfterFunc(time.Second, func() { cancel(enough) })
		if _, _, err := r.home("a").Bind(ctx, h); err != enough {
			t.Error(err)
		}
		owner := <-x.streams
		if _, how := ended(t, owner); how.Error() != "EOF" {
			t.Error(how)
		}
	})
}

// What an owner says in place of a welcome.
func TestBadWelcome(t *testing.T) {
	for name, x := range map[string]struct {
		say  func(*mux.Stream)
		want string
	}{
		"an end":     {func(s *mux.Stream) { s.End() }, "an end in place of a welcome"},
		"a refusal":  {func(s *mux.Stream) { refuse(s, errors.New("not you")) }, "not you"},
		"a reset":    {func(s *mux.Stream) { s.Reset("go away") }, "go away"},
		"no ending":  {func(s *mux.Stream) { s.Finish([]byte("garbage")) }, "malformed"},
		"well ended": {func(s *mux.Stream) { s.Finish([]byte{0, 0, 0}) }, "EOF"},
	} {
		for _, from := range []string{"root", "a", "c"} {
			t.Run(name+" to "+from, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newTree(t)
					e, h := r.offer("b")
					e.silent = true
					go func() { x.say(<-e.streams) }()
					unreachable(t, r.home(from), h, x.want)
				})
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := newTree(t)
		e, h := r.offer("b")
		e.refuse = fmt.Errorf("%w: busy", ErrUnreachable)
		unreachable(t, r.home("a"), h, "busy")
		r.alive()
	})
}

// Purposes of streams that are no handles, or handles of nonsense.
func TestHandlesOfGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTree(t)
		_, h := r.offer("b")
		good := h.Append(nil)
		for _, purpose := range []string{"", "\x00", "\xff\xff", string(good) + "x", string(good[:len(good)-1]), strings.Repeat("\x01", 60_000)} {
			for _, conn := range []*peer.Conn{r.workers["a"].own, r.workers["b"].above} {
				s, err := conn.Session().Open([]byte("\x04"+purpose), mux.StreamOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Recv(t.Context()); !errors.Is(err, mux.ErrReset) {
					t.Errorf("%.20q: %v", purpose, err)
				}
			}
		}
		huge := *h
		huge.Token = strings.Repeat("x", 70_000)
		unreachable(t, r.root, &huge, "too large")
		r.alive()
	})
}

// alive checks that all links are there and usable.
func (r *tree) alive() {
	r.t.Helper()
	for _, way := range routes {
		holder, owner := r.route(way[0], way[1])
		send(r.t, holder, "hello")
		recv(r.t, owner, "hello")
		peer.Finish(holder, wire.Ending{}, nil)
	}
}

// FuzzAccept opens streams with any handle, and says anything on them, from below
// and from above.
func FuzzAccept(f *testing.F) {
	f.Add("\x01\x04root\x01t\x01T\x01L\x00", "item", "\x00\x00\x00")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, purpose, item, ending string) {
		synctest.Test(t, func(t *testing.T) {
			r := newTree(t)
			x, known := r.offer("b")
			purposes := []string{purpose, string(known.Append(nil))}
			for _, conn := range []*peer.Conn{r.workers["a"].own, r.workers["b"].above} {
				for _, p := range purposes {
					s, err := conn.Session().Open([]byte("\x04" + p)[:min(len(p)+1, 65_000)], mux.StreamOptions{})
					if err != nil {
						t.Fatal(err)
					}
					_ = s.SendNow(t.Context(), []byte(item), nil) // it may have been refused
					synctest.Wait()
					s.Finish([]byte(ending)[:min(len(ending), mux.MaxFinish)])
				}
			}
			for range 2 {
				recv(t, <-x.streams, item)
			}
			r.alive()
		})
	})
}
