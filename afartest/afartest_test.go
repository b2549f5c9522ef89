package afartest_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/afar-go/afar"
	"github.com/afar-go/afar/afartest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	double = afar.Func(doubled)
	nap    = afar.Func(slept)
	stuck  = afar.Func(waited)
)

func doubled(_ context.Context, n int) (int, error) { return 2 * n, nil }

// slept takes as long as it is told, or until its context ends.
func slept(ctx context.Context, d time.Duration) (time.Duration, error) {
	select {
	case <-time.After(d):
		return d, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// begun counts the calls of waited: the workers are in this process.
var begun atomic.Int64

func waited(ctx context.Context, _ int) (int, error) {
	begun.Add(1)
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestCallsRun(t *testing.T) {
	pool := afartest.Open(t, 2)
	n, err := double.On(pool)(t.Context(), 21)
	if err != nil || n != 42 {
		t.Fatalf("got %d, %v", n, err)
	}
}

func TestAKilledWorkersCallIsTriedAgainAndItsWorkerReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := afartest.Open(t, 1)
		result := make(chan error, 1)
		go func() {
			d, err := nap.On(pool)(t.Context(), time.Hour)
			if err == nil && d != time.Hour {
				err = fmt.Errorf("slept %v", d)
			}
			result <- err
		}()
		time.Sleep(time.Minute)
		pool.Kill(0)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		if s := pool.Status().Workers[0]; s.Restarts != 1 {
			t.Fatalf("restarts: %d", s.Restarts)
		}
	})
}

func TestAKilledWorkersCallEndsAfterMaxAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := afartest.Open(t, 1)
		before := begun.Load()
		result := make(chan error, 1)
		go func() {
			_, err := stuck.On(afar.With(pool, afar.Policy{MaxAttempts: 2}))(t.Context(), 0)
			result <- err
		}()
		for range 2 {
			synctest.Wait()
			pool.Kill(0)
		}
		var lost *afar.WorkerLostError
		if err := <-result; !errors.As(err, &lost) || !errors.Is(err, afar.ErrWorkerLost) {
			t.Fatalf("got %v", err)
		}
		if lost.Attempt != 2 || lost.Signal != "killed" {
			t.Errorf("attempt %d, signal %q", lost.Attempt, lost.Signal)
		}
		if n := begun.Load() - before; n != 2 {
			t.Errorf("the function began %d times", n)
		}
	})
}

func TestACutLinkLosesTheWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := afartest.Open(t, 1)
		result := make(chan error, 1)
		go func() {
			_, err := stuck.On(afar.With(pool, afar.Policy{MaxAttempts: 1}))(t.Context(), 0)
			result <- err
		}()
		synctest.Wait()
		pool.Cut(0)
		if err := <-result; !errors.Is(err, afar.ErrWorkerLost) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestKeepaliveNoticesAStalledLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const period = 2 * time.Second
		pool := afartest.OpenConfig(t, afar.Config{Keepalive: period}, 1)
		result := make(chan error, 1)
		go func() {
			_, err := stuck.On(afar.With(pool, afar.Policy{MaxAttempts: 1}))(t.Context(), 0)
			result <- err
		}()
		synctest.Wait()
		stalled := time.Now()
		pool.Stall(0)
		var lost *afar.WorkerLostError
		if err := <-result; !errors.As(err, &lost) {
			t.Fatalf("got %v", err)
		}
		if took := time.Since(stalled); took < 3*period || took > 5*period {
			t.Errorf("noticed after %v", took)
		}
		if lost.Reason == "" {
			t.Error("the error does not say that the link was silent")
		}
	})
}

func TestAResumedLinkLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := afartest.Open(t, 1)
		pool.Stall(0)
		result := make(chan int, 1)
		go func() {
			n, err := double.On(pool)(t.Context(), 4)
			if err != nil {
				t.Error(err)
			}
			result <- n
		}()
		time.Sleep(15 * time.Second)
		pool.Resume(0)
		if n := <-result; n != 8 {
			t.Fatalf("got %d", n)
		}
		if s := pool.Status().Workers[0]; s.Restarts != 0 {
			t.Fatalf("restarts: %d", s.Restarts)
		}
	})
}

func TestDelayIsSeenInBothDirections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := afartest.Open(t, 1)
		pool.Delay(0, 100*time.Millisecond)
		start := time.Now()
		if _, err := double.On(pool)(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 200*time.Millisecond {
			t.Fatalf("a call over a delayed link took %v", took)
		}
	})
}

func TestATimeoutTakesNoRealTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := afartest.Open(t, 2)
		under := afar.With(pool, afar.Policy{Timeout: time.Hour, Grace: time.Minute})
		inputs := []time.Duration{time.Minute, 10 * time.Hour, 2 * time.Minute, time.Second}
		var got []string
		for d, err := range nap.Map(t.Context(), under, slices.Values(inputs)) {
			got = append(got, fmt.Sprint(d, errors.Is(err, afar.ErrTimeout), errors.Is(err, context.DeadlineExceeded)))
		}
		want := []string{"1m0s false false", "0s true true", "2m0s false false", "1s false false"}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %q", got)
		}
	})
}

// The same scenario gives the same history every time.
func TestHistoryRepeats(t *testing.T) {
	history := func() (events []string) {
		synctest.Test(t, func(t *testing.T) {
			pool := afartest.Open(t, 2)
			start := time.Now()
			go func() {
				time.Sleep(90 * time.Second)
				pool.Kill(1)
			}()
			inputs := []time.Duration{time.Minute, 2 * time.Minute, 3 * time.Minute, time.Second, 40 * time.Second}
			for o := range nap.MapUnordered(t.Context(), pool, slices.Values(inputs)) {
				events = append(events, fmt.Sprint(time.Since(start).Round(time.Second), o.Index, o.Err))
			}
		})
		return events
	}
	first := history()
	for range 5 {
		if again := history(); !reflect.DeepEqual(first, again) {
			t.Fatalf("first %q\nthen %q", first, again)
		}
	}
}

func TestAWorkerThatThereIsNotFailsTheTest(t *testing.T) {
	fake := &recorder{TB: t}
	pool := afartest.Open(t, 1)
	wrong := afartest.WithTB(pool, fake)
	func() {
		defer func() { _ = recover() }()
		wrong.Kill(3)
	}()
	if !fake.failed {
		t.Fatal("Kill(3) of a pool of one worker did not fail the test")
	}
}

// recorder notes Fatalf instead of ending the test.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper() {}
func (r *recorder) Fatalf(string, ...any) {
	r.failed = true
	panic("fatal")
}
