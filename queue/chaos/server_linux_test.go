package chaos_test

import (
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// server is a broker's server in a process of its own, at an address that stays.
type server struct {
	*stage
	kind    string // one of kinds
	lossy   bool   // it may lose something when it is killed
	socket  string // of redis
	relay   *relay // to nats
	process *process
	address atomic.Value // of nats, as it is now
	outages []outage
	env     []string
}

// outage is a time in which a server was not there.
type outage struct{ down, up time.Time }

// kinds are the brokers that are put to the test.
var kinds = []string{"redis", "redis-always", "nats"}

// startServer starts a server of a kind. "redis" writes to its append-only file as it is delivered:
// once a second to the disk; "redis-always" before it answers.
func startServer(s *stage, kind string, env ...string) *server {
	s.t.Helper()
	v := &server{stage: s, kind: kind, lossy: kind == "redis", env: env}
	if v.redis() {
		need(s.t, "redis-server")
		dir, err := os.MkdirTemp("", "chaos") // a socket's path is short
		must(s.t, err)
		s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
		v.socket = filepath.Join(dir, "s")
	} else {
		v.relay = newRelay(s.t, "127.0.0.1:0", v.dial)
	}
	must(s.t, os.Mkdir(v.files(), 0o700))
	v.start()
	return v
}

// need returns the path of a program, without which there is nothing to test: on a laptop.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skipf("%s is not there", program)
	}
	return path
}

func (v *server) redis() bool { return v.kind != "nats" }

func (v *server) files() string { return filepath.Join(v.dir, v.kind) }

func (v *server) url() string {
	if v.redis() {
		return "unix://" + v.socket
	}
	return "nats://" + v.relay.address()
}

// dial connects to the server.
func (v *server) dial() (net.Conn, error) {
	if v.redis() {
		return net.Dial("unix", v.socket)
	}
	address, _ := v.address.Load().(string)
	return net.Dial("tcp", address)
}

// start returns when the server answers.
func (v *server) start() {
	v.t.Helper()
	said := newLines()
	if v.kind == "nats" {
		v.process = v.play(part{Role: "nats", Dir: v.files()}, said.add)
		at, err := url.Parse(said.wait(v.t, "nats://"))
		must(v.t, err)
		v.address.Store(at.Host)
		return
	}
	_ = os.Remove(v.socket)
	sync := "everysec"
	if !v.lossy {
		sync = "always"
	}
	cmd := exec.Command(need(v.t, "redis-server"), "--port", "0", "--unixsocket", v.socket, "--dir", v.files(), "--save", "",
		"--daemonize", "no", "--appendonly", "yes", "--appendfsync", sync)
	cmd.Env = append(append(os.Environ(), v.mark), v.env...)
	v.process = v.stage.start("redis-server", cmd, said.add)
	said.wait(v.t, "eady to accept connections")
	if !strings.HasPrefix(ping(v.dial), "+PONG") {
		v.t.Fatal("the server does not answer")
	}
}

// ping asks a redis-server how it is.
func ping(dial func() (net.Conn, error)) string {
	c, err := dial()
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_, _ = c.Write([]byte("PING\r\n"))
	b := make([]byte, 64)
	n, _ := c.Read(b)
	return string(b[:n])
}

// kill kills the server, and starts it again.
func (v *server) kill() {
	v.t.Helper()
	down := time.Now()
	if !v.process.kill() {
		v.t.Fatal("the server had ended by itself: ", v.process.said())
	}
	v.start()
	v.outages = append(v.outages, outage{down, time.Now()})
}

// restart ends the server as an operator does, and starts it again.
func (v *server) restart() {
	v.t.Helper()
	if v.redis() {
		must(v.t, v.process.cmd.Process.Signal(syscall.SIGTERM))
	}
	v.process.end(v.t)
	v.start()
}

// broker opens the server's broker for the test itself.
func (v *server) broker() broker {
	v.t.Helper()
	b, err := openBroker(within(v.t), v.url())
	must(v.t, err)
	v.t.Cleanup(func() { must(v.t, b.Close()) })
	return b
}

// relay is an address that stays, in front of a server that comes and goes.
type relay struct {
	listener net.Listener
	to       func() (net.Conn, error)
	wait     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

func newRelay(t testing.TB, address string, to func() (net.Conn, error)) *relay {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must(t, err)
	r := &relay{listener: l, to: to, conns: map[net.Conn]bool{}}
	r.wait.Go(r.serve)
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		r.closed = true
		for c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.wait.Wait()
	})
	return r
}

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) serve() {
	for {
		near, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		far, err := r.to()
		if err != nil {
			_ = near.Close()
			continue
		}
		r.mu.Lock()
		if r.closed {
			_, _ = near.Close(), far.Close()
		}
		r.conns[near], r.conns[far] = true, true
		r.mu.Unlock()
		r.wait.Go(func() { r.carry(near, far) })
		r.wait.Go(func() { r.carry(far, near) })
	}
}

// carry carries what one says to the other, until one of them goes.
func (r *relay) carry(from, to net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && err == nil {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range []net.Conn{from, to} {
		_ = c.Close()
		delete(r.conns, c)
	}
}
