package afar_test

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/afar-go/afar"
)

// window is how many inputs a map holds that were pulled and not yielded.
const window = 4096

// Results come in the order of the inputs, whatever the order in which they
// were ready.
func TestMapOrder(t *testing.T) {
	for _, target := range []string{"inproc:1", "inproc:4", "local:1", "local:2"} {
		t.Run(target, func(t *testing.T) {
			pool := open(t, target)
			for _, size := range []int{0, 1, 2, 5, 1000, 10_000} {
				index := 0
				for out, err := range square.Map(within(t), pool, numbers(size)) {
					if err != nil || out != index*index {
						t.Fatalf("%d of %d: %d, %v", index, size, out, err)
					}
					index++
				}
				if index != size {
					t.Errorf("%d of %d", index, size)
				}
			}
		})
	}
}

// MapUnordered yields each input once, with its index.
func TestMapUnordered(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		seen := make([]int, 5000)
		for o := range square.MapUnordered(within(t), open(t, scheme+":2"), numbers(len(seen))) {
			if o.Err != nil || o.In != o.Index || o.Out != o.In*o.In {
				t.Fatalf("%+v", o)
			}
			seen[o.Index]++
		}
		for i, n := range seen {
			if n != 1 {
				t.Fatalf("input %d came %d times", i, n)
			}
		}
	})
}

// A map pulls an input when it can be placed, not before: while the only worker
// is busy nothing is pulled but what is sent ahead.
func TestMapIsLazy(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":1")
		var pulled atomic.Int64
		inputs := func(yield func(visit) bool) {
			for i := range 20 {
				pulled.Add(1)
				if !yield(visit{Desk: d.addr(), Name: strconv.Itoa(i)}) {
					return
				}
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			index := 0
			for out, err := range waitAt.Map(within(t), pool, inputs) {
				if err != nil || out != strconv.Itoa(index) {
					t.Errorf("%d: %q, %v", index, out, err)
				}
				index++
			}
		})
		for i := range 20 {
			v := d.next(t)
			// Later the calls have turned out to be quick, and some are sent ahead.
			if n := pulled.Load(); i == 0 && n > 2 {
				t.Errorf("%d were pulled when the worker was at the first", n)
			}
			v.release(v.name)
		}
		wg.Wait()
	})
}

// One slow input holds back a window of results and no more; when it is done,
// they all come in order. At no time is more than the window held.
func TestMapWindow(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":2")
		full := make(chan struct{})
		var yielded atomic.Int64
		inputs := func(yield func(visit) bool) {
			for i := range 3 * window {
				if held := int64(i+1) - yielded.Load(); held > window {
					t.Errorf("%d were pulled and not yielded", held)
				}
				if i+1 == window {
					close(full)
				}
				if !yield(visit{Desk: d.addr(), Name: strconv.Itoa(i)}) {
					return
				}
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for out, err := range slowFirst.Map(within(t), pool, inputs) {
				if want := strconv.FormatInt(yielded.Add(1)-1, 10); err != nil || out != want {
					t.Errorf("%q, %v, want %s", out, err, want)
					return
				}
			}
		})
		v := d.next(t)
		receive(t, full) // the other worker fills the window meanwhile
		if n := yielded.Load(); n != 0 {
			t.Errorf("%d were yielded before the first", n)
		}
		v.release("0")
		wg.Wait()
		if n := yielded.Load(); n != 3*window {
			t.Errorf("%d were yielded", n)
		}
	})
}

var slowFirst = afar.Func(waitAtFirst)

func waitAtFirst(ctx context.Context, v visit) (string, error) {
	if v.Name == "0" {
		return visitDesk(ctx, v)
	}
	return v.Name, nil
}

