package handle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/wire"
)

// tree is homes and the links between them: a root with the workers a and b, and
// b's worker c. Nobody runs anything: what is exported is streams for the test.
type tree struct {
	t       *testing.T
	root    *Home
	workers map[string]*worker
}

// worker is a home below another, and both ends of the link to it.
type worker struct {
	home  *Home
	path  []string
	above *peer.Conn // the end of the home above
	own   *peer.Conn
}

// nobody is an end of a link that is not called.
type nobody struct{}

func (nobody) Calls(uint64, int, *wire.Reader, bool) error { return errors.New("no calls") }
func (nobody) Cancel(wire.Place, error)                    {}
func (nobody) Idle()                                       {}

const testLimit = 4 << 20 // bytes of an item, but for links that say otherwise

func newTree(t *testing.T) *tree {
	r := &tree{t: t, root: NewRoot("the root"), workers: map[string]*worker{}}
	r.add(r.root, "a", testLimit)
	r.add(r.root, "b", testLimit)
	r.add(r.workers["b"].home, "c", testLimit)
	return r
}

// add adds a worker below a home, whose link is lost because it "was cut".
func (r *tree) add(above *Home, name string, limit int64) *worker {
	r.t.Helper()
	x, y := launch.Pipe()
	w := &worker{home: NewWorker("worker " + name), path: above.Below()}
	entry := above.From(func(err error) error { return fmt.Errorf("worker %s was cut: %w", name, err) })
	w.above = peer.Dial(x, peer.Config{Callee: nobody{}, Initiator: true, Hello: wire.Hello{Home: w.path, MaxItem: limit}, Stream: accept(entry)})
	w.own = peer.Dial(y, peer.Config{Callee: nobody{}, Hello: wire.Hello{MaxItem: limit}, Stream: accept(w.home),
		Greeted: func(h *wire.Hello) { w.home.Settle(h.Home, w.own) }})
	w.above.Start()
	w.own.Start()
	for _, conn := range []*peer.Conn{w.above, w.own} {
		if _, err := conn.Hello(context.Background()); err != nil {
			r.t.Fatal(err)
		}
	}
	entry.Join(w.path, w.above)
	r.workers[name] = w
	r.t.Cleanup(func() {
		_ = w.above.Close()
		<-w.own.Session().Done()
		w.above.Wait(time.Minute)
		w.own.Wait(time.Minute)
	})
	return w
}

func accept(h *Home) func(*mux.Stream, byte, *wire.Reader) error {
	return func(s *mux.Stream, purpose byte, rest *wire.Reader) error {
		if purpose != wire.PurposeHandle {
			return errors.New("no use for it")
		}
		return h.Accept(s, rest)
	}
}

func (r *tree) home(name string) *Home {
	if name == "root" {
		return r.root
	}
	return r.workers[name].home
}

// export is something that can be held: it welcomes who comes.
type export struct {
	streams chan *mux.Stream
	lost    Lost
	refuse  error
	silent  bool
}

func (x *export) Hold(s *mux.Stream, lost Lost) error {
	if x.refuse != nil {
		return x.refuse
	}
	x.lost = lost
	go func() {
		if !x.silent {
			_ = s.SendNow(context.Background(), nil, nil) // it fails with the stream
		}
		x.streams <- s
	}()
	return nil
}

// offer exports something in a home.
func (r *tree) offer(at string) (*export, *wire.Handle) {
	x := &export{streams: make(chan *mux.Stream, 100)}
	h := r.home(at)
	return x, h.Handle(h.Export(x), "Thing", 0)
}

// route binds something that is in one home in another, and returns both ends
// of the way.
func (r *tree) route(from, to string) (holder, owner *mux.Stream) {
	r.t.Helper()
	x, h := r.offer(to)
	holder, _, err := r.home(from).Bind(r.t.Context(), h)
	if err != nil {
		r.t.Fatal(err)
	}
	return holder, <-x.streams
}

// routes are ways of one, two, three and four links.
var routes = [][2]string{{"root", "a"}, {"a", "root"}, {"a", "b"}, {"a", "a"}, {"c", "b"}, {"b", "c"}, {"root", "c"}, {"c", "a"}, {"a", "c"}, {"c", "c"}}

// onEach runs a test on each of the routes, while time stands still.
func onEach(t *testing.T, test func(t *testing.T, r *tree, holder, owner *mux.Stream)) {
	for _, way := range routes {
		t.Run(strings.Join(way[:], " to "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTree(t)
				holder, owner := r.route(way[0], way[1])
				test(t, r, holder, owner)
			})
		})
	}
}

func send(t *testing.T, s *mux.Stream, item string) {
	t.Helper()
	if err := s.SendNow(t.Context(), []byte(item), nil); err != nil {
		t.Fatal(err)
	}
}

func recv(t *testing.T, s *mux.Stream, want string) {
	t.Helper()
	item, err := s.Recv(t.Context())
	if err != nil || string(item) != want {
		t.Fatalf("%q, %v, want %q", item, err, want)
	}
}

// ended returns how a stream has ended for who receives.
func ended(t *testing.T, s *mux.Stream) (wire.Ending, error) {
	t.Helper()
	_, err := s.Recv(t.Context())
	if err == nil {
		t.Fatal("an item in place of the end")
	}
	return peer.Ended(err)
}
