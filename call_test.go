package afar_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// What a call's context says is what the function's context says.

// The time that remains travels, as a deadline over there; a call without one
// has none.
func TestDeadlineTravels(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		if _, err := remaining.On(pool)(context.Background(), 0); err == nil || !strings.Contains(err.Error(), "no deadline") {
			t.Errorf("without: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		for _, r := range []afar.Runner{pool, pool.Gateways()[0], afar.With(pool, afar.Policy{Timeout: 10 * time.Hour})} {
			if left, err := remaining.On(r)(ctx, 0); err != nil || left <= 0 || left > time.Hour {
				t.Errorf("%T: %v, %v", r, left, err)
			}
		}
		for left, err := range remaining.Map(ctx, pool, numbers(3)) {
			if err != nil || left <= 0 || left > time.Hour {
				t.Errorf("Map: %v, %v", left, err)
			}
		}
		if left, err := relayed.On(pool)(ctx, 0); err != nil || left <= 0 || left > time.Hour {
			t.Errorf("within a call: %v, %v", left, err)
		}
	})
}

var relayed = afar.Func(timeLeftWithin)

func timeLeftWithin(ctx context.Context, n int) (time.Duration, error) {
	return remaining.On(afar.Caller(ctx))(ctx, n)
}

// The end of a deadline ends the call with the context's error, which is not
// ErrTimeout.
func TestDeadlineEndsCall(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		ctx, cancel := context.WithTimeout(within(t), 50*time.Millisecond)
		defer cancel()
		_, err := waitAt.On(pool)(ctx, visit{Desk: d.addr()})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, afar.ErrTimeout) {
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

// A call with a context that has ended is not made.
func TestEndedContext(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		ctx, cancel := context.WithCancelCause(within(t))
		cause := errors.New("too late")
		cancel(cause)
		_, err := square.On(pool)(ctx, 1)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
			t.Error(err)
		}
		if w := pool.Status().Workers[0]; w.Done != 0 {
			t.Errorf("%+v", w)
		}
	})
}

// A call that waits for a worker ends with its context, too.
func TestCancelWhileQueued(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		first := make(chan error, 1)
		go func() {
			_, err := waitAt.On(pool)(within(t), visit{Desk: d.addr()})
			first <- err
		}()
		v := d.next(t)
		for range 20 {
			ctx, cancel := context.WithCancel(within(t))
			second := make(chan error, 1)
			go func() {
				_, err := square.On(pool)(ctx, 2)
				second <- err
			}()
			cancel()
			if err := receive(t, second); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		v.release("go")
		if err := receive(t, first); err != nil {
			t.Error(err)
		}
		if err := pool.Shutdown(within(t)); err != nil {
			t.Error(err)
		}
	})
}

var headers = afar.Func(readHeaders)

// readHeaders returns the headers here and, n times, those of a call within.
func readHeaders(ctx context.Context, n int) ([]map[string]string, error) {
	found := []map[string]string{afar.Header(ctx)}
	if n == 0 {
		return found, nil
	}
	below, err := again.On(afar.Caller(ctx))(afar.WithHeader(ctx, fmt.Sprint("level-", n), "set"), n-1)
	return append(found, below...), err
}

var again *afar.Function[int, []map[string]string]

func init() { again = headers }

// Headers of the context and of the pool travel with a call, and on with the
// calls that it makes.
func TestHeaders(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		type traceKey struct{}
		pool := openWith(t, afar.Config{Header: func(ctx context.Context) map[string]string {
			trace, _ := ctx.Value(traceKey{}).(string)
			return map[string]string{"trace": trace, "user": "nobody"}
		}}, scheme+":1")
		ctx := context.WithValue(within(t), traceKey{}, "t-1")
		ctx = afar.WithHeader(afar.WithHeader(ctx, "user", "eve"), "color", "red")
		want := []map[string]string{
			{"trace": "t-1", "user": "eve", "color": "red"},
			{"trace": "t-1", "user": "eve", "color": "red", "level-2": "set"},
			{"trace": "t-1", "user": "eve", "color": "red", "level-2": "set", "level-1": "set"},
		}
		same := func(what string, got []map[string]string, err error) {
			t.Helper()
			if err != nil || !slices.EqualFunc(got, want, maps.Equal) {
				t.Errorf("%s: %v, %v", what, got, err)
			}
		}
		got, err := headers.On(pool)(ctx, 2)
		same("call", got, err)
		for got, err := range headers.Map(ctx, pool, slices.Values([]int{2, 2})) {
			same("Map", got, err)
		}
		for _, o := range headers.Each(ctx, pool, 2) {
			same("Each", o.Out, o.Err)
		}
		got, err = headers.On(&spy{Runner: pool})(ctx, 2)
		same("foreign Runner", got, err)
		want = []map[string]string{{"trace": "", "user": "nobody"}}
		got, err = headers.On(pool)(within(t), 0)
		same("without", got, err)
	})
	if got := afar.Header(afar.WithHeader(context.Background(), "a", "b")); got["a"] != "b" || len(got) != 1 {
		t.Errorf("outside of a call: %v", got)
	}
}

