package trust

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/afar-go/afar/internal/launch"
)

// tcpRig is a node that listens, and a caller's files, which the environment names.
type tcpRig struct {
	listener net.Listener
	server   *ServerConfig
	known    *KnownNodes
	caller   *Key
}

func newTCPRig(t *testing.T) *tcpRig {
	t.Helper()
	dir := t.TempDir()
	caller, node := newTestKey(t, "caller"), newTestKey(t, "node")
	if err := caller.Save(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	r := &tcpRig{caller: caller, known: &KnownNodes{Path: filepath.Join(dir, "known_nodes")}}
	r.server = &ServerConfig{Key: node, Authorized: &AuthorizedKeys{Path: writeFile(t, "authorized_keys", caller.String()+"\n")}}
	t.Setenv(KeyVariable, filepath.Join(dir, "key"))
	t.Setenv(KnownNodesVariable, r.known.Path)
	var err error
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.listener.Close() })
	if err := r.known.Add(r.address(), node.Public()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *tcpRig) address() string { return r.listener.Addr().String() }

// accept lets one caller in, and gives its link, or nil.
func (r *tcpRig) accept(t *testing.T) <-chan *Link {
	links := make(chan *Link, 1)
	go func() {
		defer close(links)
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		if secured, _, err := Server(context.Background(), conn, r.server); err == nil {
			links <- NewLink(secured)
		}
	}()
	return links
}

// dial connects as a target tcp://… does; relayed hides that the link is TCP.
func (r *tcpRig) dial(relayed bool) (launch.Link, error) {
	tcp, err := launch.TCP()
	if err != nil {
		return nil, err
	}
	link, err := tcp.Dial(context.Background(), r.address())
	if err != nil {
		return nil, err
	}
	if relayed {
		link = struct{ launch.Link }{link}
	}
	return tcp.Secure(context.Background(), link, r.address())
}

// Links of TLS, over TCP and over other links, are links as all others.
func TestTCPLink(t *testing.T) {
	for name, relayed := range map[string]bool{"tcp": false, "relayed": true} {
		t.Run(name, func(t *testing.T) {
			r := newTCPRig(t)
			links := r.accept(t)
			near, err := r.dial(relayed)
			if err != nil {
				t.Fatal(err)
			}
			far := <-links
			exchange(t, near, far)
			exchange(t, far, near)
			closeLinks(t, near, far)
		})
	}
}

// exchange sends buffers of many sizes.
func exchange(t *testing.T, from, to launch.Link) {
	t.Helper()
	var all []byte
	var vectors [][][]byte
	for _, sizes := range [][]int{{0}, {1}, {5, 0, 7}, {9, 64 << 10}, {64 << 10, 9}, {100_000, 1, 100_000}, {40_000, 40_000, 40_000}, {}} {
		var bufs [][]byte
		for _, n := range sizes {
			b := make([]byte, n)
			_, _ = rand.Read(b)
			bufs = append(bufs, b)
			all = append(all, b...)
		}
		vectors = append(vectors, bufs)
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		for _, bufs := range vectors {
			if err := from.Writev(bufs...); err != nil {
				t.Error(err)
			}
		}
		if n, err := from.Write([]byte("end")); n != 3 || err != nil {
			t.Error(n, err)
		}
	})
	got := make([]byte, len(all)+3)
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, append(all, "end"...)) {
		t.Errorf("what arrived is not what was sent: %v", err)
	}
	writing.Wait()
}

// closeLinks closes one end, which each side hears of in its way.
func closeLinks(t *testing.T, near, far launch.Link) {
	t.Helper()
	reading := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 1))
		reading <- err
	}()
	for range 2 {
		if err := near.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-reading; !closedHere(err) {
		t.Errorf("a read that Close has ended: %v", err)
	}
	if _, err := near.Write([]byte("x")); !closedHere(err) {
		t.Errorf("a write after Close: %v", err)
	}
	if n, err := far.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("a read at the end: %d, %v", n, err)
	}
	// The system takes some bytes before it knows that nobody reads them.
	var err error
	for deadline := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(deadline); {
		_, err = far.Write(make([]byte, 1000))
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a write that nobody can read: %v", err)
	}
	far.Close()
}

func closedHere(err error) bool {
	return errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

// Errors say what to do, and why the node is out of reach.
func TestTCPRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, r *tcpRig)
		reason string
		says   []string
	}{
		"unknown node": {func(t *testing.T, r *tcpRig) {
			if err := r.known.Forget(r.address()); err != nil {
				t.Fatal(err)
			}
		}, "host key not accepted", []string{"not known", "afar key trust '127.0.0.1:", KnownNodesVariable + "="}},
		"changed node": {func(t *testing.T, r *tcpRig) { r.server.Key = newTestKey(t, "") },
			"host key not accepted", []string{"CHANGED"}},
		"unknown caller": {func(t *testing.T, r *tcpRig) {
			if err := r.server.Authorized.Remove(r.caller.Public()); err != nil {
				t.Fatal(err)
			}
		}, "authentication failed", []string{"refused by the node", "afar key authorize 'afar-ed25519 "}},
		"no key": {func(t *testing.T, r *tcpRig) { t.Setenv(KeyVariable, filepath.Join(t.TempDir(), "none")) },
			"authentication failed", []string{"no key", "none afar key new"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTCPRig(t)
			c.change(t, r)
			links := r.accept(t)
			link, err := r.dial(false)
			if err == nil {
				link.Close()
				t.Fatal("the link is there")
			}
			r.listener.Close()
			if link := <-links; link != nil {
				link.Close()
			}
			reason, ok := errors.AsType[interface {
				error
				Reason() string
			}](err)
			if !ok || reason.Reason() != c.reason {
				t.Errorf("the reason of %v", err)
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%q does not say %q", err, says)
				}
			}
		})
	}
}

// A deadline of a relayed link closes it, unless it is lifted before.
func TestRelayedDeadline(t *testing.T) {
	a, b := launch.Pipe()
	defer b.Close()
	conn := &linkConn{Link: a}
	if err := conn.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetWriteDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v after the deadline", n, err)
	}
	if conn.Close(); conn.RemoteAddr().Network() != "link" {
		t.Error("its address")
	}
}

// Whoever dials says which node it was; the error says only why it was in vain.
func TestDialSaysWhy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, err = Dial(t.Context(), l.Addr().String())
	if !errors.Is(err, syscall.ECONNREFUSED) || err.Error() != syscall.ECONNREFUSED.Error() {
		t.Errorf("a closed port: %v", err)
	}
	_, err = Dial(t.Context(), "nowhere.invalid:7227")
	if says, ok := errors.AsType[*outOfReach](err); ok && says.Error() != says.Reason() { // without a network it is not known
		t.Errorf("no such host: %v", err)
	}
}
