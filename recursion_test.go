package afar_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// recursive are functions that call themselves; they find themselves here since
// a variable cannot refer to itself.
var recursive struct {
	fibonacci, pairwise, chain *afar.Function[int, int]
}

var (
	fibonacci = afar.Func(fibonacciOf)
	pairwise  = afar.Func(pairwiseOf)
	chain     = afar.Func(chainOf)
)

func init() {
	recursive.fibonacci, recursive.pairwise, recursive.chain = fibonacci, pairwise, chain
}

func fibonacciOf(ctx context.Context, n int) (int, error) {
	if n < 2 {
		return n, nil
	}
	call := recursive.fibonacci.On(afar.Caller(ctx))
	a, err := call(ctx, n-1)
	if err != nil {
		return 0, err
	}
	b, err := call(ctx, n-2)
	return a + b, err
}

// pairwiseOf makes both calls at a time.
func pairwiseOf(ctx context.Context, n int) (int, error) {
	if n < 2 {
		return n, nil
	}
	call := recursive.pairwise.On(afar.Caller(ctx))
	var sums [2]int
	var errs [2]error
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { sums[i], errs[i] = call(ctx, n-1-i) })
	}
	wg.Wait()
	return sums[0] + sums[1], errors.Join(errs[:]...)
}

func chainOf(ctx context.Context, n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	below, err := recursive.chain.On(afar.Caller(ctx))(ctx, n-1)
	return below + 1, err
}

// Recursion completes at any depth with any pool size.
func TestFibonacci(t *testing.T) {
	for _, target := range []string{"inproc:1", "inproc:3", "local:1", "local:2"} {
		t.Run(target, func(t *testing.T) {
			pool := open(t, target)
			for _, f := range []*afar.Function[int, int]{fibonacci, pairwise} {
				if got, err := f.On(pool)(within(t), 16); got != 987 || err != nil {
					t.Errorf("%s: %d, %v", f.Name(), got, err)
				}
			}
			if s := pool.Status(); s.Open != 0 || s.Queued != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestDeepChain(t *testing.T) {
	for _, target := range []string{"inproc:1", "local:1", "local:2"} {
		t.Run(target, func(t *testing.T) {
			if got, err := chain.On(open(t, target))(within(t), 200); got != 200 || err != nil {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
}

// Several trees at a time, and a map of them.
func TestForestOfCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":2")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if got, err := pairwise.On(pool)(within(t), 10); got != 55 || err != nil {
					t.Errorf("%d, %v", got, err)
				}
			})
		}
		index := 0
		want := []int{0, 1, 1, 2, 3, 5, 8, 13, 21, 34}
		for out, err := range fibonacci.Map(within(t), pool, numbers(10)) {
			if err != nil || out != want[index] {
				t.Errorf("%d: %d, %v", index, out, err)
			}
			index++
		}
		wg.Wait()
	})
}

// Outside of a call, Caller runs functions right here.
func TestCallerOutsideOfACall(t *testing.T) {
	ctx := within(t)
	here := afar.Caller(ctx)
	if got, err := fibonacci.On(here)(ctx, 10); got != 55 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	var remote *afar.RemoteError
	if _, err := grumbler.On(here)(ctx, "sentinel"); !errors.Is(err, errQuota) || !errors.As(err, &remote) {
		t.Errorf("%v", err)
	}
	short := afar.With(here, afar.Policy{Timeout: time.Millisecond})
	if _, err := waitForEnd.On(short)(ctx, ""); !errors.Is(err, afar.ErrTimeout) {
		t.Errorf("%v", err)
	}
	index := 0
	for out, err := range square.Map(ctx, here, numbers(100)) {
		if err != nil || out != index*index {
			t.Errorf("%d, %v", out, err)
		}
		index++
	}
}

var waitForEnd = afar.Func(untilDone)

func untilDone(ctx context.Context, _ string) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// nested says what a function calls in its turn.
type nested struct {
	How     string
	Visit   visit
	Timeout time.Duration
	Grace   time.Duration // 0: 10 ms
	Death   death
}

var outer = afar.Func(callFromWithin)

// callFromWithin makes a call and tells what it found in its error.
func callFromWithin(ctx context.Context, n nested) (string, error) {
	grace := cmp.Or(n.Grace, 10*time.Millisecond)
	back := afar.With(afar.Caller(ctx), afar.Policy{Timeout: n.Timeout, Grace: grace, MaxAttempts: 1})
	switch n.How {
	case "leave behind":
		go func() { _, _ = waitAt.On(back)(ctx, n.Visit) }()
		return visitDesk(ctx, visit{Desk: n.Visit.Desk, Name: "parent"})
	case "error", "panic":
		_, err := grumbler.On(back)(ctx, map[string]string{"error": "joined", "panic": "panic"}[n.How])
		var remote *afar.RemoteError
		var quota *quotaError
		found := errors.As(err, &remote) && strings.HasSuffix(remote.Function, "grumble")
		return fmt.Sprint(found, errors.Is(err, errQuota), errors.As(err, &quota)), err
	case "wait":
		_, err := waitAt.On(back)(ctx, n.Visit)
		return fmt.Sprint(errors.Is(err, afar.ErrTimeout), errors.Is(err, context.Canceled)), ctx.Err()
	case "death":
		_, err := mortal.On(back)(ctx, n.Death)
		var lost *afar.WorkerLostError
		if !errors.As(err, &lost) {
			return "no WorkerLostError", err
		}
		return fmt.Sprint(errors.Is(err, afar.ErrWorkerLost), lost.ExitCode, lost.Attempt, lost.Stderr), err
	}
	return "", errors.New("what?")
}

// Errors of calls within calls are what they are, on every level.
func TestNestedErrors(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		_, err := outer.On(pool)(within(t), nested{How: "error"})
		var quota *quotaError
		var remote *afar.RemoteError
		if !errors.Is(err, errQuota) || !errors.As(err, &quota) || quota.User != "bob" || !errors.As(err, &remote) || !strings.HasSuffix(remote.Function, "callFromWithin") {
			t.Errorf("%v", err)
		}
		if _, err = outer.On(pool)(within(t), nested{How: "panic"}); err == nil || !strings.Contains(err.Error(), "at the disco") {
			t.Errorf("%v", err)
		}
	})
}

