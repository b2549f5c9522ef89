package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/afar-go/afar/internal/agent"
	"github.com/afar-go/afar/internal/launch"
	"github.com/afar-go/afar/trust"
)

// Node is a daemon. Its methods may be used concurrently.
type Node struct {
	config     Config
	images     *agent.Images
	shelf      shelf
	fences     *fences
	lock       *os.File // which keeps others off the directory
	authorized *trust.AuthorizedKeys

	gate     gate
	limiter  trust.Limiter
	refusals refusals
	cut      context.Context // ends when everything is to end at once
	cutNow   context.CancelFunc
	arriving context.Context // of handshakes; ends when nobody is let in any more
	shut     context.CancelFunc
	serving  sync.WaitGroup // Serve
	coming   sync.WaitGroup // connections, from their first moment on

	mu        sync.Mutex
	callers   map[string]*caller
	sessions  map[*session]bool
	running   int // workers and programs
	served    bool
	draining  bool
	closed    bool
	closeOnce sync.Once
	closeErr  error
}

// ErrClosed is what Serve returns of a node that is closed, or has served.
var ErrClosed = errors.New("node: closed")

// Open returns a node that does not listen yet. It takes possession of its
// directory, and removes what callers of an earlier one have left there. Close must
// follow.
func Open(config Config) (*Node, error) {
	config, err := config.complete()
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	n := &Node{config: config, callers: map[string]*caller{}, sessions: map[*session]bool{},
		gate: gate{most: config.MaxHandshakes}, refusals: refusals{log: config.Log},
		authorized: &trust.AuthorizedKeys{Path: config.Authorized}}
	n.cut, n.cutNow = context.WithCancel(context.Background())
	n.arriving, n.shut = context.WithCancel(n.cut)
	if err := n.possess(); err != nil {
		n.cutNow()
		return nil, fmt.Errorf("node: %w", err)
	}
	n.fences = openFences(config.Dir, !config.NoControlGroups, config.Log)
	launch.RememberImage() // which package launch asks for, though what is started here are other programs
	return n, nil
}

// possess takes possession of the node's directory.
func (n *Node) possess() (err error) {
	if err := os.MkdirAll(n.config.Dir, 0o700); err != nil {
		return err
	}
	n.lock, err = lockFile(filepath.Join(n.config.Dir, "lock"))
	if err != nil {
		return fmt.Errorf("%s is in use: %w", n.config.Dir, err)
	}
	n.images, err = agent.OpenImages(filepath.Join(n.config.Dir, "images"), n.config.MaxImage, n.config.MaxImages)
	n.shelf = shelf{images: n.images, brought: map[string]string{}}
	if err == nil {
		err = errors.Join(remove(n.callersDir()), os.Mkdir(n.callersDir(), 0o700))
	}
	if err != nil {
		_ = n.lock.Close()
	}
	return err
}

func (n *Node) callersDir() string { return filepath.Join(n.config.Dir, "callers") }

// Serve lets callers in, who come over TCP with their keys, or over unix sockets, if
// they are the node's own user or root, until ctx ends. Then the node drains: the
// listeners are closed and nothing new is started, but what runs may go on until it
// ends by itself, the callers go, or DrainTimeout is over. It closes the listeners
// in any case. It returns nil after draining, ErrClosed after Close, or the first
// error of a listener. It may be called once.
func (n *Node) Serve(ctx context.Context, listeners ...net.Listener) error {
	defer closeAll(listeners)
	n.mu.Lock()
	if n.closed || n.served {
		n.mu.Unlock()
		return ErrClosed
	}
	n.served = true
	n.serving.Add(1)
	n.mu.Unlock()
	defer n.serving.Done()
	for _, l := range listeners {
		if err := n.check(l); err != nil {
			return err
		}
	}
	failed := make(chan error, len(listeners))
	var accepting sync.WaitGroup
	for _, l := range listeners {
		n.config.Log.Info("listening", "network", l.Addr().Network(), "address", l.Addr().String())
		accepting.Go(func() { failed <- n.accept(l) })
	}
	working, rest := context.WithCancel(ctx)
	defer rest()
	n.coming.Go(func() { n.work(working) })
	var err error
	select {
	case <-ctx.Done():
	case <-n.cut.Done():
		err = ErrClosed
	case err = <-failed:
		err = fmt.Errorf("node: %w", err)
	}
	closeAll(listeners)
	accepting.Wait()
	rest()
	n.drain()
	return err
}

// check refuses a listener for which the configuration is not complete.
func (n *Node) check(l net.Listener) error {
	if l.Addr().Network() == "unix" {
		return nil
	}
	if n.config.Key == nil || n.config.Authorized == "" {
		return fmt.Errorf("node: to listen at %s it needs a key and the path of authorized_keys", l.Addr())
	}
	return nil
}

