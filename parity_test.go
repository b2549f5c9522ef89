package afar_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afar-go/afar"
)

// numbers yields 0 to n-1.
func numbers(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// Line 18: Map over N local processes; ordered, unordered; lazy input; bounded
// in flight; results stream. Also as a scope: the pool is closed on leaving it.
func TestParity18MapOverLocalProcesses(t *testing.T) {
	ctx := within(t)
	var id int
	func() {
		pool, err := afar.Open(ctx, "local:3")
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		id = pool.Status().Workers[2].PID

		next := 0
		for out, err := range square.Map(ctx, pool, numbers(2000)) {
			if err != nil || out != next*next {
				t.Fatalf("%d, %v at %d", out, err, next)
			}
			next++
		}
		seen := map[int]int{}
		for o := range square.MapUnordered(ctx, pool, numbers(2000)) {
			if o.Err != nil || o.In != o.Index || o.Out != o.In*o.In {
				t.Fatalf("%+v", o)
			}
			seen[o.Index]++
		}
		if next != 2000 || len(seen) != 2000 {
			t.Errorf("%d in order, %d unordered", next, len(seen))
		}

		// The inputs never end, so results can only come if they stream.
		pulled := 0
		endless := func(yield func(int) bool) {
			for yield(pulled) {
				pulled++
			}
		}
		yielded := 0
		for range square.Map(ctx, pool, endless) {
			if yielded++; yielded == 10_000 {
				break
			}
		}
	}()
	if alive(id) {
		t.Error("a worker is there after Close")
	}
}

// Line 19: Per-task timeout: the work is stopped, the slot is used again, the
// input gets ErrTimeout, the others their results.
func TestParity19TimeoutPerTask(t *testing.T) {
	ctx, d := within(t), newDesk(t)
	pool := open(t, "local:1")
	quick := afar.With(pool, afar.Policy{Timeout: 300 * time.Millisecond, Grace: time.Millisecond})
	inputs := []visit{{Name: "a"}, {Desk: d.addr(), Stubborn: true}, {Name: "ccc"}, {Name: "dddd"}}
	index := 0
	for out, err := range spinner.Map(ctx, quick, slices.Values(inputs)) {
		if index == 1 {
			if !errors.Is(err, afar.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the input that hangs: %v", err)
			}
		} else if err != nil || out != len(inputs[index].Name) {
			t.Errorf("input %d: %d, %v", index, out, err)
		}
		index++
	}
	if index != len(inputs) {
		t.Errorf("%d outcomes", index)
	}
	d.next(t).gone(t)
	// What a function itself calls a timeout is the function's error.
	_, err := overdue.On(quick)(ctx, 0)
	if errors.Is(err, afar.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the function's own: %v", err)
	}
}

var overdue = afar.Func(func1)

func func1(context.Context, int) (int, error) {
	return 0, fmt.Errorf("inner: %w", context.DeadlineExceeded)
}

// Line 20: A killed child never hangs the map: its input is retried or reported.
func TestParity20KilledChild(t *testing.T) {
	ctx := within(t)
	pool := open(t, "local:2")
	once := filepath.Join(t.TempDir(), "once")
	inputs := []death{{N: 1}, {N: 2, File: once, Times: 1}, {N: 3, Times: 1}, {N: 4}}
	index := 0
	for out, err := range mortal.Map(ctx, pool, slices.Values(inputs)) {
		var lost *afar.WorkerLostError
		switch n := inputs[index].N; {
		case index == 2:
			if !errors.As(err, &lost) || !errors.Is(err, afar.ErrWorkerLost) || lost.Attempt != 3 || lost.PID == 0 {
				t.Errorf("the input that kills: %v", err)
			}
		case err != nil || out != n*n:
			t.Errorf("input %d: %d, %v", n, out, err)
		}
		index++
	}
	if index != len(inputs) || count(once) != 2 {
		t.Errorf("%d outcomes, %d attempts", index, count(once))
	}
}

// freight is one of everything that may travel.
type freight struct {
	Text    string
	Words   []string
	Numbers []int
	Bytes   []byte
	Table   map[string][]float64
	When    time.Time
	Next    *freight
	Empty   []int
	Any     any
}

var carrier = afar.Func(carry)

func carry(_ context.Context, f freight) (freight, error) { return f, nil }

var joiner = afar.Func(join)

func join(_ context.Context, words []string) (string, error) { return strings.Join(words, "|"), nil }

// Line 21: Strings, slices and structs pass whole.
func TestParity21ValuesPassWhole(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := open(t, scheme+":1")
		sent := freight{Text: "häus\x00\n", Words: []string{"one", "", "two three"}, Numbers: []int{3, -1 << 62},
			Bytes: []byte{0, 255}, Table: map[string][]float64{"e": {2.718281828459045}, "": nil},
			When: time.Date(2024, 2, 29, 1, 2, 3, 4, time.FixedZone("", 3600)), Next: &freight{Text: "inner"},
			Empty: []int{}, Any: []any{"x", int64(1), true, nil}}
		got, err := carrier.On(pool)(ctx, sent)
		if err != nil {
			t.Fatal(err)
		}
		if !got.When.Equal(sent.When) {
			t.Errorf("%v, want %v", got.When, sent.When)
		}
		got.When = sent.When
		if !reflect.DeepEqual(got, sent) {
			t.Errorf("%+v\nwant %+v", got, sent)
		}
		lines := [][]string{{"apple", "pear"}, {"plum"}, nil}
		var all []string
		for out, err := range joiner.Map(ctx, pool, slices.Values(lines)) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, out)
		}
		if want := []string{"apple|pear", "plum", ""}; !slices.Equal(all, want) {
			t.Errorf("%q", all)
		}
	})
}

