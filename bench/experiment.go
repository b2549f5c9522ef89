package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
)

// errAbsent is returned by a contender's open when it cannot take part on this machine, which is no failure.
var errAbsent = errors.New("absent")

// An experiment measures the same work done by several contenders. One measurement may yield several figures,
// each of which becomes a row of the table.
type experiment struct {
	figures    []figure
	contenders []contender
}

// A figure is what a row shows.
type figure struct {
	name    string // for -row
	title   string
	unit    string
	less    bool // whether less is better
	targets []target
}

// A contender does an experiment's work in one way.
type contender struct {
	name string
	open opener
}

// An opener makes a contender ready to be measured in session s. The trial is cut short when ctx ends, and must be
// closed in any case.
type opener func(ctx context.Context, s *session) (*trial, error)

// A trial is a contender that is ready to be measured. Its measure is called once a round, never concurrently,
// checks its own results, and returns a value for each of the experiment's figures. close is called once; nil
// means that there is nothing to close.
type trial struct {
	measure func(ctx context.Context) ([]float64, error)
	close   func() error
}

// A row is a figure with what the contenders reached: values by contender and round, in the contenders' order.
type row struct {
	figure
	runs   []runs
	others disturbance
}

// runs are one contender's values in one row, one for each round, or why there are none.
type runs struct {
	contender string
	values    []float64
	err       error
}

// an entrant is a contender during an experiment. Its err, once set, ends its part in it.
type entrant struct {
	contender
	trial  *trial
	values [][]float64 // by round, then by figure
	err    error
}

// run opens all contenders, measures them in turn for the session's rounds and closes them. The rows are complete
// even when it returns an error; a failed contender says why in its row.
func (e experiment) run(ctx context.Context, s *session, progress io.Writer) ([]row, error) {
	fmt.Fprintf(progress, "%s …\n", e.figures[0].name)
	others := watchOthers()
	entrants := make([]*entrant, len(e.contenders))
	for i, c := range e.contenders {
		entrants[i] = &entrant{contender: c}
		entrants[i].start(ctx, s)
	}
	// The first round pays for page faults, connections and grown stacks; it is not counted, except in a smoke
	// test, where only the results' correctness counts.
	warm := 1
	if s.smoke {
		warm = 0
	}
	for round := range warm + s.rounds {
		for _, n := range entrants {
			if ctx.Err() == nil {
				n.measure(ctx, len(e.figures), round >= warm)
			}
		}
	}
	var failures []error
	for _, n := range entrants {
		n.stop()
		if n.err != nil && !errors.Is(n.err, errAbsent) {
			failures = append(failures, fmt.Errorf("%s: %s: %w", e.figures[0].name, n.name, n.err))
		}
	}
	return e.rows(entrants, others()), errors.Join(failures...)
}

// quiet is the share of the machine that others may take before a row is worth measuring again.
const quiet = 0.05

// runQuietly is run, repeated up to retries times while others disturb it or until it fails. It gives the rows of
// the least disturbed run, whatever they say.
func (e experiment) runQuietly(ctx context.Context, s *session, retries int, progress io.Writer) ([]row, error) {
	best, err := e.run(ctx, s, progress)
	for ; retries > 0 && err == nil && best[0].others.share > quiet; retries-- {
		fmt.Fprintf(progress, "  others took %s; again\n", best[0].others)
		var again []row
		again, err = e.run(ctx, s, progress)
		if err != nil || again[0].others.share < best[0].others.share {
			best = again
		}
	}
	return best, err
}

func (e experiment) rows(entrants []*entrant, others disturbance) []row {
	rows := make([]row, len(e.figures))
	for i, f := range e.figures {
		rows[i].figure, rows[i].others = f, others
		for _, n := range entrants {
			r := runs{contender: n.name, err: n.err}
			for _, v := range n.values {
				r.values = append(r.values, v[i])
			}
			rows[i].runs = append(rows[i].runs, r)
		}
	}
	return rows
}

func (n *entrant) start(ctx context.Context, s *session) {
	n.trial, n.err = n.open(ctx, s)
}

func (n *entrant) measure(ctx context.Context, figures int, counts bool) {
	if n.err != nil {
		return
	}
	// What the contender before left for the collector must not be paid for by this one.
	runtime.GC()
	values, err := n.trial.measure(ctx)
	if err == nil {
		err = checkValues(values, figures)
	}
	if err != nil {
		n.err = err
		return
	}
	if counts {
		n.values = append(n.values, values)
	}
}

func (n *entrant) stop() {
	if n.trial == nil || n.trial.close == nil {
		return
	}
	if err := n.trial.close(); err != nil && n.err == nil {
		n.err = fmt.Errorf("closing: %w", err)
	}
}

// checkValues demands a positive finite number for every figure.
func checkValues(values []float64, figures int) error {
	if len(values) != figures {
		return fmt.Errorf("gave %d values for %d figures", len(values), figures)
	}
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) || v <= 0 {
			return fmt.Errorf("gave %v, which is not a positive finite number", v)
		}
	}
	return nil
}

// experiments lists all rows in the order of the report.
func experiments() []experiment {
	return []experiment{
		serialCalls(), concurrentCalls(64), concurrentCalls(1024),
		mapping(), mappingUnordered(),
		bulk(), scaling(),
		itemFlows(outward), itemFlows(inward), blockFlows(outward), blockFlows(inward), echo(),
		methodCalls(1), methodCalls(64),
		ring(), unread(),
		start(), size(),
		sshOpens(), sshShared(), sshCold(),
		tlsCalls(1), tlsCalls(64),
		heap(),
		queueRedis(false), queueRedis(true), queueNats(), queueNatsAlways(), queueIdle(), queueFlat(), queueRetained(),
	}
}
