package afar

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/conversation"
	"github.com/afar-go/afar/internal/dispatch"
	"github.com/afar-go/afar/internal/handle"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/mux"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/registry"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/wire"
)

// Main makes this program able to be its own worker. Call it first in main, or
// in TestMain: in a worker process it serves calls and never returns, in any
// other it returns at once. Functions must be registered before it, in package
// variables, since a worker knows only those.
func Main() {
	launch.RememberImage()
	ship.RememberMain()
	inherited, isWorker, err := launch.Inherit()
	registry.Seal()
	if nonce := os.Getenv(ship.AgentVariable); nonce != "" && !isWorker {
		if err := agent.Main(nonce); err != nil {
			fmt.Fprintln(os.Stderr, "afar: agent:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if !isWorker {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "afar: cannot become a worker:", err)
		os.Exit(2)
	}
	image, err := imageFor(inherited)
	if err != nil {
		fmt.Fprintln(os.Stderr, "afar: cannot identify my image:", err)
		os.Exit(2)
	}
	serve(inherited.Link, inherited.ID, image, nil)
	inherited.End(0)
}

// imageFor is how a worker names its image: as its caller does when it is the
// same file, which costs nothing to find out, or else by its hash.
func imageFor(in *launch.Inherited) (string, error) {
	if id, err := launch.ImageID(); err == nil && id == in.Image {
		return cmp.Or(in.Name, id), nil
	}
	return launch.ImageHash()
}

// inprocImage stands for the image of workers that have none of their own.
const inprocImage = "in-process"

// compare refuses a worker that is not this program.
func (g *Gateway) compare(h *wire.Hello, image string) error {
	if image == "" {
		mine, err := imageFor(&launch.Inherited{Image: h.Image})
		if err != nil {
			return err
		}
		image = mine
	}
	if image != h.Image {
		return fmt.Errorf("another program: image %s here, %s there", image, h.Image)
	}
	if g.pool.foreign {
		return nil
	}
	var keys []string
	for _, f := range registry.Functions() {
		if !f.Late || !g.target.Process {
			keys = append(keys, f.Key())
		}
	}
	if slices.Equal(keys, h.Functions) || !g.target.Process {
		return nil
	}
	return fmt.Errorf("other functions: only here: %s; only there: %s",
		registry.Describe(without(keys, h.Functions)), registry.Describe(without(h.Functions, keys)))
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// workerKey is where the context of every call in a worker holds the
// dispatcher of the worker's own calls.
type workerKey struct{}

// serve answers calls on a link until it ends, or until stop is closed, which
// may be nil: a reader that runs a call notices the end of its link only when it
// reads again, and a worker in the caller's process can be told at once.
func serve(link launch.Link, id, image string, stop <-chan struct{}) {
	functions := registry.Functions()
	keys := make([]string, len(functions))
	for i, f := range functions {
		keys[i] = f.Key()
	}
	host, _ := os.Hostname()
	back := dispatch.New()
	home := handle.NewWorker(fmt.Sprintf("worker %s (pid %d on %s)", id, os.Getpid(), host))
	base := context.WithValue(context.WithValue(context.Background(), workerKey{}, back), homeKey{}, home)
	x := peer.NewExecutor(base, functions)
	lane := back.Prepare()
	if stop == nil { // this process is the worker
		workerHome.Store(home)
	}
	hosts := conversation.NewHost(home)
	beside := &agent.Server{Start: agent.Starter(image), Command: launch.Command, Dial: launch.Dial}
	conn := peer.Dial(link, peer.Config{
		Hello:   wire.Hello{Image: image, Worker: id, Host: host, PID: os.Getpid(), Functions: keys},
		Caller:  lane,
		Callee:  x,
		Greeted: hosts.Greeted,
		Stream: func(s *mux.Stream, purpose byte, rest *wire.Reader) error {
			if agent.Purpose(purpose) {
				return beside.Stream(s, purpose, rest)
			}
			return hosts.Stream(s, purpose, rest)
		},
	})
	hosts.Bind(x.Base(), conn, functions)
	x.Bind(conn)
	lane.Join(conn, dispatch.LaneConfig{Name: id, Slots: 1 << 20, Relay: true, Functions: keys})
	conn.Start()
	select {
	case <-conn.Session().Done():
	case <-stop:
		_ = conn.Close()
	}
	back.Fail(ErrClosed)
	lane.Lose(dispatch.Lost{})
}

// homeKey is where the context of everything that runs in a worker holds the
// worker's home.
type homeKey struct{}

// rootHome is the home of a program that is not a worker.
var rootHome = sync.OnceValue(func() *handle.Home {
	host, _ := os.Hostname()
	return handle.NewRoot(fmt.Sprintf("the program with pid %d on %s", os.Getpid(), host))
})

// workerHome is the home of a process that is a worker: what runs there with a
// context of its own is at home there too.
var workerHome atomic.Pointer[handle.Home]

func homeOf(ctx context.Context) *handle.Home {
	if home, ok := ctx.Value(homeKey{}).(*handle.Home); ok {
		return home
	}
	if home := workerHome.Load(); home != nil {
		return home
	}
	return rootHome()
}
