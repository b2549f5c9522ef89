package afar_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/afar-go/afar"
)

type machine struct{ factor int }

func (m *machine) run(_ context.Context, n int) (int, error) { return m.factor * n, nil }

type letter struct {
	Head struct{ Line chan int }
}

func readLetter(context.Context, letter) (int, error)          { return 0, nil }
func writeLetter(context.Context, int) (*letter, error)        { return nil, nil }
func makeFunc(context.Context, int) (map[string]func(), error) { return nil, nil }

type vault struct{ gold int }

func openVault(_ context.Context, v vault) (int, error) { return v.gold, nil }

// Func panics at start-up on what could not work later, and says why.
func TestFuncPanics(t *testing.T) {
	m := &machine{2}
	var none func(context.Context, int) (int, error)
	for _, test := range []struct {
		name     string
		register func()
		want     []string
	}{
		{"anonymous", func() { afar.Func(func(context.Context, int) (int, error) { return 0, nil }) },
			[]string{"func_test.go:", "NamedFunc"}},
		{"closure", func() { afar.Func(adder(1)) }, []string{"func_test.go:", "NamedFunc"}},
		{"method value", func() { afar.Func(m.run) }, []string{"run", "NamedFunc"}},
		{"channel in the input", func() { afar.Func(readLetter) }, []string{"input", "readLetter", "letter.Head.Line", "chan"}},
		{"channel in the output", func() { afar.Func(writeLetter) }, []string{"output", "writeLetter", "letter.Head.Line", "chan"}},
		{"function in the output", func() { afar.Func(makeFunc) }, []string{"output", "makeFunc", "func"}},
		{"nothing exported", func() { afar.Func(openVault) }, []string{"input", "vault"}},
		{"nil", func() { afar.Func(none) }, []string{"nil"}},
		{"named nil", func() { afar.NamedFunc("some name", none) }, []string{"some name", "nil"}},
		{"empty name", func() { afar.NamedFunc("", adder(1)) }, []string{"empty name"}},
		{"taken name", func() { afar.NamedFunc("add one", squareOf) }, []string{"add one", "taken"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := message(test.register)
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q says nothing of %q", got, want)
				}
			}
		})
	}
}

func adder(n int) func(context.Context, int) (int, error) {
	return func(_ context.Context, m int) (int, error) { return n + m, nil }
}

var (
	addOne = afar.NamedFunc("add one", adder(1))
	addTwo = afar.NamedFunc("add two", adder(2))
	triple = afar.NamedFunc("triple", (&machine{3}).run)
)

// Closures and method values run under the names that they were given.
func TestNamedFunc(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		for f, want := range map[*afar.Function[int, int]]int{addOne: 11, addTwo: 12, triple: 30} {
			if got, err := f.On(pool)(within(t), 10); err != nil || got != want {
				t.Errorf("%s: %d, %v, want %d", f.Name(), got, err, want)
			}
		}
	})
	if addOne.Name() != "add one" || !strings.HasSuffix(square.Name(), "afar_test.squareOf") {
		t.Errorf("%q, %q", addOne.Name(), square.Name())
	}
}

// The same name with other types is another function; the same function twice
// is one.
func TestRegisteringTwice(t *testing.T) {
	again := afar.Func(squareOf)
	out, err := again.On(open(t, "local:1"))(within(t), 4)
	if err != nil || out != 16 {
		t.Errorf("%d, %v", out, err)
	}
}

func first[T any](_ context.Context, all []T) (T, error) {
	var zero T
	if len(all) == 0 {
		return zero, errors.New("empty")
	}
	return all[0], nil
}

var (
	firstInt  = afar.Func(first[int])
	firstText = afar.Func(first[string])
	firstPair = afar.Func(first[pair[string, []int]])
)

type pair[A, B any] struct {
	One A
	Two B
}

// Instances of one generic function have one name and are different functions.
func TestGenerics(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := open(t, scheme+":1")
		if n, err := firstInt.On(pool)(ctx, []int{7, 8}); n != 7 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if s, err := firstText.On(pool)(ctx, []string{"seven"}); s != "seven" || err != nil {
			t.Errorf("%q, %v", s, err)
		}
		p, err := firstPair.On(pool)(ctx, []pair[string, []int]{{"p", []int{1}}})
		if p.One != "p" || len(p.Two) != 1 || err != nil {
			t.Errorf("%v, %v", p, err)
		}
	})
}

// A function that was registered after Main is unknown to workers, and the
// error says what to do.
func TestRegisteredLate(t *testing.T) {
	before := open(t, "inproc:1")
	name := fmt.Sprintf("late %p", t)
	late := afar.NamedFunc(name, adder(5))
	for target, pool := range map[string]*afar.Pool{"local": open(t, "local:1"), "inproc, opened before": before} {
		_, err := late.On(pool)(within(t), 1)
		if !errors.Is(err, afar.ErrUnknownFunction) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", target, err)
		}
		if target == "local" && (!strings.Contains(err.Error(), "afar.Main") || !strings.Contains(err.Error(), "package variable")) {
			t.Errorf("%s: no help in %v", target, err)
		}
		n := 0
		for _, err := range late.Map(within(t), pool, numbers(3)) {
			if n++; !errors.Is(err, afar.ErrUnknownFunction) {
				t.Errorf("%s, Map: %v", target, err)
			}
		}
		if n == 0 {
			t.Errorf("%s: Map does not say that the function is unknown", target)
		}
	}
	if out, err := late.On(open(t, "inproc:1"))(within(t), 1); err != nil || out != 6 {
		t.Errorf("inproc, opened after: %d, %v", out, err)
	}
}

type ring struct {
	Name string
	Next *ring
}

