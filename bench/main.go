package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/afar-go/afar"
)

// resultsFile is written by a run of all rows in full length, and by no other.
const resultsFile = "RESULTS.md"

// fewestRounds is how many rounds a median in resultsFile must stand on.
const fewestRounds = 5

// smokeLimit is how long a smoke run may take. Most of it is for compiling the small programs for the first time.
const smokeLimit = 120 * time.Second

func main() {
	serve()
	afar.Main()
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	smoke      bool
	rows       string
	contenders string
	rounds     int
	retries    int
	cpuProfile string
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.smoke, "smoke", false, "measure a moment per row, only to see that every row works and is right")
	flags.StringVar(&o.rows, "row", "", "run only these rows (comma-separated names)")
	flags.StringVar(&o.contenders, "contender", "", "run only the contenders whose names match this `regexp`")
	flags.IntVar(&o.rounds, "rounds", 0, "measured rounds per row (default 7; 1 with -smoke)")
	flags.IntVar(&o.retries, "retries", 0, "measure a row again, so many times at most, while others disturb it")
	flags.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile of this process, the caller, to `file`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 0 || o.retries < 0 {
		return o, errors.New("-rounds and -retries must not be negative")
	}
	return o, nil
}

// run measures what args ask for and writes the table to w. It returns an error when a contender failed, gave a
// wrong result or left a process behind.
func run(args []string, w io.Writer) (err error) {
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	chosen, err := choose(experiments(), o.rows)
	if err != nil {
		return err
	}
	if chosen, err = only(chosen, o.contenders); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.smoke {
		var release context.CancelFunc
		ctx, release = limit(ctx)
		defer release()
	}
	mark, err := newMark()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mark.await()) }()
	s, err := newSession(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if o.cpuProfile != "" {
		end, err := startProfile(o.cpuProfile)
		if err != nil {
			return err
		}
		defer end()
	}
	return measure(ctx, s, chosen, o, w)
}

// measure runs the chosen experiments one after the other and reports them.
func measure(ctx context.Context, s *session, chosen []experiment, o options, w io.Writer) error {
	var rows []row
	var failures []error
	for _, e := range chosen {
		got, err := e.runQuietly(ctx, s, o.retries, os.Stderr)
		rows = append(rows, got...)
		if err != nil {
			failures = append(failures, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("stopped, and everything closed: %w", errors.Join(context.Cause(ctx), errors.Join(failures...)))
		}
	}
	if _, err := io.WriteString(w, renderTable(rows)); err != nil {
		return err
	}
	if !o.smoke {
		if _, err := io.WriteString(w, renderTargets(rows)); err != nil {
			return err
		}
	}
	if !o.smoke && o.rows == "" && o.contenders == "" && s.rounds >= fewestRounds {
		if err := os.WriteFile(resultsFile, []byte(renderReport(rows, s)), 0o644); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// limit ends a smoke run that takes too long, in order if possible and with all goroutines' stacks if not, so that
// a call that hangs is a failure that says where.
func limit(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, smokeLimit, errors.New("the smoke run took too long"))
	hard := time.AfterFunc(smokeLimit+2*patience, func() {
		debug.SetTraceback("all")
		panic("the smoke run hangs")
	})
	return ctx, func() {
		hard.Stop()
		cancel()
	}
}

// choose gives the experiments that yield at least one of the named rows, or all when names is empty.
func choose(all []experiment, names string) ([]experiment, error) {
	if names == "" {
		return all, nil
	}
	var chosen []experiment
	known := map[string]bool{}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(names, ",") {
		wanted[strings.TrimSpace(name)] = true
	}
	var list []string
	for _, e := range all {
		hit := false
		for _, f := range e.figures {
			known[f.name] = true
			list = append(list, f.name)
			hit = hit || wanted[f.name]
		}
		if hit {
			chosen = append(chosen, e)
		}
	}
	for name := range wanted {
		if !known[name] {
			return nil, fmt.Errorf("no row is named %q; there are %s", name, strings.Join(list, ", "))
		}
	}
	return chosen, nil
}

// only leaves the contenders whose names match pattern, or all when it is empty, and the experiments that have any.
func only(all []experiment, pattern string) ([]experiment, error) {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-contender: %w", err)
	}
	var left []experiment
	for _, e := range all {
		e.contenders = slices.DeleteFunc(e.contenders, func(c contender) bool { return !match.MatchString(c.name) })
		if len(e.contenders) > 0 {
			left = append(left, e)
		}
	}
	if len(left) == 0 {
		return nil, fmt.Errorf("-contender: none is named like %q", pattern)
	}
	return left, nil
}

func startProfile(path string) (end func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: the profile is incomplete:", err)
		}
	}, nil
}
