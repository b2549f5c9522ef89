package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/trust"
)

// programs runs tasks of queues: programs that their submitters have signed, in workers of
// this node, which they get over a socket of their own as if they had connected: with
// the directory and within the limits of their key. A program's workers stay for a while,
// so that the next task finds them.
type programs struct {
	node    *Node
	workers int // of a program

	mu     sync.Mutex
	dir    string // of the sockets; made when the first is needed
	closed bool
	warm   map[program]*warm
	serial int
	ending sync.WaitGroup
}

// program is what somebody submits.
type program struct {
	by    trust.PublicKey
	image string
}

// warm is a program with its workers.
type warm struct {
	program
	opened chan struct{} // closed when pool, or err, is there
	pool   *afar.Pool
	door   net.Listener
	err    error

	// Guarded by programs.mu.
	users int
	idle  *time.Timer // set when there are no users
}

// Bounds of the programs that are kept warm.
const (
	warmTime = 5 * time.Minute
	maxWarm  = 16
)

// taskOrigin is the address of who submits a task: it fits no from=.
const taskOrigin = textAddr("queue")

// Runner returns the workers of a task's program, if its submitter may have it run here.
func (p *programs) Runner(ctx context.Context, t *queue.Foreign) (afar.Runner, error) {
	grant, err := p.admit(t)
	if err != nil {
		p.node.config.Log.Warn("task refused", "queue", t.Queue, "task", t.ID, "function", t.Function, "why", err)
		return nil, fmt.Errorf("%w: %w", queue.ErrReject, err)
	}
	if t.Command {
		return &commands{p.node, t.Key}, nil
	}
	system := runtime.GOOS + "/" + runtime.GOARCH
	of := program{by: t.Key, image: t.Images[system]}
	if of.image == "" {
		return nil, fmt.Errorf("node: the task has no program for %s, only for: %s", system,
			strings.Join(slices.Sorted(maps.Keys(t.Images)), ", "))
	}
	w, err := p.enter(ctx, of, grant, t)
	if err != nil {
		return nil, err
	}
	return &visit{p, w}, nil
}

// admit looks for the grant of who has signed a task.
func (p *programs) admit(t *queue.Foreign) (trust.Grant, error) {
	if t.Key.IsZero() {
		return trust.Grant{}, fmt.Errorf("%w: it is not signed", queue.ErrUnauthorized)
	}
	grant, err := p.node.authorized.Lookup(t.Key, taskOrigin, time.Now())
	switch {
	case err != nil:
		return grant, fmt.Errorf("%w: %s", queue.ErrUnauthorized, strings.TrimPrefix(err.Error(), "trust: "))
	case len(grant.Queues) > 0 && !slices.Contains(grant.Queues, t.Queue):
		return grant, fmt.Errorf("%w: %s may not use the queue %s: queues= in authorized_keys", queue.ErrUnauthorized, t.Key.Fingerprint(), t.Queue)
	case t.Command && !grant.Commands:
		return grant, fmt.Errorf("%w: %s may not run commands: commands in authorized_keys", queue.ErrUnauthorized, t.Key.Fingerprint())
	}
	return grant, nil
}

// visit is a Runner for one task.
type visit struct {
	programs *programs
	warm     *warm
}

// Run runs the task, and leaves.
func (v *visit) Run(ctx context.Context, call *afar.Call) (*afar.Reply, error) {
	defer v.programs.leave(v.warm)
	return v.warm.pool.Run(ctx, call)
}

// enter returns the workers of a program, which are started if they are not there. leave
// must follow.
func (p *programs) enter(ctx context.Context, of program, grant trust.Grant, t *queue.Foreign) (*warm, error) {
	p.mu.Lock()
	w := p.warm[of]
	if w == nil {
		if p.closed || !p.makeRoom(of.by, grant) {
			p.mu.Unlock()
			return nil, fmt.Errorf("node: %d programs run for queues: %w", maxWarm, queue.ErrBusy)
		}
		w = &warm{program: of, opened: make(chan struct{})}
		p.warm[of] = w
		p.ending.Go(func() { p.open(w, grant, t) })
	}
	w.users++
	if w.idle != nil {
		w.idle.Stop()
		w.idle = nil
	}
	p.mu.Unlock()
	select {
	case <-w.opened:
	case <-ctx.Done():
		p.leave(w)
		return nil, context.Cause(ctx)
	}
	if w.err != nil {
		p.leave(w)
		return nil, fmt.Errorf("node: %w", w.err)
	}
	return w, nil
}

// makeRoom ends programs that nobody uses, if another one has no place beside them. p.mu is held.
func (p *programs) makeRoom(by trust.PublicKey, grant trust.Grant) bool {
	for of, w := range p.warm {
		limited := of.by == by && grant.Workers > 0 || p.node.config.MaxWorkers > 0
		if w.users == 0 && (limited || len(p.warm) >= maxWarm) {
			p.end(w)
		}
	}
	return len(p.warm) < maxWarm
}

