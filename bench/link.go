package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// serverVar selects what a copy of this binary serves instead of measuring.
const serverVar = "AFAR_BENCH_SERVER"

// The descriptors that a server reads from and writes to.
const (
	serverIn  = 3
	serverOut = 4
)

// patience is how long a process may take to end once its pipes are closed.
const patience = 5 * time.Second

// A server is the far end of a link. It returns nil at the end of its input.
type server struct {
	blocking bool // whether its descriptors block in the kernel rather than park goroutines
	serve    func(l *link) error
}

// servers are all that a copy of this binary can serve, by the value of serverVar.
var servers = map[string]server{
	"raw-echo":        {blocking: true, serve: serveEcho},
	"raw-spin":        {blocking: false, serve: serveSpin},
	"raw-block":       {blocking: true, serve: serveBlocks},
	"raw-work":        {blocking: true, serve: serveWork},
	"netrpc":          {serve: serveNetRPC},
	"grpc":            {serve: serveGRPC},
	"yamux-per-call":  {serve: serveYamuxPerCall},
	"yamux-long-lane": {serve: serveYamuxLong},
	"raw-flow":        {blocking: true, serve: func(l *link) error { return serveFlow(l) }},
	"raw-unread":      {serve: serveUnread},
	"yamux-flow":      {serve: serveYamuxFlow},
	"yamux-unread":    {serve: serveYamuxUnread},
	"grpc-flow":       {serve: serveGRPCFlow},
	"netrpc-flow":     {serve: serveNetRPCFlow},
	"protoactor":      {serve: serveProtoactor},

	"protoactor-caller": {serve: serveProtoactorCaller},

	"redis":        {serve: keepRedis},
	"queue-raw":    {serve: serveWorker(workRaw)},
	"queue-redisq": {serve: serveWorker(workRedisq)},
	"queue-natsq":  {serve: serveWorker(workNatsq)},
	"queue-asynq":  {serve: serveWorker(workAsynq)},
}

// serve does not return in a process that was started to serve.
func serve() {
	name := os.Getenv(serverVar)
	if name == "" {
		return
	}
	s, ok := servers[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "bench: no server is named %q\n", name)
		os.Exit(2)
	}
	for _, fd := range []int{serverIn, serverOut} {
		if err := syscall.SetNonblock(fd, !s.blocking); err != nil {
			fmt.Fprintln(os.Stderr, "bench: server", name+":", err)
			os.Exit(2)
		}
	}
	l := &link{in: os.NewFile(serverIn, "in"), out: os.NewFile(serverOut, "out")}
	if err := s.serve(l); err != nil && !endOfLink(err) {
		fmt.Fprintln(os.Stderr, "bench: server", name+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// endOfLink reports whether err only says that the other side has gone, which is how every server ends.
func endOfLink(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed)
}

// A link is a pair of pipes to another process, unless its wiring is another: a net.Conn, because that is what the
// rivals speak over. On the caller's side it owns the process as well.
type link struct {
	in, out *os.File

	process *exec.Cmd // nil on the server's side
	forget  func() bool

	cut     sync.Once
	cutErr  error
	end     sync.Once
	endErr  error
	exited  chan struct{} // closed when the process has gone; exitErr may be read then
	exitErr error
}

// openLink starts a copy of this binary that serves name. The end of ctx cuts the link; the caller must end it.
func openLink(ctx context.Context, name string) (*link, error) { return openWired(ctx, pipes, name) }

// openWired is openLink with a choice of what the link consists of.
func openWired(ctx context.Context, wire wiring, name string) (*link, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w, err := wire()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serverVar+"="+name)
	cmd.ExtraFiles = []*os.File{w.farIn, w.farOut}
	cmd.Stderr = os.Stderr
	// A process group of its own, so that Ctrl-C reaches only this process, which then ends the other in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	l := &link{in: w.in, out: w.out, process: cmd, exited: make(chan struct{})}
	err = cmd.Start()
	w.farIn.Close()
	w.farOut.Close()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	go func() {
		l.exitErr = cmd.Wait()
		close(l.exited)
	}()
	l.forget = context.AfterFunc(ctx, func() { l.Close() })
	return l, nil
}

// stop cuts the link and waits for the process, which it kills if it will not go. It is idempotent.
func (l *link) stop() error {
	l.end.Do(func() {
		l.forget()
		err := l.Close()
		select {
		case <-l.exited:
		case <-time.After(patience):
			err = errors.Join(err, errors.New("the server did not end with its link"), l.process.Process.Kill())
			<-l.exited
		}
		l.endErr = errors.Join(err, l.exitErr)
	})
	return l.endErr
}

// Close closes the pipes, which is how a server learns that it should end. It is idempotent.
func (l *link) Close() error {
	l.cut.Do(func() { l.cutErr = errors.Join(l.out.Close(), l.in.Close()) })
	return l.cutErr
}

func (l *link) Read(b []byte) (int, error)  { return l.in.Read(b) }
func (l *link) Write(b []byte) (int, error) { return l.out.Write(b) }

func (l *link) SetDeadline(t time.Time) error {
	return errors.Join(l.in.SetReadDeadline(t), l.out.SetWriteDeadline(t))
}
func (l *link) SetReadDeadline(t time.Time) error  { return l.in.SetReadDeadline(t) }
func (l *link) SetWriteDeadline(t time.Time) error { return l.out.SetWriteDeadline(t) }

func (l *link) LocalAddr() net.Addr  { return pipeAddr{} }
func (l *link) RemoteAddr() net.Addr { return pipeAddr{} }

// pipeAddr is the address of both ends of every link.
type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// trialOver gives a trial over a new link to the named server. make turns the link into a measurement.
func trialOver(ctx context.Context, name string, make func(l *link) (*trial, error)) (*trial, error) {
	return trialWired(ctx, pipes, name, make)
}

// trialWired is trialOver with a choice of what the link consists of.
func trialWired(
	ctx context.Context, wire wiring, name string, make func(l *link) (*trial, error),
) (*trial, error) {
	l, err := openWired(ctx, wire, name)
	if err != nil {
		return nil, err
	}
	t, err := make(l)
	if err != nil {
		return nil, errors.Join(err, l.stop())
	}
	inner := t.close
	t.close = func() error {
		var err error
		if inner != nil {
			err = inner()
		}
		return errors.Join(err, l.stop())
	}
	return t, nil
}
