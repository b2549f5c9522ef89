package reach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/internal/peer"
	"github.com/afar-go/afar/internal/ship"
	"github.com/afar-go/afar/internal/wire"
)

// connection is a link to an agent.
type connection struct {
	command *launch.Worker // whose standard streams are the link; nil: there is none
	conn    *peer.Conn
	place   *agent.Place
	hello   *wire.Hello
	image   string // the hash of the program that is there
}

// connect makes a connection.
func connect(ctx context.Context, via Via, a *Address, c *Config) (*connection, error) {
	switch a.Scheme {
	case "ssh", "exec":
		return connectShell(ctx, via, a, c)
	}
	return connectNode(ctx, via, a, c)
}

// connectShell makes one over a command that gives a shell. A program that does not
// start from the host's cache may be damaged there, and is brought once more.
func connectShell(ctx context.Context, via Via, a *Address, c *Config) (*connection, error) {
	n, err := tryShell(ctx, via, a, c, ship.Bootstrap)
	var failed *ship.Error
	if errors.As(err, &failed) && failed.Cached && ctx.Err() == nil {
		return tryShell(ctx, via, a, c, ship.Renew)
	}
	return n, err
}

// bootstrap is ship.Bootstrap or ship.Renew.
type bootstrap func(context.Context, io.ReadWriter, time.Duration, func(context.Context, string) (*ship.Image, error)) (*ship.Arrival, error)

func tryShell(ctx context.Context, via Via, a *Address, c *Config, bring bootstrap) (*connection, error) {
	said := &held{pass: c.Output}
	w, err := via.Command(ctx, launch.Order{Argv: a.command(c.keepalive()), Output: said.line})
	if err != nil {
		return nil, &Error{Where: a.String(), Reason: NotFound, Err: err}
	}
	n, err := overShell(ctx, w, c, bring)
	if err != nil {
		exit := abandon(w, ctx.Err() != nil || errors.Is(err, ship.ErrSilent))
		return nil, explain(ctx, a, err, &exit)
	}
	said.release()
	return n, nil
}

// overShell makes a connection of a command that gives a shell. If it fails the
// command goes on.
func overShell(ctx context.Context, w *launch.Worker, c *Config, bring bootstrap) (*connection, error) {
	arrival, err := bring(ctx, w.Link(), c.Patience, c.Image)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Patience, fmt.Errorf("%w for %v", ship.ErrSilent, c.Patience))
	defer cancel()
	n, err := greet(ctx, &behind{w.Link(), arrival.Link}, c)
	if err != nil {
		return nil, err
	}
	n.command, n.image = w, arrival.Image.Hash()
	if n.hello.Image != n.image {
		n.conn.Close()
		return nil, fmt.Errorf("another program: image %s was sent, %s runs there", n.image, n.hello.Image)
	}
	return n, nil
}

// abandon ends a command; one whose other end has ended gets a moment to say so.
// One that was given up is told first that nobody reads any more.
func abandon(w *launch.Worker, givenUp bool) launch.Exit {
	if givenUp {
		_ = w.Link().Close()
	}
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-w.Done():
	case <-timer.C:
	}
	_ = w.Link().Close()
	_ = w.Kill()
	return w.Exit()
}

// connectNode makes one to a node, and brings it the program.
func connectNode(ctx context.Context, via Via, a *Address, c *Config) (*connection, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(c.Patience, func() { cancel(ship.ErrSilent) })
	defer timer.Stop()
	link, err := via.Dial(ctx, a.Scheme, a.Network)
	if err == nil && a.Scheme == "tcp" {
		link, err = secure(ctx, link, a)
	}
	if err != nil {
		return nil, explain(ctx, a, err, nil)
	}
	n, err := greet(ctx, link, c)
	if err != nil {
		return nil, explain(ctx, a, err, nil)
	}
	timer.Stop() // from here on the link's keepalive counts
	if c.Image == nil {
		return n, nil
	}
	image, err := c.Image(ctx, n.hello.System)
	if err == nil {
		err = n.bring(ctx, image)
	}
	if err != nil {
		n.end()
		return nil, explain(ctx, a, err, nil)
	}
	n.image = image.Hash()
	return n, nil
}

