package afar_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// At its timeout a function has its context canceled. One that heeds it keeps
// its worker, and the call ends with ErrTimeout all the same.
func TestTimeoutOfACooperativeFunction(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, d := within(t), newDesk(t)
		pool := open(t, scheme+":1?id=w")
		short := afar.With(pool, afar.Policy{Timeout: 50 * time.Millisecond, Grace: patience})
		before, err := workerID.On(pool)(ctx, struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = waitAt.On(short)(ctx, visit{Desk: d.addr()})
		if !errors.Is(err, afar.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "visitDesk on w") {
			t.Errorf("%v", err)
		}
		if said, err := d.next(t).says(t); err != nil || !strings.Contains(said, context.DeadlineExceeded.Error()) {
			t.Errorf("the function's context says %q, %v", said, err)
		}
		after, err := workerID.On(pool)(ctx, struct{}{})
		if w := pool.Status().Workers[0]; err != nil || before != after || w.Restarts != 0 {
			t.Errorf("process %d, then %d, %v, %+v", before, after, err, w)
		}
	})
}

// A function that goes on after its grace is killed with its worker; the slot
// is used again, and inputs that were waiting are not harmed.
func TestTimeoutOfAStubbornFunction(t *testing.T) {
	for _, target := range []string{"local:1", "local:2", "local:2&concurrency"} {
		t.Run(target, func(t *testing.T) {
			ctx, d := within(t), newDesk(t)
			target, concurrent := strings.CutSuffix(target, "&concurrency")
			config, timeout := afar.Config{}, 500*time.Millisecond
			if concurrent {
				config.Concurrency = 3
				timeout *= 6 // the others share a core with what spins
			}
			pool := openWith(t, config, target)
			var inputs []visit
			for i := range 200 {
				inputs = append(inputs, visit{Desk: d.addr(), Name: strings.Repeat("x", i), Stubborn: i == 20 || i == 90})
			}
			short := afar.With(pool, afar.Policy{Timeout: timeout, Grace: 10 * time.Millisecond})
			index := 0
			for out, err := range spinner.Map(ctx, short, slices.Values(inputs)) {
				if inputs[index].Stubborn {
					if !errors.Is(err, afar.ErrTimeout) {
						t.Errorf("input %d: %v", index, err)
					}
				} else if err != nil || out != index {
					t.Errorf("input %d: %d, %v", index, out, err)
				}
				index++
			}
			if index != len(inputs) {
				t.Errorf("%d outcomes", index)
			}
			for len(d.arrivals) > 0 { // a busy machine may not even let them come so far
				d.next(t).gone(t)
			}
			for g, o := range square.Each(ctx, pool, 3) { // every slot is used again
				if o.Out != 9 || o.Err != nil {
					t.Errorf("afterwards, %s: %d, %v", g.ID(), o.Out, o.Err)
				}
			}
		})
	}
}

// A goroutine cannot be killed: in-process, the call of a stubborn function
// ends, and others go on in a new worker.
func TestTimeoutInProcess(t *testing.T) {
	ctx, d := within(t), newDesk(t)
	pool := open(t, "inproc:1")
	short := afar.With(pool, afar.Policy{Timeout: 10 * time.Millisecond, Grace: 10 * time.Millisecond})
	_, err := waitAt.On(short)(ctx, visit{Desk: d.addr(), Stubborn: true})
	if !errors.Is(err, afar.ErrTimeout) {
		t.Error(err)
	}
	if out, err := square.On(pool)(ctx, 3); out != 9 || err != nil {
		t.Errorf("%d, %v", out, err)
	}
	d.next(t).release("go")
}

// The timeout is visible to the function as its deadline.
func TestTimeoutIsADeadline(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		left, err := remaining.On(afar.With(pool, afar.Policy{Timeout: time.Hour}))(within(t), 0)
		if err != nil || left <= 0 || left > time.Hour {
			t.Errorf("%v, %v", left, err)
		}
	})
}

var remaining = afar.Func(timeLeft)

func timeLeft(ctx context.Context, _ int) (time.Duration, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, errors.New("no deadline")
	}
	return time.Until(deadline), nil
}