// Results are yielded while the sequence of inputs waits for something; here
// each input waits for the result of the one before.
func TestMapStreams(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":2")
		next := make(chan int, 1)
		next <- 2
		for _, unordered := range []bool{false, true} {
			inputs := func(yield func(int) bool) {
				for range 10 {
					if !yield(receive(t, next)) {
						return
					}
				}
			}
			last := 0
			if unordered {
				for o := range addOne.MapUnordered(within(t), pool, inputs) {
					last = o.Out
					next <- o.Out
				}
			} else {
				for out, err := range addOne.Map(within(t), pool, inputs) {
					if err != nil {
						t.Fatal(err)
					}
					last = out
					next <- out
				}
			}
			if want := map[bool]int{false: 12, true: 22}[unordered]; last != want {
				t.Errorf("%d, want %d", last, want)
			}
		}
	})
}

// Leaving the loop cancels what runs and ends the sequence of inputs.
func TestMapLeave(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		d := newDesk(t)
		pool := open(t, scheme+":2")
		ended := make(chan struct{})
		inputs := func(yield func(visit) bool) {
			defer close(ended)
			for yield(visit{Name: "x"}) && yield(visit{Desk: d.addr(), Name: "0"}) {
			}
		}
		var busy []*visitor
		for out, err := range slowFirst.Map(within(t), pool, inputs) {
			if out != "x" || err != nil {
				t.Errorf("%q, %v", out, err)
			}
			busy = append(busy, d.next(t), d.next(t))
			break
		}
		for _, v := range busy {
			if said, err := v.says(t); err != nil || said != "context canceled: context canceled" {
				t.Errorf("a function that runs says %q, %v", said, err)
			}
		}
		receive(t, ended)
		if err := pool.Shutdown(within(t)); err != nil {
			t.Error(err)
		}
		if s := pool.Status(); s.Open != 0 || s.Queued != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A panic of the sequence of inputs comes out of the loop, after the results of
// the inputs before it.
func TestMapInputPanics(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":2")
		inputs := func(yield func(int) bool) {
			for i := range 500 {
				yield(i)
			}
			panic("no more numbers")
		}
		index := 0
		got := message(func() {
			for out, err := range square.Map(within(t), pool, inputs) {
				if err != nil || out != index*index {
					t.Errorf("%d: %d, %v", index, out, err)
				}
				index++
			}
		})
		if got != "no more numbers" || index != 500 {
			t.Errorf("panic %q after %d results", got, index)
		}
		if out, err := square.On(pool)(within(t), 3); out != 9 || err != nil {
			t.Errorf("afterwards: %d, %v", out, err)
		}
	})
}

// A sequence of inputs that ends its goroutine ends that of the loop: t.Fatal in
// it works as it should.
func TestMapInputExits(t *testing.T) {
	pool := open(t, "inproc:1")
	results, exited := 0, true
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range square.Map(within(t), pool, func(yield func(int) bool) {
			yield(1)
			runtime.Goexit()
		}) {
			results++
		}
		exited = false
	}()
	receive(t, done)
	if results != 1 || !exited {
		t.Errorf("%d results, exited: %v", results, exited)
	}
}

// When ctx ends, every input that was pulled gets its error, no more are
// pulled, and the last thing that is yielded is its error in any case.
func TestMapContextEnds(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		for _, ordered := range []bool{true, false} {
			d := newDesk(t)
			pool := open(t, scheme+":2")
			ctx, cancel := context.WithCancelCause(within(t))
			cause := errors.New("enough")
			var pulled atomic.Int64
			inputs := func(yield func(visit) bool) {
				for i := 1; ; i++ {
					pulled.Add(1)
					v := visit{Desk: d.addr(), Name: strconv.Itoa(i)}
					if i == 300 {
						v.Name = "0" // waits
					}
					if !yield(v) {
						return
					}
				}
			}
			go func() {
				v := receive(t, d.arrivals)
				cancel(cause)
				_, _ = v.says(t)
			}()
			outcomes, failed := 0, 0
			for _, err := range outcomesOf(ctx, pool, inputs, ordered) {
				outcomes++
				if err == nil {
					continue
				}
				failed++
				if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
					t.Errorf("outcome %d: %v", outcomes, err)
				}
			}
			// The input that was being pulled at that moment may have no outcome, and
			// the context's error ends the range in any case.
			n := int(pulled.Load())
			if outcomes < n-1 || outcomes > n+1 || failed == 0 {
				t.Errorf("ordered %v: %d were pulled, %d have outcomes, %d of them errors", ordered, n, outcomes, failed)
			}
			if out, err := square.On(pool)(within(t), 3); out != 9 || err != nil {
				t.Errorf("afterwards: %d, %v", out, err)
			}
		}
	})
}

