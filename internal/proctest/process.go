package proctest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Process is one that a test has started. Its methods may be called concurrently.
type Process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer

	mu     sync.Mutex
	more   *sync.Cond // there is more in stdout, or no more to come
	stdout bytes.Buffer
	ended  bool
}

// Outcome is what comes of one.
type Outcome struct {
	Stdout, Stderr string
	Status         int
}

// Program is the test binary as the program under test: the variable of this name in its
// environment tells it so, which TestMain is to look for.
type Program string

// patience is how long a process may take.
const patience = time.Minute

// Start runs the program in a process of its own.
func (p Program) Start(t *testing.T, args ...string) *Process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, executable, args...)
	cmd.Env = append(os.Environ(), string(p)+"=1", "GORACE=atexit_sleep_ms=0") // the race detector waits a second at every end
	return Begin(t, cmd)
}

// Begin starts a process, and reads what it prints.
func Begin(t *testing.T, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{cmd: cmd}
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
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more.Broadcast()
	return p.stdout.Write(b)
}

// Read returns what it has printed so far.
func (p *Process) Read() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

// Await waits until it has printed something.
func (p *Process) Await(t *testing.T, text string) {
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

// Kill kills it, as nothing can prevent.
func (p *Process) Kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
}

// Interrupt is what control-C does.
func (p *Process) Interrupt(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
}

// End waits for its end.
func (p *Process) End(t *testing.T) Outcome {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended {
		p.more.Wait()
	}
	return Outcome{p.stdout.String(), p.stderr.String(), p.cmd.ProcessState.ExitCode()}
}

// Execute runs the program to its end.
func (p Program) Execute(t *testing.T, args ...string) Outcome {
	t.Helper()
	return p.Start(t, args...).End(t)
}

// Ask runs the program, which should print stdout, and fail if stderr, which it should say
// then, is not empty.
func (p Program) Ask(t *testing.T, stdout, stderr string, args ...string) {
	t.Helper()
	o := p.Execute(t, args...)
	if o.Stdout != stdout || !strings.Contains(o.Stderr, stderr) || (o.Status == 0) != (o.Stderr == "") || (stderr == "") != (o.Stderr == "") {
		t.Errorf("%q: %+v", args, o)
	}
}