// By default a call whose worker is lost is attempted three times.
func TestMaxAttempts(t *testing.T) {
	for _, test := range []struct{ policy, want int }{{0, 3}, {1, 1}, {2, 2}, {5, 5}} {
		t.Run(fmt.Sprint(test.policy), func(t *testing.T) {
			pool := open(t, "local:2")
			file := filepath.Join(t.TempDir(), "attempts")
			limited := afar.With(pool, afar.Policy{MaxAttempts: test.policy})
			_, err := mortal.On(limited)(within(t), death{File: file, Times: 100})
			var lost *afar.WorkerLostError
			if !errors.As(err, &lost) || lost.Attempt != test.want || count(file) != test.want {
				t.Errorf("%v after %d attempts", err, count(file))
			}
			again := filepath.Join(t.TempDir(), "again")
			out, err := mortal.On(limited)(within(t), death{N: 4, File: again, Times: test.want - 1})
			if out != 16 || err != nil || count(again) != test.want {
				t.Errorf("success at the last attempt: %d, %v after %d", out, err, count(again))
			}
		})
	}
}

// The Reply says at which attempt a call succeeded, and where.
func TestReplyAttempt(t *testing.T) {
	pool := open(t, "local:1?id=w")
	spy := &spy{Runner: pool}
	out, err := mortal.On(spy)(within(t), death{N: 2, File: filepath.Join(t.TempDir(), "f"), Times: 2})
	if out != 4 || err != nil {
		t.Fatalf("%d, %v", out, err)
	}
	if r := spy.last.Load(); r.Attempt != 3 || r.Worker != "w" {
		t.Errorf("%+v", r)
	}
}

// spy is a Runner of somebody else's.
type spy struct {
	afar.Runner
	calls atomic.Int64
	last  atomic.Pointer[afar.Reply]
}

func (s *spy) Run(ctx context.Context, c *afar.Call) (*afar.Reply, error) {
	s.calls.Add(1)
	r, err := s.Runner.Run(ctx, c)
	if err == nil {
		s.last.Store(r)
	}
	return r, err
}

// The error of a lost worker says all that is known about its end.
func TestWorkerLostError(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		how    death
		code   int
		signal string
	}{
		{"exit", death{Times: 1, Code: 7, Spoken: "my last words"}, 7, ""},
		{"signal", death{Times: 1, Spoken: "my last words"}, -1, "killed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pool := open(t, "local:1?id=w")
			pid := pool.Status().Workers[0].PID
			_, err := mortal.On(afar.With(pool, afar.Policy{MaxAttempts: 1}))(within(t), test.how)
			var lost *afar.WorkerLostError
			if !errors.As(err, &lost) || !errors.Is(err, afar.ErrWorkerLost) {
				t.Fatalf("%T %v", err, err)
			}
			got := *lost
			want := afar.WorkerLostError{Worker: "w", Host: host, PID: pid, ExitCode: test.code, Signal: test.signal,
				Stderr: "my last words", Attempt: 1, Function: mortal.Name(), Reason: got.Reason}
			if got != want {
				t.Errorf("%+v\nwant %+v", got, want)
			}
			for _, part := range []string{"w", fmt.Sprint(pid), host, "my last words", mortal.Name()} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v: nothing of %s", err, part)
				}
			}
		})
	}
}

