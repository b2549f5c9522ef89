package afar_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// outcome is how a call that runs aside ended.
type outcome struct {
	out string
	err error
}

// waiting makes a call that waits at the desk, and returns when it is there.
func waiting(t *testing.T, ctx context.Context, r afar.Runner, d *desk) (*visitor, <-chan outcome) {
	t.Helper()
	ended := make(chan outcome, 1)
	go func() {
		out, err := waitAt.On(r)(ctx, visit{Desk: d.addr()})
		ended <- outcome{out, err}
	}()
	return d.next(t), ended
}

// untilClosed makes calls until one is refused.
func untilClosed(t *testing.T, r afar.Runner) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		_, err := square.On(r)(ctx, 1)
		cancel()
		if errors.Is(err, afar.ErrClosed) {
			return
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
}

// Shutdown waits for the calls that were taken, also for those that they make,
// and takes no new ones.
func TestPoolShutdown(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		v, ended := waiting(t, within(t), pool, d)
		queued := make(chan error, 1)
		go func() {
			_, err := fibonacci.On(pool)(within(t), 6) // it makes calls of its own
			queued <- err
		}()
		for pool.Status().Open < 2 {
			select {
			case err := <-queued:
				t.Fatal(err)
			case <-time.After(time.Millisecond):
			}
		}
		shut := make(chan error, 1)
		go func() { shut <- pool.Shutdown(within(t)) }()
		untilClosed(t, pool)
		select {
		case err := <-shut:
			t.Errorf("Shutdown does not wait: %v", err)
		default:
		}
		v.release("done")
		if o := receive(t, ended); o.out != "done" || o.err != nil {
			t.Errorf("%+v", o)
		}
		if err := receive(t, queued); err != nil {
			t.Error(err)
		}
		if err := receive(t, shut); err != nil {
			t.Error(err)
		}
		if err := pool.Shutdown(within(t)); err != nil {
			t.Errorf("again: %v", err)
		}
		for _, w := range pool.Status().Workers {
			if w.State != afar.StateClosed || w.PID != 0 {
				t.Errorf("%+v", w)
			}
		}
	})
}

// Shutdown that is out of time closes, and says how many calls were open.
func TestPoolShutdownOutOfTime(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		v, ended := waiting(t, within(t), pool, d)
		ctx, cancel := context.WithCancel(within(t))
		cancel()
		if err := pool.Shutdown(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 call") {
			t.Errorf("%v", err)
		}
		if o := receive(t, ended); !errors.Is(o.err, afar.ErrClosed) {
			t.Errorf("%+v", o)
		}
		_, _ = v.says(t)
	})
}

// Close cuts: calls that run and calls that wait end with ErrClosed, and so do
// later ones. It is idempotent, also concurrently.
func TestPoolClose(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		v, ended := waiting(t, within(t), pool, d)
		var mapped []error
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, err := range square.Map(within(t), pool, numbers(3)) {
				mapped = append(mapped, err)
			}
		})
		wg.Go(func() {
			if _, err := square.On(pool.Gateways()[0])(within(t), 2); !errors.Is(err, afar.ErrClosed) {
				t.Errorf("a call that waits for the worker: %v", err)
			}
		})
		for range 3 {
			wg.Go(func() {
				if err := pool.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		if o := receive(t, ended); !errors.Is(o.err, afar.ErrClosed) {
			t.Errorf("%+v", o)
		}
		wg.Wait()
		for _, err := range mapped {
			if !errors.Is(err, afar.ErrClosed) {
				t.Errorf("an input of a map: %v", err)
			}
		}
		_, _ = v.says(t)
		closed(t, pool)
		closed(t, pool.Gateways()[0])
		if err := pool.Shutdown(within(t)); err != nil {
			t.Error(err)
		}
	})
}

