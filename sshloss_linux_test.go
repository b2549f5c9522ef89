package afar_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/hosttest"
)

// fleet opens a pool of 3 hosts with 4 workers each.
func fleet(t testing.TB) (*afar.Pool, []*hosttest.Host) {
	t.Helper()
	c := abroad(t)
	hosts := hosttest.New(t, 3)
	var targets []string
	for _, h := range hosts {
		targets = append(targets, h.Target("workers=4"))
	}
	return openWith(t, c, targets...), hosts
}

// rejoined waits until every gateway of a target has a worker, which is another than before.
func rejoined(t testing.TB, pool *afar.Pool, target string) {
	t.Helper()
	for _, g := range pool.Gateways() {
		if g.Target() != target {
			continue
		}
		hosttest.Until(t, g.ID()+" is back", func() bool {
			s, _ := g.Status(within(t))
			if s.State == afar.StateCrashLoop {
				t.Fatalf("%s has given up: %v", g.ID(), s.Err)
			}
			return s.PID != 0 && s.Restarts > 0
		})
	}
}

// A host that is lost in the middle of a Map costs no result, and its workers are back when it is.
func TestSSHMapWhileAHostIsLost(t *testing.T) {
	for name, way := range map[string]struct {
		lose, find func(*hosttest.Host) error
	}{
		"cable":   {(*hosttest.Host).Down, (*hosttest.Host).Up},
		"mute":    {(*hosttest.Host).Mute, (*hosttest.Host).Heal},
		"deaf":    {(*hosttest.Host).Deafen, (*hosttest.Host).Heal},
		"no sshd": {(*hosttest.Host).StopSSH, (*hosttest.Host).StartSSH},
	} {
		t.Run(name, func(t *testing.T) {
			pool, hosts := fleet(t)
			h := hosts[1]
			squares(t, pool, 60_000, func() { do(t, way.lose(h)) })
			// The agent there has noticed as well, and has ended what it had started.
			alone(t, false, h)
			squares(t, pool, 1000, nil)
			for _, g := range pool.Gateways() {
				s, _ := g.Status(within(t))
				if lost := strings.Contains(g.Target(), h.Address()); lost != (s.PID == 0) {
					t.Errorf("%s: %+v", g.ID(), s)
				}
			}
			do(t, way.find(h))
			rejoined(t, pool, h.Target("workers=4"))
			squares(t, pool, 30_000, nil)
			for _, g := range pool.Gateways() {
				if strings.Contains(g.Target(), h.Address()) {
					at(t, g, h)
				}
			}
			do(t, pool.Close())
			alone(t, false, hosts...)
		})
	}
}

// A short break loses nothing: not even a worker is replaced.
func TestSSHShortBreak(t *testing.T) {
	c := abroad(t)
	c.Keepalive = time.Minute
	h := hosttest.New(t, 1)[0]
	pool := openWith(t, c, h.Target("workers=2"))
	squares(t, pool, 30_000, func() {
		do(t, h.Down())
		do(t, h.Up())
	})
	for _, g := range pool.Gateways() {
		if s, _ := g.Status(within(t)); s.Restarts > 0 {
			t.Errorf("%+v", s)
		}
	}
}

// A process that is stopped is known to be lost, and replaced.
func TestSSHStoppedWorker(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	pool := openWith(t, c, h.Target("workers=2"))
	first := at(t, pool.Gateways()[0], h)
	h.Halt(t, first.PID)
	if next := at(t, pool.Gateways()[0], h); next.PID == first.PID {
		t.Error("it runs")
	}
	at(t, pool.Gateways()[1], h)
	do(t, pool.Close())
	alone(t, true, h)
}

// An agent that is stopped takes its host with it, until the next one is there.
func TestSSHStoppedAgent(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	pool := openWith(t, c, h.Target("workers=2"))
	first := at(t, pool, h)
	// The agent is the parent of the workers.
	parent, err := h.Exec("ps", "-o", "ppid=", "-p", fmt.Sprint(first.PID))
	do(t, err)
	agent, err := strconv.Atoi(strings.TrimSpace(parent))
	do(t, err)
	h.Halt(t, agent)
	rejoined(t, pool, h.Target("workers=2"))
	at(t, pool, h)
	do(t, pool.Close())
	_, _ = h.Exec("kill", "-CONT", strconv.Itoa(agent))
	alone(t, true, h)
}