// Line 22: Recursion: a mapped function that maps.
func TestParity22Recursion(t *testing.T) {
	for _, target := range []string{"local:1", "local:2", "inproc:1", "inproc:3"} {
		t.Run(target, func(t *testing.T) {
			ctx := within(t)
			pool := open(t, target)
			index := 0
			for out, err := range sumOfSquares.Map(ctx, pool, numbers(20)) {
				want := 0
				for i := range index {
					want += i * i
				}
				if err != nil || out != want {
					t.Errorf("%d: %d, %v, want %d", index, out, err, want)
				}
				index++
			}
			if index != 20 {
				t.Errorf("%d outcomes", index)
			}
		})
	}
}

var sumOfSquares = afar.Func(mapInMap)

func mapInMap(ctx context.Context, n int) (int, error) {
	sum := 0
	for out, err := range square.Map(ctx, afar.Caller(ctx), numbers(n)) {
		if err != nil {
			return 0, err
		}
		sum += out
	}
	return sum, nil
}

// Line 23: All processes are gone after the end of input, after leaving the
// loop early, after the caller is killed.
func TestParity23NoProcessIsLeft(t *testing.T) {
	for name, leave := range map[string]func(*afar.Pool, *desk, context.Context){
		"end of input": func(pool *afar.Pool, d *desk, ctx context.Context) {
			for range stay.Map(ctx, pool, slices.Values([]visit{{Desk: d.addr()}})) {
			}
		},
		"leaving the loop": func(pool *afar.Pool, d *desk, ctx context.Context) {
			for range stay.Map(ctx, pool, slices.Values([]visit{{Desk: d.addr()}, {Desk: d.addr()}, {Desk: d.addr()}})) {
				break
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, d := within(t), newDesk(t)
			pool := open(t, "local:1")
			leave(pool, d, ctx)
			worker, guest := d.next(t), d.next(t)
			if err := pool.Close(); err != nil {
				t.Error(err)
			}
			worker.gone(t)
			guest.gone(t)
		})
	}
	t.Run("caller killed", callerKilled)
}

func callerKilled(t *testing.T) {
	d := newDesk(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=caller", deskVariable+"="+d.addr())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	all := []*visitor{d.next(t), d.next(t), d.next(t), d.next(t)}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		v.gone(t)
	}
}

func init() {
	// caller has two workers with a child each, one of which is busy.
	roles["caller"] = func() {
		ctx := context.Background()
		at := os.Getenv(deskVariable)
		pool, err := afar.Open(ctx, "local:2")
		if err != nil {
			panic(err)
		}
		for _, o := range stay.Each(ctx, pool, visit{Desk: at}) {
			if o.Err != nil {
				panic(o.Err)
			}
		}
		fmt.Println("ready")
		_, _ = spinner.On(pool)(ctx, visit{Desk: at, Stubborn: true})
	}
}

// Line 24: No fork of a big parent: memory of N workers does not grow with the
// caller's heap.
func TestParity24WorkersAreSmall(t *testing.T) {
	most := func() (most int64) {
		pool := open(t, "local:2")
		for _, o := range square.Each(within(t), pool, 3) {
			if o.Err != nil {
				t.Error(o.Err)
			}
		}
		for _, w := range pool.Status().Workers {
			most = max(most, w.RSS)
		}
		return most
	}
	before := most()
	if before == 0 {
		t.Skip("this system does not tell the memory of a process")
	}
	heap := make([]byte, 512<<20)
	for i := 0; i < len(heap); i += 512 {
		heap[i] = 1
	}
	after := most()
	if grown := after - before; grown > int64(len(heap)/8) {
		t.Errorf("a worker has %d bytes, and %d when the caller has %d more", before, after, len(heap))
	}
	heap[0] = 2 // it was alive until here
}

var talker = afar.Func(talk)

func talk(_ context.Context, words []string) (int, error) {
	for i, w := range words {
		if i%2 == 0 {
			fmt.Println(w)
		} else {
			fmt.Fprintln(os.Stderr, w)
		}
	}
	return len(words), nil
}

// Line 35: What remote code prints arrives, tagged by worker.
func TestParity35PrintsAreTagged(t *testing.T) {
	var book notebook
	pool := openWith(t, afar.Config{Stderr: &book}, "local:2?id=press")
	for g, o := range talker.Each(within(t), pool, []string{"first", "second", "third"}) {
		if o.Err != nil {
			t.Errorf("%s: %v", g.ID(), o.Err)
		}
	}
	if err := pool.Close(); err != nil { // it waits for what was printed
		t.Error(err)
	}
	lines := map[string][]string{}
	for line := range strings.Lines(book.String()) {
		tag, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines[tag] = append(lines[tag], text)
	}
	for _, tag := range []string{"[press-1]", "[press-2]"} {
		if want := []string{"first", "second", "third"}; !slices.Equal(lines[tag], want) {
			t.Errorf("%s printed %q", tag, lines[tag])
		}
	}
	if len(lines) != 2 {
		t.Errorf("tags: %q", slices.Collect(maps.Keys(lines)))
	}
}
