package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/hosttest"
	"github.com/afar-go/afar/node"
	"golang.org/x/sys/unix"
)

// begin runs hang in a worker. It returns when that has begun, with what lets it go
// on and what waits for its result.
func begin(t testing.TB, pool *afar.Pool) (proceed func(), result func() error) {
	t.Helper()
	dir := t.TempDir()
	fifo, begun := filepath.Join(dir, "f"), filepath.Join(dir, "f.begun")
	must(t, unix.Mkfifo(fifo, 0o600))
	must(t, unix.Mkfifo(begun, 0o600))
	done := make(chan error, 1)
	go func() {
		_, err := hang.On(afar.With(pool, afar.Policy{MaxAttempts: 1}))(context.Background(), fifo)
		done <- err
	}()
	_, err := os.ReadFile(begun) // until it is opened for writing, and closed
	must(t, err)
	return func() { must(t, os.WriteFile(fifo, nil, 0o600)) }, func() error {
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("the call has not ended")
		}
	}
}

// ended waits for the end of Serve.
func (s *site) ended() error {
	select {
	case err := <-s.served:
		return err
	case <-time.After(patience):
		return errors.New("Serve has not ended")
	}
}

// The end of Serve's context ends nothing that runs, and lets nothing new begin.
func TestDrain(t *testing.T) {
	s := newSite(t, "", func(c *node.Config) { c.DrainTimeout = -1 })
	pool := s.open("?workers=1")
	place, _ := s.place(t)
	proceed, result := begin(t, pool)
	s.stop()
	s.log.wait(t, 1, "draining")
	contains(t, s.refused(""), "refused")
	ctx := within(t)
	for err := error(nil); err == nil; { // a connection without workers ends by itself
		_, err = place.Status(ctx)
	}
	must(t, ctx.Err())
	proceed()
	must(t, result())
	must(t, pool.Close())
	must(t, s.ended())
	if left := s.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// After DrainTimeout, what still runs is ended.
func TestDrainTimeout(t *testing.T) {
	s := newSite(t, "", func(c *node.Config) { c.DrainTimeout = time.Millisecond })
	pool := s.open("?workers=1")
	at, err := look.On(pool)(within(t), 0)
	must(t, err)
	gone := hosttest.Watch(t, at.PID)
	_, result := begin(t, pool)
	s.stop()
	must(t, s.ended())
	gone()
	if err := result(); !errors.Is(err, afar.ErrWorkerLost) {
		t.Errorf("the call ended with %v", err)
	}
}

// Close ends everything now.
func TestClose(t *testing.T) {
	s := newSite(t, "")
	pool := s.open("?workers=2")
	child, err := spawn.On(pool)(within(t), 0)
	must(t, err)
	gone := hosttest.Watch(t, child)
	_, result := begin(t, pool)
	must(t, s.node.Close())
	if err := s.ended(); !errors.Is(err, node.ErrClosed) {
		t.Errorf("Serve returned %v", err)
	}
	gone()
	if err := result(); !errors.Is(err, afar.ErrWorkerLost) {
		t.Errorf("the call ended with %v", err)
	}
	if left := s.left2(); left != "" {
		t.Errorf("left behind: %s", left)
	}
	must(t, s.node.Close())
	if err := s.node.Serve(context.Background()); !errors.Is(err, node.ErrClosed) {
		t.Errorf("Serve after Close returned %v", err)
	}
}

// left2 is what is left when the directory of callers is to be gone too.
func (s *site) left2() string {
	if _, err := os.Stat(filepath.Join(s.dir, "node", "callers")); !os.IsNotExist(err) {
		return fmt.Sprint(s.left())
	}
	return ""
}

// One node at a time has a directory; what one that was killed has left is removed.
func TestDirectoryOfTwo(t *testing.T) {
	s := newSite(t, "")
	dir := filepath.Join(s.dir, "node")
	if _, err := node.Open(node.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second node: %v", err)
	}
	must(t, s.node.Close())
	must(t, os.MkdirAll(filepath.Join(dir, "callers", "x", "work"), 0o700))
	next, err := node.Open(node.Config{Dir: dir, Log: nodeLog(s), NoControlGroups: true})
	must(t, err)
	if left := s.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	must(t, next.Close())
}

func init() { roles["caller"] = beCaller }

// beCaller opens a pool, tells which processes it has there, and waits.
func beCaller() error {
	c := config()
	c.Keepalive = 200 * time.Millisecond
	pool, err := c.Open(context.Background(), os.Getenv("AFAR_TEST_TARGET"))
	if err != nil {
		return err
	}
	for _, g := range pool.Gateways() {
		at, err := look.On(g)(context.Background(), 0)
		if err != nil {
			return err
		}
		fmt.Println(at.PID)
	}
	child, err := spawn.On(pool)(context.Background(), 0)
	if err != nil {
		return err
	}
	fmt.Println(child)
	fmt.Println("ready")
	_, err = bufio.NewReader(os.Stdin).ReadByte()
	return err
}

// other starts another program that is a caller, and returns it, and what waits until
// each of its processes on the node has ended.
func (s *site) other() (cmd *exec.Cmd, gone []func()) {
	t := s.t
	t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"=caller", "AFAR_TEST_TARGET="+s.target("?workers=2"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(lines.Text())
		}
		gone = append(gone, hosttest.Watch(t, pid))
	}
	if len(gone) != 3 {
		t.Fatalf("the caller has %d processes", len(gone))
	}
	return cmd, gone
}

// Nothing of a caller is left that was killed, nor of one that gives no sign of life.
func TestCallerLost(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "")
			cmd, gone := s.other()
			must(t, cmd.Process.Signal(signal))
			for _, wait := range gone {
				wait()
			}
			s.log.wait(t, 1, "caller out")
			if left := s.left(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// On a unix socket the node lets in its own user and root, whoever else may connect.
func TestUnixSocket(t *testing.T) {
	s := newSite(t, "")
	dir, err := os.MkdirTemp("", "afar-node-") // others must reach it, and its path be short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "s")
	l, err := node.ListenUnix(path)
	must(t, err)
	if _, err := node.ListenUnix(path); err == nil {
		t.Error("two listen at one socket")
	}
	s.stop()
	must(t, s.ended())
	must(t, s.node.Close())
	s.node, err = node.Open(node.Config{Dir: filepath.Join(s.dir, "node2"), Log: nodeLog(s)})
	must(t, err)
	s.serve(l)
	pool, err := config().Open(within(t), "unix:"+path+"?workers=1")
	must(t, err)
	_, err = look.On(pool)(within(t), 0)
	must(t, err)
	must(t, pool.Close())
	s.log.wait(t, 1, "caller in", fmt.Sprintf("uid-%d", os.Getuid()))

	if os.Getuid() != 0 {
		t.Skip("root is needed to be somebody else")
	}
	must(t, os.Chmod(path, 0o666))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"=nobody", "AFAR_TEST_TARGET="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	s.log.wait(t, 1, "refused", "user 65534 is neither the node's nor root")
}

func init() { roles["nobody"] = beNobody }

// beNobody connects to a socket, and wants to be sent away without a word.
func beNobody() error {
	conn, err := net.Dial("unix", os.Getenv("AFAR_TEST_TARGET"))
	if err != nil {
		return err
	}
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
		return errors.New("the node speaks")
	}
	return nil
}
