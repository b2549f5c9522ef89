package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/queue"
	"github.com/afar-go/afar/queue/memq"
)

func TestMain(m *testing.M) {
	afar.Main()
	goleak.VerifyTestMain(m)
}

var errOdd = errors.New("odd")

func init() { afar.RegisterError("queue_test.odd", errOdd) }

var (
	double  = afar.Func(doubleFunc)
	half    = afar.Func(halfFunc)
	echo    = afar.Func(echoFunc)
	chatter = afar.Func(chatterFunc)
	block   = afar.Func(blockFunc)
	fail    = afar.Func(failFunc)
	crash   = afar.Func(crashFunc)
	who     = afar.Func(whoFunc)
	burn    = afar.Func(burnFunc)
	shout   = afar.Func(shoutFunc)
	refuse  = afar.Func(refuseFunc)
)

func doubleFunc(_ context.Context, n int) (int, error) { return 2 * n, nil }

func halfFunc(_ context.Context, n int) (int, error) {
	if n%2 == 1 {
		return 0, fmt.Errorf("half of %d: %w", n, errOdd)
	}
	return n / 2, nil
}

func echoFunc(_ context.Context, b []byte) ([]byte, error) { return b, nil }

func chatterFunc(ctx context.Context, n int) (int, error) {
	for i := range n {
		afar.Logger(ctx).Info("line", "i", i, slog.Group("g", "half", float64(i)/2))
		afar.Progress(ctx, int64(i+1), int64(n))
	}
	return n, nil
}

// gates are what functions in this process wait at.
var begun = make(chan string, 100)

// blockFunc waits until it is stopped, and says which task it runs.
func blockFunc(ctx context.Context, _ int) (int, error) {
	r, _ := queue.Current(ctx)
	begun <- r.ID
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

var failures atomic.Int64

// failFunc fails as often as it is told to.
func failFunc(_ context.Context, times int) (int64, error) {
	n := failures.Add(1)
	if n <= int64(times) {
		return n, fmt.Errorf("failure %d: %w", n, errOdd)
	}
	return n, nil
}

func crashFunc(context.Context, int) (int, error) { os.Exit(7); return 0, nil }

func whoFunc(ctx context.Context, _ int) (queue.Running, error) {
	r, _ := queue.Current(ctx)
	return r, nil
}

// burnFunc cannot be stopped but by killing its process.
func burnFunc(context.Context, int) (int, error) { select {} }

func shoutFunc(ctx context.Context, _ int) (string, error) { return afar.Header(ctx)["shout"], nil }

func refuseFunc(context.Context, int) (int, error) {
	failures.Add(1)
	return 0, fmt.Errorf("never: %w", queue.ErrReject)
}

const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open returns a queue, and a way to have somebody work for it until the test ends or stop
// is called.
func open(t testing.TB) (q *queue.Queue, work func(queue.WorkConfig) (stop func())) {
	b := memq.New()
	t.Cleanup(func() { _ = b.Close() })
	q = queue.New(b, "numbers")
	return q, func(c queue.WorkConfig) func() {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- q.Work(ctx, c) }()
		var once atomic.Bool
		stop := func() {
			cancel()
			if once.CompareAndSwap(false, true) {
				if err := <-ended; err != nil {
					t.Errorf("Work: %v", err)
				}
			}
		}
		t.Cleanup(stop)
		return stop
	}
}