// Errors are answers, unless RetryError says otherwise.
func TestRetryError(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx, dir := within(t), t.TempDir()
		pool := open(t, scheme+":1")
		attempt := func(r afar.Runner, file string) (int, error) {
			_, err := flaky.On(r)(ctx, filepath.Join(dir, file))
			return count(filepath.Join(dir, file)), err
		}
		if n, err := attempt(pool, "never"); n != 1 || !errors.Is(err, errQuota) {
			t.Errorf("without: %d attempts, %v", n, err)
		}
		var pauses atomic.Int64
		retry := afar.With(pool, afar.Policy{MaxAttempts: 5, RetryError: func(err error) bool { return errors.Is(err, errQuota) },
			Backoff: func(int) time.Duration { pauses.Add(1); return time.Millisecond }})
		if n, err := attempt(retry, "until it works"); n != 4 || err != nil || pauses.Load() != 3 {
			t.Errorf("with: %d attempts, %d pauses, %v", n, pauses.Load(), err)
		}
		few := afar.With(retry, afar.Policy{MaxAttempts: 2})
		if n, err := attempt(few, "few"); n != 2 || !errors.Is(err, errQuota) {
			t.Errorf("not often enough: %d attempts, %v", n, err)
		}
		other := afar.With(retry, afar.Policy{RetryError: func(err error) bool { return errors.Is(err, os.ErrExist) }})
		if n, err := attempt(other, "other"); n != 1 || !errors.Is(err, errQuota) {
			t.Errorf("another error: %d attempts, %v", n, err)
		}
	})
}

var flaky = afar.Func(failThrice)

func failThrice(_ context.Context, file string) (int, error) {
	if n := tally(file); n <= 3 {
		return n, errQuota
	}
	return 0, nil
}

// A timeout is tried again if the policy says so, also when the worker had to be
// killed for it.
func TestRetryTimeout(t *testing.T) {
	for name, stubborn := range map[string]bool{"cooperative": false, "stubborn": true} {
		t.Run(name, func(t *testing.T) {
			ctx, d := within(t), newDesk(t)
			pool := open(t, "local:1")
			retry := afar.With(pool, afar.Policy{Timeout: 100 * time.Millisecond, Grace: 10 * time.Millisecond, MaxAttempts: 2,
				RetryError: func(err error) bool { return errors.Is(err, afar.ErrTimeout) }})
			_, err := waitAt.On(retry)(ctx, visit{Desk: d.addr(), Stubborn: stubborn})
			if !errors.Is(err, afar.ErrTimeout) {
				t.Error(err)
			}
			d.next(t)
			select {
			case <-d.arrivals:
			default:
				t.Error("it was attempted once")
			}
		})
	}
}

// A policy of the call comes before that of With, the inner With last.
func TestPoliciesAreMerged(t *testing.T) {
	pool := open(t, "local:1")
	file := filepath.Join(t.TempDir(), "attempts")
	outer := afar.With(afar.With(pool, afar.Policy{MaxAttempts: 4, Grace: time.Hour}), afar.Policy{MaxAttempts: 2})
	if _, err := mortal.On(outer)(within(t), death{File: file, Times: 100}); !errors.Is(err, afar.ErrWorkerLost) || count(file) != 2 {
		t.Errorf("%v after %d attempts", err, count(file))
	}
	for want, p := range map[string]afar.Policy{
		"Timeout": {Timeout: -1}, "Grace": {Grace: -1}, "MaxAttempts": {MaxAttempts: -1},
	} {
		if _, err := square.On(afar.With(pool, p))(within(t), 1); err == nil || !strings.Contains(err.Error(), "Policy."+want) {
			t.Errorf("%v", err)
		}
	}
}

// One input that kills its workers, among many quick ones: exactly that one
// fails, and all others have their results.
func TestPoisonInput(t *testing.T) {
	for _, target := range []string{"local:1", "local:2"} {
		for _, attempts := range []int{0, 1} {
			t.Run(fmt.Sprint(target, " attempts ", attempts), func(t *testing.T) {
				pool := open(t, target)
				index := 0
				for out, err := range mortal.Map(within(t), afar.With(pool, afar.Policy{MaxAttempts: attempts}), func(yield func(death) bool) {
					for i := range 500 {
						d := death{N: i}
						if i == 250 {
							d.Times = 1
						}
						if !yield(d) {
							return
						}
					}
				}) {
					if index == 250 {
						if !errors.Is(err, afar.ErrWorkerLost) {
							t.Errorf("the poison: %v", err)
						}
					} else if err != nil || out != index*index {
						t.Errorf("input %d: %d, %v", index, out, err)
					}
					index++
				}
				if index != 500 {
					t.Errorf("%d outcomes", index)
				}
			})
		}
	}
}
