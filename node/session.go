package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/wire"
	"github.com/afar-go/afar/trust"
)

var errDraining = errors.New("the node is about to end")

// session is a connection of a caller that is known.
type session struct {
	node    *Node
	who     identity
	caller  *caller
	log     *slog.Logger
	serving *agent.Serving // set before it is among Node.sessions
}

// serve serves a connection until it has ended and nothing that was started for it
// is left.
func (n *Node) serve(link launch.Link, who identity) {
	c, err := n.enter(who)
	if err != nil {
		n.refusals.add(textAddr(who.from), fmt.Sprintf("caller %s: %v", who.name, err))
		agent.Refuse(n.cut, link, err)
		return
	}
	log := n.config.Log.With("caller", who.name, "from", who.from)
	if who.grant.Comment != "" {
		log = log.With("comment", who.grant.Comment)
	}
	s := &session{node: n, who: who, caller: c, log: log}
	log.Info("caller in", "limits", c.fence.renew(who.grant))
	began := time.Now()
	s.serving = agent.Begin(link, wire.Hello{}, &agent.Server{
		Start: s.start, Run: s.run, Keep: (*keeper)(s), Status: s.status})
	n.mu.Lock()
	n.sessions[s] = true
	draining := n.draining
	n.mu.Unlock()
	if draining {
		s.serving.Drain(errDraining.Error())
	}
	if n.cut.Err() != nil {
		s.serving.Close()
	}
	err = s.serving.Wait()
	n.mu.Lock()
	delete(n.sessions, s)
	n.mu.Unlock()
	n.leave(c)
	args := []any{"after", time.Since(began).Round(time.Millisecond)}
	if err != nil {
		args = append(args, "why", err)
	}
	log.Info("caller out", args...)
}

// textAddr is an address that is known as a text.
type textAddr string

func (textAddr) Network() string  { return "" }
func (a textAddr) String() string { return string(a) }

// grant is how far the caller is let in now, which its line in authorized_keys may have
// changed meanwhile, or why it is not. What runs then goes on, but nothing is added to it.
func (s *session) grant() (trust.Grant, error) {
	if s.who.now == nil {
		return s.who.grant, nil
	}
	grant, err := s.who.now()
	if err != nil {
		return s.who.grant, errors.New(strings.TrimPrefix(err.Error(), "trust: "))
	}
	return grant, nil
}

// take takes one of the caller's places for workers and programs.
func (s *session) take(grant trust.Grant) error {
	n := s.node
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.draining:
		return errDraining
	case grant.Workers > 0 && s.caller.running >= grant.Workers:
		return fmt.Errorf("%d workers are the most that this caller may have at a time: workers= in the node's authorized_keys", grant.Workers)
	case n.config.MaxWorkers > 0 && n.running >= n.config.MaxWorkers:
		return fmt.Errorf("%d workers are the most that this node has at a time: its --workers", n.config.MaxWorkers)
	}
	n.running++
	s.caller.running++
	return nil
}

func (s *session) release() {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	s.node.running--
	s.caller.running--
}

// prepared is what both a worker and a program need.
type prepared struct {
	path, dir string
	env       []string
	cell      *cell
}

// prepare takes a place, and finds the image. If it fails nothing is taken.
func (s *session) prepare(l *wire.Launch) (p *prepared, err error) {
	grant, err := s.grant()
	if err != nil {
		return nil, fmt.Errorf("this caller may start nothing more: %w", err)
	}
	path, ok := s.node.images.Path(l.Image)
	if !ok {
		return nil, fmt.Errorf("image %q is not here; a node has no program of its own to run", l.Image)
	}
	if l.Nice < 0 {
		return nil, fmt.Errorf("nice is %d: a node gives nobody a priority above its own", l.Nice)
	}
	p, err = s.place(l, grant)
	if err == nil {
		p.path = path
	}
	return p, err
}

// place takes a place. If it fails nothing is taken.
func (s *session) place(l *wire.Launch, grant trust.Grant) (p *prepared, err error) {
	if err := s.take(grant); err != nil {
		return nil, err
	}
	p = &prepared{env: s.environment(l, grant)}
	p.dir, err = s.caller.directory(l.Dir, s.node.config.AbsoluteDirs)
	if err == nil {
		p.cell, err = s.caller.fence.cell(grant)
	}
	if err != nil {
		s.release()
		return nil, err
	}
	return p, nil
}

// start starts a worker, as agent.Server.Start.
func (s *session) start(l *wire.Launch, output func([]byte)) (*launch.Worker, error) {
	p, err := s.prepare(l)
	if err != nil {
		s.log.Warn("worker not started", "worker", l.ID, "image", l.Image, "why", err)
		return nil, err
	}
	w, err := launch.Local(launch.Spec{ID: l.ID, Dir: p.dir, Env: l.Env, Path: p.path, Image: l.Image, Nice: l.Nice,
		Output: output, Adjust: p.adjust})
	if err != nil {
		p.cell.end(nil)
		s.release()
		s.log.Error("worker not started", "worker", l.ID, "image", l.Image, "why", err)
		return nil, err
	}
	log := s.log.With("worker", l.ID, "pid", w.PID())
	p.hold(w.PID(), log)
	log.Info("worker started", "image", l.Image)
	// The caller hears of the end when everything is undone: it may start another at once.
	shown, ended := launch.NewWorker(w.Link(), w.PID(), elsewhere{w})
	go func() {
		exit := w.Exit()
		p.cell.end(&exit)
		s.release()
		log.Info("worker ended", "exit", exit.String())
		ended(exit)
	}()
	return shown, nil
}