// closed makes sure that a Runner is closed, to calls and to maps.
func closed(t *testing.T, r afar.Runner) {
	t.Helper()
	if _, err := square.On(r)(within(t), 1); !errors.Is(err, afar.ErrClosed) {
		t.Errorf("a call after Close: %v", err)
	}
	n := 0
	for _, err := range square.Map(within(t), r, numbers(3)) {
		if n++; !errors.Is(err, afar.ErrClosed) {
			t.Errorf("an input after Close: %v", err)
		}
	}
	if n != 3 {
		t.Errorf("%d outcomes for 3 inputs after Close", n)
	}
}

// A call that waits for its backoff ends with the pool, with its context and
// with the loop that it belongs to, not only when the pause is over.
func TestCallsThatRest(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		rested := make(chan struct{}, 1)
		long := afar.Policy{RetryError: func(error) bool { return true },
			Backoff: func(int) time.Duration { rested <- struct{}{}; return time.Hour }}

		pool := open(t, scheme+":1")
		ctx, cancel := context.WithCancel(within(t))
		ended := make(chan error, 1)
		call := func(ctx context.Context) {
			_, err := failing.On(afar.With(pool, long))(ctx, "no")
			ended <- err
		}
		go call(ctx)
		receive(t, rested)
		cancel()
		if err := receive(t, ended); !errors.Is(err, context.Canceled) {
			t.Errorf("its context ended: %v", err)
		}

		// A loop that is left takes its calls with it.
		for o := range sometimes.MapUnordered(within(t), afar.With(pool, long), slices.Values([]string{"fails", ""})) {
			if o.Err != nil {
				t.Error(o.Err)
			}
			receive(t, rested)
			break
		}
		if s := pool.Status(); s.Open != 0 {
			t.Errorf("calls are open after the loop: %+v", s)
		}

		go call(within(t))
		receive(t, rested)
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
		if err := receive(t, ended); !errors.Is(err, afar.ErrClosed) {
			t.Errorf("its pool was closed: %v", err)
		}
	})
}

var sometimes = afar.Func(failUnlessEmpty)

func failUnlessEmpty(_ context.Context, text string) (int, error) {
	if text != "" {
		return 0, errors.New(text)
	}
	return 0, nil
}

// The pool's status tells what is going on.
func TestPoolStatus(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := openWith(t, afar.Config{Concurrency: 2}, scheme+":1?id=w")
		target := scheme + ":1?id=w"
		w := pool.Status().Workers[0]
		if w.ID != "w" || w.Target != target || w.State != afar.StateIdle || w.PID == 0 || w.Host == "" || w.Uptime <= 0 ||
			!strings.HasPrefix(w.Version, "go") || w.Calls != 0 || w.Done != 0 || w.Restarts != 0 || w.Err != nil {
			t.Errorf("%+v", w)
		}
		var visitors []*visitor
		var ends []<-chan outcome
		for range 2 {
			v, ended := waiting(t, within(t), pool, d)
			visitors, ends = append(visitors, v), append(ends, ended)
		}
		third := make(chan error, 1)
		go func() {
			_, err := failing.On(pool)(within(t), "wrong")
			third <- err
		}()
		for pool.Status().Open != 3 {
			select {
			case <-third:
				t.Fatal("three calls at a time")
			case <-time.After(time.Millisecond):
			}
		}
		s := pool.Status()
		w = s.Workers[0]
		if w.State != afar.StateRunning || w.Calls != 2 || w.Running != waitAt.Name() || w.Attempt != 1 || s.Queued+w.Queued != 1 {
			t.Errorf("%+v", s)
		}
		for i := range visitors {
			visitors[i].release("go")
			if o := receive(t, ends[i]); o.err != nil {
				t.Error(o.err)
			}
		}
		if err := receive(t, third); err == nil {
			t.Error("no error")
		}
		s = pool.Status()
		if w := s.Workers[0]; w.State != afar.StateIdle || w.Calls != 0 || w.Done != 3 || w.Failed != 1 || s.Open != 0 || s.Queued != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Progress is seen in the status while the call runs.
func TestStatusProgress(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		reported := make(chan struct{}, 1)
		ctx := afar.WithProgress(within(t), func(_ string, done, total int64) { reported <- struct{}{} })
		ended := make(chan error, 1)
		go func() {
			_, err := reporter.On(pool)(ctx, visit{Desk: d.addr()})
			ended <- err
		}()
		v := d.next(t)
		receive(t, reported)
		if w := pool.Status().Workers[0]; w.Progress != [2]int64{3, 8} || w.Running != reporter.Name() {
			t.Errorf("%+v", w)
		}
		v.release("go")
		if err := receive(t, ended); err != nil {
			t.Error(err)
		}
	})
}

