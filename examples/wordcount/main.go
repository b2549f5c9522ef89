// Wordcount counts the words of a tree of files in worker processes and prints
// the most frequent ones.
//
//	go run ./examples/wordcount                      # Go's own sources, one worker per core
//	go run ./examples/wordcount -on local:4 ~/notes  # another tree, four workers
//	go run ./examples/wordcount -verify              # count once more right here, and compare
//
// A word is a maximal run of Unicode letters and digits, in lower case. Every
// regular file under the roots is looked at; one with a NUL among its first
// 8,000 bytes is taken for binary, as git does, and skipped. Files that cannot
// be read are named at the end, and make the exit status 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/afar-go/afar"
	"github.com/schollz/progressbar/v3"
)

// count is countFile, to be called in another process.
var count = afar.Func(countFile)

func main() {
	afar.Main() // a worker process serves its calls in here, and never returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "wordcount:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	targets []string
	roots   []string
	top     int
	verify  bool
}

// run is the program: everything but the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := parse(args, stderr)
	if err != nil {
		return err
	}
	pool, err := afar.Open(ctx, opts.targets...)
	if err != nil {
		return err
	}
	defer pool.Close()

	start := time.Now()
	bar := newBar(stderr)
	sum := countAll(ctx, pool, files(opts.roots), func() { _ = bar.Add(1) })
	_ = bar.Finish()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fmt.Fprintf(stdout, "%d files, %d bytes, %d words (%d different) in %v by %d workers; %d binary files skipped\n",
		sum.files, sum.bytes, sum.total, len(sum.words), time.Since(start).Round(time.Millisecond),
		len(pool.Gateways()), sum.binary)
	for _, word := range sum.top(opts.top) {
		fmt.Fprintf(stdout, "%10d %s\n", sum.words[word], word)
	}
	if opts.verify {
		err = verify(ctx, sum, opts.roots, stdout)
	}
	return errors.Join(err, sum.failure())
}

// countAll counts the words of the files at paths on r, and calls each after
// every file. Results are merged as they arrive, in whatever order that is.
func countAll(ctx context.Context, r afar.Runner, paths iter.Seq[string], each func()) *tally {
	sum := newTally()
	for o := range count.MapUnordered(ctx, r, paths) {
		sum.add(o.In, o.Out, o.Err)
		each()
	}
	return sum
}

// verify counts everything again in this process, one file after the other, and
// fails if that gives anything else than sum. What differs is printed.
func verify(ctx context.Context, sum *tally, roots []string, stdout io.Writer) error {
	again := newTally()
	for path := range files(roots) {
		out, err := countFile(ctx, path)
		again.add(path, out, err)
	}
	differences := sum.diff(again)
	if len(differences) == 0 {
		fmt.Fprintln(stdout, "verified: a serial count gives the same")
		return nil
	}
	for _, line := range differences {
		fmt.Fprintln(stdout, line)
	}
	return fmt.Errorf("not verified: %d differences from a serial count", len(differences))
}

// files walks the roots as it is read from, so that a tree of any size fits in
// memory. What cannot be walked is given out as well: it then fails like a file
// that cannot be read, and is reported with those.
func files(roots []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, root := range roots {
			err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
				if (err != nil || entry.Type().IsRegular()) && !yield(path) {
					return fs.SkipAll
				}
				return nil
			})
			if err != nil {
				return
			}
		}
	}
}

// parse reads the command line, and completes it with the defaults.
func parse(args []string, stderr io.Writer) (options, error) {
	var opts options
	flags := flag.NewFlagSet("wordcount", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("on", "`targets` to count on, comma separated; may be repeated (default one local worker per core)", func(s string) error {
		opts.targets = append(opts.targets, strings.Split(s, ",")...)
		return nil
	})
	flags.IntVar(&opts.top, "top", 20, "how many of the most frequent words to print")
	flags.BoolVar(&opts.verify, "verify", false, "count again in this process, and compare")
	if err := flags.Parse(args); err != nil {
		return opts, err
	}
	if len(opts.targets) == 0 {
		opts.targets = []string{fmt.Sprintf("local:%d", runtime.GOMAXPROCS(0))}
	}
	opts.roots = flags.Args()
	if len(opts.roots) == 0 {
		goroot, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return opts, fmt.Errorf("no files named, and no Go tree to count instead: %w", err)
		}
		opts.roots = []string{filepath.Join(strings.TrimSpace(string(goroot)), "src")}
	}
	for i, root := range opts.roots {
		abs, err := filepath.Abs(root)
		if err != nil {
			return opts, err
		}
		// A walk does not enter a root that is a symbolic link. One that
		// cannot be followed stays as it is, to be reported by the walk.
		if real, err := filepath.EvalSymlinks(abs); err == nil {
			abs = real
		}
		opts.roots[i] = abs
	}
	return opts, nil
}

// newBar returns a progress bar on w. It shows only on a terminal, where
// somebody watches it.
func newBar(w io.Writer) *progressbar.ProgressBar {
	visible := false
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		visible = err == nil && info.Mode()&fs.ModeCharDevice != 0
	}
	return progressbar.NewOptions(-1, // how many files there are shows only at the end of the walk
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetVisibility(visible),
		progressbar.OptionSetDescription("counting files"),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}