var walker = afar.Func(walk)

func walk(_ context.Context, r *ring) (int, error) {
	n := 0
	for ; r != nil; r = r.Next {
		n++
	}
	return n, nil
}

// A value that cannot be encoded is an error of that input only, which names
// the field.
func TestCyclicInput(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := open(t, scheme+":1")
		cycle := &ring{Name: "a", Next: &ring{Name: "b"}}
		cycle.Next.Next = cycle
		if _, err := walker.On(pool)(ctx, cycle); err == nil || !strings.Contains(err.Error(), "ring.Next.Next") {
			t.Errorf("a call: %v", err)
		}
		inputs := func(yield func(*ring) bool) {
			_ = yield(nil) && yield(&ring{}) && yield(cycle) && yield(&ring{Next: &ring{}})
		}
		index := 0
		for n, err := range walker.Map(ctx, pool, inputs) {
			switch {
			case index == 2:
				if err == nil || !strings.Contains(err.Error(), "ring.Next.Next") || !strings.Contains(err.Error(), "cyclic") {
					t.Errorf("the cyclic one: %v", err)
				}
			case err != nil || n != []int{0, 1, 0, 2}[index]:
				t.Errorf("input %d: %d, %v", index, n, err)
			}
			index++
		}
		if index != 4 {
			t.Errorf("%d outcomes", index)
		}
	})
}

var knot = afar.Func(tie)

func tie(context.Context, int) (*ring, error) {
	r := &ring{}
	r.Next = r
	return r, nil
}

// A cyclic output is the call's error; the worker lives on.
func TestCyclicOutput(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":1")
		_, err := knot.On(pool)(within(t), 1)
		if err == nil || !strings.Contains(err.Error(), "ring.Next") || !strings.Contains(err.Error(), "output") {
			t.Errorf("%v", err)
		}
		if out, err := square.On(pool)(within(t), 3); out != 9 || err != nil || pool.Status().Workers[0].Restarts != 0 {
			t.Errorf("afterwards: %d, %v", out, err)
		}
	})
}

var blower = afar.Func(blow)

func blow(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil }

var measurer = afar.Func(measure)

func measure(_ context.Context, b []byte) (int, error) { return len(b), nil }

// Items over the limit are refused, with both sizes in the error, and the
// worker lives on. Items at the limit pass.
func TestTooLarge(t *testing.T) {
	const limit = 100_000
	everywhere(t, func(t *testing.T, scheme string) {
		ctx := within(t)
		pool := openWith(t, afar.Config{MaxItem: limit}, scheme+":1")
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, afar.ErrTooLarge) || !strings.Contains(err.Error(), "100000") || !strings.Contains(err.Error(), "100005") {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := measurer.On(pool)(ctx, make([]byte, limit)) // and the encoding's own 5
		refused("input", err)
		_, err = blower.On(pool)(ctx, limit)
		refused("output", err)
		index := 0
		for _, err := range measurer.Map(ctx, pool, func(yield func([]byte) bool) {
			_ = yield(nil) && yield(make([]byte, limit)) && yield([]byte{1})
		}) {
			if index == 1 {
				refused("input of a map", err)
			} else if err != nil {
				t.Errorf("input %d: %v", index, err)
			}
			index++
		}
		if n, err := measurer.On(pool)(ctx, make([]byte, limit-5)); n != limit-5 || err != nil {
			t.Errorf("at the limit: %d, %v", n, err)
		}
		if out, err := blower.On(pool)(ctx, limit-5); len(out) != limit-5 || err != nil {
			t.Errorf("at the limit: %d, %v", len(out), err)
		}
		if w := pool.Status().Workers[0]; w.Restarts != 0 {
			t.Errorf("%d restarts", w.Restarts)
		}
	})
}

// Large items pass in both directions, also many at a time.
func TestLargeItems(t *testing.T) {
	everywhere(t, func(t *testing.T, scheme string) {
		pool := open(t, scheme+":2")
		const size = 5 << 20
		index := 0
		for out, err := range blower.Map(within(t), pool, func(yield func(int) bool) {
			for i := range 12 {
				if !yield(size*(i%2) + i) {
					return
				}
			}
		}) {
			if err != nil || len(out) != size*(index%2)+index {
				t.Errorf("output %d: %d, %v", index, len(out), err)
			}
			index++
		}
		for i := range 6 {
			n := size*(i%2) + i
			if got, err := measurer.On(pool)(within(t), make([]byte, n)); got != n || err != nil {
				t.Errorf("input of %d: %d, %v", n, got, err)
			}
		}
	})
}

// Without a Runner there is an error, not a panic.
func TestNilRunner(t *testing.T) {
	for name, r := range map[string]afar.Runner{"nil": nil, "With(nil)": afar.With(nil, afar.Policy{})} {
		if _, err := square.On(r)(within(t), 1); err == nil || !strings.Contains(err.Error(), "nil Runner") {
			t.Errorf("%s: %v", name, err)
		}
		n := 0
		for _, err := range square.Map(within(t), r, numbers(3)) {
			if n++; err == nil || !strings.Contains(err.Error(), "nil Runner") {
				t.Errorf("%s, Map: %v", name, err)
			}
		}
		if n != 3 {
			t.Errorf("%s: %d outcomes for 3 inputs", name, n)
		}
	}
}

// Without Main there are no processes, and the error says what is missing.
func TestMainIsMissing(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), startVariable+"=no main")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "afar.Main()") {
		t.Errorf("%v: %s", err, out)
	}
}

func init() {
	starts["no main"] = func() {
		_, err := afar.Open(context.Background(), "local:1")
		fmt.Println(err)
		os.Exit(0)
	}
}
