package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/reach"
	"github.com/afar-go/afar/internal/target"
	_ "github.com/afar-go/afar/trust" // targets tcp://
)

func pingCommand() *cli.Command {
	return &cli.Command{
		Name: "ping", Usage: "see whether targets are within reach, and how they are", ArgsUsage: "TARGET…",
		Description: `   afar ping tcp://build1 ssh://me@build2 'exec:docker exec -i web1'
   afar ping --json --n 20 tcp://build1:7227

A node is asked without starting anything there. On other targets this program is
started, which they may have to get first.`,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "n", Value: 5, Usage: "round trips"},
			&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Usage: "for each target, from the first connection on"},
			&cli.BoolFlag{Name: "json", Usage: "print a line of JSON for each target"},
		},
		Action: ping,
	}
}

// pinged is what ping says of a target.
type pinged struct {
	Target     string    `json:"target"`
	Error      string    `json:"error,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Host       string    `json:"host,omitempty"`
	Trips      int       `json:"round_trips"`
	Min        float64   `json:"min_ms"`
	Avg        float64   `json:"avg_ms"`
	Max        float64   `json:"max_ms"`
	Program    string    `json:"program,omitempty"`
	Go         string    `json:"go,omitempty"`
	System     string    `json:"system,omitempty"`
	Processors int       `json:"processors,omitempty"`
	Load       []float64 `json:"load,omitempty"`
	Workers    int       `json:"workers"`
	Own        int       `json:"own_workers"`
	Limits     []string  `json:"limits,omitempty"`
	Draining   bool      `json:"draining,omitempty"`
}

func ping(ctx context.Context, c *cli.Command) error {
	if !c.Args().Present() {
		return usage("%s needs a target", c.FullName())
	}
	if c.Int("n") < 1 {
		return usage("--n is at least 1")
	}
	patience, err := timeout(c)
	if err != nil {
		return err
	}
	var targets []*target.Target
	for _, text := range c.Args().Slice() {
		t, err := target.Parse(text)
		if err != nil {
			return usageError{err}
		}
		targets = append(targets, t)
	}
	var failed []error
	for _, t := range targets {
		p, err := pingOne(ctx, c, t, patience)
		p.Target = t.Text
		if err != nil {
			p.Error = err.Error()
			if e, ok := errors.AsType[*reach.Error](err); ok {
				p.Reason = e.Reason
			}
			failed = append(failed, named(t, err))
		}
		switch {
		case c.Bool("json"):
			err = printJSON(c, p)
		case err == nil:
			_, err = fmt.Fprintln(c.Root().Writer, p)
		default:
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// named has an error name its target, once and as the user does.
func named(t *target.Target, err error) error {
	if e, ok := err.(*reach.Error); ok {
		of := *e
		of.Where = t.Text
		return &of
	}
	if e, ok := errors.AsType[*afar.TargetError](err); ok && e.Target == t.Text {
		return err
	}
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), fmt.Sprintf("afar: target %q: ", t.Text)) {
		err = inner
	}
	return fmt.Errorf("%s: %w", t.Text, err)
}

func pingOne(ctx context.Context, c *cli.Command, t *target.Target, patience time.Duration) (p *pinged, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s: %w", patience, context.DeadlineExceeded))
	defer cancel()
	if t.Remote == nil {
		return pingHere(ctx, c.Int("n"), t)
	}
	h := reach.New(reach.Here{}, *t.Remote, hostConfig(c, t, patience))
	defer h.Close()
	p = &pinged{}
	place, hello, err := h.Place(ctx)
	if err != nil {
		return p, err
	}
	p.Host, p.Go, p.System, p.Processors = hello.Host, hello.Go, hello.System, hello.Concurrency
	for range c.Int("n") {
		began := time.Now()
		status, err := place.Status(ctx)
		if err != nil {
			return p, &reach.Error{Where: t.Remote.String(), Reason: reach.Lost, Err: err}
		}
		p.add(time.Since(began))
		p.Program, p.Workers, p.Own, p.Limits, p.Draining = status.Program, status.Workers, status.Own, status.Limits, status.Draining
		p.Load = nil
		for _, milli := range status.LoadMilli {
			p.Load = append(p.Load, float64(milli)/1000)
		}
	}
	return p, nil
}

// hostConfig shapes the connection to a target's host. A node needs no program; who
// gives only a shell gets this one.
func hostConfig(c *cli.Command, t *target.Target, patience time.Duration) reach.Config {
	config := reach.Config{Patience: patience, Output: func(line []byte) {
		fmt.Fprintf(c.Root().ErrWriter, "%s: %s\n", t.Name(), line)
	}}
	if t.Remote.Scheme == "ssh" || t.Remote.Scheme == "exec" {
		config.Image = itself().For
	}
	return config
}

// pong is what a worker of this program answers.
var pong = afar.NamedFunc("afar/pong", func(context.Context, int) (int, error) { return 0, nil })

// pingHere pings a worker on this host.
func pingHere(ctx context.Context, n int, t *target.Target) (*pinged, error) {
	p := &pinged{}
	pool, err := afar.Open(ctx, t.Text)
	if err != nil {
		return p, err
	}
	defer pool.Close()
	g := pool.Gateways()[0]
	for range n {
		began := time.Now()
		if _, err := pong.On(g)(ctx, 0); err != nil {
			return p, err
		}
		p.add(time.Since(began))
	}
	status, err := g.Status(ctx)
	p.Host, p.Go, p.System, p.Program = status.Host, status.Version, status.System, "afar "+version()
	p.Workers = len(pool.Gateways())
	p.Own = p.Workers
	return p, err
}

// add adds a round trip.
func (p *pinged) add(d time.Duration) {
	ms := float64(d) / float64(time.Millisecond)
	if p.Trips == 0 || ms < p.Min {
		p.Min = ms
	}
	p.Max = max(p.Max, ms)
	p.Avg = (p.Avg*float64(p.Trips) + ms) / float64(p.Trips+1)
	p.Trips++
}

// String is what people read.
func (p *pinged) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d round trips, min %.2f, avg %.2f, max %.2f ms", p.Target, p.Trips, p.Min, p.Avg, p.Max)
	for _, text := range []string{p.Host, p.Program, p.Go, p.System} {
		if text != "" {
			b.WriteString(", " + text)
		}
	}
	if p.Processors > 0 {
		fmt.Fprintf(&b, ", %d processors", p.Processors)
	}
	if len(p.Load) == 3 {
		fmt.Fprintf(&b, ", load %.2f %.2f %.2f", p.Load[0], p.Load[1], p.Load[2])
	}
	fmt.Fprintf(&b, ", %d workers, %d of them yours", p.Workers, p.Own)
	if p.Draining {
		b.WriteString(", draining")
	}
	for _, limit := range p.Limits {
		b.WriteString("\n  limit: " + limit)
	}
	return b.String()
}