// elsewhere is a worker as launch.NewWorker wants it.
type elsewhere struct{ w *launch.Worker }

func (e elsewhere) Kill() error { return e.w.Kill() }
func (e elsewhere) RSS() int64  { return e.w.RSS() }

// run starts a program, as agent.Server.Run.
func (s *session) run(l *wire.Launch) (*agent.Program, error) {
	p, err := s.prepare(l)
	if err != nil {
		s.log.Warn("program not started", "image", l.Image, "why", err)
		return nil, err
	}
	program, err := agent.Execute(agent.Execution{Path: p.path, Args: l.Argv, Dir: p.dir, Env: p.env, Nice: l.Nice,
		Adjust: p.cell.adjust})
	if err != nil {
		p.cell.end(nil)
		s.release()
		s.log.Error("program not started", "image", l.Image, "why", err)
		return nil, err
	}
	log := s.log.With("pid", program.PID)
	p.hold(program.PID, log)
	log.Info("program started", "image", l.Image)
	wait := program.Wait
	program.Wait = func() wire.Exit {
		end := wait()
		exit := launch.Exit{Code: end.Code, Signal: end.Signal, OutOfMemory: end.OutOfMemory, Stderr: end.Stderr}
		p.cell.end(&exit)
		s.release()
		log.Info("program ended", "exit", exit.String())
		return wire.Exit{Code: exit.Code, Signal: exit.Signal, OutOfMemory: exit.OutOfMemory, Stderr: exit.Stderr}
	}
	return program, nil
}

// adjust puts a worker into its limits, and gives it an environment without what is
// the node's alone. What package launch tells its worker begins with the id.
func (p *prepared) adjust(cmd *exec.Cmd) {
	told := len(cmd.Env)
	for i, entry := range cmd.Env {
		if strings.HasPrefix(entry, "AFAR_WORKER=") {
			told = i
		}
	}
	cmd.Env = slices.Concat(p.env, cmd.Env[told:])
	p.cell.adjust(cmd)
}

// hold limits a process that was born.
func (p *prepared) hold(pid int, log *slog.Logger) {
	if err := p.cell.hold(pid); err != nil {
		log.Error("memory is not limited", "why", err)
	}
}

// inheritedVariables are those that processes have from the node; so do those that
// begin with LC_.
var inheritedVariables = []string{"PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG"}

// environment is that of a caller's processes: a little of the node's, and what the
// caller asks for.
func (s *session) environment(l *wire.Launch, grant trust.Grant) []string {
	env := []string{"HOME=" + s.caller.work(), "TMPDIR=" + s.caller.temporary()}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if slices.Contains(inheritedVariables, name) || strings.HasPrefix(name, "LC_") {
			env = append(env, entry)
		}
	}
	processors := runtime.GOMAXPROCS(0)
	if cpu := grant.CPU; cpu > 0 {
		processors = min(processors, int(cpu+0.999))
	}
	if processors = processors / max(1, l.Share); processors < runtime.GOMAXPROCS(0) {
		env = append(env, fmt.Sprintf("GOMAXPROCS=%d", max(1, processors)))
	}
	if memory := grant.Memory; memory > 0 {
		// So the collector does what it can before the limit does the rest.
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%d", memory/10*9))
	}
	return append(env, l.Env...)
}

// status says how the node is, to this caller. Of one that is no longer let in the limits
// are those with which it came.
func (s *session) status() wire.Status {
	grant, _ := s.grant()
	limits := s.caller.fence.renew(grant)
	n := s.node
	n.mu.Lock()
	defer n.mu.Unlock()
	return wire.Status{Draining: n.draining, Program: n.config.Program, Workers: n.running, Own: s.caller.running,
		Limits: limits}
}

// keeper is a session as agent.Keeper.
type keeper session

// Has tells whether an image is here.
func (k *keeper) Has(hash string) bool { return k.node.images.Has(hash) }

// Put keeps an image that the caller brings. That it is the caller's wish is proven:
// nothing else has come over this link since its key was.
func (k *keeper) Put(ctx context.Context, hash string, size int64, r io.Reader) error {
	select {
	case k.caller.uploads <- struct{}{}:
		defer func() { <-k.caller.uploads }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	began := time.Now()
	if _, err := (*session)(k).grant(); err != nil {
		k.log.Warn("image not kept", "image", hash, "bytes", size, "why", err)
		return fmt.Errorf("this caller may bring nothing more: %w", err)
	}
	if err := k.node.shelf.put(ctx, k.caller.name, hash, size, r); err != nil {
		k.log.Warn("image not kept", "image", hash, "bytes", size, "why", err)
		return err
	}
	k.log.Info("image kept", "image", hash, "bytes", size, "in", time.Since(began).Round(time.Millisecond))
	return nil
}