func secure(ctx context.Context, link launch.Link, a *Address) (launch.Link, error) {
	tcp, err := launch.TCP()
	if err != nil {
		_ = link.Close()
		return nil, err
	}
	return tcp.Secure(ctx, link, a.Network)
}

// bring sees to it that the node has the program.
func (n *connection) bring(ctx context.Context, image *ship.Image) error {
	size, err := image.CompressedSize()
	if err != nil {
		return err
	}
	_, err = n.place.PutImage(ctx, image.Hash(), size, image.Compressed)
	if err != nil {
		return fmt.Errorf("the node did not take the program: %w", err)
	}
	return nil
}

// greet waits for the agent's hello. The link is closed when that fails.
func greet(ctx context.Context, link launch.Link, c *Config) (*connection, error) {
	if c.Wrap != nil {
		link = c.Wrap(link)
	}
	n := &connection{conn: peer.Dial(link, peer.Config{Hello: c.hello(), Initiator: true})}
	n.conn.Start()
	hello, err := n.conn.Hello(ctx)
	if err != nil {
		_ = n.conn.Close()
		return nil, err
	}
	n.hello, n.place = hello, agent.NewPlace(n.conn.Session())
	return n, nil
}

// end ends the connection, and waits until the command that is its link is gone.
func (n *connection) end() {
	_ = n.conn.Close()
	n.conn.Session().Wait()
	if n.command == nil {
		return
	}
	// The agent ends its workers when its link has ended, and then itself.
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-n.command.Done():
	case <-timer.C:
		_ = n.command.Kill()
	}
	<-n.command.Done()
}

func (c *Config) keepalive() time.Duration {
	if c.Keepalive == 0 {
		return 10 * time.Second
	}
	return c.Keepalive
}

// lost says how the connection has ended: what its command said, if there is one.
func (n *connection) lost(where string, err error) error {
	e := &Error{Where: where, Reason: Lost, Err: err}
	if n.command == nil {
		return e
	}
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-n.command.Done():
		exit := n.command.Exit()
		e.Err = fmt.Errorf("%w (%v)", err, exit)
		lines := strings.Split(strings.TrimSpace(exit.Stderr), "\n")
		e.Detail = lines[len(lines)-1]
	case <-timer.C:
	}
	return e
}

// onConnection is the link of a worker, which says how the connection was lost when it
// was.
type onConnection struct {
	launch.Link
	connection *connection
	where      string
}

func (o *onConnection) Read(p []byte) (int, error) {
	n, err := o.Link.Read(p)
	if err == io.EOF {
		return n, err
	}
	return n, o.why(err)
}

func (o *onConnection) Write(p []byte) (int, error) {
	n, err := o.Link.Write(p)
	return n, o.why(err)
}

// Writev is Write of several.
func (o *onConnection) Writev(bufs ...[]byte) error { return o.why(o.Link.Writev(bufs...)) }

// why gives an error of the link its cause, if that is the connection's end.
func (o *onConnection) why(err error) error {
	if err == nil || errors.Is(err, os.ErrClosed) {
		return err
	}
	if end := o.connection.conn.Session().Err(); end != nil {
		return o.connection.lost(o.where, end)
	}
	return err
}

// held keeps what the way to a host prints until it is known whether it leads there:
// if not, the error says the same.
type held struct {
	pass func(line []byte) // may be nil

	mu       sync.Mutex
	lines    [][]byte
	released bool
}

func (h *held) line(line []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.pass == nil:
	case h.released:
		h.pass(line)
	case len(h.lines) < 100:
		h.lines = append(h.lines, bytes.Clone(line))
	}
}

func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.lines {
		h.pass(line)
	}
	h.lines, h.released = nil, true
}

// behind is a link of which something was read already.
type behind struct {
	launch.Link
	first io.Reader // which goes on with the link
}

func (b *behind) Read(p []byte) (int, error) { return b.first.Read(p) }
