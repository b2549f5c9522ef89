package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// process is a process of the program, or of a server.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer

	mu     sync.Mutex
	more   *sync.Cond // there is more in stdout, or no more to come
	stdout bytes.Buffer
	ended  bool
}

// outcome is what comes of one.
type outcome struct {
	stdout, stderr string
	status         int
}

// start runs this program in a process of its own, which does not outlive the test.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t), executable, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0") // the race detector waits a second at every end
	return begin(t, cmd)
}

// begin starts a process, and reads what it prints.
func begin(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd}
	p.more = sync.NewCond(&p.mu)
	cmd.Stdout, cmd.Stderr = p, &p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait() // cmd.ProcessState has what is of interest
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = true
		p.more.Broadcast()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // if it has not ended
		<-gone
	})
	return p
}

// Write takes what the process prints.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more.Broadcast()
	return p.stdout.Write(b)
}

// await waits until it has printed something.
func (p *process) await(t *testing.T, text string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !strings.Contains(p.stdout.String(), text) {
		if p.ended {
			t.Fatalf("it ended without %q: %s%s", text, &p.stdout, &p.stderr)
		}
		p.more.Wait()
	}
}

// interrupt is what control-C does.
func (p *process) interrupt(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
}

// end waits for its end.
func (p *process) end(t *testing.T) outcome {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended {
		p.more.Wait()
	}
	return outcome{p.stdout.String(), p.stderr.String(), p.cmd.ProcessState.ExitCode()}
}

// execute runs this program to its end.
func execute(t *testing.T, args ...string) outcome {
	t.Helper()
	return start(t, args...).end(t)
}

// ask runs this program, which should print something, and fail if its stderr is not to be empty.
func ask(t *testing.T, stdout, stderr string, args ...string) {
	t.Helper()
	o := execute(t, args...)
	if o.stdout != stdout || !strings.Contains(o.stderr, stderr) || (o.status == 0) != (o.stderr == "") || (stderr == "") != (o.stderr == "") {
		t.Errorf("%q: %+v", args, o)
	}
}

// startRedis starts a server of the test's own, behind a socket, and returns its URL.
func startRedis(t *testing.T) string {
	t.Helper()
	server, err := exec.LookPath("redis-server")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("redis-server is not there")
	}
	dir, err := os.MkdirTemp("", "thumbnails") // a socket's path must be short, which t.TempDir's is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	cmd := exec.CommandContext(t.Context(), server, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "")
	begin(t, cmd).await(t, "now ready to accept connections")
	return "unix://" + socket
}
