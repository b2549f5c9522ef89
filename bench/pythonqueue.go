package main

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
)

//go:embed queue_rivals.py
var queueScript []byte

// pythonCrew submits in a Python process of its own, to a worker in another. It takes no part where Python does not
// have the library.
func pythonCrew(library string) muster {
	return func(ctx context.Context, s *session) (*crew, error) {
		if err := exec.CommandContext(ctx, "python3", "-c", "import redis, "+library).Run(); err != nil {
			return nil, fmt.Errorf("%w: python3 has no %s: %w", errAbsent, library, err)
		}
		r, err := s.redis(ctx, false)
		if err != nil {
			return nil, err
		}
		p, err := openPython(s, "queue_"+library+".py", queueScript)
		if err != nil {
			return nil, err
		}
		return &crew{
			redis: r,
			pass: func(ctx context.Context, n int) error {
				var right int
				err := p.ask(ctx, []any{&right}, library, r.socket, n, messageSize)
				if err == nil && right != n {
					err = errWrongReply
				}
				return err
			},
			close: p.close,
		}, nil
	}
}