// A target that is out of reach when it is opened is an error at once, and so is one that goes out of reach meanwhile.
func TestSSHUnreachable(t *testing.T) {
	c := abroad(t)
	c.StartTimeout = 2 * time.Second
	h := hosttest.New(t, 1)[0]
	for name, way := range map[string][2]func() error{"cable": {h.Down, h.Up}, "mute": {h.Mute, h.Heal}} {
		do(t, way[0]())
		refused(t, c, h.Target("workers=2"), "timed out", "host unreachable")
		do(t, way[1]())
		if t.Failed() {
			t.Fatal(name)
		}
	}
	ctx, cancel := context.WithCancelCause(within(t))
	do(t, h.Down())
	gone := make(chan error, 1)
	go func() {
		pool, err := c.Open(ctx, h.Target("workers=2"))
		if err == nil {
			_ = pool.Close()
		}
		gone <- err
	}()
	cancel(nil)
	if err := receive(t, gone); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Error(err)
	}
}

var litter = afar.Func(leaveProcesses)

// leaveProcesses starts processes that nobody ends, every second one where the end of the worker's group does not reach it.
func leaveProcesses(_ context.Context, n int) (int, error) {
	for i := range n {
		cmd := exec.Command("sleep", "100000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: i%2 == 1}
		if err := cmd.Start(); err != nil {
			return 0, err
		}
	}
	return os.Getpid(), nil
}

func init() {
	// A resident has workers on hosts, which have started processes, and waits.
	roles["resident"] = func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		pool, err := afar.Config{Stderr: io.Discard, Log: slog.DiscardHandler, Images: images(), StartTimeout: patience, Keepalive: 300 * time.Millisecond}.
			Open(ctx, strings.Fields(os.Getenv(deskVariable))...)
		if err != nil {
			fmt.Printf("%q\n", err)
			return
		}
		for _, o := range litter.Each(ctx, pool, 2) {
			if o.Err != nil {
				fmt.Printf("%q\n", o.Err)
				return
			}
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = pool.Close()
	}
	// A persistent one calls, and calls again for every line.
	roles["persistent"] = func() {
		ctx := context.Background()
		pool, err := afar.Config{Stderr: io.Discard, Log: slog.DiscardHandler, Images: images(), StartTimeout: patience, Keepalive: 300 * time.Millisecond}.
			Open(ctx, os.Getenv(deskVariable))
		if err != nil {
			fmt.Printf("%q\n", err)
			return
		}
		for lines := bufio.NewScanner(os.Stdin); ; {
			p, err := where.On(pool)(ctx, "")
			fmt.Println(p.Host, err)
			if !lines.Scan() {
				break
			}
		}
		_ = pool.Close()
	}
}

// When the caller is killed, nothing of it is left on any host, also if the host does not hear of it.
func TestSSHCallerIsKilled(t *testing.T) {
	for name, lose := range map[string]func(*hosttest.Host) error{
		"connected": func(*hosttest.Host) error { return nil },
		"cable":     (*hosttest.Host).Down,
		"deaf":      (*hosttest.Host).Deafen,
	} {
		t.Run(name, func(t *testing.T) {
			abroad(t)
			hosts := hosttest.New(t, 2)
			c := startCaller(t, "resident", hosts[0].Target("workers=3"), hosts[1].Target("workers=3"))
			if line := c.says(t); line != "ready" {
				t.Fatal(line)
			}
			for _, h := range hosts {
				if n := len(h.Processes()); n < 3+3*2+1 {
					t.Errorf("only %d processes on %s:\n%s", n, h.Name(), h.Describe())
				}
				do(t, lose(h))
			}
			do(t, c.cmd.Process.Kill())
			alone(t, name == "connected", hosts...)
		})
	}
}

// The same when it ends in order.
func TestSSHCallerEnds(t *testing.T) {
	abroad(t)
	h := hosttest.New(t, 1)[0]
	c := startCaller(t, "resident", h.Target("workers=3"))
	if line := c.says(t); line != "ready" {
		t.Fatal(line)
	}
	do(t, c.in.Close())
	do(t, c.cmd.Wait())
	alone(t, true, h)
}

// A connection that others share serves afar as well, and outlives it.
func TestSSHSharedConnection(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	config, err := h.Master()
	do(t, err)
	for range 2 {
		pool := openWith(t, c, "ssh://"+h.Name()+"?workers=2&config="+config)
		at(t, pool, h)
		if n := len(h.Sessions()); n != 1 {
			t.Errorf("%d connections", n)
		}
		do(t, pool.Close())
		hosttest.Until(t, "only the connection is left", func() bool { return len(h.Processes()) == 1 })
	}
}

// Ports and users in targets are ssh's.
func TestSSHPortAndUser(t *testing.T) {
	c := abroad(t)
	h := hosttest.New(t, 1)[0]
	at(t, openWith(t, c, fmt.Sprintf("ssh://root@%s?workers=1&config=%s", net.JoinHostPort(h.Address(), "22"), h.Config())), h)
	refused(t, c, fmt.Sprintf("ssh://root@%s?workers=1&config=%s", net.JoinHostPort(h.Address(), "23"), h.Config()), "connection refused")
	refused(t, c, fmt.Sprintf("ssh://nobody@%s?workers=1&config=%s", h.Address(), h.Config()), "authentication failed")
}