// accept lets callers in until the listener is closed.
func (n *Node) accept(l net.Listener) error {
	for misses := 0; ; {
		conn, err := l.Accept()
		switch {
		case err == nil:
			misses = 0
			n.admit(conn)
			continue
		case errors.Is(err, net.ErrClosed):
			return err
		}
		// Files have run out, or a caller went as soon as it came.
		misses++
		n.config.Log.Error("cannot accept", "address", l.Addr().String(), "error", err)
		select {
		case <-time.After(min(time.Second, 5*time.Millisecond<<min(misses, 8))):
		case <-n.cut.Done():
			return err
		}
	}
}

// admit takes a connection, in a goroutine.
func (n *Node) admit(conn net.Conn) {
	if conn.LocalAddr().Network() == "unix" {
		n.coming.Go(func() { n.welcomeLocal(conn) })
	} else {
		n.coming.Go(func() { n.queue(conn) })
	}
}

// queue has a connection wait until it may prove who it is.
func (n *Node) queue(conn net.Conn) {
	from := conn.RemoteAddr()
	v, err := n.gate.enter(n.arriving, n.config.HandshakeTimeout, from, !n.limiter.Allow(from))
	if err != nil {
		n.refusals.add(from, err.Error())
		_ = conn.Close()
		return
	}
	n.welcome(conn, v)
}

// welcome lets a caller in that proves an authorised key.
func (n *Node) welcome(conn net.Conn, v *visitor) {
	from := conn.RemoteAddr()
	link, peer, err := trust.Server(v.ctx, conn, &trust.ServerConfig{
		Key: n.config.Key, Authorized: n.authorized, Timeout: n.config.HandshakeTimeout})
	if err != nil {
		n.limiter.Failed(from)
		n.refuse(from, err)
		n.gate.leave(v) // last, so that nothing of strangers is beyond the gate's bound for long
		return
	}
	n.gate.leave(v)
	n.serve(trust.NewLink(link), identity{name: peer.Key.Fingerprint(), from: from.String(), grant: peer.Grant,
		now: func() (trust.Grant, error) { return n.authorized.Lookup(peer.Key, from, time.Now()) }})
}

// refuse logs why a caller was not let in: of one whose key is proven, always.
func (n *Node) refuse(from net.Addr, err error) {
	why := strings.TrimPrefix(err.Error(), "trust: ")
	for _, reason := range []error{trust.ErrUnknownKey, trust.ErrRevoked, trust.ErrExpired, trust.ErrWrongAddress} {
		if errors.Is(err, reason) {
			n.config.Log.Warn("refused", "from", from.String(), "why", why)
			return
		}
	}
	n.refusals.add(from, why)
}

// welcomeLocal lets in who is on this host and could do everything without a node.
func (n *Node) welcomeLocal(conn net.Conn) {
	uid, err := peerUser(conn)
	if err == nil && uid != 0 && uid != os.Geteuid() {
		err = fmt.Errorf("user %d is neither the node's nor root", uid)
	}
	if err != nil {
		n.refusals.add(conn.LocalAddr(), err.Error())
		_ = conn.Close()
		return
	}
	n.serve(trust.NewLink(conn), identity{name: fmt.Sprintf("uid-%d", uid), from: "unix"})
}

// drain starts nothing more, and waits for what runs, or ends it.
func (n *Node) drain() {
	n.shut()
	n.mu.Lock()
	n.draining = true
	var left []*session
	for s := range n.sessions {
		left = append(left, s)
	}
	n.mu.Unlock()
	if len(left) > 0 {
		n.config.Log.Info("draining", "connections", len(left))
	}
	for _, s := range left {
		s.serving.Drain("the node is about to end")
	}
	gone := make(chan struct{})
	go func() {
		n.coming.Wait()
		close(gone)
	}()
	var over <-chan time.Time
	if n.config.DrainTimeout > 0 {
		timer := time.NewTimer(n.config.DrainTimeout)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-gone:
	case <-over:
		n.config.Log.Warn("what still runs is ended", "after", n.config.DrainTimeout)
	case <-n.cut.Done():
	}
	n.cutAll()
	<-gone
}

// cutAll ends all connections now.
func (n *Node) cutAll() {
	n.cutNow()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.draining = true
	for s := range n.sessions {
		s.serving.Close()
	}
}

// Close ends everything at once, and waits until it has ended: processes, Serve,
// and what callers have left. Later calls do nothing.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.cutAll()
		n.serving.Wait()
		n.coming.Wait()
		n.closeErr = errors.Join(n.fences.close(), remove(n.callersDir()), n.lock.Close())
		n.config.Log.Info("closed")
	})
	return n.closeErr
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}
