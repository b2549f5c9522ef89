package afar_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// A desk is where functions report to the test, from whatever process they run
// in. A visitor waits until the test lets it go; the end of its process is seen
// at the desk, too.
type desk struct {
	listener net.Listener
	arrivals chan *visitor
	mu       sync.Mutex
	conns    []net.Conn
}

// visitor is somebody at the desk.
type visitor struct {
	name string
	pid  int
	conn net.Conn
	in   *bufio.Reader
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{listener: listener, arrivals: make(chan *visitor, 4096)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conns = append(d.conns, conn)
			d.mu.Unlock()
			wg.Go(func() { d.welcome(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		d.mu.Lock()
		for _, conn := range d.conns {
			_ = conn.Close()
		}
		d.mu.Unlock()
		wg.Wait()
	})
	return d
}

func (d *desk) welcome(conn net.Conn) {
	v := &visitor{conn: conn, in: bufio.NewReader(conn)}
	line, err := v.in.ReadString('\n')
	if err != nil {
		return
	}
	if _, err := fmt.Sscanf(line, "%d %q", &v.pid, &v.name); err == nil {
		d.arrivals <- v
	}
}

func (d *desk) addr() string { return d.listener.Addr().String() }

// next waits for the next visitor.
func (d *desk) next(t testing.TB) *visitor {
	t.Helper()
	return receive(t, d.arrivals)
}

// release lets a visitor go with a message.
func (v *visitor) release(message string) { _, _ = fmt.Fprintln(v.conn, message) }

// says waits for the visitor's next line, or for its end, which is io.EOF.
func (v *visitor) says(t testing.TB) (string, error) {
	t.Helper()
	_ = v.conn.SetReadDeadline(time.Now().Add(patience))
	line, err := v.in.ReadString('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("visitor %q says nothing", v.name)
	}
	return strings.TrimSuffix(line, "\n"), err
}

// gone waits for the visitor's end.
func (v *visitor) gone(t testing.TB) {
	t.Helper()
	if said, err := v.says(t); err == nil {
		t.Errorf("visitor %q says %q", v.name, said)
	}
}

// arrive goes to a desk.
func arrive(addr, name string) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "%d %q\n", os.Getpid(), name)
	return conn, err
}

// visit says how a function goes to a desk.
type visit struct {
	Desk, Name string
	Stubborn   bool // it does not heed its context
}

var waitAt = afar.Func(visitDesk)

// visitDesk waits at the desk and returns what it was told there. When its
// context ends first it tells the desk why.
func visitDesk(ctx context.Context, v visit) (string, error) {
	conn, err := arrive(v.Desk, v.Name)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if !v.Stubborn {
		stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && ctx.Err() != nil {
		fmt.Fprintf(conn, "%v: %v\n", ctx.Err(), context.Cause(ctx))
		return "", ctx.Err()
	}
	return strings.TrimSuffix(line, "\n"), err
}

// stay leaves a connection to the desk that lasts as long as the worker, and
// another that lasts as long as a program that the worker starts.
var stay = afar.Func(stayForever)

var kept struct { // so that nothing closes them
	sync.Mutex
	conns []net.Conn
}

func keep(conn net.Conn) {
	kept.Lock()
	defer kept.Unlock()
	kept.conns = append(kept.conns, conn)
}

func stayForever(_ context.Context, v visit) (int, error) {
	conn, err := arrive(v.Desk, v.Name)
	if err != nil {
		return 0, err
	}
	keep(conn)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=guest", deskVariable+"="+v.Desk)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return os.Getpid(), nil
}

func init() {
	roles["guest"] = func() {
		conn, err := arrive(os.Getenv(deskVariable), "guest")
		if err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	}
}
