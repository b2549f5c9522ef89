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

const nameXMLRPC = "Python xmlrpc (HTTP)"

// The scripts. Each says "ready" and then answers requests, a line each.
var (
	//go:embed mapping.py
	mappingScript []byte
	//go:embed xmlrpc_calls.py
	xmlrpcScript []byte
)

// A pythonRequest is what to ask of mapping.py.
type pythonRequest struct {
	ordered bool
	chunk   int
}

// A python is a running script with its processes.
type python struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Reader
}

// openPython starts a script. It wraps errAbsent when there is no python3.
func openPython(s *session, name string, source []byte) (*python, error) {
	path, err := exec.LookPath("python3")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAbsent, err)
	}
	script := filepath.Join(s.dir, name)
	if err := os.WriteFile(script, source, 0o600); err != nil {
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

// ask gives the answer to a request, which is a line of numbers. The end of ctx kills Python.
func (p *python) ask(ctx context.Context, answer []any, request ...any) error {
	defer context.AfterFunc(ctx, p.kill)()
	if _, err := fmt.Fprintln(p.stdin, request...); err != nil {
		return err
	}
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return fmt.Errorf("python gave no result: %w", err)
	}
	_, err = fmt.Sscan(line, answer...)
	return err
}

// seconds maps count ints and gives the time that took, by Python's own clock.
func (p *python) seconds(ctx context.Context, r pythonRequest, count int) (seconds float64, err error) {
	order := "unordered"
	if r.ordered {
		order = "ordered"
	}
	err = p.ask(ctx, []any{&seconds}, order, r.chunk, count)
	return seconds, err
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
		p, err := openPython(s, "mapping.py", mappingScript)
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

// xmlrpcCalls lets n threads call, each over a connection of its own.
func xmlrpcCalls(n int) opener {
	return func(_ context.Context, s *session) (*trial, error) {
		p, err := openPython(s, "xmlrpc_calls.py", xmlrpcScript)
		if err != nil {
			return nil, err
		}
		return &trial{
			measure: func(ctx context.Context) ([]float64, error) {
				var calls, seconds float64
				err := p.ask(ctx, []any{&calls, &seconds}, n, s.span.Seconds())
				return one(calls/seconds, err)
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