// A lost worker is told to the function that made the call, wherever it ran.
func TestNestedWorkerLost(t *testing.T) {
	pool := open(t, "local:2?id=w")
	_, err := outer.On(pool.Gateways()[0])(within(t), nested{How: "death", Death: death{Times: 1, Code: 5, Spoken: "bye"}})
	var lost *afar.WorkerLostError
	if !errors.Is(err, afar.ErrWorkerLost) || !errors.As(err, &lost) || lost.ExitCode != 5 || lost.Stderr != "bye" || lost.Attempt != 1 || lost.Function != mortal.Name() {
		t.Errorf("%v: %+v", err, lost)
	}
}

// A nested call has a timeout of its own.
func TestNestedTimeout(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		got, err := outer.On(pool)(within(t), nested{How: "wait", Visit: visit{Desk: d.addr()}, Timeout: 20 * time.Millisecond})
		if got != "true false" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if said, err := d.next(t).says(t); err != nil || !strings.Contains(said, "deadline") {
			t.Errorf("%q, %v", said, err)
		}
	})
}

// When a call is canceled, the calls that it has made are, too.
func TestNestedCancel(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		ctx, cancel := context.WithCancel(within(t))
		failed := make(chan error, 1)
		go func() {
			_, err := outer.On(pool)(ctx, nested{How: "wait", Visit: visit{Desk: d.addr()}})
			failed <- err
		}()
		v := d.next(t)
		cancel()
		if err := receive(t, failed); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if said, err := v.says(t); err != nil || !strings.HasPrefix(said, "context canceled") {
			t.Errorf("%q, %v", said, err)
		}
		if out, err := square.On(pool)(within(t), 3); out != 9 || err != nil {
			t.Errorf("afterwards: %d, %v", out, err)
		}
	})
}

// The timeout of a call holds for the calls that it has made.
func TestNestedInTimeout(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		short := afar.With(pool, afar.Policy{Timeout: 100 * time.Millisecond})
		_, err := outer.On(short)(within(t), nested{How: "wait", Visit: visit{Desk: d.addr()}})
		if !errors.Is(err, afar.ErrTimeout) {
			t.Error(err)
		}
		if said, err := d.next(t).says(t); err != nil || !strings.HasPrefix(said, "context ") {
			t.Errorf("%q, %v", said, err)
		}
		if out, err := square.On(pool)(within(t), 3); out != 9 || err != nil {
			t.Errorf("afterwards: %d, %v", out, err)
		}
	})
}

// A function may end while calls that it has made go on in its goroutines: they
// are canceled with its context, and its slot is used again.
func TestNestedCallLeftBehind(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		for range 5 {
			done := make(chan error, 1)
			go func() {
				_, err := outer.On(pool)(within(t), nested{How: "leave behind", Visit: visit{Desk: d.addr(), Name: "child"}})
				done <- err
			}()
			guests := map[string]*visitor{}
			for range 2 {
				v := d.next(t)
				guests[v.name] = v
			}
			guests["parent"].release("go")
			if err := receive(t, done); err != nil {
				t.Error(err)
			}
			if said, err := guests["child"].says(t); err != nil || !strings.HasPrefix(said, "context canceled") {
				t.Errorf("%q, %v", said, err)
			}
			if out, err := fibonacci.On(pool)(within(t), 5); out != 5 || err != nil {
				t.Errorf("afterwards: %d, %v", out, err)
			}
		}
	})
}

// When the worker of a function is lost, the calls that it has made end.
func TestNestedOrphans(t *testing.T) {
	d := newDesk(t)
	pool := open(t, "local:2")
	parent := pool.Gateways()[0]
	failed := make(chan error, 1)
	go func() {
		_, err := outer.On(afar.With(parent, afar.Policy{MaxAttempts: 1}))(within(t), nested{How: "wait", Visit: visit{Desk: d.addr()}, Grace: time.Minute})
		failed <- err
	}()
	v := d.next(t)
	pid := kill(t, parent)
	if err := receive(t, failed); !errors.Is(err, afar.ErrWorkerLost) {
		t.Error(err)
	}
	if said, err := v.says(t); v.pid != pid && (err != nil || !strings.HasPrefix(said, "context canceled")) {
		t.Errorf("%q, %v", said, err)
	}
}

// A call whose input is larger than a frame makes small calls of its own.
func TestLargeParent(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		for _, size := range []int{10, 60 << 10, 3 << 20} {
			if out, err := largeParent.On(pool)(within(t), make([]byte, size)); out != 49 || err != nil {
				t.Errorf("%d bytes: %d, %v", size, out, err)
			}
		}
	})
}

var largeParent = afar.Func(callFromLarge)

func callFromLarge(ctx context.Context, _ []byte) (int, error) {
	return square.On(afar.Caller(ctx))(ctx, 7)
}
