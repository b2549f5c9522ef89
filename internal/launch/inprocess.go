package launch

import (
	"os"
	"sync"
)

// InProcess runs serve in a goroutine of this process, on one end of a [Pipe]; the returned worker's Link is the
// other. When serve returns, its end is closed and the worker has ended with code 0. Of spec only the ID could
// matter, and the caller knows it: Dir, Env, Nice and Output have no meaning within one process.
func InProcess(spec Spec, serve func(link Link)) *Worker {
	near, far := Pipe()
	g := &goroutine{far: far}
	g.worker = Worker{link: near, pid: os.Getpid(), body: g, done: make(chan struct{})}
	go func() {
		serve(far)
		g.end(Exit{})
	}()
	return &g.worker
}

// goroutine is the body of a worker that runs in-process.
type goroutine struct {
	worker Worker
	far    Link // the end that serve has
	once   sync.Once
}

func (g *goroutine) kill() error {
	g.end(Exit{Code: -1, Signal: "killed"})
	return nil
}

func (g *goroutine) rss() int64 { return 0 }

// end makes the first of the two ways to end count.
func (g *goroutine) end(exit Exit) {
	g.once.Do(func() {
		_ = g.far.Close() // A pipe's Close gives no error.
		g.worker.exit = exit
		close(g.worker.done)
	})
}