var reporter = afar.Func(report)

func report(ctx context.Context, v visit) (string, error) {
	afar.Progress(ctx, 3, 8)
	return visitDesk(ctx, v)
}

// With Concurrency a worker runs so many calls at a time, and the death of the
// worker is no harm to those that can be tried again.
func TestConcurrency(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := openWith(t, afar.Config{Concurrency: 8}, scheme+":1")
		var visitors []*visitor
		var ends []<-chan outcome
		for range 8 {
			v, ended := waiting(t, within(t), pool, d)
			visitors, ends = append(visitors, v), append(ends, ended)
		}
		if err := pool.Gateways()[0].Kill(); err != nil {
			t.Fatal(err)
		}
		for range visitors {
			d.next(t).release("again")
		}
		for _, ended := range ends {
			if o := receive(t, ended); o.err != nil || o.out != "again" {
				t.Errorf("%+v", o)
			}
		}
		if n := pool.Status().Workers[0].Restarts; n != 1 {
			t.Errorf("%d restarts", n)
		}
	})
}

// A call goes to the worker that has the least to do.
func TestLeastLoaded(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":3")
		g := pool.Gateways()
		var busy []*visitor
		for _, i := range []int{0, 2} {
			v, _ := waiting(t, within(t), g[i], d)
			busy = append(busy, v)
		}
		spy := &spy{Runner: pool}
		for i := range 50 {
			if _, err := square.On(spy)(within(t), i); err != nil {
				t.Fatal(err)
			}
			if got := spy.last.Load().Worker; got != g[1].ID() {
				t.Errorf("call %d went to %s", i, got)
			}
		}
		for _, v := range busy {
			v.release("go")
		}
	})
}

// Many calls of a slow function spread over the workers, though some were sent
// ahead when it was quick.
func TestSpread(t *testing.T) {
	d := newDesk(t)
	pool := open(t, "local:2")
	for range slowFirst.Map(within(t), pool, func(yield func(visit) bool) {
		for range 2000 {
			if !yield(visit{Name: "quick"}) {
				return
			}
		}
	}) {
	}
	ended := make(chan error, 1)
	go func() {
		for _, err := range slowFirst.Map(within(t), pool, func(yield func(visit) bool) {
			for range 2 {
				if !yield(visit{Desk: d.addr(), Name: "0"}) {
					return
				}
			}
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		ended <- nil
	}()
	one, two := d.next(t), d.next(t) // at the same time
	if one.pid == two.pid {
		t.Error("one worker has both")
	}
	one.release("go")
	two.release("go")
	receive(t, ended)
}

// A pool with no reason to be slow loses nothing when its only worker goes in
// the middle of a queue.
func TestQueueSurvivesDeath(t *testing.T) {
	pool := open(t, "local:1")
	file := filepath.Join(t.TempDir(), "f")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			out, err := mortal.On(pool)(within(t), death{N: i, File: map[bool]string{true: file}[i == 50], Times: map[bool]int{true: 1}[i == 50]})
			if out != i*i || err != nil {
				t.Errorf("%d: %d, %v", i, out, err)
			}
		})
	}
	wg.Wait()
}
