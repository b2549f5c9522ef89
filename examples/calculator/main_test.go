package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/internal/proctest"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
)

// asProgram in the environment has this binary be the program, so that tests run it in processes
// of its own, with the race detector.
const asProgram proctest.Program = "CALCULATOR_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(string(asProgram)) != "" {
		main()
		os.Exit(0)
	}
	afar.Main()
	goleak.VerifyTestMain(m)
}

const wantStory = `- we are told at once: queue: nobody listens (submitting calculator.adder to calculator)
- 1 + 1 is submitted all the same, and the sum is there: not yet
- ann and bob begin to listen
- its log, live, and the sum:
somebody: adding x=1 y=1
somebody: added sum=2
2
- once more, by its ID:
somebody: adding x=1 y=1
somebody: added sum=2
2
- 2 + 3, in a blocking call: 5
- what cannot be added: afar: calculator.adder on somebody: 9223372036854775807 + 1: the sum is too large for an int
- a command, what it prints, and how it ends:
one
two
the command ended with exit status 3
`

// The story is the same with every broker.
func TestStory(t *testing.T) {
	for name, place := range map[string]func(t *testing.T) string{
		"memory":    func(*testing.T) string { return "" },
		"directory": func(t *testing.T) string { return filepath.Join(t.TempDir(), "tasks") },
		"redis":     proctest.Redis,
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if err := run(within(t), []string{"-broker", place(t)}, &stdout, &stderr); err != nil {
				t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
			}
			// Which of the two has a task is for them to know.
			got := regexp.MustCompile(`\b(ann|bob):`).ReplaceAllString(stdout.String(), "somebody:")
			if got != wantStory || stderr.Len() > 0 {
				t.Errorf("printed\n%s%s\nwant\n%s", got, &stderr, wantStory)
			}
		})
	}
}

// Workers and those who want something are processes that come and go. Nothing connects them
// but the broker.
func TestProcesses(t *testing.T) {
	broker := "-broker=" + proctest.Redis(t)

	// Nobody listens: who insists on that is told so at once, and who does not leaves a task.
	asProgram.Ask(t, "", "nobody listens (submitting calculator.adder to calculator)", broker, "-required", "submit", "1", "1")
	id := strings.TrimSpace(asProgram.Execute(t, broker, "submit", "1", "1").Stdout)
	asProgram.Ask(t, "not yet\n", "", broker, "check", id)
	watcher := asProgram.Start(t, broker, "wait", id)

	ann := asProgram.Start(t, broker, "-work", "-name=ann", "-commands")
	ann.Await(t, "listening to calculator")
	const log = "ann: adding x=1 y=1\nann: added sum=2\n2\n"
	if w := watcher.End(t); w.Stdout != log || w.Status != 0 {
		t.Errorf("who watched saw %+v", w)
	}

	// The result is there for everybody, as often as one likes.
	for range 2 {
		asProgram.Ask(t, "2\n", "", broker, "check", id)
		asProgram.Ask(t, log, "", broker, "wait", id)
	}
	bob := asProgram.Start(t, broker, "-work", "-name=bob", "-commands")
	bob.Await(t, "listening to calculator")
	asProgram.Ask(t, "5\n", "", broker, "add", "2", "3")
	asProgram.Ask(t, "", "the sum is too large", broker, "add", fmt.Sprint(math.MinInt), "-1")
	asProgram.Ask(t, "here\n", "there\ncalculator: the command ended with exit status 3", broker, "shell", "echo here; echo there >&2; exit 3")
	asProgram.Ask(t, "", "no such task", broker, "wait", "nothing")
	asProgram.Ask(t, "", "want add X Y", broker, "subtract", "2", "3")

	for _, w := range []*proctest.Process{ann, bob} {
		w.Interrupt(t)
		if o := w.End(t); o.Status != 0 || o.Stderr != "" {
			t.Errorf("a worker that was interrupted: %+v", o)
		}
	}
	asProgram.Ask(t, "", "nobody listens (submitting calculator.adder to calculator)", broker, "-required", "submit", "1", "1")
}

