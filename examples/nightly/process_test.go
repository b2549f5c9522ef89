package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// output is what processes print.
type output struct {
	mu   sync.Mutex
	more *sync.Cond
	text bytes.Buffer
}

func newOutput() *output {
	o := &output{}
	o.more = sync.NewCond(&o.mu)
	return o
}

// Write takes what one prints.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.more.Broadcast()
	return o.text.Write(b)
}

// await waits until there are n lines with something in them, and returns these.
func (o *output) await(t *testing.T, text string, n int) (lines []string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	patience := within(t)
	defer context.AfterFunc(patience, o.more.Broadcast)()
	for {
		lines = nil
		for line := range strings.Lines(o.text.String()) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if len(lines) >= n {
			return lines
		}
		if patience.Err() != nil {
			t.Fatalf("not %d lines with %q:\n%s", n, text, &o.text)
		}
		o.more.Wait()
	}
}

// String returns what was printed so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process is one that does not outlive its test.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	gone   chan struct{}
}

// start runs this program in a process of its own.
func start(t *testing.T, stdout *output, args ...string) *process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t), executable, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0") // the race detector waits a second at every end
	return begin(t, stdout, cmd)
}

// begin starts a process.
func begin(t *testing.T, stdout *output, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, gone: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = stdout, &p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.gone)
		_ = cmd.Wait() // cmd.ProcessState has what is of interest
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // if it has not ended
		<-p.gone
	})
	return p
}

// end sends a signal, and waits for the end.
func (p *process) end(t *testing.T, signal os.Signal) (stderr string, status int) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Error(err)
	}
	<-p.gone
	return p.stderr.String(), p.cmd.ProcessState.ExitCode()
}