func submit[In, Out any](t testing.TB, q *queue.Queue, f *afar.Function[In, Out], in In, opts ...queue.SubmitOption) *queue.Result[Out] {
	t.Helper()
	r, err := queue.Submit(within(t), q, f, in, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A task is submitted before there is a worker, and its outcome read as often as one likes.
func TestSubmit(t *testing.T) {
	q, work := open(t)
	r := submit(t, q, double, 21)
	if out, done, err := r.Check(within(t)); out != 0 || done || err != nil {
		t.Errorf("before: %d, %v, %v", out, done, err)
	}
	work(queue.WorkConfig{})
	for range 3 {
		if out, err := r.Wait(within(t)); out != 42 || err != nil {
			t.Errorf("%d, %v", out, err)
		}
	}
	if out, done, err := queue.Lookup[int](q, r.ID()).Check(within(t)); out != 42 || !done || err != nil {
		t.Errorf("looked up: %d, %v, %v", out, done, err)
	}
	if _, err := queue.Lookup[int](q, "nothing").Wait(within(t)); !errors.Is(err, queue.ErrUnknownTask) {
		t.Errorf("unknown: %v", err)
	}
}

// A queue is a Runner: functions run on it, and map over it.
func TestRunner(t *testing.T) {
	q, work := open(t)
	work(queue.WorkConfig{Concurrency: 4})
	if out, err := double.On(q)(within(t), 4); out != 8 || err != nil {
		t.Errorf("%d, %v", out, err)
	}
	i := 0
	for out, err := range double.Map(within(t), q, slices.Values(make([]int, 5000))) {
		if out != 0 || err != nil {
			t.Fatalf("%d: %d, %v", i, out, err)
		}
		i++
	}
	if i != 5000 {
		t.Errorf("%d outcomes", i)
	}
}

// An error is an answer, a panic too, and the worker lives on.
func TestErrors(t *testing.T) {
	q, work := open(t)
	work(queue.WorkConfig{})
	_, err := half.On(q)(within(t), 3)
	var remote *afar.RemoteError
	if !errors.Is(err, errOdd) || !errors.As(err, &remote) || !strings.Contains(remote.Message, "half of 3") {
		t.Errorf("%v", err)
	}
	r := submit(t, q, half, 5)
	if _, err := r.Wait(within(t)); !errors.Is(err, errOdd) {
		t.Errorf("%v", err)
	}
	if s, err := r.Status(within(t)); err != nil || s.State != queue.StateFailed || !errors.Is(s.Err, errOdd) || s.Attempt != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if out, err := half.On(q)(within(t), 4); out != 2 || err != nil {
		t.Errorf("%d, %v", out, err)
	}
}

// With MaxAttempts errors are tried again, and what goes on failing is a dead letter with all
// of its errors, which can be requeued.
func TestDeadLetters(t *testing.T) {
	q, work := open(t)
	work(queue.WorkConfig{})
	failures.Store(0)
	r := submit(t, q, fail, 2, queue.MaxAttempts(3), queue.Backoff{First: time.Millisecond})
	if out, err := r.Wait(within(t)); out != 3 || err != nil {
		t.Errorf("%d, %v", out, err)
	}
	failures.Store(0)
	r = submit(t, q, fail, 3, queue.MaxAttempts(3))
	_, err := r.Wait(within(t))
	if !errors.Is(err, queue.ErrDead) || !errors.Is(err, errOdd) || !strings.Contains(err.Error(), "failure 3") {
		t.Errorf("%v", err)
	}
	var dead []queue.TaskStatus
	for s, err := range q.Dead(within(t)) {
		if err != nil {
			t.Fatal(err)
		}
		dead = append(dead, s)
	}
	if len(dead) != 1 || dead[0].ID != r.ID() || len(dead[0].Attempts) != 3 || dead[0].Attempts[1].Err == nil ||
		!strings.Contains(dead[0].Attempts[1].Err.Error(), "failure 2") || !strings.Contains(dead[0].Function, "failFunc") {
		t.Errorf("dead letters: %+v", dead)
	}
	if n, err := q.Requeue(within(t), r.ID()); n != 1 || err != nil {
		t.Errorf("%d requeued, %v", n, err)
	}
	if out, err := r.Wait(within(t)); out != 4 || err != nil {
		t.Errorf("requeued: %d, %v", out, err)
	}
	failures.Store(0)
	if _, err := submit(t, q, refuse, 0, queue.MaxAttempts(9)).Wait(within(t)); !errors.Is(err, queue.ErrDead) || failures.Load() != 1 {
		t.Errorf("rejected: %v after %d attempts", err, failures.Load())
	}
}

// Large inputs and outputs go through the broker's blobs, which nobody sees.
func TestLarge(t *testing.T) {
	q, work := open(t)
	work(queue.WorkConfig{})
	in := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	r := submit(t, q, echo, in)
	for range 2 {
		if out, err := r.Wait(within(t)); err != nil || !bytes.Equal(out, in) {
			t.Errorf("%d bytes, %v", len(out), err)
		}
	}
	if out, err := echo.On(q)(within(t), in); err != nil || !bytes.Equal(out, in) {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

// Records arrive live, in order, and stay with the result.
func TestLog(t *testing.T) {
	q, work := open(t)
	r := submit(t, q, chatter, 100)
	read := func() (n int) {
		for rec, err := range r.Log(within(t)) {
			if err != nil {
				t.Error(err)
				return n
			}
			if rec.Message != "line" || len(rec.Attrs) != 2 || rec.Attrs[0].Value.Int64() != int64(n) || rec.Attempt != 1 || rec.Worker != "w" {
				t.Errorf("record %d: %+v", n, rec)
			}
			n++
		}
		return n
	}
	live := make(chan int)
	go func() { live <- read() }()
	work(queue.WorkConfig{Name: "w"})
	if n := <-live; n != 100 {
		t.Errorf("%d records live", n)
	}
	if n := read(); n != 100 {
		t.Errorf("%d records afterwards", n)
	}
	if s, err := r.Status(within(t)); err != nil || s.State != queue.StateDone {
		t.Errorf("%+v, %v", s, err)
	}
}

// A task is stopped while it waits, and while it runs.
func TestCancel(t *testing.T) {
	q, work := open(t)
	waiting := submit(t, q, double, 1)
	if err := waiting.Cancel(within(t)); err != nil {
		t.Error(err)
	}
	if _, err := waiting.Wait(within(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
	work(queue.WorkConfig{})
	running := submit(t, q, block, 1)
	<-begun
	if err := running.Cancel(within(t)); err != nil {
		t.Error(err)
	}
	if _, err := running.Wait(within(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("running: %v", err)
	}
	if err := running.Cancel(within(t)); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := queue.Lookup[int](q, "nothing").Cancel(within(t)); !errors.Is(err, queue.ErrUnknownTask) {
		t.Errorf("unknown: %v", err)
	}
	// A caller that does not wait any more stops its call.
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		<-begun
		cancel()
	}()
	if _, err := block.On(q)(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("call: %v", err)
	}
}

// A worker that ends hands back what it has, which costs no attempt.
func TestShutdown(t *testing.T) {
	q, work := open(t)
	stop := work(queue.WorkConfig{Concurrency: 1})
	r := submit(t, q, block, 1)
	other := submit(t, q, who, 1)
	<-begun
	stop()
	if s, err := r.Status(within(t)); err != nil || s.State != queue.StateWaiting || s.Attempt != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := r.Cancel(within(t)); err != nil {
		t.Error(err)
	}
	work(queue.WorkConfig{Concurrency: 1})
	if at, err := other.Wait(within(t)); err != nil || at.Attempt != 1 || at.ID != other.ID() || at.Queue != "numbers" || at.Token == 0 {
		t.Errorf("%+v, %v", at, err)
	}
}

// What has a timeout is stopped at it, in a process of its own, and what kills its process
// is tried elsewhere until no attempt is left.
func TestProcesses(t *testing.T) {
	q, work := open(t)
	work(queue.WorkConfig{Concurrency: 2})
	r := submit(t, q, burn, 1, queue.Timeout(100*time.Millisecond))
	if _, err := r.Wait(within(t)); !errors.Is(err, afar.ErrTimeout) {
		t.Errorf("%v", err)
	}
	r = submit(t, q, crash, 1, queue.Timeout(patience))
	_, err := r.Wait(within(t))
	var lost *afar.WorkerLostError
	if !errors.Is(err, queue.ErrDead) || !errors.Is(err, afar.ErrWorkerLost) || !errors.As(err, &lost) || lost.ExitCode != 7 {
		t.Errorf("%v", err)
	}
	if s, err := r.Status(within(t)); err != nil || s.State != queue.StateDead || len(s.Attempts) != queue.DefaultMaxAttempts {
		t.Errorf("%+v, %v", s, err)
	}
	if out, err := double.On(afar.With(q, afar.Policy{Timeout: patience}))(within(t), 4); out != 8 || err != nil {
		t.Errorf("%d, %v", out, err)
	}
}

// Headers travel with tasks.
func TestHeader(t *testing.T) {
	q, work := open(t)
	work(queue.WorkConfig{})
	r, err := queue.Submit(afar.WithHeader(within(t), "shout", "hey"), q, shout, 0)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := r.Wait(within(t)); out != "hey" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// That nobody listens is seen.
func TestNobodyListens(t *testing.T) {
	q, work := open(t)
	if _, err := queue.Submit(within(t), q, double, 1, queue.RequireWorker()); !errors.Is(err, queue.ErrNoWorkers) {
		t.Errorf("%v", err)
	}
	stop := work(queue.WorkConfig{Name: "w"})
	if out, err := double.On(q)(within(t), 1); out != 2 || err != nil {
		t.Errorf("%d, %v", out, err)
	}
	if s, err := q.Stats(within(t)); err != nil || len(s.Workers) != 1 || s.Workers[0].Name != "w" || s.Done != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := queue.Submit(within(t), q, double, 1, queue.RequireWorker()); err != nil {
		t.Error(err)
	}
	stop()
	if s, err := q.Stats(within(t)); err != nil || len(s.Workers) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// Commands run where they are allowed.
func TestCommand(t *testing.T) {
	q, work := open(t)
	stop := work(queue.WorkConfig{})
	c := queue.Command{Path: "sh", Args: []string{"-c", "cat; echo $NAME >&2; pwd; exit 3"}, Env: []string{"NAME=x"}, Dir: "/", Stdin: []byte("in ")}
	if _, err := submit(t, q, queue.RunCommand, c).Wait(within(t)); !errors.Is(err, queue.ErrDead) || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("%v", err)
	}
	stop()
	work(queue.WorkConfig{Commands: true})
	r, err := submit(t, q, queue.RunCommand, c).Wait(within(t))
	if err != nil || r.ExitCode != 3 || string(r.Stdout) != "in /\n" || string(r.Stderr) != "x\n" {
		t.Errorf("%+v, %v", r, err)
	}
}

// Bad options and names are errors that name them.
func TestBadInput(t *testing.T) {
	q, _ := open(t)
	for want, opts := range map[string][]queue.SubmitOption{
		"the Delay is negative: -1s":     {queue.Delay(-time.Second)},
		"both Delay and At":              {queue.Delay(1), queue.At(time.Now())},
		"no such Priority: 7":            {queue.Priority(7)},
		"MaxAttempts is 0":               {queue.MaxAttempts(0)},
		"less than a second":             {queue.Retention(time.Millisecond)},
		"the ID has a character":         {queue.ID("a b")},
		"the Timeout is negative":        {queue.Timeout(-1)},
		"the group has 200 bytes":        {queue.Group(strings.Repeat("g", 200))},
		"Backoff.Factor is 0.5":          {queue.Backoff{First: 1, Factor: 0.5}},
		"Backoff.Max is less than First": {queue.Backoff{First: 2, Max: 1}},
	} {
		if _, err := queue.Submit(within(t), q, double, 1, opts...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, name := range []string{"", "a b", strings.Repeat("x", 129)} {
		if _, err := queue.Submit(within(t), queue.New(memq.New(), name), double, 1); err == nil || !strings.Contains(err.Error(), "the name of the queue") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
