package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Contenders of the rows with ssh.
const (
	nameTrue = "ssh host true"
	nameCat  = "cat | ssh host 'cat >/dev/null'"
)

// sshOpens is how long a host takes that has the program already.
func sshOpens() experiment {
	return experiment{
		figures: []figure{{
			name: "ssh-warm", title: "Open(ssh://host?workers=1) and a first reply, the program being there", unit: "ms", less: true,
			targets: []target{{over: nameTrue, more: true, bound: 30, atMost: true}},
		}},
		contenders: []contender{
			{nameAfar, distantStarts(false)},
			{nameTrue, commands(false, "true", nil)},
		},
	}
}

// sshShared is the same over a connection that is there already.
func sshShared() experiment {
	return experiment{
		figures: []figure{{
			name: "ssh-master", title: "the same, over ssh's open ControlMaster", unit: "ms", less: true,
			targets: []target{{over: nameTrue, bound: 3, atMost: true}},
		}},
		contenders: []contender{
			{nameAfar, distantStarts(true)},
			{nameTrue, commands(true, "true", nil)},
		},
	}
}

// sshCold is how long a host takes that does not have the program.
func sshCold() experiment {
	return experiment{
		figures: []figure{{
			name: "ssh-cold", title: "Open(ssh://host?workers=1) and a first reply, the program being brought", unit: "ms", less: true,
			targets: []target{{over: nameCat, more: true, bound: 100, atMost: true}},
		}},
		contenders: []contender{
			{nameAfar, coldStarts},
			{nameCat, commands(false, "cat >/dev/null", compressedTrivial)},
		},
	}
}

// distantStarts lets the trivial program reach the host, again and again.
func distantStarts(shared bool) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		path, err := s.trivial(ctx)
		if err != nil {
			return nil, err
		}
		target, err := s.far.target(shared)
		if err != nil {
			return nil, err
		}
		// The first time brings the program.
		if _, err := s.runTrivial(ctx, path, 1, "afar", target); err != nil {
			return nil, err
		}
		return &trial{measure: func(ctx context.Context) ([]float64, error) {
			values, err := s.runTrivial(ctx, path, s.starts, "afar", target)
			if err != nil {
				return nil, err
			}
			return values[:1], nil
		}}, nil
	}
}

// coldStarts does the same with a host that has lost the program each time.
func coldStarts(ctx context.Context, s *session) (*trial, error) {
	path, err := s.trivial(ctx)
	if err != nil {
		return nil, err
	}
	target, err := s.far.target(false)
	if err != nil {
		return nil, err
	}
	return &trial{measure: func(ctx context.Context) ([]float64, error) {
		var times []float64
		for range s.starts {
			if err := s.far.forget(); err != nil {
				return nil, err
			}
			values, err := s.runTrivial(ctx, path, 1, "afar", target)
			if err != nil {
				return nil, err
			}
			times = append(times, values[0])
		}
		middle, _ := median(times)
		return one(middle, nil)
	}}, nil
}

// compressedTrivial is what is sent to a host: the trivial program, compressed.
func compressedTrivial(ctx context.Context, s *session) ([]byte, error) {
	path, err := s.trivial(ctx)
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(program); err != nil {
		return nil, err
	}
	return b.Bytes(), z.Close()
}

// commands runs a command on the host by ssh, again and again, with bytes on its standard input.
func commands(shared bool, line string, input func(context.Context, *session) ([]byte, error)) opener {
	return func(ctx context.Context, s *session) (*trial, error) {
		argv, err := s.far.ssh(shared, line)
		if err != nil {
			return nil, err
		}
		path := os.DevNull
		if input != nil {
			data, err := input(ctx, s)
			if err != nil {
				return nil, err
			}
			path = filepath.Join(s.dir, "input")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				return nil, err
			}
		}
		return &trial{measure: func(ctx context.Context) ([]float64, error) {
			var times []float64
			for range s.starts {
				took, err := timeCommand(ctx, argv, path)
				if err != nil {
					return nil, err
				}
				times = append(times, float64(took)/1e6)
			}
			middle, _ := median(times)
			return one(middle, nil)
		}}, nil
	}
}

// timeCommand runs a command that reads a file.
func timeCommand(ctx context.Context, argv []string, input string) (time.Duration, error) {
	in, err := os.Open(input)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w", argv[len(argv)-1], err)
	}
	return time.Since(begin), nil
}
