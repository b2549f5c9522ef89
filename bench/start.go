package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const mebibyte = 1 << 20

// start is how long a worker takes to come and to go, and what it weighs, in the smallest program that can have
// one: this binary carries the rivals' code, which would be measured too.
func start() experiment {
	return experiment{
		figures: []figure{
			{
				name: "start", title: "Open(local:1) and a first reply, against a bare re-exec's first byte", unit: "ms", less: true,
				targets: []target{{over: nameRaw, bound: 1.5, atMost: true}},
			},
			{
				name: "start-close", title: "the same, and until the process has gone", unit: "ms", less: true,
				targets: []target{{over: nameRaw, bound: 1.5, atMost: true}},
			},
			{
				name: "rss", title: "resident set of an idle worker", unit: "MiB", less: true,
				targets: []target{{bound: 6, atMost: true}},
			},
		},
		contenders: []contender{
			{nameAfar, trivialStarts("afar")},
			{nameRaw, trivialStarts("bare")},
		},
	}
}

// size is what the smallest program weighs when it is shipped.
func size() experiment {
	return experiment{
		figures: []figure{{
			name: "size", title: "stripped static binary of a trivial program; raw is an empty one", unit: "MiB", less: true,
			targets: []target{{bound: 6, atMost: true}},
		}},
		contenders: []contender{
			{nameAfar, programSize(func(ctx context.Context, s *session) (string, error) { return s.trivial(ctx) })},
			{nameRaw, programSize(buildEmpty)},
		},
	}
}

// trivial gives the path of the trivial program, built once a session.
func (s *session) trivial(ctx context.Context) (string, error) {
	path := filepath.Join(s.dir, "trivial")
	s.trivialOnce.Do(func() { s.trivialErr = build(ctx, path, "./trivial") })
	return path, s.trivialErr
}

// buildEmpty builds a program that does nothing.
func buildEmpty(ctx context.Context, s *session) (string, error) {
	source := filepath.Join(s.dir, "empty.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, "empty")
	return path, build(ctx, path, source)
}

// build compiles what as a program is shipped: static and stripped.
func build(ctx context.Context, path, what string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", path, what)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", what, err, out)
	}
	return nil
}

func programSize(build func(ctx context.Context, s *session) (string, error)) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		path, err := build(ctx, s)
		if err != nil {
			return nil, err
		}
		return &trial{measure: func(context.Context) ([]float64, error) {
			info, err := os.Stat(path)
			if err != nil {
				return nil, err
			}
			return one(float64(info.Size())/mebibyte, nil)
		}}, nil
	}
}

// trivialStarts lets the trivial program start workers, one after the other, and takes the medians of what it
// says of them.
func trivialStarts(kind string) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		path, err := s.trivial(ctx)
		if err != nil {
			return nil, err
		}
		return &trial{measure: func(ctx context.Context) ([]float64, error) {
			return s.runTrivial(ctx, path, s.starts, kind, "local:1")
		}}, nil
	}
}

// runTrivial has the trivial program start workers at a target.
func (s *session) runTrivial(ctx context.Context, path string, starts int, kind, target string) ([]float64, error) {
	cmd := exec.CommandContext(ctx, path, kind, fmt.Sprint(starts), target)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(s.dir, "cache"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("trivial %s: %w", kind, err)
	}
	return parseStarts(out, starts)
}

// parseStarts reads lines of "nanoseconds to the reply, nanoseconds to the end, resident bytes".
func parseStarts(out []byte, starts int) ([]float64, error) {
	var reply, closed, resident []float64
	for line := range bytes.Lines(out) {
		var a, b, c float64
		if _, err := fmt.Sscan(strings.TrimSpace(string(line)), &a, &b, &c); err != nil {
			return nil, fmt.Errorf("trivial said %q: %w", line, err)
		}
		reply, closed, resident = append(reply, a/1e6), append(closed, b/1e6), append(resident, c/mebibyte)
	}
	if len(reply) != starts {
		return nil, errors.New("trivial did not report every start")
	}
	values := make([]float64, 3)
	for i, column := range [][]float64{reply, closed, resident} {
		values[i], _ = median(column)
	}
	return values, nil
}
