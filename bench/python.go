package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	nameImap1        = "Python Pool(2).imap, chunksize 1"
	nameImap256      = "Python Pool(2).imap, chunksize 256"
	nameUnordered1   = "Python Pool(2).imap_unordered, chunksize 1"
	nameUnordered256 = "Python Pool(2).imap_unordered, chunksize 256"
)

//go:embed mapping.py
var pythonScript []byte

// A pythonRequest is what to ask of mapping.py.
type pythonRequest struct {
	ordered bool
	chunk   int
}

// A python is a running mapping.py with its pool of two processes.
type python struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Reader
}

// openPython starts the script. It wraps errAbsent when there is no python3.
func openPython(s *session) (*python, error) {
	path, err := exec.LookPath("python3")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAbsent, err)
	}
	script := filepath.Join(s.dir, "mapping.py")
	if err := os.WriteFile(script, pythonScript, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(path, script)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &python{cmd: cmd, stdin: stdin, lines: bufio.NewReader(stdout)}
	if line, err := p.lines.ReadString('\n'); err != nil || line != "ready\n" {
		return nil, errors.Join(fmt.Errorf("python did not get ready: %q", line), err, p.close())
	}
	return p, nil
}

// seconds maps count ints and gives the time that took, by Python's own clock. The end of ctx kills Python.
func (p *python) seconds(ctx context.Context, r pythonRequest, count int) (float64, error) {
	defer context.AfterFunc(ctx, p.kill)()
	order := "unordered"
	if r.ordered {
		order = "ordered"
	}
	if _, err := fmt.Fprintln(p.stdin, order, r.chunk, count); err != nil {
		return 0, err
	}
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("python gave no result: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(line), 64)
}

// close ends the script by the end of its input; its pool goes with it.
func (p *python) close() error {
	timer := time.AfterFunc(patience, p.kill)
	defer timer.Stop()
	p.stdin.Close()
	return p.cmd.Wait()
}

// kill ends the script and its pool, which are one process group.
func (p *python) kill() { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// pythonMap maps with the given request.
func pythonMap(r pythonRequest) opener {
	return func(_ context.Context, s *session) (*trial, error) {
		p, err := openPython(s)
		if err != nil {
			return nil, err
		}
		count := s.mapItems
		if r.chunk == 1 {
			count = s.slowItems
		}
		return &trial{
			measure: func(ctx context.Context) ([]float64, error) {
				seconds, err := p.seconds(ctx, r, count)
				return one(float64(count)/seconds, err)
			},
			close: p.close,
		}, nil
	}
}

// pythonVersion says which python3 there is, or that there is none.
func pythonVersion() string {
	out, err := exec.Command("python3", "--version").Output()
	if err != nil {
		return "none"
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "Python ")
}