// A directory does for a broker: a task that one process has left there is done by the next, which lets
// others join it.
func TestDirectory(t *testing.T) {
	broker := "-broker=" + filepath.Join(t.TempDir(), "tasks")
	id := strings.TrimSpace(asProgram.Execute(t, broker, "submit", "1", "1").Stdout)
	asProgram.Ask(t, "not yet\n", "", broker, "check", id)

	ann := asProgram.Start(t, broker, "-listen=127.0.0.1:0", "-work", "-name=ann")
	ann.Await(t, "listening to calculator")
	url := regexp.MustCompile(`nats://\S+`).FindString(ann.Read())
	asProgram.Ask(t, "ann: adding x=1 y=1\nann: added sum=2\n2\n", "", "-broker="+url, "wait", id)
	asProgram.Ask(t, "5\n", "", "-broker="+url, "add", "2", "3")
	asProgram.Ask(t, "", "commands are not allowed here", "-broker="+url, "shell", "true")
	ann.Interrupt(t)
	if o := ann.End(t); o.Status != 0 || o.Stderr != "" {
		t.Errorf("a worker that was interrupted: %+v", o)
	}
	asProgram.Ask(t, "2\n", "", broker, "check", id)
}

// What is logged arrives while the function still runs: this one ends only when it has.
func TestLogIsLive(t *testing.T) {
	ctx, end := context.WithCancel(within(t))
	b := memq.New()
	defer b.Close()
	q := queue.New(b, "calculator")
	var working sync.WaitGroup
	working.Go(func() {
		if err := q.Work(ctx, queue.WorkConfig{Name: "ann"}); err != nil {
			t.Error(err)
		}
	})
	defer working.Wait()
	defer end()
	result, err := queue.Submit(ctx, q, careful, terms{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	defer r.Close()
	d := &desk{queue: q, stdout: w}
	working.Go(func() { _ = w.CloseWithError(d.wait(ctx, []string{result.ID()})) })
	first := make([]byte, len("ann: does this arrive?\n"))
	if _, err := io.ReadFull(r, first); err != nil || string(first) != "ann: does this arrive?\n" {
		t.Fatalf("%q, %v", first, err)
	}
	if _, done, err := result.Check(ctx); done || err != nil {
		t.Errorf("it has ended before: %v", err)
	}
	arrived <- true
	rest, err := io.ReadAll(r)
	if want := "ann: adding x=1 y=2\nann: added sum=3\n3\n"; string(rest) != want || err != nil {
		t.Errorf("then %q, %v", rest, err)
	}
}

var (
	arrived = make(chan bool, 1)
	careful = afar.NamedFunc("calculator.careful", func(ctx context.Context, t terms) (int, error) {
		afar.Logger(ctx).Info("does this arrive?")
		select {
		case <-arrived:
			return add(ctx, t)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
)

func TestAdd(t *testing.T) {
	pool, err := afar.Open(t.Context(), "inproc:1")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx := afar.WithLog(t.Context(), slog.DiscardHandler)
	for _, c := range []struct {
		terms
		sum  int
		over bool
	}{
		{terms{1, 2}, 3, false},
		{terms{-1, -2}, -3, false},
		{terms{math.MaxInt, 0}, math.MaxInt, false},
		{terms{math.MaxInt, math.MinInt}, -1, false},
		{terms{math.MaxInt, 1}, 0, true},
		{terms{-1, math.MinInt}, 0, true},
	} {
		if sum, err := adder.On(pool)(ctx, c.terms); sum != c.sum || errors.Is(err, errOverflow) != c.over {
			t.Errorf("%+v: %d, %v", c.terms, sum, err)
		}
	}
}

// within is for as long as something in a test may take.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