func outcomesOf(ctx context.Context, r afar.Runner, in iter.Seq[visit], ordered bool) iter.Seq2[string, error] {
	if ordered {
		return slowFirst.Map(ctx, r, in)
	}
	return func(yield func(string, error) bool) {
		for o := range slowFirst.MapUnordered(ctx, r, in) {
			if !yield(o.Out, o.Err) {
				return
			}
		}
	}
}

// A map whose context has ended before it began pulls nothing, and says why.
func TestMapContextEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	cancel()
	pulled, outcomes := 0, 0
	pool := open(t, "inproc:1")
	for _, err := range square.Map(ctx, pool, func(yield func(int) bool) {
		for pulled++; yield(pulled); pulled++ {
		}
	}) {
		if outcomes++; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if outcomes != 1 || pulled != 0 {
		t.Errorf("%d were pulled, %d have outcomes", pulled, outcomes)
	}
}

// A range over the same sequence starts again.
func TestMapTwice(t *testing.T) {
	results := square.Map(within(t), open(t, "inproc:2"), slices.Values([]int{1, 2, 3}))
	for range 2 {
		var got []int
		for out, err := range results {
			if err != nil {
				t.Error(err)
			}
			got = append(got, out)
		}
		if !slices.Equal(got, []int{1, 4, 9}) {
			t.Error(got)
		}
	}
}

// A Runner of somebody else's sees every call of a map.
func TestMapOverAForeignRunner(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		for name, wrap := range map[string]func(r afar.Runner) afar.Runner{
			"plain":     func(r afar.Runner) afar.Runner { return r },
			"With over": func(r afar.Runner) afar.Runner { return afar.With(r, afar.Policy{MaxAttempts: 1}) },
		} {
			spy := &spy{Runner: open(t, scheme+":2")}
			index := 0
			for out, err := range square.Map(within(t), wrap(spy), numbers(1000)) {
				if err != nil || out != index*index {
					t.Fatalf("%s: %d, %v", name, out, err)
				}
				index++
			}
			if n := spy.calls.Load(); n != 1000 || index != 1000 {
				t.Errorf("%s: %d calls, %d results", name, n, index)
			}
			for o := range square.MapUnordered(within(t), wrap(spy), numbers(1_000_000)) {
				if o.Err != nil {
					t.Error(o.Err)
				}
				if o.Index > 500 {
					break
				}
			}
		}
	})
}

// Maps share a pool, also with single calls.
func TestConcurrentMaps(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":2")
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				index := 0
				for out, err := range square.Map(within(t), pool, numbers(3000)) {
					if err != nil || out != index*index {
						t.Errorf("%d: %d, %v", index, out, err)
						return
					}
					index++
				}
			})
			wg.Go(func() {
				for i := range 300 {
					if out, err := addOne.On(pool)(within(t), i); out != i+1 || err != nil {
						t.Errorf("%d, %v", out, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// Each runs a function once on every worker.
func TestEach(t *testing.T) {
	pool := open(t, "local:2", "inproc:2")
	gateways := pool.Gateways()
	seen := map[*afar.Gateway]int{}
	for g, o := range workerID.Each(within(t), pool, struct{}{}) {
		seen[g]++
		s, err := g.Status(within(t))
		if err != nil || o.Err != nil || o.Out != s.PID || gateways[o.Index] != g {
			t.Errorf("%s: %+v, %+v", g.ID(), o, s)
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d workers", len(seen))
	}
	for range workerID.Each(within(t), pool, struct{}{}) {
		break
	}
}
