package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Contenders of the rows with nodes.
const (
	namePlainTCP = "afar, plain TCP"
	nameUnix     = "afar, unix socket"
)

// tlsCalls is what TLS costs n callers of a worker on a node.
func tlsCalls(n int) experiment {
	name, title := "tls-serial", "serial calls, a string of 64 B echoed, a worker of a node over TLS"
	if n > 1 {
		name, title = fmt.Sprintf("tls-calls%d", n), fmt.Sprintf("%d calls in flight, the same", n)
	}
	return experiment{
		figures: []figure{{
			name: name, title: title, unit: "calls/s",
			targets: []target{{over: namePlainTCP, bound: 0.6}},
		}},
		contenders: []contender{
			{nameAfar, nodeCalls(n, 0)},
			{namePlainTCP, nodeCalls(n, 2)},
			{nameUnix, nodeCalls(n, 1)},
		},
	}
}

// nodeCalls lets n goroutines of a copy of the program distant call a worker of another copy, over the way of the
// number that its node writes.
func nodeCalls(n, way int) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		path := filepath.Join(s.dir, "distant")
		s.distantOnce.Do(func() { s.distantErr = build(ctx, path, "./distant") })
		if s.distantErr != nil {
			return nil, s.distantErr
		}
		dir, err := os.MkdirTemp(s.dir, "node-")
		if err != nil {
			return nil, err
		}
		far, err := startDialogue(ctx, dir, path, "node", dir)
		if err != nil {
			return nil, err
		}
		ways, err := far.read()
		targets := strings.Fields(ways)
		if err == nil && len(targets) != 3 {
			err = fmt.Errorf("the node says %q", ways)
		}
		if err != nil {
			return nil, errors.Join(err, far.end())
		}
		near, err := startDialogue(ctx, dir, path, "calls", fmt.Sprint(n), s.span.String(), targets[way])
		if err == nil {
			_, err = near.read()
		}
		if err != nil {
			return nil, errors.Join(err, near.end(), far.end())
		}
		return &trial{
			measure: func(context.Context) ([]float64, error) {
				line, err := near.ask()
				if err != nil {
					return nil, err
				}
				return one(strconv.ParseFloat(line, 64))
			},
			close: func() error { return errors.Join(near.end(), far.end()) },
		}, nil
	}
}

// A dialogue is a process that answers lines with lines, and ends when no more come.
type dialogue struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startDialogue starts one whose keys are in dir.
func startDialogue(ctx context.Context, dir string, argv ...string) (*dialogue, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "AFAR_KEY="+filepath.Join(dir, "key"), "AFAR_KNOWN_NODES="+filepath.Join(dir, "known_nodes"),
		"XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &dialogue{cmd, in, bufio.NewReader(out)}, nil
}

func (d *dialogue) read() (string, error) {
	line, err := d.out.ReadString('\n')
	if err != nil {
		err = fmt.Errorf("%s %s says no more: %w", filepath.Base(d.cmd.Path), d.cmd.Args[1], err)
	}
	return strings.TrimSpace(line), err
}

func (d *dialogue) ask() (string, error) {
	if _, err := io.WriteString(d.in, "\n"); err != nil {
		return "", err
	}
	return d.read()
}

func (d *dialogue) end() error {
	if d == nil {
		return nil
	}
	_ = d.in.Close()
	return d.cmd.Wait()
}
