package redisq_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a redis-server of a test's own, behind a socket in a directory of its own. It
// ends with the test.
type server struct {
	t      testing.TB
	dir    string
	socket string
	args   []string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
}

// need returns the path of a program, without which there is nothing to test: on a laptop.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is needed: %v", program, err)
	}
	t.Skipf("%s is not there", program)
	return ""
}

// startServer starts one with arguments besides those for the socket. It listens to no port
// unless they say so.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s, err := tryServer(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// startServerAt starts one that listens to ports, and returns them. It cannot be asked to choose them itself, and
// another program may take them first, so there are several tries.
func startServerAt(t testing.TB, n int, args func(ports []string) []string) (*server, []string) {
	t.Helper()
	for try := 0; ; try++ {
		ports := freePorts(t, n)
		s, err := tryServer(t, args(ports)...)
		if err == nil {
			return s, ports
		}
		if try == 20 {
			t.Fatal(err)
		}
	}
}

func tryServer(t testing.TB, args ...string) (*server, error) {
	t.Helper()
	need(t, "redis-server")
	// A socket's path is short, other than that of the test's directory.
	sockets, err := os.MkdirTemp("", "redisq")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: t.TempDir(), socket: filepath.Join(sockets, "s"), args: args}
	t.Cleanup(func() {
		s.stop(syscall.SIGKILL)
		_ = os.RemoveAll(sockets)
	})
	return s, s.try()
}

// durable are arguments with which nothing is lost when the server is killed.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// start starts the server, and returns when it answers.
func (s *server) start() {
	s.t.Helper()
	if err := s.try(); err != nil {
		s.t.Error(err)
	}
}

// try is start of a server that may not want to.
func (s *server) try() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = os.Remove(s.socket)
	args := []string{"--port", "0", "--unixsocket", s.socket, "--dir", s.dir, "--save", "", "--daemonize", "no"}
	if len(s.args) > 0 && !strings.HasPrefix(s.args[0], "--") {
		args = append(s.args[:1:1], append(args[:len(args)-4], s.args[1:]...)...) // a file comes first; a sentinel saves nothing
	} else {
		args = append(args, s.args...)
	}
	cmd := exec.Command(need(s.t, "redis-server"), args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.ended = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(s.ended)
	}()
	return s.await()
}

// await waits until the server answers, which its socket alone does not say: it may be loading.
func (s *server) await() error {
	for deadline := time.Now().Add(60 * time.Second); ; {
		answer, err := s.ask("PING")
		if err == nil && (strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH")) {
			return nil
		}
		select {
		case <-s.ended:
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("the server has ended:\n%s", text)
		case <-time.After(5 * time.Millisecond): // there is no event when a server answers
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not answer: %q, %w", answer, err)
		}
	}
}

// ask sends one command on a connection of its own, and returns the first line of the answer.
func (s *server) ask(words ...string) (string, error) {
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return askOn(c, words...)
}

func askOn(c net.Conn, words ...string) (string, error) {
	text := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err == nil && strings.HasPrefix(line, "$") && !strings.HasPrefix(line, "$-") {
		line, err = r.ReadString('\n')
	}
	return strings.TrimSpace(line), err
}

// must is ask of what cannot fail.
func (s *server) must(words ...string) string {
	s.t.Helper()
	answer, err := s.ask(words...)
	if err != nil || strings.HasPrefix(answer, "-") {
		s.t.Fatalf("%.200q: %s, %v", words, answer, err)
	}
	return answer
}

// stop ends the server with a signal.
func (s *server) stop(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	<-s.ended
	s.cmd = nil
}

// restart and kill are what may become of a server.
func (s *server) restart() { s.stop(syscall.SIGTERM); s.start() }
func (s *server) kill()    { s.stop(syscall.SIGKILL); s.start() }

// dialUnix is how other clients connect to a server's socket.
func dialUnix(ctx context.Context, path string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
	return dialer.DialContext(ctx, "unix", path)
}

// awaitBlocked returns when so many clients block.
func awaitBlocked(s *server, n int) {
	s.t.Helper()
	awaitText(s.t, s, "INFO clients", fmt.Sprintf("blocked_clients:%d\r", n))
}

// text returns all that a command of one line, without arguments that need quoting, is answered.
func (s *server) text(command string) string {
	s.t.Helper()
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	return textOn(s.t, c, command)
}

func textOn(t testing.TB, c net.Conn, command string) string {
	t.Helper()
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprintf(c, "%s\r\n", command)
	r := bufio.NewReader(c)
	size := 0
	if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
		return "" // an error of the server, or no answer yet
	}
	text := make([]byte, size)
	_, _ = io.ReadFull(r, text)
	return string(text)
}

// awaitText returns when the answer to a command has something in it.
func awaitText(t testing.TB, s *server, command, want string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !strings.Contains(s.text(command), want); {
		if time.Now().After(deadline) {
			t.Fatalf("%s never says %s:\n%s", command, want, s.text(command))
		}
	}
}
