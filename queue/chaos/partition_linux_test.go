package chaos_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/afar-go/afar/internal/hosttest"
	"github.com/afar-go/afar/queue"
)

// A worker is cut off, with a task that it goes on with, for longer than its lease. The task runs
// elsewhere, and that is its outcome; when the cable is back, the late one does no harm, and works on.
func TestPartition(t *testing.T) {
	for _, kind := range []string{"redis", "nats"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			v := startServer(s, kind)
			h := hosttest.New(t, 1)[0]
			q := queue.New(addressed{v.broker()}, "cables")
			far := workAt(s, h, part{Role: "worker", Name: "far", URL: v.near(h), Queue: "cables", Lease: lease, Tasks: 1})
			gate := newGate(t, h.Path("/tmp/gate"))
			first, err := queue.Submit(within(t), q, chore, order{N: 3, Gate: "/tmp/gate"}, queue.ID("first"))
			must(t, err)
			gate.await()

			must(t, h.Down())
			near := s.play(part{Role: "worker", Name: "near", URL: v.url(), Queue: "cables", Lease: lease}, nil)
			p := prove(t, q, first, "near")
			if p.Attempt != 2 || p.Square != 9 {
				t.Errorf("the outcome is %+v", p)
			}
			near.end(t)
			gate.open() // so it ends there too, and cannot say so yet
			must(t, h.Up())
			second, err := queue.Submit(within(t), q, chore, order{N: 4}, queue.ID("second"))
			must(t, err)
			prove(t, q, second, "far")

			if again := prove(t, q, first, "near"); again.Token != p.Token {
				t.Errorf("the outcome was %+v, and is %+v", p, again)
			}
			if told := ends(t, q, v.broker()); len(told) != 2 || told[0].ID != "first" || told[1].ID != "second" {
				t.Errorf("the client was told %+v", told)
			}
			far.end(t)
		})
	}
}

// near is the server's URL on a host, whose cable can be cut.
func (v *server) near(h *hosttest.Host) string {
	v.t.Helper()
	i, err := net.InterfaceByName(h.Name())
	must(v.t, err)
	addresses, err := i.Addrs()
	must(v.t, err)
	for _, a := range addresses {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.To4() != nil {
			return map[bool]string{true: "redis://", false: "nats://"}[v.redis()] + newRelay(v.t, net.JoinHostPort(ip.String(), "0"), v.dial).address()
		}
	}
	v.t.Fatalf("%s has the addresses %v", h.Name(), addresses)
	return ""
}

// workAt starts a worker on a host, and returns when it listens.
func workAt(s *stage, h *hosttest.Host, p part) *process {
	s.t.Helper()
	copyFile(s.t, fmt.Sprintf("/proc/%d/exe", os.Getpid()), h.Path("/tmp/program"))
	cmd := exec.Command(h.Shell()[0], append(h.Shell()[1:], "-c", "exec /tmp/program")...)
	cmd.Env = append(append(os.Environ(), s.environ(&p)...), "TMPDIR=/tmp")
	said := newLines()
	w := s.start("worker "+p.Name, cmd, said.add)
	said.wait(s.t, "ready")
	return w
}

// copyFile has another process copy a file: a child that this one starts meanwhile would have the
// copy open for writing, and nobody could run it.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "--dereference", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// prove waits for a task's outcome, which must be that of a worker.
func prove(t testing.TB, q *queue.Queue, r *queue.Result[proof], worker string) proof {
	t.Helper()
	p, err := r.Wait(within(t))
	must(t, err)
	s, err := r.Status(within(t))
	must(t, err)
	if s.Worker != worker || s.State != queue.StateDone || p.Task != r.ID() {
		t.Errorf("%s: %+v: %+v", r.ID(), s, p)
	}
	return p
}

// ends are the ends that the client was told of until now.
func ends(t testing.TB, q *queue.Queue, b queue.Broker) (all []queue.Event) {
	t.Helper()
	for cursor := queue.Cursor(""); ; {
		events, next, err := b.Follow(within(t), q.Name(), queue.Topic{Client: client}, cursor, 0)
		must(t, err)
		if len(events) == 0 {
			return all
		}
		all, cursor = append(all, events...), next
	}
}

// gate is what the first attempt of a task waits at.
type gate struct {
	t      testing.TB
	opened chan *os.File
	end    *os.File
}

func newGate(t testing.TB, path string) *gate {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, syscall.Mkfifo(path, 0o600))
	g := &gate{t: t, opened: make(chan *os.File, 1)}
	go func() {
		w, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for who reads
		if err != nil {
			t.Errorf("the gate: %v", err)
		}
		g.opened <- w
	}()
	t.Cleanup(func() {
		if g.end == nil { // nobody has come
			if r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
				_ = (<-g.opened).Close()
				_ = r.Close()
			}
		}
		g.open()
	})
	return g
}

// await waits until somebody is at the gate.
func (g *gate) await() {
	g.t.Helper()
	select {
	case g.end = <-g.opened:
	case <-within(g.t).Done():
		g.t.Fatal("nobody has come to the gate")
	}
}

// open lets who is there go on.
func (g *gate) open() {
	if g.end != nil {
		_ = g.end.Close()
	}
}
