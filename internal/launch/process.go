package launch

import (
	"os/exec"
	"sync"
)

// process is the body of a worker that is a process.
type process struct {
	worker Worker
	cmd    *exec.Cmd
	output *output
	memory *memoryWatch

	// mu orders signals against reaping. As long as a process is not reaped, its ID and that of its group belong to
	// nobody else.
	mu     sync.Mutex
	reaped bool
	killed bool // our Kill met a process that was not dying already
}

// newProcess takes over a started command, and starts the goroutine that waits for its end.
func newProcess(cmd *exec.Cmd, link Link, out *output, memory *memoryWatch) *Worker {
	p := takeOver(cmd, link, out, memory)
	go p.wait()
	return &p.worker
}

// takeOver takes over a started command, for whose end somebody is to wait.
func takeOver(cmd *exec.Cmd, link Link, out *output, memory *memoryWatch) *process {
	p := &process{cmd: cmd, output: out, memory: memory}
	p.worker = Worker{link: link, pid: cmd.Process.Pid, body: p, done: make(chan struct{})}
	return p
}

func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return nil
	}
	// The death of a worker often shows first at its link, and then the answer is Kill: that one did not cause it.
	if !p.killed {
		p.killed = !dying(p.worker.pid)
	}
	return p.signal()
}

func (p *process) rss() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return 0
	}
	return residentBytes(p.worker.pid)
}

func (p *process) wait() {
	p.reap()
	p.output.finish()
	exit := exitOf(p.cmd.ProcessState, p.killed) // After reap nobody changes killed.
	exit.OutOfMemory = p.outOfMemory(exit)
	exit.Stderr = p.output.log.String()
	p.memory.close()
	p.worker.exit = exit
	close(p.worker.done)
}

// outOfMemory decides Exit.OutOfMemory. What the Go runtime says of its own end comes first, then, for a SIGKILL that
// is not ours, what the kernel says.
func (p *process) outOfMemory(exit Exit) bool {
	failed := exit.Code != 0
	return failed && p.output.log.outOfMemory() ||
		exit.Signal == killedSignal && !p.killed && p.memory.blames(p.worker.pid)
}