// leave ends a use of a program. Its workers stay for a while.
func (p *programs) leave(w *warm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.users--; w.users > 0 || p.warm[w.program] != w {
		return
	}
	if w.err != nil {
		delete(p.warm, w.program) // the next one tries again
		return
	}
	w.idle = time.AfterFunc(warmTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if w.users == 0 {
			p.end(w)
		}
	})
}

// end ends a program's workers. p.mu is held.
func (p *programs) end(w *warm) {
	if p.warm[w.program] != w {
		return
	}
	delete(p.warm, w.program)
	if w.idle != nil {
		w.idle.Stop()
	}
	p.ending.Go(func() {
		<-w.opened
		w.close()
	})
}

func (w *warm) close() {
	if w.pool != nil {
		_ = w.pool.Close()
	}
	if w.door != nil {
		_ = w.door.Close()
	}
}

// open starts the workers of a program.
func (p *programs) open(w *warm, grant trust.Grant, t *queue.Foreign) {
	defer close(w.opened)
	ctx := p.node.cut
	path, err := p.fetch(ctx, w, t)
	if err != nil {
		w.err = err
		return
	}
	config := afar.Config{Log: p.node.config.Log.Handler(), StartTimeout: p.node.config.HandshakeTimeout,
		Stderr: printed{p.node, w}, Images: map[string]string{runtime.GOOS + "/" + runtime.GOARCH: path}}
	socket, err := p.listen(w)
	if err != nil {
		w.err = err
		return
	}
	workers := p.workers
	if grant.Workers > 0 {
		workers = min(workers, grant.Workers)
	}
	if w.pool, err = config.Open(ship.Foreign(ctx), fmt.Sprintf("unix:%s?workers=%d", socket, workers)); err != nil {
		_ = w.door.Close()
		w.err = err
	}
}

// fetch has the image be here, and returns its path.
func (p *programs) fetch(ctx context.Context, w *warm, t *queue.Foreign) (string, error) {
	images := p.node.images
	if !images.Has(w.image) {
		began := time.Now()
		r, err := t.Open(ctx, w.image)
		if err != nil {
			return "", fmt.Errorf("program %.12s of the task: %w", w.image, err)
		}
		err = errors.Join(p.node.shelf.put(ctx, w.by.Fingerprint(), w.image, 0, r), r.Close())
		if err != nil {
			return "", fmt.Errorf("program %.12s of the task: %w", w.image, err)
		}
		p.node.config.Log.Info("image kept", "caller", w.by.Fingerprint(), "queue", t.Queue, "image", w.image, "in", time.Since(began).Round(time.Millisecond))
	}
	path, ok := images.Path(w.image)
	if !ok {
		return "", fmt.Errorf("program %.12s of the task is not here any more", w.image)
	}
	return path, nil
}

// listen lets the program's pool in at a socket, as the one who has signed the tasks.
func (p *programs) listen(w *warm) (path string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir == "" {
		if p.dir, err = os.MkdirTemp("", "afar-tasks-"); err != nil { // paths of sockets must be short
			return "", err
		}
	}
	p.serial++
	path = filepath.Join(p.dir, fmt.Sprint(p.serial))
	if w.door, err = ListenUnix(path); err != nil {
		return "", err
	}
	n := p.node
	p.ending.Go(func() {
		for {
			conn, err := w.door.Accept()
			if err != nil {
				return
			}
			n.coming.Go(func() { n.welcomeTasks(conn, w.by) })
		}
	})
	return path, nil
}

// welcomeTasks serves this process's own connection for the tasks of a key.
func (n *Node) welcomeTasks(conn net.Conn, by trust.PublicKey) {
	who, err := n.submitter(by)
	if err != nil {
		_ = conn.Close()
		return
	}
	n.serve(trust.NewLink(conn), who)
}

// submitter is the one who has signed tasks, as a caller.
func (n *Node) submitter(by trust.PublicKey) (identity, error) {
	now := func() (trust.Grant, error) { return n.authorized.Lookup(by, taskOrigin, time.Now()) }
	grant, err := now()
	return identity{name: by.Fingerprint(), from: string(taskOrigin), grant: grant, now: now}, err
}

// close ends all programs, and waits until they have ended.
func (p *programs) close() {
	p.mu.Lock()
	p.closed = true
	for _, w := range p.warm {
		p.end(w)
	}
	dir := p.dir
	p.mu.Unlock()
	p.ending.Wait()
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
}

// printed logs what workers print.
type printed struct {
	node *Node
	warm *warm
}

// Write takes a line.
func (w printed) Write(line []byte) (int, error) {
	w.node.config.Log.Info("printed", "caller", w.warm.by.Fingerprint(), "line", strings.TrimRight(string(line), "\n"))
	return len(line), nil
}