// stamp is a Runner that adds a header to a copy of each call.
type stamp struct{ to afar.Runner }

func (s stamp) Run(ctx context.Context, c *afar.Call) (*afar.Reply, error) {
	mine := *c
	mine.Header = maps.Clone(c.Header)
	if mine.Header == nil {
		mine.Header = map[string]string{}
	}
	mine.Header["stamp"] = "yes"
	return s.to.Run(ctx, &mine)
}

// A Runner may add to what travels with a call.
func TestRunnerAddsHeader(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		got, err := headers.On(stamp{stamp{open(t, scheme+":1")}})(afar.WithHeader(within(t), "a", "b"), 0)
		if err != nil || len(got) != 1 || !maps.Equal(got[0], map[string]string{"stamp": "yes", "a": "b"}) {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// A Runner that returns nothing is an error, not a crash.
func TestRunnerReturnsNothing(t *testing.T) {
	if _, err := square.On(empty{})(within(t), 1); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("%v", err)
	}
	pool := open(t, "inproc:1")
	if _, err := pool.Run(within(t), &afar.Call{Function: "made up"}); !errors.Is(err, afar.ErrUnknownFunction) {
		t.Errorf("%v", err)
	}
}

type empty struct{}

func (empty) Run(context.Context, *afar.Call) (*afar.Reply, error) { return nil, nil }

// Whenever the context of a map ends, the last thing it yields is that, or all
// inputs have their results.
func TestMapDeadlines(t *testing.T) {
	pool := open(t, "inproc:2")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 150 {
				ctx, cancel := context.WithTimeout(within(t), time.Duration((g+i)%13)*50*time.Microsecond)
				n, last := 0, error(nil)
				for _, err := range square.Map(ctx, pool, slices.Values(make([]int, 50))) {
					n, last = n+1, err
				}
				cancel()
				if n != 50 && !errors.Is(last, context.DeadlineExceeded) {
					t.Errorf("%d outcomes, the last %v", n, last)
				}
			}
		})
	}
	wg.Wait()
}

// touchy panics when it is encoded.
type touchy struct{ N int }

func (t touchy) MarshalText() ([]byte, error) {
	if t.N == 3 {
		panic("do not touch")
	}
	return []byte{byte('0' + t.N)}, nil
}

func (t *touchy) UnmarshalText(text []byte) error {
	t.N = int(text[0] - '0')
	return nil
}

var touch = afar.Func(touchIt)

func touchIt(_ context.Context, t touchy) (int, error) { return t.N, nil }

// A panic of an input's own method comes out of the loop, like one of the
// sequence.
func TestMapOfATouchyInput(t *testing.T) {
	pool := open(t, "inproc:1")
	var got []int
	defer func() {
		if p := recover(); p != "do not touch" || !slices.Equal(got, []int{1, 2}) {
			t.Errorf("%v after %v", p, got)
		}
	}()
	for n, err := range touch.Map(within(t), pool, slices.Values([]touchy{{1}, {2}, {3}, {4}})) {
		if err != nil {
			t.Error(err)
		}
		got = append(got, n)
	}
	t.Error("no panic")
}

// counting is a pool with a Run of its own, as people wrap one.
type counting struct {
	*afar.Pool
	calls atomic.Int64
}

func (c *counting) Run(ctx context.Context, call *afar.Call) (*afar.Reply, error) {
	c.calls.Add(1)
	return c.Pool.Run(ctx, call)
}

// byValue has its Run on the value.
type byValue struct {
	*afar.Pool
	calls *atomic.Int64
}

func (v byValue) Run(ctx context.Context, call *afar.Call) (*afar.Reply, error) {
	v.calls.Add(1)
	return v.Pool.Run(ctx, call)
}

// embedding has none: it is the pool.
type embedding struct{ *afar.Pool }

// TestEmbeddedRunners: a Run of a Runner's own is never passed by.
func TestEmbeddedRunners(t *testing.T) {
	ctx := within(t)
	pool := open(t, "inproc:1")
	var values atomic.Int64
	c := &counting{Pool: pool}
	for i, r := range []afar.Runner{c, byValue{pool, &values}, &byValue{pool, &values}, embedding{pool}, &embedding{pool}, afar.With(c, afar.Policy{MaxAttempts: 1})} {
		if n, err := square.On(r)(ctx, 3); n != 9 || err != nil {
			t.Errorf("runner %d gave %d, %v", i, n, err)
		}
	}
	if c.calls.Load() != 2 || values.Load() != 2 {
		t.Errorf("their own Run was called %d and %d times, want 2 and 2", c.calls.Load(), values.Load())
	}
}
